//! After every transition: what changed goes to the trace and to the properties.

use castoff_model::World;
use castoff_ports::plan::Fault;
use castoff_ports::trace::{Event, Trace, What};
use castoff_ports::{Failure, RequestId, SimTime};

use crate::properties::{Checker, Violation};

/// Watches a world.
pub struct Observer {
    /// Where events go.
    pub trace: Trace,
    checker: Checker,
    transitions: u64,
}

impl Observer {
    /// An observer with these properties to check.
    pub fn new(trace: Trace, checker: Checker) -> Self {
        Observer { trace, checker, transitions: 0 }
    }

    /// Looks at what changed since the last time.
    pub fn observe(&mut self, world: &mut World, now: SimTime) {
        let cause = world.cause.take();
        self.checker.called(world, cause);
        if world.facts.is_empty() {
            return;
        }
        self.transitions += 1;
        let facts = std::mem::take(&mut world.facts);
        let before = self.checker.violations().len();
        self.checker.facts(world, now, &facts);
        if self.trace.is_on() {
            for fact in facts.iter().filter(|f| f.is_traced()) {
                self.push(now, fact.system(), None, What::State { text: fact.to_string() });
            }
            let new: Vec<String> =
                self.checker.violations()[before..].iter().map(Violation::to_string).collect();
            for text in new {
                self.push(now, "castoff", None, What::Verdict { text });
            }
        }
        // Gives the buffer back, so that a run allocates it once.
        world.facts = facts;
        world.facts.clear();
    }

    /// A request makes a call.
    pub fn begun(&mut self, request: RequestId, operation: &'static str) {
        self.checker.begun(request, operation);
    }

    /// A fault lasts, for everyone.
    pub fn disturbed(&mut self, from: SimTime, until: SimTime) {
        self.checker.disturbed(from, until);
    }

    /// Judges what must hold when all is quiet and the user has retried.
    pub fn quiescent(&mut self, world: &World, now: SimTime) {
        let before = self.checker.violations().len();
        self.checker.quiescent(world, now);
        self.trace_new(before, now);
    }

    /// Judges what each accepted request has come to, before anyone retries.
    pub fn settled(&mut self, world: &World, now: SimTime) {
        let before = self.checker.violations().len();
        self.checker.settled(world, now);
        self.trace_new(before, now);
    }

    /// A user's detach was answered.
    pub fn detach_answered(&mut self, request: RequestId, accepted: bool) {
        self.checker.detach_answered(request, accepted);
    }

    /// nova-api's answer to `request` has reached its client.
    pub fn answered(
        &mut self,
        world: &World,
        now: SimTime,
        request: RequestId,
        result: &Result<(), Failure>,
    ) {
        let before = self.checker.violations().len();
        self.checker.answered(world, now, request, result);
        self.trace_new(before, now);
    }

    /// These planned faults have struck so far.
    pub fn struck(&mut self, faults: &[Fault]) {
        self.checker.struck(faults);
    }

    /// Judges what has come right by itself since the faults stopped.
    pub fn healed(&mut self, world: &World, now: SimTime) {
        let before = self.checker.violations().len();
        self.checker.healed(world, now);
        self.trace_new(before, now);
    }

    /// The user tries `of` once more, as `request`.
    pub fn retries(&mut self, world: &World, of: RequestId, request: RequestId) {
        self.checker.retries(world, of, request);
    }

    fn trace_new(&mut self, before: usize, now: SimTime) {
        if self.trace.is_on() {
            let new: Vec<String> =
                self.checker.violations()[before..].iter().map(Violation::to_string).collect();
            for text in new {
                self.push(now, "castoff", None, What::Verdict { text });
            }
        }
    }

    /// Records an event that is no change of a model.
    pub fn push(&self, now: SimTime, who: &'static str, request: Option<RequestId>, what: What) {
        self.trace.push(|| Event { at: now, who, request, what });
    }

    /// What was broken so far.
    pub fn violations(&self) -> &[Violation] {
        self.checker.violations()
    }

    /// How many transitions changed something.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }
}
