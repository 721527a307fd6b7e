//! The fault layer: makes a plan strike over any binding.
//!
//! It sits between the pipeline and the binding, so one plan means the same on `direct`,
//! `network` and `real`. It counts operations per (process, request, operation), where a fault
//! waits for one; points of the second fault are thus those of the run with the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{LocalBoxFuture, pending};

use crate::iscsi::CommandOutput;
use crate::plan::{CONNECT_TIMEOUT, EnvironmentEvent, Fault, FaultKind, Plan};
use crate::trace::{Event, Note, Trace, What};
use crate::{
    Binding, Call, CallCx, Failure, Process, Refusal, Reply, RequestId, SimTime, host, iscsi, rpc,
    runtime,
};

/// A binding under a plan.
pub struct FaultLayer {
    inner: Rc<dyn Binding>,
    trace: Trace,
    state: RefCell<State>,
}

/// A point that a run came by: where a fault could have struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Passed {
    /// The calling process.
    pub process: Process,
    /// The request that it served.
    pub request: RequestId,
    /// `system::Operation`.
    pub operation: &'static str,
    /// For the n-th time, from 1.
    pub nth: u32,
}

/// Calls are counted of at most so many points; those of the oldest requests are forgotten first.
///
/// A fault that waits for a second call may wait for ever on a cloud that serves request after
/// request, each with one. Far more than any plan's run has requests.
const MAX_COUNTED: usize = 4096;

/// Requests that arrive a second time are numbered from here.
pub const DUPLICATE: u32 = 200;

