//! A plan of one fault against one actor comes to the same on `direct` and on `network`: the same
//! verdict and the same operations of each process, in order, but for what is [`EXPLAINED`].

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::fault_space::CUT_OFF_MS;
use castoff_ports::plan::{EnvironmentEvent, Fault, FaultKind, FaultPoint, Plan};
use castoff_ports::trace::What;
use castoff_ports::{Process, RequestId};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{BindingKind, RunReport, run};

fn prepared(policy: &str) -> Rc<Prepared> {
    let scenario = castoff_scenarios::named("healthy").unwrap();
    let policy = Policy::named(policy).unwrap();
    let release = Release::named(&policy.default_release).unwrap();
    Prepared::new(&Arc::new(scenario), &policy, &release).unwrap()
}

/// What the processes that change something did, in order. A client's polls, and what nova-api
/// reads for them, are as many as time allows: they are left out.
fn operations(report: &RunReport) -> Vec<String> {
    let calls = report.events.iter().filter_map(|e| match &e.what {
        What::Call { operation, .. } => Some((e.who, e.request, *operation)),
        _ => None,
    });
    let kept = calls.filter(|(who, _, operation)| match *who {
        "nova-compute" => true,
        "nova-api" => operation.starts_with("cinder::") || operation.starts_with("rpc::"),
        _ => *operation == "nova::DeleteVolumeAttachment",
    });
    let mut each: BTreeMap<(&str, Option<RequestId>), Vec<&str>> = BTreeMap::new();
    for (who, request, operation) in kept {
        each.entry((who, request)).or_default().push(operation);
    }
    each.into_iter()
        .map(|((who, request), operations)| {
            let request = request.map(|r| r.to_string()).unwrap_or_default();
            format!("{who} {request}: {}", operations.join(" "))
        })
        .collect()
}

/// Properties that the bindings judge differently, and why.
const EXPLAINED: &[(&str, &str)] = &[(
    "S20",
    "it asks which process called cinder; a request that arrives over HTTP does not say, and counts as a client's",
)];

fn verdict(report: &RunReport) -> String {
    let mut broken: Vec<&str> = report.violations.iter().map(|v| v.property.name).collect();
    broken.retain(|name| EXPLAINED.iter().all(|(known, _)| known != name));
    broken.sort_unstable();
    broken.dedup();
    let struck = report.not_struck.is_empty();
    format!("{:?}, then {:?}; breaks {broken:?}; struck {struck}", report.end, report.after_retry)
}

/// The points of a healthy detach: who called what, for the how many-th time.
fn points(prepared: &Rc<Prepared>) -> Vec<(Process, String, u32)> {
    let report = run(prepared, BindingKind::Direct, 1, None, true);
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut points = Vec::new();
    for event in report.events.iter().filter(|e| e.request == Some(RequestId(1))) {
        let What::Call { operation, .. } = &event.what else { continue };
        let process = [Process::NovaApi, Process::NovaCompute];
        let Some(process) = process.into_iter().find(|p| p.as_str() == event.who) else { continue };
        let nth = counts.entry((event.who, operation)).or_default();
        *nth += 1;
        points.push((process, (*operation).to_owned(), *nth));
    }
    points
}

/// On `network` the last two are turmoil's own: a hold between two hosts, and a partition.
fn strikes(operation: &str) -> Vec<FaultKind> {
    let mut all = vec![
        FaultKind::Unreachable,
        FaultKind::ReplyLost,
        FaultKind::CrashBefore { restart_after_ms: Some(36_000) },
        FaultKind::CrashAfter { restart_after_ms: Some(36_000) },
    ];
    match operation.split("::").next().unwrap() {
        "keystone" | "cinder" | "novadb" | "rpc" => all.push(FaultKind::CutOff { ms: CUT_OFF_MS }),
        "iscsi" | "host" => {
            all.push(FaultKind::Environment { event: EnvironmentEvent::PortalsDown });
        }
        _ => {}
    }
    all
}

#[test]
fn a_sample_of_single_faults_comes_to_the_same_on_both_bindings() {
    let mut compared = 0;
    let mut different = Vec::new();
    for policy in ["pike", "2026.1"] {
        let prepared = prepared(policy);
        for (process, operation, nth) in points(&prepared).into_iter().step_by(4) {
            for strike in strikes(&operation) {
                let at = FaultPoint {
                    process,
                    operation: operation.clone(),
                    nth,
                    request: Some(RequestId(1)),
                };
                let plan = Plan {
                    faults: vec![Fault { at, strike: strike.clone(), policies: Vec::new() }],
                };
                let [one, other] =
                    BindingKind::ALL.map(|b| run(&prepared, b, 1, Some(&plan), true));
                compared += 1;
                if verdict(&one) != verdict(&other) || operations(&one) != operations(&other) {
                    different.push(format!(
                        "{policy} {process} {operation} {nth} {strike:?}\n  direct  {}\n    {}\n  network {}\n    {}",
                        verdict(&one),
                        operations(&one).join("\n    "),
                        verdict(&other),
                        operations(&other).join("\n    "),
                    ));
                }
            }
        }
    }
    assert!(
        different.is_empty(),
        "{} of {compared} differ:\n{}",
        different.len(),
        different.join("\n")
    );
    assert!(compared >= 80, "{compared} plans are no sample");
}
