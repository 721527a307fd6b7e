//! What each kind of fault means to the caller and to the system behind it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use castoff_ports::fault::FaultLayer;
use castoff_ports::plan::{Fault, FaultKind, FaultPoint, Plan};
use castoff_ports::trace::Trace;
use castoff_ports::{
    Auth, Binding, Call, CallCx, Failure, Port, Process, Reply, RequestId, SimTime, cinder, host,
    iscsi, rpc, runtime,
};
use futures::future::LocalBoxFuture;

/// Counts effects; sleeping moves its clock.
#[derive(Default)]
struct Counting {
    effects: RefCell<Vec<&'static str>>,
    now: Cell<u64>,
    crashed: Cell<Option<Option<Duration>>>,
}

impl Binding for Counting {
    fn call<'a>(
        &'a self,
        _cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        let reply = match &call {
            Call::Runtime(runtime::Call::Sleep(s)) => {
                self.now.set(self.now.get() + s.duration.as_micros() as u64);
                Reply::Runtime(runtime::Reply::Sleep(()))
            }
            Call::Cinder(cinder::Call::BeginDetaching(_)) => {
                Reply::Cinder(cinder::Reply::BeginDetaching(()))
            }
            Call::Host(host::Call::FlushBufs(_)) => {
                Reply::Host(host::Reply::FlushBufs(iscsi::CommandOutput::ok()))
            }
            Call::Rpc(rpc::Call::Cast(_)) => Reply::Rpc(rpc::Reply::Cast(())),
            other => panic!("not part of these tests: {other:?}"),
        };
        self.effects.borrow_mut().push(call.name());
        Box::pin(async { Ok(reply) })
    }
    fn now(&self) -> SimTime {
        SimTime(self.now.get())
    }
    fn crash(&self, _cx: &CallCx, restart_after: Option<Duration>) {
        self.crashed.set(Some(restart_after));
    }
}

struct Rig {
    inner: Rc<Counting>,
    layer: Rc<FaultLayer>,
}

fn rig(operation: &str, nth: u32, strike: FaultKind) -> Rig {
    let at = FaultPoint {
        process: Process::NovaCompute,
        operation: operation.to_owned(),
        nth,
        request: None,
    };
    let plan = Plan { faults: vec![Fault { at, strike, policies: Vec::new() }] };
    let inner = Rc::new(Counting::default());
    let layer = Rc::new(FaultLayer::new(inner.clone(), &plan, Trace::off()));
    Rig { inner, layer }
}

impl Rig {
    fn port(&self, process: Process, request: u32) -> Port {
        let cx = CallCx {
            process,
            incarnation: 0,
            request: RequestId(request),
            auth: Auth::default(),
            deadline: None,
        };
        Port::new(self.layer.clone(), cx)
    }

    fn begin(&self, request: u32) -> Poll<Result<(), Failure>> {
        let port = self.port(Process::NovaCompute, request);
        poll(port.call(cinder::BeginDetaching { volume_id: "v1".into() }))
    }

    fn effects(&self) -> usize {
        let effects = self.inner.effects.borrow();
        effects.iter().filter(|e| **e != "runtime::Sleep").count()
    }
}

fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    let mut future = std::pin::pin!(future);
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

const BEGIN: &str = "cinder::BeginDetaching";

#[test]
fn an_http_error_has_no_effect() {
    let rig = rig(BEGIN, 1, FaultKind::HttpError { status: 503 });
    let Poll::Ready(Err(failure)) = rig.begin(1) else { panic!("it is refused") };
    assert_eq!((failure.http_status(), rig.effects()), (Some(503), 0));
}

#[test]
fn a_lost_reply_has_the_effect_and_says_that_it_may_have() {
    let rig = rig(BEGIN, 1, FaultKind::ReplyLost);
    assert!(matches!(rig.begin(1), Poll::Ready(Err(Failure::NoReply { .. }))));
    assert_eq!(rig.effects(), 1);
}

