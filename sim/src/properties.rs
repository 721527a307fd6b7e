//! Properties: named functions over the world, judged on every run.
//!
//! Safety is judged after every transition that touched what a property reads; liveness and
//! agreement when all is quiet, the faults have stopped and the same user has retried once.
//! [`CATALOGUE`] says what each means, whose duty it is and what it assumes; [`NOT_JUDGED`] what
//! of the list is left out, and why. `docs/properties.md` is written from both.
//!
//! - `safety`: data and devices (S01 to S05, S15). `rows`: what cinder and nova write (S10, S11,
//!   S13, S14, S18, S20, S21). `host`: sessions, guests, ciphers (S06, S07, S17, S18, S24, S27).
//! - `work`: who works when, and what is told of it (S12, S26). `locks`: S22, L6, L7, L8.
//!   `answers`: S19, S20. `quiet`: S08, S09, S16, L1, L2. `after`: S23, L3, L4, L5.

mod after;
mod answers;
mod catalogue;
mod host;
mod locks;
mod quiet;
mod rows;
mod safety;
mod track;
mod work;

use std::fmt;

use castoff_model::{Cause, Fact, World};
use castoff_ports::plan::Fault;
use castoff_ports::{Failure, InstanceId, Process, RequestId, SimTime, VolumeId};
use castoff_scenarios::Standing;

pub use catalogue::{CATALOGUE, Class, Duty, NOT_JUDGED, NotJudged, Property, markdown, named};
use track::{History, Progress};

/// The call that made a transition, as a plan would name its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// The calling process.
    pub process: Process,
    /// The request that it served.
    pub request: RequestId,
    /// `system::Operation`.
    pub operation: &'static str,
    /// For the how many-th time in this process and request, of those that reached the world.
    pub nth: u32,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} #{}", self.process, self.request, self.operation, self.nth)
    }
}

/// A broken property. The command that shows it again is made from the run's identity
/// ([`castoff_ports::trace::Identity::replay_command`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which.
    pub property: &'static Property,
    /// When.
    pub at: SimTime,
    /// At which transition of the run, from 1.
    pub step: u64,
    /// The call that did it; none for a timer, the environment, or a judgement of the end.
    pub by: Option<By>,
    /// The facts that contradict it.
    pub facts: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} broken: {}", self.property.name, self.property.title, self.facts)?;
        match &self.by {
            Some(by) => write!(f, " (step {}, {by})", self.step),
            None => Ok(()),
        }
    }
}

/// A user's detach, as the checker follows it.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The request.
    pub request: RequestId,
    /// The server.
    pub instance: InstanceId,
    /// The volume.
    pub volume: VolumeId,
    /// Who asks.
    pub by: Standing,
    /// 202 was answered; none while there is no answer.
    pub accepted: Option<bool>,
}

/// At most so many calls are remembered: far more than any run makes.
const MAX_CALLS: usize = 1 << 14;

/// At most so many violations are kept of one run: the first ones tell the story.
const MAX_VIOLATIONS: usize = 64;

/// Checks one run.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    watched: Vec<Watched>,
    /// How far each of the watched is, in their order.
    progress: Vec<Progress>,
    history: History,
    violations: Vec<Violation>,
    cause: Option<Cause>,
    step: u64,
    calls: Vec<(Process, RequestId, &'static str)>,
}

impl Checker {
    /// A checker that follows these detaches.
    pub fn new(watched: Vec<Watched>) -> Self {
        let progress = vec![Progress::default(); watched.len()];
        Checker { watched, progress, ..Checker::default() }
    }

    /// Follows one more detach.
    pub fn watch(&mut self, detach: Watched) {
        self.watched.push(detach);
        self.progress.push(Progress::default());
    }

    /// A call was carried out, whether it changed anything or not.
    pub fn called(&mut self, world: &World, cause: Option<Cause>) {
        self.cause = cause;
        if let Some(c) = cause {
            answers::begins(self, world, c);
            if self.calls.len() == MAX_CALLS {
                // Only a cloud that is served makes so many; those of old requests say nothing more.
                self.calls.drain(..MAX_CALLS / 2);
            }
            self.calls.push((c.process, c.request, c.operation));
        }
    }

