//! Swarm testing: a plan is a function of scenario, policy, release and seed, and reaches what it
//! should.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::schedule::Schedule;
use castoff_sim::campaign::swarm::{MOST, Swarm};
use castoff_sim::campaign::{Campaign, Cell, Faults, Row};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{BindingKind, run};

fn prepared(scenario: &str, policy: &str) -> Rc<Prepared> {
    let scenario = castoff_scenarios::named(scenario).unwrap();
    let policy = Policy::named(policy).unwrap();
    let release = Release::named(&policy.default_release).unwrap();
    Prepared::new(&Arc::new(scenario), &policy, &release).unwrap()
}

#[test]
fn a_plan_does_not_depend_on_what_was_drawn_before() {
    let prepared = prepared("healthy", "2026.1");
    let (mut up, mut down) = (Swarm::new(&prepared), Swarm::new(&prepared));
    let forwards: Vec<_> = (0..300).map(|seed| up.draw(seed)).collect();
    let mut backwards: Vec<_> = (0..300).rev().map(|seed| down.draw(seed)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    let again: Vec<_> = (0..300).map(|seed| Swarm::new(&prepared).draw(seed)).take(20).collect();
    assert_eq!(forwards[..20], again);
}

#[test]
fn other_names_are_other_plans() {
    let plans = |scenario, policy| -> Vec<String> {
        let mut swarm = Swarm::new(&prepared(scenario, policy));
        (0..50).map(|seed| format!("{:?}", swarm.draw(seed))).collect()
    };
    let of = [
        plans("healthy", "2026.1"),
        plans("healthy", "hardened"),
        plans("guest-lets-go-late", "2026.1"),
    ];
    assert!(of[0] != of[1] && of[0] != of[2] && of[1] != of[2]);
}

#[test]
fn plans_have_up_to_four_faults_of_some_kinds_at_points_of_the_run_and_of_its_recovery() {
    let prepared = prepared("healthy", "2026.1");
    let mut swarm = Swarm::new(&prepared);
    let mut sizes: BTreeMap<usize, u32> = BTreeMap::new();
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    let mut operations = BTreeSet::new();
    let seeds = 2000;
    for seed in 0..seeds {
        let plan = swarm.draw(seed);
        *sizes.entry(plan.faults.len()).or_default() += 1;
        let of: BTreeSet<&str> = plan.faults.iter().map(|f| f.strike.as_str()).collect();
        of.iter().for_each(|kind| *kinds.entry(kind).or_default() += 1);
        let points: BTreeSet<String> = plan.faults.iter().map(|f| format!("{:?}", f.at)).collect();
        assert_eq!(points.len(), plan.faults.len(), "seed {seed}: one fault a point");
        operations.extend(plan.faults.iter().map(|f| f.at.operation.clone()));
    }
    let most = MOST as usize;
    assert_eq!(sizes.keys().copied().collect::<Vec<_>>(), (0..=most).collect::<Vec<_>>());
    for kind in ["http-error", "command-fails", "timeout", "lost", "crash-before", "qemu-killed"] {
        assert!(kinds.contains_key(kind), "{kind} is never drawn: {kinds:?}");
    }
    assert!(kinds.values().all(|n| u64::from(*n) < seeds * 2 / 3), "off for some: {kinds:?}");
    // Only a run in which something failed rolls back.
    assert!(operations.contains("cinder::RollDetaching"), "{operations:?}");
}

#[test]
fn drawn_faults_strike_on_both_bindings() {
    let prepared = prepared("healthy", "2026.1");
    let mut swarm = Swarm::new(&prepared);
    let plans: Vec<_> = (0..60).map(|seed| (seed, swarm.draw(seed))).collect();
    for (binding, step) in [(BindingKind::Direct, 1), (BindingKind::Network, 10)] {
        let (mut drawn, mut struck) = (0, 0);
        for (seed, plan) in plans.iter().filter(|(_, p)| !p.is_empty()).step_by(step) {
            let report = run(&prepared, binding, *seed, Some(plan), false);
            assert!(report.struck.contains(&plan.faults[0]), "{binding:?}, seed {seed}: {plan:?}");
            drawn += plan.faults.len();
            struck += report.struck.len();
        }
        assert!(struck * 10 > drawn * 7, "{binding:?}: only {struck} of {drawn} struck");
    }
}

/// A campaign of one cell with drawn faults.
fn campaign(policy: &str, seeds: std::ops::Range<u64>, schedule: Schedule) -> Row {
    let policy = Policy::named(policy).unwrap();
    let cell = Cell {
        scenario: Arc::new(castoff_scenarios::named("guest-never-lets-go").unwrap()),
        binding: BindingKind::Direct,
        release: Release::named(&policy.default_release).unwrap(),
        policy,
        seeds,
        schedule,
    };
    let campaign = Campaign { faults: Faults::Swarm, ..Campaign::of(vec![cell]) };
    campaign.run().unwrap().rows.remove(0)
}

#[test]
fn what_hardened_is_exempt_from_is_counted_apart_and_is_no_finding() {
    let row = campaign("hardened", 0..600, Schedule::Fifo);
    assert!(row.exempt.contains_key("S14"), "portals went down in no run: {:?}", row.exempt);
    assert!(row.unexpected.iter().all(|f| f.what != "S14"), "{:?}", row.unexpected);
    assert!(!row.broke.contains_key("S14"));
    assert!(row.violations() >= row.exempt["S14"]);
    // Nobody but `hardened` is exempt from anything.
    assert_eq!(campaign("2026.1", 0..600, Schedule::Fifo).exempt, BTreeMap::new());
}
