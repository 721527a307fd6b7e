//! Whatever the order of calls: a volume's status agrees with its rows, and its map with both.

use castoff_ports::AttachmentId;
use castoff_ports::cinder::*;
use proptest::prelude::*;

use super::tests::{
    Bench, attach, begin, complete, connector, delete, detach, initialize, roll, terminate, volume,
};
use crate::release::CinderRelease;

#[derive(Clone, Copy, Debug)]
enum Act {
    Reserve,
    Unreserve,
    Initialize,
    Terminate,
    Attach,
    Detach(Option<usize>),
    Begin,
    Roll,
    Create(u8),
    Update(usize),
    Complete(usize),
    Delete(usize),
}

fn attachments_api() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..2_u8).prop_map(Act::Create),
        3 => (0..3_usize).prop_map(Act::Update),
        3 => (0..3_usize).prop_map(Act::Complete),
        2 => (0..3_usize).prop_map(Act::Delete),
        2 => Just(Act::Begin),
        1 => Just(Act::Roll),
    ]
}

fn any_action() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Reserve),
        Just(Act::Unreserve),
        Just(Act::Initialize),
        Just(Act::Terminate),
        Just(Act::Attach),
        prop::option::of(0..3_usize).prop_map(Act::Detach),
        attachments_api(),
    ]
}

impl Act {
    /// The call, if the row that it means exists.
    fn call(self, bench: &Bench) -> Option<Call> {
        let nth = |n: usize| -> Option<AttachmentId> {
            bench.cinder.live_attachments().nth(n).map(|row| row.id.clone())
        };
        Some(match self {
            Act::Reserve => Call::Reserve(Reserve { volume_id: volume() }),
            Act::Unreserve => Call::Unreserve(Unreserve { volume_id: volume() }),
            Act::Initialize => initialize(),
            Act::Terminate => terminate(),
            Act::Attach => attach("i"),
            Act::Detach(None) => detach(None),
            Act::Detach(Some(n)) => detach(Some(&nth(n)?)),
            Act::Begin => begin(),
            Act::Roll => roll(),
            Act::Create(n) => Call::AttachmentCreate(AttachmentCreate {
                volume_id: volume(),
                instance: format!("i{n}").as_str().into(),
            }),
            Act::Update(n) => Call::AttachmentUpdate(AttachmentUpdate {
                attachment_id: nth(n)?,
                connector: connector(&format!("vm{n}")),
                mountpoint: "/dev/vdb".to_owned(),
            }),
            Act::Complete(n) => complete(&nth(n)?),
            Act::Delete(n) => delete(&nth(n)?),
        })
    }
}

fn rows(bench: &Bench) -> Vec<AttachStatus> {
    bench.cinder.live_attachments().map(|row| row.attach_status).collect()
}

proptest! {
    /// Both APIs, any number of rows, both releases.
    #[test]
    fn no_status_claims_rows_that_are_not_there(
        ocata in any::<bool>(),
        acts in prop::collection::vec(any_action(), 1..60),
    ) {
        let release = if ocata { CinderRelease::Ocata } else { CinderRelease::V28 };
        let mut b = Bench::new(release);
        for act in acts {
            let Some(call) = act.call(&b) else { continue };
            let before = (b.status(), rows(&b), b.storage.mappings().to_vec());
            let answer = b.call(call);
            let rows = rows(&b);
            if answer.is_err() {
                prop_assert_eq!(before, (b.status(), rows, b.storage.mappings().to_vec()));
                continue;
            }
            match b.status() {
                VolumeStatus::Available => prop_assert!(rows.is_empty(), "{:?}", act),
                VolumeStatus::Reserved => {
                    prop_assert!(rows.contains(&AttachStatus::Reserved), "{:?}", act);
                }
                VolumeStatus::InUse | VolumeStatus::Detaching => {
                    prop_assert!(!rows.is_empty(), "{:?}", act);
                }
                VolumeStatus::Attaching => {}
                other => prop_assert!(false, "no action leads to {:?}", other),
            }
        }
    }
}