#[test]
fn a_timeout_has_the_effect_and_lasts_as_long_as_the_caller_waits() {
    let rig = rig(BEGIN, 1, FaultKind::Timeout { status: 504, after_ms: 60_000 });
    let Poll::Ready(Err(failure)) = rig.begin(1) else { panic!("it is refused") };
    assert_eq!((failure.http_status(), rig.effects()), (Some(504), 1));
    assert_eq!(rig.inner.now(), SimTime::from_secs(60));
}

#[test]
fn an_unreachable_system_sees_nothing() {
    let rig = rig(BEGIN, 1, FaultKind::Unreachable);
    assert!(matches!(rig.begin(1), Poll::Ready(Err(Failure::Unreachable { .. }))));
    assert_eq!(rig.effects(), 0);
}

#[test]
fn a_lost_cast_looks_like_success_and_is_none() {
    let rig = rig("rpc::Cast", 1, FaultKind::Lost);
    let port = rig.port(Process::NovaCompute, 1);
    let method = rpc::Method::DetachVolume {
        instance: "i1".into(),
        volume_id: "v1".into(),
        attachment_id: None,
    };
    let cast = poll(port.call(rpc::Cast { server: "compute-1".into(), method }));
    assert_eq!((cast, rig.effects()), (Poll::Ready(Ok(())), 0));
}

#[test]
fn a_command_fails_with_the_exit_code_of_the_plan() {
    let rig = rig("host::FlushBufs", 1, FaultKind::CommandFails { exit: 5 });
    let port = rig.port(Process::NovaCompute, 1);
    let Poll::Ready(Ok(out)) = poll(port.call(host::FlushBufs { device: "sdb".into() })) else {
        panic!("a failed command is a reply")
    };
    assert_eq!((out.exit, rig.effects()), (5, 0));
}

#[test]
fn a_crash_before_has_no_effect_and_never_answers() {
    let rig = rig(BEGIN, 1, FaultKind::CrashBefore { restart_after_ms: Some(36_000) });
    assert!(rig.begin(1).is_pending());
    assert_eq!(rig.effects(), 0);
    assert_eq!(rig.inner.crashed.get(), Some(Some(Duration::from_secs(36))));
}

#[test]
fn a_crash_after_has_the_effect_and_never_answers() {
    let rig = rig(BEGIN, 1, FaultKind::CrashAfter { restart_after_ms: None });
    assert!(rig.begin(1).is_pending());
    assert_eq!((rig.effects(), rig.inner.crashed.get()), (1, Some(None)));
}

#[test]
fn a_fault_strikes_once_at_the_nth_call_of_one_process_for_one_request() {
    let rig = rig(BEGIN, 2, FaultKind::HttpError { status: 500 });
    assert_eq!(rig.begin(1), Poll::Ready(Ok(())), "the first call of request 1");
    assert_eq!(rig.begin(2), Poll::Ready(Ok(())), "the first call of request 2");
    let api = rig.port(Process::NovaApi, 1);
    let other = poll(api.call(cinder::BeginDetaching { volume_id: "v1".into() }));
    assert_eq!(other, Poll::Ready(Ok(())), "another process counts for itself");
    assert_eq!(rig.layer.struck().len(), 0);
    assert!(matches!(rig.begin(1), Poll::Ready(Err(_))), "the second call of request 1");
    assert_eq!((rig.layer.struck().len(), rig.layer.waiting().len()), (1, 0));
    assert_eq!(rig.begin(1), Poll::Ready(Ok(())), "it has struck");
}

#[test]
fn a_healed_plan_never_strikes_and_says_what_had_not() {
    let rig = rig(BEGIN, 1, FaultKind::ReplyLost);
    assert_eq!(rig.layer.waiting().len(), 1);
    rig.layer.heal();
    assert_eq!(rig.begin(1), Poll::Ready(Ok(())));
    assert_eq!(rig.layer.struck().len(), 0);
}

#[test]
fn a_fault_strikes_the_call_that_it_names_of_any_request_and_counts_each_request_apart() {
    let rig = rig(BEGIN, 2, FaultKind::HttpError { status: 503 });
    for request in [1, 2, 3] {
        assert_eq!(rig.begin(request), Poll::Ready(Ok(())));
    }
    let Poll::Ready(Err(failure)) = rig.begin(2) else { panic!("its second call is refused") };
    assert_eq!((failure.http_status(), rig.effects()), (Some(503), 3));
    assert_eq!(rig.begin(2), Poll::Ready(Ok(())));
}

