//! The smallest run that still breaks the same property: fewest faults, actors and volumes, then
//! the lowest seed.
//!
//! One thing is taken away at a time, and stays away when the property is still broken; so long
//! until nothing more can go. The result is minimal in that sense (one-minimal), as with delta
//! debugging.

use std::rc::Rc;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::Plan;
use castoff_ports::schedule::Schedule;
use castoff_scenarios::{Leftover, Scenario};

use crate::prepare::{PrepareError, Prepared};
use crate::properties::Violation;
use crate::run::{self, BindingKind, Keep};

/// A run that breaks something.
#[derive(Clone, Debug)]
pub struct Failing {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The policy.
    pub policy: Policy,
    /// The release.
    pub release: Release,
    /// The binding.
    pub binding: BindingKind,
    /// The seed.
    pub seed: u64,
    /// Faults beside the scenario's own.
    pub plan: Plan,
    /// In which order the steps run.
    pub schedule: Schedule,
}

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest run.
    pub run: Failing,
    /// What it breaks.
    pub violation: Violation,
    /// Runs that were tried.
    pub tried: u64,
    /// Whether the scenario itself was changed: then a replay needs it as a file.
    pub scenario_changed: bool,
}

/// A run that breaks nothing, or not this.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// It cannot be run.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// It breaks no property.
    #[error("the run breaks {}; found broken: {found}", wanted.as_deref().unwrap_or("no property"))]
    NotBroken {
        /// The property that was asked for.
        wanted: Option<String>,
        /// Those that it breaks.
        found: String,
    },
}

/// Seeds that are tried below the one that was found, lowest first.
const SEEDS: u64 = 64;

struct Shrinker {
    property: &'static str,
    tried: u64,
}

impl Shrinker {
    /// The violation, if this run still breaks the property and all of its plan strikes.
    fn breaks(&mut self, run: &Failing) -> Option<Violation> {
        self.tried += 1;
        // What cannot be prepared (an actor's volume is missing, say) is no smaller run.
        let prepared = Prepared::new(&run.scenario, &run.policy, &run.release).ok()?;
        broken(&prepared, run)?.into_iter().find(|v| v.property.name == self.property)
    }

    fn shrink(&mut self, from: &Failing) -> Failing {
        let mut best = from.clone();
        loop {
            let smaller = candidates(&best).into_iter().find(|c| self.breaks(c).is_some());
            match smaller {
                Some(smaller) => best = smaller,
                None => break,
            }
        }
        for seed in 0..best.seed.min(SEEDS) {
            let lower = Failing { seed, ..best.clone() };
            if self.breaks(&lower).is_some() {
                return lower;
            }
        }
        best
    }
}

fn broken(prepared: &Rc<Prepared>, run: &Failing) -> Option<Vec<Violation>> {
    let extra = (!run.plan.is_empty()).then_some(&run.plan);
    let keep = Keep::default();
    let report = run::run_scheduled(prepared, run.binding, run.seed, extra, &run.schedule, keep);
    report.not_struck.is_empty().then_some(report.violations)
}

/// Every run that has one thing less.
fn candidates(run: &Failing) -> Vec<Failing> {
    let mut all = Vec::new();
    for i in 0..run.plan.faults.len() {
        let mut smaller = run.clone();
        smaller.plan.faults.remove(i);
        all.push(smaller);
    }
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut scenario = Scenario::clone(&run.scenario);
        change(&mut scenario);
        all.push(Failing { scenario: Arc::new(scenario), ..run.clone() });
    };
    for i in 0..run.scenario.faults.len() {
        with(&|s| drop(s.faults.remove(i)));
    }
    if run.scenario.actors.len() > 1 {
        for i in 0..run.scenario.actors.len() {
            with(&|s| drop(s.actors.remove(i)));
        }
    }
    for i in 0..run.scenario.leftovers.len() {
        with(&|s| drop(s.leftovers.remove(i)));
    }
    for (i, volume) in run.scenario.volumes.iter().enumerate() {
        let acted = run.scenario.actors.iter().any(|a| a.volume == volume.name);
        let left = run.scenario.leftovers.iter().any(|l| match l {
            Leftover::StaleAttachment { volume: v } | Leftover::StaleScsiDevice { volume: v } => {
                *v == volume.name
            }
            Leftover::CorruptNodeRecord => false,
        });
        if !acted && !left && run.scenario.volumes.len() > 1 {
            with(&|s| drop(s.volumes.remove(i)));
        }
    }
    all
}

/// Shrinks `run`, which must break `property` (its first violation when none is named).
///
/// # Errors
/// When the run cannot be prepared, or does not break that.
pub fn shrink(run: &Failing, property: Option<&str>) -> Result<Shrunk, ShrinkError> {
    let prepared = Prepared::new(&run.scenario, &run.policy, &run.release)?;
    let violations = broken(&prepared, run).unwrap_or_default();
    let wanted = violations.iter().find(|v| property.is_none_or(|p| v.property.name == p));
    let Some(first) = wanted else {
        let mut found: Vec<&str> = violations.iter().map(|v| v.property.name).collect();
        found.dedup();
        let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
        return Err(ShrinkError::NotBroken { wanted: property.map(|p| format!("no {p}")), found });
    };
    let mut shrinker = Shrinker { property: first.property.name, tried: 0 };
    let smallest = shrinker.shrink(run);
    // It is the run itself or one that was seen to break the property.
    let violation = shrinker.breaks(&smallest).unwrap_or_else(|| first.clone());
    Ok(Shrunk {
        scenario_changed: *smallest.scenario != *run.scenario,
        run: smallest,
        violation,
        tried: shrinker.tried,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn failing(scenario: &str, policy: &str, faults: &[&str]) -> Failing {
        let policy = Policy::named(policy).unwrap();
        Failing {
            scenario: Arc::new(castoff_scenarios::named(scenario).unwrap()),
            release: Release::named(&policy.default_release).unwrap(),
            policy,
            binding: BindingKind::Direct,
            seed: 17,
            plan: Plan { faults: faults.iter().map(|f| f.parse().unwrap()).collect() },
            schedule: Schedule::Fifo,
        }
    }

    #[test]
    fn faults_that_do_not_matter_go_and_the_seed_falls() {
        let matters = "nova-compute:novadb::BdmDestroy#1@1:unreachable";
        let harmless = "nova-compute:cinder::AttachmentDelete#1@1:delay=1000";
        let run = failing("healthy", "2026.1", &[harmless, matters]);
        let shrunk = shrink(&run, Some("S09")).unwrap();
        assert_eq!(shrunk.run.plan.faults[0].to_string(), matters);
        assert_eq!(shrunk.run.plan.faults.len(), 1);
        assert_eq!(shrunk.run.seed, 0);
    }

    #[test]
    fn a_run_that_breaks_nothing_is_refused_with_what_it_breaks() {
        let error = shrink(&failing("healthy", "2026.1", &[]), Some("S09")).unwrap_err();
        assert_eq!(error.to_string(), "the run breaks no S09; found broken: nothing");
    }

    #[test]
    fn an_actor_that_does_not_matter_goes() {
        let run = failing("detach-races-server-delete", "pike", &[]);
        let mut scenario = castoff_scenarios::named("cast-lost").unwrap();
        scenario.actors.extend(run.scenario.actors.iter().take(1).cloned());
        let run = Failing { scenario: Arc::new(scenario), ..run };
        let shrunk = shrink(&run, Some("L2")).unwrap();
        assert_eq!(shrunk.run.scenario.actors.len(), 1);
        assert!(shrunk.scenario_changed);
    }
}
