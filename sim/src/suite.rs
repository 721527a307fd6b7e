//! Fault scenarios as tests: `castoff::scenario("…").policy("…").seeds(0..100).check()`.

use std::ops::Range;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::schedule::Schedule;
use castoff_scenarios::Scenario;

use crate::campaign::{Campaign, Cell, Row};
use crate::prepare::PrepareError;
use crate::run::BindingKind;

/// A scenario to be checked, with what it is checked under.
#[derive(Clone, Debug)]
pub struct Suite {
    scenario: Arc<Scenario>,
    policies: Vec<Policy>,
    bindings: Vec<BindingKind>,
    seeds: Range<u64>,
    schedule: Schedule,
}

/// Why a check failed: printed as the panic's message.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

impl Suite {
    /// All policies on `direct`, seeds 0 to 99, unless said otherwise.
    pub fn new(scenario: Arc<Scenario>) -> Self {
        Suite {
            scenario,
            policies: Policy::all(),
            bindings: vec![BindingKind::Direct],
            seeds: 0..100,
            schedule: Schedule::Fifo,
        }
    }

    /// Only this policy.
    ///
    /// # Panics
    /// When there is no policy of this name.
    #[must_use]
    pub fn policy(mut self, name: &str) -> Self {
        let Some(policy) = Policy::named(name) else {
            panic!("unknown policy {name:?}; `castoff list policies` names them");
        };
        self.policies = vec![policy];
        self
    }

    /// Only this binding.
    #[must_use]
    pub fn binding(mut self, binding: BindingKind) -> Self {
        self.bindings = vec![binding];
        self
    }

    /// These seeds.
    ///
    /// # Panics
    /// When the range is empty.
    #[must_use]
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        assert!(seeds.start < seeds.end, "{seeds:?} holds no seed: nothing would be checked");
        self.seeds = seeds;
        self
    }

    /// Steps on `direct` in the order of this schedule.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Runs, and gives back a row for each policy and binding.
    ///
    /// # Errors
    /// When the scenario cannot be prepared.
    pub fn run(&self) -> Result<Vec<(Cell, Row)>, PrepareError> {
        let mut cells = Vec::new();
        for binding in &self.bindings {
            for policy in &self.policies {
                // A policy names a release that exists: a test of the policies checks it.
                let Some(release) = Release::named(&policy.default_release) else { continue };
                cells.push(Cell {
                    scenario: self.scenario.clone(),
                    binding: *binding,
                    policy: policy.clone(),
                    release,
                    seeds: self.seeds.clone(),
                    schedule: self.schedule.clone(),
                });
            }
        }
        let outcome = Campaign::of(cells.clone()).run()?;
        Ok(cells.into_iter().zip(outcome.rows).collect())
    }

    /// Runs, and panics with the findings and how to replay each, if there are any.
    ///
    /// # Panics
    /// When a run shows what the scenario does not expect.
    #[track_caller]
    pub fn check(&self) {
        if let Err(failed) = self.verdict() {
            panic!("{failed}");
        }
    }

    /// Runs, and gives back the findings as an error if there are any.
    ///
    /// # Errors
    /// The findings, or why the scenario cannot be prepared.
    pub fn verdict(&self) -> Result<(), Failed> {
        let rows = self.run().map_err(|e| Failed(e.to_string()))?;
        let mut text = String::new();
        for (cell, row) in &rows {
            for f in &row.unexpected {
                text.push_str(&format!(
                    "\n{} under {} on {}: {} ({} of {} runs)\n  replay: {}\n",
                    cell.scenario.name,
                    cell.policy.name,
                    cell.binding.as_str(),
                    f.text,
                    f.runs,
                    row.runs,
                    f.identity(&cell.id()).replay_command(),
                ));
            }
        }
        if text.is_empty() { Ok(()) } else { Err(Failed(text)) }
    }
}