    /// A request makes a call, whose effect comes later; those that no judge looks back to are
    /// not remembered.
    pub fn begun(&mut self, request: RequestId, operation: &'static str) {
        if matches!(operation, "cinder::RollDetaching" | "nova::DeleteVolumeAttachment") {
            let begun = &mut self.history.begun;
            if begun.len() == MAX_CALLS {
                // As with the calls: only a served cloud makes so many.
                begun.drain(..MAX_CALLS / 2);
            }
            begun.push((request, operation, self.step));
        }
    }

    /// From now until then a part of the network is down, for whoever needs it.
    pub fn disturbed(&mut self, from: SimTime, until: SimTime) {
        if until > from {
            self.history.disturbed.push((from, until));
        }
    }

    /// Judges one transition.
    pub fn facts(&mut self, world: &World, now: SimTime, facts: &[Fact]) {
        self.step += 1;
        for fact in facts {
            safety::judge(self, world, now, fact);
            rows::judge(self, world, now, fact);
            host::judge(self, world, now, facts, fact);
            work::judge(self, world, now, fact);
            locks::judge(self, world, now, fact);
        }
    }

    /// Judges the requests when all is quiet for the first time.
    pub fn settled(&mut self, world: &World, now: SimTime) {
        self.cause = None;
        quiet::terminates(self, world, now);
        work::failures_are_told(self, world, now);
        locks::nobody_waits(self, world, now);
        answers::judge_errors(self, now);
    }

    /// Judges what the outside has put right by itself once the faults have stopped, before
    /// anyone retries.
    pub fn healed(&mut self, world: &World, now: SimTime) {
        self.cause = None;
        after::late_unplug_reconciled(self, world, now);
    }

    /// The user tries `of` once more, under a new request.
    pub fn retries(&mut self, world: &World, of: RequestId, request: RequestId) {
        let Some(first) = self.watched.iter().find(|w| w.request == of).cloned() else { return };
        after::retry_begins(self, world, &first);
        self.watch(Watched { request, accepted: None, ..first });
    }

    /// Judges the end.
    pub fn quiescent(&mut self, world: &World, now: SimTime) {
        self.cause = None;
        quiet::clean_host(self, world, now);
        quiet::databases_agree(self, world, now);
        quiet::configs_agree(self, world, now);
        quiet::no_orphan_detaching(self, world, now);
        locks::nobody_waits(self, world, now);
        answers::judge_errors(self, now);
        after::retry_ended(self, world, now);
        after::no_leftover(self, world, now);
    }

    /// A user's detach was answered.
    pub fn detach_answered(&mut self, request: RequestId, accepted: bool) {
        if let Some(w) = self.watched.iter_mut().find(|w| w.request == request) {
            w.accepted = Some(accepted);
        }
    }

    /// nova-api's answer has reached its client.
    pub fn answered(
        &mut self,
        world: &World,
        now: SimTime,
        request: RequestId,
        result: &Result<(), Failure>,
    ) {
        self.cause = None;
        self.detach_answered(request, result.is_ok());
        answers::judge(self, world, now, request, result);
    }

    /// These planned faults have struck: what they explain is no one's fault.
    pub fn struck(&mut self, faults: &[Fault]) {
        answers::excuse(self, faults);
    }

    /// What was broken.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Whether this is a disk of a LUN that cinder's call has announced: no act of its caller.
    fn is_announced(&self, fact: &Fact) -> bool {
        matches!(fact, Fact::DeviceUp { .. })
            && self.cause.is_some_and(|c| c.operation.starts_with("cinder::"))
    }

    /// How many requests' `watched` this is, by the request of the call under judgement.
    fn by_cause(&self) -> Option<usize> {
        let request = self.cause?.request;
        self.watched.iter().position(|w| w.request == request)
    }

    fn broken(&mut self, name: &'static str, at: SimTime, facts: String) {
        // Names come from this module's own callers: a wrong one shows in the first test.
        let property = named(name).expect("property is in the catalogue");
        let known = self.violations.iter().any(|v| v.property == property && v.facts == facts);
        if !known && self.violations.len() < MAX_VIOLATIONS {
            let by = self.by();
            self.violations.push(Violation { property, at, step: self.step, by, facts });
        }
    }

    fn by(&self) -> Option<By> {
        let c = self.cause?;
        let same = |k: &&(Process, RequestId, &str)| **k == (c.process, c.request, c.operation);
        let nth = self.calls.iter().filter(same).count() as u32;
        Some(By { process: c.process, request: c.request, operation: c.operation, nth })
    }
}
