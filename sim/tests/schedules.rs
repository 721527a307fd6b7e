//! Schedules: what each kind finds with how many runs, and that each is repeated byte for byte.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::fault::Passed;
use castoff_ports::schedule::Schedule;
use castoff_ports::trace::{Identity, What, to_text};
use castoff_ports::{Process, RequestId};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{BindingKind, Keep, RunReport, identity, run_scheduled};
use castoff_sim::schedule::{Bounds, every_order, turns_of};

const TRACED: Keep = Keep { trace: true, points: false };

fn prepared_with(
    scenario: &str,
    policy: &str,
    change: impl FnOnce(Release) -> Release,
) -> Rc<Prepared> {
    let scenario = Arc::new(castoff_scenarios::named(scenario).unwrap());
    let policy = Policy::named(policy).unwrap();
    let release = change(Release::named(&policy.default_release).unwrap());
    Prepared::new(&scenario, &policy, &release).unwrap()
}

fn prepared(scenario: &str, policy: &str) -> Rc<Prepared> {
    prepared_with(scenario, policy, |release| release)
}

/// Cinder before bug 1238093 was fixed.
fn check_then_set(release: Release) -> Release {
    Release { begin_detaching_swaps: false, ..release }
}

fn direct(prepared: &Rc<Prepared>, seed: u64, schedule: &Schedule, keep: Keep) -> RunReport {
    run_scheduled(prepared, BindingKind::Direct, seed, None, schedule, keep)
}

/// Nova accepted both: two workers for one volume.
fn both_accepted(report: &RunReport) -> bool {
    report.answers.iter().filter(|a| a.result.is_ok()).count() == 2
}

/// nova-compute began to work for one request before it had ended its work for the other.
fn workers_overlap(report: &RunReport) -> bool {
    let calls = report.events.iter().enumerate().filter(|(_, e)| {
        e.who == "nova-compute" && matches!(e.what, What::Call { .. } | What::Reply { .. })
    });
    let mut spans: BTreeMap<RequestId, (usize, usize)> = BTreeMap::new();
    for (i, event) in calls {
        let Some(request) = event.request else { continue };
        spans.entry(request).and_modify(|s| s.1 = i).or_insert((i, i));
    }
    match (spans.get(&RequestId(1)), spans.get(&RequestId(2))) {
        (Some(one), Some(two)) => one.0 < two.1 && two.0 < one.1,
        (_, _) => false,
    }
}

#[test]
fn no_order_of_two_detaches_has_two_workers_where_cinder_compares_and_swaps() {
    let prepared = prepared("two-detaches-race", "pike");
    let mut accepted = 0u64;
    let searched = every_order(&prepared, 0, None, Bounds::default(), |_, report| {
        accepted += u64::from(both_accepted(report));
        assert!(report.violations.is_empty(), "{:?}", report.violations);
    });
    assert_eq!((searched.orders, accepted), (229, 0));
    assert!(searched.turns_hit && !searched.points_hit && !searched.orders_hit);
}

#[test]
fn the_search_finds_the_double_worker_of_a_cinder_that_checks_and_then_sets() {
    let prepared = prepared_with("two-detaches-race", "pike", check_then_set);
    let (mut first, mut double, mut broken) = (None, 0u64, 0u64);
    let searched = every_order(&prepared, 0, None, Bounds::default(), |order, report| {
        if both_accepted(report) {
            double += 1;
            broken += u64::from(report.violations.iter().any(|v| v.property.name == "S02"));
            first.get_or_insert_with(|| order.clone());
        }
    });
    assert!(!searched.orders_hit);
    assert!(double > 0 && double < searched.orders, "{double} of {}", searched.orders);
    assert!(broken > 0, "one worker unmaps what the other is still taking apart");
    let again = direct(&prepared, 0, &first.unwrap(), TRACED);
    assert!(both_accepted(&again) && workers_overlap(&again));
}

#[test]
fn pct_finds_a_rare_order_that_the_others_do_not_find_with_as_many_runs() {
    // Nova accepts the second server's attach only when the detach has ended: several of its calls
    // must each be late. No defect, but a choice drawn anew at every point is too fair for it.
    let prepared = prepared("detach-races-reset-status", "2026.1");
    let accepted = |schedule: &str| {
        let schedule: Schedule = schedule.parse().unwrap();
        let taken = |seed: &u64| {
            let report = direct(&prepared, *seed, &schedule, Keep::default());
            report.answers.iter().any(|a| a.request == RequestId(3) && a.result.is_ok())
        };
        (0..300).filter(taken).count()
    };
    assert_eq!((accepted("fifo"), accepted("random")), (0, 0));
    assert!(accepted("pct:3") > 20);
}

