//! `hardened` holds every property under every single fault, at every point of these scenarios.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::Plan;
use castoff_sim::exemptions::{HARDENED, exempt};
use castoff_sim::explore::{Explore, Explored, Ground};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{self, BindingKind, Keep, RunReport};

fn explored(policy: &str, scenario: &str) -> Explored {
    let policy = Policy::named(policy).unwrap();
    let release = Release::named(&policy.default_release).unwrap();
    let scenario = Arc::new(castoff_scenarios::named(scenario).unwrap());
    let ground = Ground { scenario, policy, release, seed: 0, depth: 1 };
    let explore = Explore {
        ground,
        jobs: 2,
        clock: &|| Duration::ZERO,
        progress: &|_| {},
        cancelled: &|| false,
    };
    explore.run().unwrap()
}

#[test]
fn no_single_fault_breaks_a_property_that_is_not_exempt() {
    let mut broken = Vec::new();
    let mut plans = 0;
    for scenario in castoff_scenarios::names() {
        let found = explored("hardened", scenario);
        plans += found.total();
        for cause in found.causes.all() {
            if exempt("hardened", scenario, cause).is_none() {
                let name = cause.property.name;
                broken.push(format!("{scenario}: {name}: {} {:?}", cause.facts, cause.plan));
            }
        }
    }
    assert!(plans > 30_000, "{plans} plans are not every fault of every scenario");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_exemption_is_needed() {
    for exemption in HARDENED {
        let any = exemption.scenario == "*";
        let scenario = if any { "guest-never-lets-go" } else { exemption.scenario };
        let policy = Policy::named("hardened").unwrap();
        let release = Release::named(&policy.default_release).unwrap();
        let file = Arc::new(castoff_scenarios::named(scenario).unwrap());
        let prepared = Prepared::new(&file, &policy, &release).unwrap();
        let faults = exemption.plan.split_whitespace().map(|f| f.parse().unwrap()).collect();
        let plan = Plan { faults };
        let keep = Keep { trace: false, points: false };
        let report = run::run_keeping(&prepared, BindingKind::Direct, 0, Some(&plan), keep);
        let breaks =
            |r: &RunReport| r.violations.iter().any(|v| v.property.name == exemption.property);
        assert!(breaks(&report), "{exemption:?}: {:?}", report.violations);
        assert!(report.not_struck.is_empty(), "{exemption:?}: {:?}", report.not_struck);
        if !plan.faults.is_empty() {
            let alone = run::run_keeping(&prepared, BindingKind::Direct, 0, None, keep);
            assert!(!breaks(&alone), "{exemption:?}: no fault is needed");
        }
        assert!(exemption.covers(scenario, exemption.property, &plan.faults), "{exemption:?}");
    }
}

#[test]
fn the_same_search_finds_what_2026_1_breaks() {
    let found = explored("2026.1", "healthy");
    assert!(found.causes.by_property().contains_key("L2"), "{:?}", found.causes.by_property());
}
