//! The layer that does things to the host at an operation of the pipeline, and counts operations.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use castoff_ports::plan::EnvironmentEvent;
use castoff_ports::trace::Note;
use castoff_ports::{Binding, Call, CallCx, Failure, Process, Reply, SimTime};
use futures::future::LocalBoxFuture;
use tokio::task::{JoinHandle, spawn_local};

use super::case::{Act, When};
use super::stage::Stage;

struct Armed {
    operation: &'static str,
    /// How many more calls until it strikes.
    left: u32,
    when: When,
    act: Act,
}

/// What strikes at one call.
#[derive(Default)]
struct Due {
    before: Vec<Act>,
    during: Vec<(u64, Act)>,
    /// In their order; with a time: begun in its turn, done so much later.
    after: Vec<(Option<u64>, Act)>,
}

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    /// What an environment event asks for: done before the next call goes through.
    events: Vec<Act>,
    counts: BTreeMap<&'static str, usize>,
    running: Vec<JoinHandle<()>>,
    errors: Vec<String>,
}

/// A binding to whose host things happen.
pub(super) struct ActLayer {
    inner: Rc<dyn Binding>,
    stage: Rc<Stage>,
    state: Rc<RefCell<State>>,
}

impl ActLayer {
    pub(super) fn new(inner: Rc<dyn Binding>, stage: Rc<Stage>) -> ActLayer {
        ActLayer { inner, stage, state: Rc::default() }
    }

    /// From now on the n-th call of this operation is struck.
    pub(super) fn arm(&self, operation: &'static str, nth: u32, when: When, act: Act) {
        self.state.borrow_mut().armed.push(Armed { operation, left: nth, when, act });
    }

    /// Counts from zero again.
    pub(super) fn forget_counts(&self) {
        self.state.borrow_mut().counts.clear();
    }

    /// How often an operation was called.
    pub(super) fn count(&self, operation: &str) -> usize {
        self.state.borrow().counts.get(operation).copied().unwrap_or_default()
    }

    /// What has not struck, and what failed when it did.
    pub(super) fn troubles(&self) -> Vec<String> {
        let state = self.state.borrow();
        let waiting =
            state.armed.iter().map(|a| format!("{:?} at {} never struck", a.act, a.operation));
        waiting.chain(state.errors.iter().cloned()).collect()
    }

    /// Waits for acts that were begun while an operation was carried out.
    pub(super) async fn finish(&self) {
        let running = std::mem::take(&mut self.state.borrow_mut().running);
        for act in running {
            // An act that panicked is a bug of ours, which the panic's message shows.
            let _ = act.await;
        }
    }

    fn due(&self, name: &'static str) -> Due {
        let mut state = self.state.borrow_mut();
        *state.counts.entry(name).or_default() += 1;
        let mut due = Due { before: std::mem::take(&mut state.events), ..Due::default() };
        state.armed.retain_mut(|a| {
            if a.operation != name {
                return true;
            }
            a.left -= 1;
            if a.left == 0 {
                match a.when {
                    When::Before => due.before.push(a.act),
                    When::After => due.after.push((None, a.act)),
                    When::Beside(ms) => due.after.push((Some(ms), a.act)),
                    When::During(ms) => due.during.push((ms, a.act)),
                }
            }
            a.left > 0
        });
        due
    }

    /// Begins to wait for the act's time.
    fn later(&self, ms: u64, act: Act) {
        let (stage, state) = (self.stage.clone(), self.state.clone());
        let running = spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Self::act(&stage, &state, act).await;
        });
        self.state.borrow_mut().running.push(running);
    }

    async fn act(stage: &Stage, state: &RefCell<State>, act: Act) {
        if let Err(e) = stage.act(act).await {
            state.borrow_mut().errors.push(format!("{act:?}: {e}"));
        }
    }
}

impl Binding for ActLayer {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        let due = self.due(call.name());
        Box::pin(async move {
            for act in due.before {
                Self::act(&self.stage, &self.state, act).await;
            }
            for (ms, act) in due.during {
                self.later(ms, act);
            }
            let result = self.inner.call(cx, call).await;
            for (later, act) in due.after {
                match later {
                    None => Self::act(&self.stage, &self.state, act).await,
                    Some(ms) => self.later(ms, act),
                }
            }
            result
        })
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
        self.state.borrow_mut().events.extend_from_slice(Act::of(event));
        self.inner.environment(event);
    }
    fn cut_off(&self, process: Process, system: &'static str, until: SimTime) {
        self.inner.cut_off(process, system, until);
    }
    fn lasts_until(&self, at: SimTime) {
        self.inner.lasts_until(at);
    }
}
