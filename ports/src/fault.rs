//! The fault layer: makes a plan strike over any binding.
//!
//! It sits between the pipeline and the binding, so one plan means the same on `direct`,
//! `network` and `real`. It counts operations per (process, request, operation); points of the
//! second fault are thus those of the run with the first.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{LocalBoxFuture, pending};

use crate::iscsi::CommandOutput;
use crate::plan::{Fault, FaultKind, Plan};
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

#[derive(Default)]
struct State {
    waiting: Vec<Fault>,
    struck: Vec<Fault>,
    counts: Vec<((Process, RequestId, &'static str), u32)>,
}

impl FaultLayer {
    /// Lays `plan` over `inner`.
    pub fn new(inner: Rc<dyn Binding>, plan: &Plan, trace: Trace) -> Self {
        let state = State { waiting: plan.faults.clone(), ..State::default() };
        FaultLayer { inner, trace, state: RefCell::new(state) }
    }

    /// The faults that struck, in order.
    pub fn struck(&self) -> Vec<Fault> {
        self.state.borrow().struck.clone()
    }

    /// The faults that have not struck.
    pub fn waiting(&self) -> Vec<Fault> {
        self.state.borrow().waiting.clone()
    }

    /// Adds a fault while the run goes on; a request under way may be past its point already.
    pub fn arm(&self, fault: Fault) {
        self.state.borrow_mut().waiting.push(fault);
    }

    /// Faults stop: what has not struck never will.
    pub fn heal(&self) {
        self.state.borrow_mut().waiting.clear();
    }

    fn due(&self, cx: &CallCx, call: &Call) -> Option<FaultKind> {
        let mut state = self.state.borrow_mut();
        if state.waiting.is_empty() {
            return None;
        }
        let key = (cx.process, cx.request, call.name());
        let nth = match state.counts.iter_mut().find(|(k, _)| *k == key) {
            Some((_, n)) => {
                *n += 1;
                *n
            }
            None => {
                state.counts.push((key, 1));
                1
            }
        };
        let hit = state.waiting.iter().position(|f| {
            f.at.process == cx.process
                && f.at.operation == call.name()
                && f.at.nth == nth
                && f.at.request.is_none_or(|r| r == cx.request)
        })?;
        let fault = state.waiting.remove(hit);
        let kind = fault.strike.clone();
        state.struck.push(fault);
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
        match kind {
            FaultKind::HttpError { status } => {
                Err(Refusal::http(status, format!("injected HTTP {status}")).into())
            }
            FaultKind::CommandFails { exit } => command_reply(&call, exit),
            FaultKind::Unreachable => Err(Failure::Unreachable { system }),
            FaultKind::Lost => match call {
                Call::Rpc(rpc::Call::Cast(_)) => Ok(Reply::Rpc(rpc::Reply::Cast(()))),
                _ => Err(Failure::Unreachable { system }),
            },
            FaultKind::ReplyLost => {
                let _ = self.inner.call(cx, call).await;
                Err(Failure::NoReply { system })
            }
            FaultKind::Timeout { status, after_ms } => {
                let started = self.inner.now();
                let _ = self.inner.call(cx, call).await;
                let left =
                    Duration::from_millis(after_ms).saturating_sub(self.inner.now().since(started));
                self.sleep(cx, left).await;
                Err(Refusal::http(status, "The server timed out").into())
            }
            FaultKind::Delay { ms } => {
                self.sleep(cx, Duration::from_millis(ms)).await;
                self.inner.call(cx, call).await
            }
            FaultKind::CrashBefore { .. } => self.die(cx, kind.restart_after()).await,
            FaultKind::CrashAfter { .. } => {
                let _ = self.inner.call(cx, call).await;
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
            None => self.inner.call(cx, call),
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
}
