//! What each decision of the pipeline is for: one field changed, and the search tells what breaks.
//!
//! A change counts as noticed when some run breaks a property with it and the same run (scenario,
//! seed, schedule, plan) does not without it. The search knows nothing of the field: it goes
//! through the scenarios as they are, then over random orders of those with several actors, then
//! over every fault, and at depth 2 over every pair.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::{Fault, Plan};
use castoff_ports::schedule::Schedule;
use castoff_scenarios::Scenario;
use serde_json::Value;

use crate::explore::{Explore, Ground};
use crate::parallel::share;
use crate::prepare::{PrepareError, Prepared};
use crate::properties::{Property, Violation};
use crate::run::{self, BindingKind, Keep};

/// One decision taken otherwise.
#[derive(Clone, Debug)]
pub struct Change {
    /// The field.
    pub field: String,
    /// The value that it gets.
    pub value: Value,
}

/// A run that notices a change.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The broken property.
    pub property: &'static Property,
    /// The faults beside the scenario's own.
    pub plan: Vec<Fault>,
    /// The seed.
    pub seed: u64,
    /// The order of the steps.
    pub schedule: Schedule,
    /// What contradicts the property.
    pub facts: String,
}

/// What became of one change.
#[derive(Clone, Debug)]
pub struct Ablated {
    /// The change.
    pub change: Change,
    /// The changed policy; none when the change makes none that can run, with the reason.
    pub policy: Result<Policy, String>,
    /// The first run that notices it.
    pub noticed: Option<Noticed>,
    /// Runs until then, or in all.
    pub tried: u64,
}

/// An ablation of one policy.
pub struct Ablate<'a> {
    /// The policy whose decisions are changed.
    pub base: Policy,
    /// Its release.
    pub release: Release,
    /// Where the search looks.
    pub scenarios: Vec<Arc<Scenario>>,
    /// What is changed.
    pub changes: Vec<Change>,
    /// Faults at once in the search, 1 or 2.
    pub depth: u8,
    /// Seeds of each scenario as it is.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
    /// Told how many changes are done.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// Both policies of a comparison, ready in one scenario.
struct Pair {
    base: Rc<Prepared>,
    changed: Rc<Prepared>,
}

impl Pair {
    /// What a run breaks with the change and not without it.
    fn differs(&self, seed: u64, plan: &[Fault], schedule: &Schedule) -> Option<Violation> {
        let run = |prepared| {
            let plan = Plan { faults: plan.to_vec() };
            let extra = (!plan.is_empty()).then_some(&plan);
            let (binding, keep) = (BindingKind::Direct, Keep::default());
            run::run_scheduled(prepared, binding, seed, extra, schedule, keep).violations
        };
        let broken = run(&self.changed);
        if broken.is_empty() {
            return None;
        }
        let before = run(&self.base);
        broken.into_iter().find(|v| before.iter().all(|b| b.property.name != v.property.name))
    }
}

impl Ablate<'_> {
    /// Tries every change.
    ///
    /// # Errors
    /// When a scenario cannot be prepared under the unchanged policy.
    pub fn run(&self) -> Result<Vec<Ablated>, PrepareError> {
        let done = share(
            self.jobs,
            self.changes.len(),
            || Ok::<_, PrepareError>(()),
            |(), i| {
                let result = self.one(&self.changes[i]);
                (self.progress)(1);
                result
            },
        )?;
        done.into_iter().collect()
    }

    fn one(&self, change: &Change) -> Result<Ablated, PrepareError> {
        let changed = self.base.changed(&change.field, &change.value).map_err(|e| e.to_string());
        let policy = changed.and_then(|p| match p.works_with(&self.release.name) {
            Ok(()) => Ok(p),
            Err(e) => Err(e.reason.to_owned()),
        });
        let mut ablated = Ablated { change: change.clone(), policy, noticed: None, tried: 0 };
        let Ok(policy) = ablated.policy.clone() else { return Ok(ablated) };
        for depth in 0..=self.depth {
            for scenario in &self.scenarios {
                let base = Prepared::new(scenario, &self.base, &self.release)?;
                let changed = match Prepared::new(scenario, &policy, &self.release) {
                    Ok(changed) => changed,
                    // Attaching alone fails with the change: that is noticed too, but by no
                    // property; the next scenario may tell which.
                    Err(PrepareError::NotReady { .. }) => continue,
                    Err(error) => return Err(error),
                };
                let pair = Pair { base, changed };
                let found = if depth == 0 {
                    self.as_it_is(&pair, &mut ablated.tried)
                } else {
                    self.with_faults(&pair, depth, &mut ablated.tried)?
                };
                if found.is_some() {
                    ablated.noticed = found;
                    return Ok(ablated);
                }
            }
        }
        Ok(ablated)
    }

    /// The scenario over its seeds, and over random orders when several act.
    fn as_it_is(&self, pair: &Pair, tried: &mut u64) -> Option<Noticed> {
        let several = pair.base.scenario.actors.len() > 1;
        let schedules: &[Schedule] =
            if several { &[Schedule::Fifo, Schedule::Random] } else { &[Schedule::Fifo] };
        for schedule in schedules {
            for seed in 0..self.seeds {
                *tried += 1;
                if let Some(violation) = pair.differs(seed, &[], schedule) {
                    return Some(noticed(pair, &violation, &[], seed, schedule.clone()));
                }
            }
        }
        None
    }

    /// Every plan of exactly this many faults.
    fn with_faults(
        &self,
        pair: &Pair,
        depth: u8,
        tried: &mut u64,
    ) -> Result<Option<Noticed>, PrepareError> {
        let explored = Explore {
            ground: Ground {
                scenario: pair.changed.scenario.clone(),
                policy: pair.changed.policy.clone(),
                release: self.release.clone(),
                seed: 0,
                depth,
            },
            jobs: 1,
            clock: &|| Duration::ZERO,
            progress: &|_| {},
            cancelled: &|| false,
        }
        .run()?;
        let mut causes = explored.causes.all();
        causes.sort_by_key(|c| c.tried);
        for cause in causes.into_iter().filter(|c| c.plan.len() == usize::from(depth)) {
            if let Some(violation) = pair.differs(0, &cause.plan, &Schedule::Fifo) {
                *tried += cause.tried;
                return Ok(Some(noticed(pair, &violation, &cause.plan, 0, Schedule::Fifo)));
            }
        }
        *tried += explored.total();
        Ok(None)
    }
}

fn noticed(
    pair: &Pair,
    violation: &Violation,
    plan: &[Fault],
    seed: u64,
    schedule: Schedule,
) -> Noticed {
    Noticed {
        scenario: pair.changed.scenario.clone(),
        property: violation.property,
        plan: plan.to_vec(),
        seed,
        schedule,
        facts: violation.facts.clone(),
    }
}
