//! The user's client: what ends a wait, and what does not.

mod support;

use castoff_pipeline::client::{self, Patience, Waited};
use castoff_ports::nova::{self, VolumeAttachment};
use castoff_ports::{
    Binding, Call, CallCx, Failure, InstanceId, Process, Refusal, Reply, SimTime, VolumeId, runtime,
};
use support::{Outside, Scripted, port, run};

/// Answers each poll with the next of these; the last one for ever.
struct Polls {
    lists: Vec<Result<bool, Failure>>,
}

fn next<T: Clone>(left: &mut Vec<T>) -> T {
    if left.len() > 1 { left.remove(0) } else { left[0].clone() }
}

impl Outside for Polls {
    fn call(&mut self, now: &mut SimTime, _cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        Ok(match call {
            Call::Runtime(runtime::Call::Sleep(c)) => {
                *now = *now + c.duration;
                Reply::Runtime(runtime::Reply::Sleep(()))
            }
            Call::Nova(nova::Call::ListVolumeAttachments(_)) => {
                let view = VolumeAttachment {
                    volume_id: "v1".into(),
                    server_id: "i1".into(),
                    device: None,
                    attachment_id: None,
                    bdm: None,
                    tag: None,
                    delete_on_termination: false,
                };
                let list = next(&mut self.lists)?.then_some(view).into_iter().collect();
                Reply::Nova(nova::Reply::ListVolumeAttachments(list))
            }
            other => panic!("the client does not poll {}", other.name()),
        })
    }
}

/// How the wait for a detach ended, and after how many seconds.
fn wait_detached(lists: Vec<Result<bool, Failure>>) -> (Waited, u64) {
    let binding = Scripted::new(Polls { lists });
    let port = port(&binding, Process::Client);
    let (server, volume): (InstanceId, VolumeId) = ("i1".into(), "v1".into());
    let waited = run(client::wait_detached(&port, &server, &volume, Patience::default()));
    (waited, binding.now().0 / 1_000_000)
}

#[test]
fn a_detach_is_over_when_nova_lists_the_attachment_no_more() {
    assert_eq!(wait_detached(vec![Ok(true), Ok(true), Ok(false)]), (Waited::Gone, 4));
}

#[test]
fn a_poll_that_fails_says_nothing_but_a_server_that_is_gone_ends_the_wait() {
    let lost = || Err(Failure::NoReply { system: "nova-api".to_owned() });
    assert_eq!(wait_detached(vec![lost(), Ok(false)]), (Waited::Gone, 2));
    assert_eq!(wait_detached(vec![lost()]), (Waited::StillAttached, 300));
    let gone = Err(Refusal::http(404, "Instance i1 could not be found.").into());
    assert_eq!(wait_detached(vec![Ok(true), gone]), (Waited::Gone, 2));
}
