//! On `network` a cut is turmoil's: what is under way between the two hosts is kept back too.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::Plan;
use castoff_ports::trace::What;
use castoff_ports::{RequestId, SimTime};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{BindingKind, run};

/// When the first DELETE was answered, while the way of the second one to nova-api is cut for 30 s
/// from 100 ms on.
fn first_answer(binding: BindingKind) -> SimTime {
    let mut scenario = castoff_scenarios::named("two-volumes-detached-at-once").unwrap();
    scenario.actors[1].at_ms = 100;
    let policy = Policy::named("2026.1").unwrap();
    let release = Release::named(&policy.default_release).unwrap();
    let prepared = Prepared::new(&Arc::new(scenario), &policy, &release).unwrap();
    let cut = "client:nova::DeleteVolumeAttachment#1@2:cut-off=30000".parse().unwrap();
    let report = run(&prepared, binding, 1, Some(&Plan { faults: vec![cut] }), true);
    assert!(report.not_struck.is_empty(), "{:?}", report.not_struck);
    let answered = report.events.iter().find(|e| {
        let reply =
            matches!(&e.what, What::Reply { operation, .. } if *operation == "nova::DeleteVolumeAttachment");
        e.who == "client" && e.request == Some(RequestId(1)) && reply
    });
    answered.unwrap().at
}

#[test]
fn a_request_under_way_is_answered_when_the_cut_is_over() {
    let (direct, network) = (first_answer(BindingKind::Direct), first_answer(BindingKind::Network));
    let cut_ends = SimTime::ZERO + Duration::from_millis(30_100);
    assert!(direct < SimTime::ZERO + Duration::from_secs(5), "{direct:?}");
    assert!(network >= cut_ends, "{network:?}");
    assert!(network < cut_ends + Duration::from_secs(5), "{network:?}");
}
