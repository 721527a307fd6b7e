//! A failing run becomes a scenario file: its plan among the scenario's faults, its verdict under
//! every policy as the expectation.
//!
//! The verdict is measured, over some seeds. A plan that cannot strike under another policy
//! (its operation does not exist there) is kept for the policies where it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::RequestId;
use castoff_scenarios::{End, Expectation, Scenario};

use crate::prepare::{PrepareError, Prepared};
use crate::run::{self, BindingKind};
use crate::shrink::Failing;

/// Seeds over which a verdict is measured: as many as `Suite` checks by default.
const SEEDS: u64 = 100;

/// A run that makes no scenario.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be run.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Runs differ in how they end: one expectation cannot say it.
    #[error(
        "under {policy} seed 0 ends {first}, seed {seed} ends {other}: a scenario says one end"
    )]
    Wavers {
        /// The policy.
        policy: String,
        /// The end of seed 0, first and after the retry.
        first: String,
        /// The first seed that ends otherwise.
        seed: u64,
        /// How.
        other: String,
    },
    /// Nothing is broken: there is nothing to keep.
    #[error("no policy breaks anything under this plan: there is nothing to keep")]
    Harmless,
}

/// The scenario of this name that says what `run` shows.
///
/// # Errors
/// When it cannot be run, or seeds differ in how they end.
pub fn keep(run: &Failing, name: &str, title: &str) -> Result<Scenario, KeepError> {
    let mut scenario = Scenario::clone(&run.scenario);
    name.clone_into(&mut scenario.name);
    title.clone_into(&mut scenario.title);
    scenario.source = None;
    scenario.expect = BTreeMap::new();
    let own = scenario.faults.len();
    scenario.faults.extend(run.plan.faults.iter().cloned().map(|mut fault| {
        // A file's faults strike the first request that gets there, unless there are several.
        if fault.at.request == Some(RequestId(1)) && scenario.actors.len() == 1 {
            fault.at.request = None;
        }
        fault
    }));
    let mut strikes: Vec<Vec<String>> = vec![Vec::new(); scenario.faults.len()];
    let policies = Policy::all();
    for policy in &policies {
        let struck = struck(&scenario, policy)?;
        for (i, list) in strikes.iter_mut().enumerate().skip(own) {
            if struck.contains(&i) {
                list.push(policy.name.clone());
            }
        }
    }
    for (fault, list) in scenario.faults.iter_mut().zip(strikes).skip(own) {
        if list.len() < policies.len() {
            fault.policies = list;
        }
    }
    let shared = Arc::new(scenario.clone());
    for policy in &policies {
        scenario.expect.insert(policy.name.clone(), verdict(&shared, policy)?);
    }
    if scenario.expect.values().all(|e| e.violates.is_empty()) {
        return Err(KeepError::Harmless);
    }
    Ok(scenario)
}

fn prepared(
    scenario: &Arc<Scenario>,
    policy: &Policy,
) -> Result<Option<std::rc::Rc<Prepared>>, PrepareError> {
    // A policy names a release that exists: a test of the policies checks it.
    let Some(release) = Release::named(&policy.default_release) else { return Ok(None) };
    Prepared::new(scenario, policy, &release).map(Some)
}

/// Which of the scenario's faults strike under this policy.
fn struck(scenario: &Scenario, policy: &Policy) -> Result<BTreeSet<usize>, PrepareError> {
    let mut which = BTreeSet::new();
    // Each alone: one that never strikes must not hide another.
    for (i, fault) in scenario.faults.iter().enumerate() {
        let mut one = scenario.clone();
        one.faults = vec![fault.clone()];
        let Some(prepared) = prepared(&Arc::new(one), policy)? else { continue };
        let report = run::run(&prepared, BindingKind::Direct, 0, None, false);
        if report.not_struck.is_empty() {
            which.insert(i);
        }
    }
    // And all together, as later faults may need the earlier ones.
    let Some(prepared) = prepared(&Arc::new(scenario.clone()), policy)? else { return Ok(which) };
    let report = run::run(&prepared, BindingKind::Direct, 0, None, false);
    let together = scenario.faults.iter().enumerate().filter(|(_, f)| report.struck.contains(f));
    which.extend(together.map(|(i, _)| i));
    Ok(which)
}

fn verdict(scenario: &Arc<Scenario>, policy: &Policy) -> Result<Expectation, KeepError> {
    let mut ends: Option<(End, End)> = None;
    let mut violates = BTreeSet::new();
    if let Some(prepared) = prepared(scenario, policy)? {
        for seed in 0..SEEDS {
            let report = run::run(&prepared, BindingKind::Direct, seed, None, false);
            let found = (report.end, report.after_retry);
            let first = *ends.get_or_insert(found);
            if first != found {
                return Err(KeepError::Wavers {
                    policy: policy.name.clone(),
                    first: describe(first),
                    seed,
                    other: describe(found),
                });
            }
            violates.extend(report.violations.iter().map(|v| v.property.name.to_owned()));
        }
    }
    let (end, after_retry) = ends.unwrap_or((End::Other, End::Other));
    Ok(Expectation {
        end,
        after_retry,
        violates: violates.into_iter().collect(),
        because: String::new(),
    })
}

fn describe((end, after): (End, End)) -> String {
    format!("{}, then {}", end.as_str(), after.as_str())
}

/// The scenario as a file's text.
///
/// # Errors
/// When it has a value that TOML has not: a time above 2^63 ms.
pub fn to_toml(scenario: &Scenario) -> Result<String, toml::ser::Error> {
    Ok(format!("#:schema ../scenario.schema.json\n\n{}", toml::to_string(scenario)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use castoff_ports::plan::Plan;
    use castoff_ports::schedule::Schedule;
    use castoff_scenarios::POLICIES;

    use super::*;
    use crate::suite::Suite;

    #[test]
    fn what_is_kept_is_a_scenario_that_passes_as_it_is() {
        let policy = Policy::named("2026.1").unwrap();
        let fault = "nova-compute:cinder::AttachmentDelete#1@1:crash-after=36000";
        let run = Failing {
            scenario: Arc::new(castoff_scenarios::named("healthy").unwrap()),
            release: Release::named(&policy.default_release).unwrap(),
            policy,
            binding: BindingKind::Direct,
            seed: 0,
            plan: Plan { faults: vec![fault.parse().unwrap()] },
            schedule: Schedule::Fifo,
        };
        let kept = keep(&run, "kept", "nova-compute dies after attachment_delete").unwrap();
        assert!(!kept.expect["2026.1"].violates.is_empty());
        assert!(kept.faults[0].policies.iter().all(|p| p != "pike"), "pike has no attachments");
        let text = to_toml(&kept).unwrap();
        let read = castoff_scenarios::parse("kept.toml", &text, POLICIES).unwrap();
        Suite::new(Arc::new(read)).check();
    }
}
