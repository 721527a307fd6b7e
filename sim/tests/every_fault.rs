//! Every operation of a detach fails in turn, in every way, on both bindings: the run comes to
//! rest, the fault that struck is the one that was meant, and nothing of ours panics.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::{Fault, FaultKind, FaultPoint, Plan};
use castoff_ports::trace::What;
use castoff_ports::{Process, RequestId};
use castoff_scenarios::scenario::End;
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{BindingKind, run};

fn prepared(policy: &str) -> Rc<Prepared> {
    let scenario = castoff_scenarios::named("healthy").unwrap();
    let policy = Policy::named(policy).unwrap();
    let release = Release::named(&policy.default_release).unwrap();
    Prepared::new(&Arc::new(scenario), &policy, &release).unwrap()
}

/// Every point of a healthy detach: who called what, for the how many-th time.
fn points(prepared: &Rc<Prepared>) -> Vec<(Process, &'static str, u32)> {
    let report = run(prepared, BindingKind::Direct, 1, None, true);
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut points = Vec::new();
    for event in &report.events {
        let What::Call { operation, .. } = &event.what else { continue };
        if event.request != Some(RequestId(1)) {
            continue;
        }
        let process = [Process::Client, Process::NovaApi, Process::NovaCompute]
            .into_iter()
            .find(|p| p.as_str() == event.who)
            .unwrap();
        let n = counts.entry((event.who, operation)).or_default();
        *n += 1;
        points.push((process, *operation, *n));
    }
    points
}

fn plan(point: (Process, &'static str, u32), strike: FaultKind) -> Plan {
    let (process, operation, nth) = point;
    let at =
        FaultPoint { process, operation: operation.to_owned(), nth, request: Some(RequestId(1)) };
    Plan { faults: vec![Fault { at, strike, policies: Vec::new() }] }
}

fn strikes() -> [FaultKind; 4] {
    [
        FaultKind::Unreachable,
        FaultKind::ReplyLost,
        FaultKind::CrashBefore { restart_after_ms: Some(36_000) },
        FaultKind::CrashAfter { restart_after_ms: None },
    ]
}

fn every_fault(binding: BindingKind, seed: u64, step: usize) {
    for policy in ["pike", "2026.1"] {
        let prepared = prepared(policy);
        let points = points(&prepared);
        assert!(points.len() > 30, "{policy}: a detach has more than {} operations", points.len());
        let mut ends: BTreeMap<End, u32> = BTreeMap::new();
        for point in points.into_iter().step_by(step) {
            for strike in strikes() {
                // A client that dies is a user who goes away: nothing to restart.
                if point.0 == Process::Client && strike.restart_after().is_some() {
                    continue;
                }
                let plan = plan(point, strike);
                let report = run(&prepared, binding, seed, Some(&plan), false);
                assert_eq!(report.struck, plan.faults, "{policy}: the point that was meant");
                *ends.entry(report.end).or_default() += 1;
            }
        }
        // If no fault did harm, or none was survived, this test would see nothing.
        assert!(ends.contains_key(&End::Detached), "{policy}: {ends:?}");
        assert!(ends.contains_key(&End::StuckDetaching), "{policy}: {ends:?}");
    }
}

#[test]
fn every_operation_can_fail_in_every_way_on_direct() {
    every_fault(BindingKind::Direct, 1, 1);
}

#[test]
fn every_seventh_operation_can_fail_in_every_way_on_network() {
    every_fault(BindingKind::Network, 1, 7);
}

#[test]
fn the_effect_of_a_call_stands_although_its_caller_has_died() {
    let prepared = prepared("2026.1");
    let at = (Process::NovaCompute, "host::DeleteDevice", 1);
    let plan = plan(at, FaultKind::CrashAfter { restart_after_ms: None });
    let report = run(&prepared, BindingKind::Direct, 1, Some(&plan), true);
    let states: Vec<String> = report
        .events
        .iter()
        .filter_map(|e| match &e.what {
            What::State { text } => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert!(states.iter().any(|s| s.starts_with("sdb of volume") && s.contains("gone")));
    assert!(!states.iter().any(|s| s.starts_with("session 1") && s.contains("gone")), "{states:?}");
    assert_eq!(report.end, End::StuckDetaching);
}

#[test]
fn a_client_sees_the_connection_break_when_nova_api_dies() {
    for binding in BindingKind::ALL {
        let prepared = prepared("2026.1");
        let at = (Process::NovaApi, "cinder::BeginDetaching", 1);
        let plan = plan(at, FaultKind::CrashAfter { restart_after_ms: Some(5_000) });
        let report = run(&prepared, binding, 3, Some(&plan), false);
        let failure = report.answers[0].result.as_ref().unwrap_err();
        assert!(failure.to_string().contains("nova-api did not reply"), "{binding:?}: {failure}");
        assert_eq!(report.end, End::StuckDetaching, "{binding:?}");
    }
}