/// What is counted: request first, so that the oldest come first.
type Point = (RequestId, Process, &'static str);

#[derive(Default)]
struct State {
    waiting: Vec<Fault>,
    struck: Vec<Fault>,
    passed: Option<Vec<Passed>>,
    healed: bool,
    /// Who is cut off from which system, and until when.
    cuts: Vec<(Process, &'static str, SimTime)>,
    /// Only of calls at which a fault waits, unless all are written down.
    counts: BTreeMap<Point, u32>,
}

impl State {
    /// How often this call was made at this point, with this one.
    fn count(&mut self, point: Point) -> u32 {
        let count = self.counts.entry(point).or_default();
        *count += 1;
        let count = *count;
        if self.counts.len() > MAX_COUNTED {
            self.counts.pop_first();
        }
        count
    }
}

/// Whether this fault waits for a call at this point, be it this one or a later one.
fn waits_at(fault: &Fault, (request, process, operation): Point) -> bool {
    fault.at.process == process
        && fault.at.operation == operation
        && fault.at.request.is_none_or(|r| r == request)
}

impl FaultLayer {
    /// Lays `plan` over `inner`.
    pub fn new(inner: Rc<dyn Binding>, plan: &Plan, trace: Trace) -> Self {
        let state = State { waiting: plan.faults.clone(), ..State::default() };
        FaultLayer { inner, trace, state: RefCell::new(state) }
    }

    /// The same, and every point that is passed until the faults stop is written down.
    pub fn recording(inner: Rc<dyn Binding>, plan: &Plan, trace: Trace) -> Self {
        let layer = FaultLayer::new(inner, plan, trace);
        layer.state.borrow_mut().passed = Some(Vec::new());
        layer
    }

    /// The points that were passed, in order; none when nothing is written down.
    pub fn passed(&self) -> Vec<Passed> {
        self.state.borrow_mut().passed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The faults that struck, in order.
    pub fn struck(&self) -> Vec<Fault> {
        self.state.borrow().struck.clone()
    }

    /// The faults that have not struck.
    pub fn waiting(&self) -> Vec<Fault> {
        self.state.borrow().waiting.clone()
    }

    /// Adds a fault while the run goes on: it counts calls from now on, if no other fault waited at
    /// its point before; a request under way may be past it already.
    pub fn arm(&self, fault: Fault) {
        self.state.borrow_mut().waiting.push(fault);
    }

    /// Faults stop: what has not struck never will.
    pub fn heal(&self) {
        let mut state = self.state.borrow_mut();
        state.waiting.clear();
        state.healed = true;
        state.counts.clear();
        state.cuts.clear();
    }

    /// Until when this call's way is cut.
    fn cut(&self, cx: &CallCx, call: &Call) -> Option<SimTime> {
        let state = self.state.borrow();
        let of = |(process, system, _): &&(Process, &'static str, SimTime)| {
            *process == cx.process && *system == call.system()
        };
        let until = state.cuts.iter().filter(of).map(|(.., until)| *until).max()?;
        (until > self.inner.now()).then_some(until)
    }

    /// The way of a call: one that is cut is waited for, as long as a connection is tried for.
    async fn way(&self, cx: &CallCx, call: &Call) -> Result<(), Failure> {
        let Some(until) = self.cut(cx, call) else { return Ok(()) };
        let left = until.since(self.inner.now());
        self.sleep(cx, left.min(CONNECT_TIMEOUT)).await;
        // The faults may have stopped meanwhile, or another have struck.
        match self.cut(cx, call) {
            None => Ok(()),
            Some(_) => Err(Failure::Unreachable { system: call.system().to_owned() }),
        }
    }

    /// The call takes effect, if its way is open.
    async fn reach(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        self.way(cx, &call).await?;
        self.inner.call(cx, call).await
    }

    fn due(&self, cx: &CallCx, call: &Call) -> Option<FaultKind> {
        let mut state = self.state.borrow_mut();
        let point = (cx.request, cx.process, call.name());
        let records = state.passed.is_some() && !state.healed;
        if !records && !state.waiting.iter().any(|f| waits_at(f, point)) {
            return None;
        }
        let nth = state.count(point);
        if records {
            let (request, process, operation) = point;
            let passed = Passed { process, request, operation, nth };
            state.passed.iter_mut().for_each(|list| list.push(passed));
        }
        let hit = state.waiting.iter().position(|f| waits_at(f, point) && f.at.nth == nth)?;
        let fault = state.waiting.remove(hit);
        let kind = fault.strike.clone();
        state.struck.push(fault);
        let State { waiting, counts, .. } = &mut *state;
        if !records {
            counts.retain(|point, _| waiting.iter().any(|f| waits_at(f, *point)));
        }
        Some(kind)
    }

    fn record(&self, cx: &CallCx, name: &'static str, kind: &FaultKind) {
        self.trace.push(|| Event {
            at: self.inner.now(),
            who: cx.process.as_str(),
            request: Some(cx.request),
            what: What::Fault {
                text: format!(
                    "fault at {name}: {}",
                    serde_json::to_string(kind).unwrap_or_else(|e| e.to_string())
                ),
            },
        });
    }

    async fn sleep(&self, cx: &CallCx, duration: Duration) {
        let call = Call::Runtime(runtime::Call::Sleep(runtime::Sleep { duration }));
        // A sleep that fails is a sleep cut short: the fault still strikes.
        let _ = self.inner.call(cx, call).await;
    }

    async fn die(&self, cx: &CallCx, restart: Option<Duration>) -> ! {
        self.inner.crash(cx, restart);
        pending::<()>().await;
        unreachable!("pending never resolves")
    }

    async fn strike(&self, cx: &CallCx, call: Call, kind: FaultKind) -> Result<Reply, Failure> {
        let name = call.name();
        let system = call.system().to_owned();
        self.record(cx, name, &kind);
        // What it disturbed gets its chance again before a simulation is quiet.
        self.inner.lasts_until(self.inner.now());
        match kind {
            FaultKind::HttpError { status } => {
                self.way(cx, &call).await?;
                Err(Refusal::http(status, format!("injected HTTP {status}")).into())
            }
            FaultKind::CommandFails { exit } => command_reply(&call, exit),
            FaultKind::Hangs => {
                let Some(deadline) = cx.deadline else { pending().await };
                self.sleep(cx, deadline.since(self.inner.now())).await;
                Err(Failure::NoReply { system })
            }
            FaultKind::Unreachable => Err(Failure::Unreachable { system }),
            FaultKind::CutOff { ms } => {
                let until = self.inner.now() + Duration::from_millis(ms);
                self.state.borrow_mut().cuts.push((cx.process, call.system(), until));
                self.inner.lasts_until(until);
                self.inner.cut_off(cx.process, call.system(), until);
                self.reach(cx, call).await
            }
            FaultKind::Lost => match call {
                Call::Rpc(rpc::Call::Cast(_)) => {
                    self.way(cx, &call).await?;
                    Ok(Reply::Rpc(rpc::Reply::Cast(())))
                }
                _ => Err(Failure::Unreachable { system }),
            },
            FaultKind::ReplyLost => {
                self.way(cx, &call).await?;
                let _ = self.inner.call(cx, call).await;
                Err(Failure::NoReply { system })
            }
            FaultKind::Timeout { status, after_ms } => {
                self.way(cx, &call).await?;
                let started = self.inner.now();
                let _ = self.inner.call(cx, call).await;
                let left =
                    Duration::from_millis(after_ms).saturating_sub(self.inner.now().since(started));
                self.sleep(cx, left).await;
                Err(Refusal::http(status, "The server timed out").into())
            }
            FaultKind::Delay { ms } => {
                self.sleep(cx, Duration::from_millis(ms)).await;
                self.reach(cx, call).await
            }
            FaultKind::Duplicate { after_ms } => {
                let first = self.reach(cx, call.clone()).await;
                self.sleep(cx, Duration::from_millis(after_ms)).await;
                let mut second = cx.clone();
                if matches!(call, Call::Nova(_)) {
                    // nova-api gives every HTTP request an id of its own.
                    second.request = RequestId(cx.request.0 + DUPLICATE);
                }
                let _ = self.reach(&second, call).await;
                first
            }
            FaultKind::Environment { event } => {
                self.inner.environment(event);
                self.reach(cx, call).await
            }
            FaultKind::CrashBefore { .. } => self.die(cx, kind.restart_after()).await,
            FaultKind::CrashAfter { .. } => {
                let _ = self.reach(cx, call).await;
                self.die(cx, kind.restart_after()).await
            }
        }
    }
}

/// The failing output of a command; operations that are no command refuse with the same code.
fn command_reply(call: &Call, exit: i32) -> Result<Reply, Failure> {
    let out = CommandOutput::failed(exit, "injected failure");
    macro_rules! commands {
        ($($system:ident::$module:ident { $($op:ident),* })*) => {
            match call {
                $($(Call::$system($module::Call::$op(_)) =>
                    Ok(Reply::$system($module::Reply::$op(out))),)*)*
                other => Err(Refusal::Unsupported { operation: other.name().to_owned() }.into()),
            }
        };
    }
    commands! {
        Iscsi::iscsi { Discoverydb, Discover, NodesAtPortal, Nodes, Sessions, Node, NodeNew, NodeUpdate, Login, Rescan, Logout, NodeDelete }
        Host::host { InitiatorName, MultipathdShowStatus, ScanLun, FlushBufs, DeleteDevice, ScsiId, CryptsetupOpen, CryptsetupClose, ScsiIdOfLink, Lsblk, MultipathList, MultipathTopology, MultipathFlush, MultipathReady, MultipathAddWwid, MultipathReload, MultipathdShowPaths, MultipathdAddPath, MultipathdDelPath, MultipathdDelMap }
    }
}

impl Binding for FaultLayer {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        match self.due(cx, &call) {
            None if self.cut(cx, &call).is_none() => self.inner.call(cx, call),
            None => Box::pin(self.reach(cx, call)),
            Some(kind) => Box::pin(self.strike(cx, call, kind)),
        }
    }
    fn now(&self) -> SimTime {
        self.inner.now()
    }
    fn note(&self, cx: &CallCx, note: Note) {
        self.inner.note(cx, note);
    }
    fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        self.inner.crash(cx, restart_after);
    }
    fn environment(&self, event: EnvironmentEvent) {
        self.inner.environment(event);
    }
    fn cut_off(&self, process: Process, system: &'static str, until: SimTime) {
        self.inner.cut_off(process, system, until);
    }
    fn lasts_until(&self, at: SimTime) {
        self.inner.lasts_until(at);
    }
}