#[test]
fn a_fault_that_waits_for_ever_forgets_the_oldest_requests_and_still_strikes_the_newest() {
    let rig = rig(BEGIN, 2, FaultKind::HttpError { status: 503 });
    let (first, last) = (1, 5_000);
    for request in first..=last {
        assert_eq!(rig.begin(request), Poll::Ready(Ok(())));
    }
    // Its first call is forgotten: this one counts as the first.
    assert_eq!(rig.begin(first), Poll::Ready(Ok(())));
    assert!(matches!(rig.begin(last), Poll::Ready(Err(_))));
}

#[test]
fn healing_forgets_what_was_counted() {
    let rig = rig(BEGIN, 2, FaultKind::HttpError { status: 503 });
    assert_eq!(rig.begin(1), Poll::Ready(Ok(())));
    let fault = rig.layer.waiting().remove(0);
    rig.layer.heal();
    rig.layer.arm(fault);
    assert_eq!(rig.begin(1), Poll::Ready(Ok(())));
    assert!(matches!(rig.begin(1), Poll::Ready(Err(_))));
}

#[test]
fn who_is_cut_off_reaches_the_system_again_after_the_time_of_the_plan() {
    let rig = rig(BEGIN, 1, FaultKind::CutOff { ms: 200_000 });
    assert!(matches!(rig.begin(1), Poll::Ready(Err(Failure::Unreachable { .. }))));
    assert_eq!(rig.inner.now.get(), 127_000_000, "so long a connection is tried for");
    let api = rig.port(Process::NovaApi, 1);
    let other = poll(api.call(cinder::BeginDetaching { volume_id: "v1".into() }));
    assert_eq!(other, Poll::Ready(Ok(())), "another process has a way of its own");
    let port = rig.port(Process::NovaCompute, 1);
    let flush = port.call(host::FlushBufs { device: "sdb".into() });
    assert!(matches!(poll(flush), Poll::Ready(Ok(_))), "so has another system");
    assert_eq!(rig.begin(2), Poll::Ready(Ok(())), "every request, and it waits for the way");
    assert_eq!(rig.inner.now.get(), 200_000_000);
    assert_eq!(rig.begin(3), Poll::Ready(Ok(())));
    assert_eq!((rig.inner.now.get(), rig.layer.struck().len()), (200_000_000, 1));
}

#[test]
fn a_way_that_was_cut_is_back_when_the_faults_stop() {
    let rig = rig(BEGIN, 1, FaultKind::CutOff { ms: 600_000 });
    assert!(matches!(rig.begin(1), Poll::Ready(Err(Failure::Unreachable { .. }))));
    rig.layer.heal();
    assert_eq!(rig.begin(1), Poll::Ready(Ok(())));
    assert_eq!(rig.inner.now.get(), 127_000_000);
}

#[test]
fn what_strikes_while_the_way_is_cut_has_no_effect_and_no_answer() {
    for (strike, effects) in [
        (FaultKind::ReplyLost, 0),
        (FaultKind::HttpError { status: 500 }, 0),
        (FaultKind::Timeout { status: 504, after_ms: 60_000 }, 0),
        (FaultKind::Duplicate { after_ms: 0 }, 0),
        (FaultKind::Delay { ms: 600_000 }, 1),
    ] {
        let rig = rig(BEGIN, 1, FaultKind::CutOff { ms: 600_000 });
        let mut at = rig.layer.waiting()[0].at.clone();
        at.nth = 2;
        rig.layer.arm(Fault { at, strike: strike.clone(), policies: Vec::new() });
        assert!(matches!(rig.begin(1), Poll::Ready(Err(Failure::Unreachable { .. }))));
        let second = rig.begin(1);
        let unreachable = matches!(second, Poll::Ready(Err(Failure::Unreachable { .. })));
        let found = rig.inner.effects.borrow().iter().filter(|e| **e == BEGIN).count();
        assert_eq!((found, unreachable), (effects, effects == 0), "{strike:?}: {second:?}");
        assert_eq!(rig.layer.struck().len(), 2);
    }
}
