//! A binding for tests: a scripted outside on a virtual clock, and an executor of one poll.

// Each test file uses a part of it, and its helpers fail like the tests do.
#![allow(dead_code, clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};

use castoff_pipeline::{Conf, NovaProcess, Policy};
use castoff_ports::trace::Note;
use castoff_ports::{
    Auth, Binding, Call, CallCx, Failure, Port, Process, Reply, RequestId, Secret, SimTime,
};
use futures::future::LocalBoxFuture;

/// What stands outside the pipeline in one test. It may let time pass.
pub(crate) trait Outside {
    /// Carries out one operation at `now`.
    fn call(&mut self, now: &mut SimTime, cx: &CallCx, call: Call) -> Result<Reply, Failure>;
}

/// The outside behind the Binding trait.
pub(crate) struct Scripted<O> {
    pub(crate) outside: RefCell<O>,
    pub(crate) notes: RefCell<Vec<Note>>,
    now: Cell<SimTime>,
}

impl<O: Outside> Scripted<O> {
    pub(crate) fn new(outside: O) -> Rc<Self> {
        Rc::new(Scripted {
            outside: RefCell::new(outside),
            notes: RefCell::default(),
            now: Cell::default(),
        })
    }
}

impl<O: Outside> Binding for Scripted<O> {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        let mut now = self.now.get();
        let result = self.outside.borrow_mut().call(&mut now, cx, call);
        self.now.set(now);
        Box::pin(std::future::ready(result))
    }
    fn now(&self) -> SimTime {
        self.now.get()
    }
    fn note(&self, _cx: &CallCx, note: Note) {
        self.notes.borrow_mut().push(note);
    }
}

/// A port of a user with a token.
pub(crate) fn port<O: Outside + 'static>(binding: &Rc<Scripted<O>>, process: Process) -> Port {
    let cx = CallCx {
        process,
        incarnation: 0,
        request: RequestId(1),
        auth: Auth { token: Some(Secret::new("token")), service_token: None },
        deadline: None,
    };
    Port::new(binding.clone(), cx)
}

/// A process under this policy on host `vm`.
pub(crate) fn process(policy: Policy) -> NovaProcess {
    NovaProcess::new(Rc::new(Conf::new(policy, "vm".into())))
}

/// Runs a future none of whose operations ever waits.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut cx = TaskContext::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a scripted outside answers at once"),
    }
}

/// The cases of a golden file: a JSON array.
pub(crate) fn golden(file: &str) -> Vec<serde_json::Value> {
    let path = format!("{}/tests/golden/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Seconds, as golden traces count them.
pub(crate) fn seconds(t: SimTime) -> f64 {
    t.0 as f64 / 1e6
}