#[test]
fn a_rescan_that_finds_the_old_disk_again_takes_an_order_that_virtual_time_never_draws() {
    let prepared = prepared("detach-races-attach", "pike");
    let found = |schedule: &str| {
        let schedule: Schedule = schedule.parse().unwrap();
        let broken = |seed: &u64| {
            let report = direct(&prepared, *seed, &schedule, Keep::default());
            report.violations.iter().any(|v| v.property.name == "S02")
        };
        (0..300).filter(broken).count()
    };
    let (fifo, random, pct) = (found("fifo"), found("random"), found("pct:3"));
    assert_eq!(fifo, 0);
    assert!(random > 0 && pct > 3 * random, "random {random}, pct {pct} of 300");
    let mut orders = Vec::new();
    let searched = every_order(&prepared, 0, None, Bounds::default(), |order, report| {
        if report.violations.iter().any(|v| v.property.name == "S02") {
            orders.push(order.clone());
        }
    });
    assert!(!orders.is_empty() && (orders.len() as u64) < searched.orders / 20);
}

#[test]
fn the_same_identity_is_the_same_trace_under_every_kind_of_schedule() {
    let scenarios = ["two-detaches-race", "detach-races-attach", "detach-races-server-delete"];
    for (scenario, policy) in scenarios.iter().flat_map(|s| [(s, "pike"), (s, "2026.1")]) {
        let mut traces = Vec::new();
        for schedule in ["fifo", "random", "pct:2", "pct:4", "order:", "order:2=1,7=1"] {
            let schedule: Schedule = schedule.parse().unwrap();
            let text = || {
                // Prepared anew: nothing may hang on what an earlier run has left in memory.
                let prepared = prepared(scenario, policy);
                let report = direct(&prepared, 11, &schedule, TRACED);
                let plain = identity(&prepared, BindingKind::Direct, 11, None);
                to_text(&Identity { schedule: schedule.clone(), ..plain }, &report.events)
            };
            let once = text();
            assert!(once == text(), "{scenario} under {policy}, {schedule}");
            traces.push(once);
        }
        traces.sort();
        traces.dedup();
        assert_eq!(traces.len(), 6, "{scenario} under {policy}: each schedule shows in its trace");
    }
}

#[test]
fn what_a_drawn_schedule_chose_is_the_same_run_when_it_is_given_as_an_order() {
    let prepared = prepared("detach-races-attach", "pike");
    for schedule in [Schedule::Random, Schedule::Pct { depth: 3 }] {
        for seed in 0..20 {
            let drawn = direct(&prepared, seed, &schedule, TRACED);
            let order = Schedule::Order(turns_of(&drawn.choices));
            let given = direct(&prepared, seed, &order, TRACED);
            assert!(!drawn.choices.is_empty());
            assert_eq!(drawn.events, given.events, "{schedule} {seed} is not {order}");
        }
    }
}

#[test]
fn one_actor_has_one_order() {
    for policy in ["pike", "2026.1"] {
        let all = Bounds { turns: None, ..Bounds::default() };
        let searched = every_order(&prepared("healthy", policy), 0, None, all, |_, report| {
            assert!(report.violations.is_empty());
        });
        assert!(searched.is_complete(), "{searched:?}");
        assert_eq!(searched.orders, 1);
    }
}

#[test]
fn a_lock_that_comes_or_goes_while_nova_api_looks_is_no_wrong_answer() {
    // Which of lock, unlock and DELETE comes first is the order's choice here; S19 asks for what
    // nova-api could know.
    let prepared = prepared("detach-from-locked-server", "hardened");
    const POINTS: Keep = Keep { trace: false, points: true };
    let (mut begun, mut refused, mut between) = (0, 0, 0);
    for seed in 0..150 {
        let report = direct(&prepared, seed, &Schedule::Random, POINTS);
        let broken: Vec<String> =
            report.violations.iter().map(|v| format!("seed {seed}: {v}")).collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        let answer = report.answers.iter().find(|a| a.request == RequestId(4)).unwrap();
        match answer.result {
            Ok(_) => begun += 1,
            Err(_) => refused += 1,
        }
        let mine = |p: &Passed| p.process == Process::NovaApi && p.request == RequestId(4);
        let first = report.passed.iter().position(mine).unwrap();
        let last = report.passed.iter().rposition(mine).unwrap();
        let saved = |p: &Passed| p.operation == "novadb::InstanceSave";
        between += usize::from(report.passed[first..last].iter().any(saved));
    }
    assert!(between > 10, "{between} orders have lock or unlock between the look and the answer");
    assert!(begun > 10 && refused > 10, "{begun} begun, {refused} refused: no order decides");
}
