//! What runs beside a detach, by its traces: the order of an encrypted volume's detach, a delete, a
//! reboot, a start of nova-compute.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::Command;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::{Fault, FaultKind, FaultPoint, Plan};
use castoff_ports::{Process, RequestId};
use castoff_scenarios::scenario::End;
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{BindingKind, run};

fn replay(scenario: &str, policy: &str) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_castoff"))
        .args(["replay", "--scenario", scenario, "--policy", policy, "--binding", "direct"])
        .args(["--seed", "1", "--trace", "text"])
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// Panics with the trace unless it has these texts in this order.
fn in_order(trace: &str, steps: &[&str]) {
    let mut rest = trace;
    for step in steps {
        let Some(at) = rest.find(step) else {
            panic!("{step:?} is missing, or not in its place:\n{trace}");
        };
        rest = &rest[at..];
    }
}

#[test]
fn an_encrypted_disk_goes_from_the_guest_then_cryptsetup_closes_then_the_host_deletes() {
    let steps = ["DEVICE_REMOVED", "luksClose", "closed", "--flushbufs", "device/delete"];
    in_order(&replay("encrypted-volume", "pike"), &steps);
}

#[test]
fn an_encrypted_disk_goes_from_the_guest_then_its_secret_goes_then_the_host_deletes() {
    let steps = ["DEVICE_REMOVED", "virSecretUndefine", "gone", "--flushbufs", "device/delete"];
    in_order(&replay("encrypted-volume", "2026.1"), &steps);
}

#[test]
fn a_delete_waits_for_the_detach_where_that_has_the_lock_and_kills_its_guest_where_not() {
    let steps = ["BlockDeviceMapping.destroy", "virDomainDestroy", "404", "Instance.destroy"];
    in_order(&replay("detach-races-server-delete", "2026.1"), &steps);
    let steps = ["device_del vdb", "virDomainDestroy", "closed", "_disconnect_volume"];
    in_order(&replay("detach-races-server-delete", "pike"), &steps);
}

#[test]
fn a_hard_reboot_gives_the_disk_back_where_the_detach_has_no_lock() {
    let pike = replay("detach-races-hard-reboot", "pike");
    let steps = ["persistent config lost vdb", "virDomainDestroy", "persistent config has vdb"];
    in_order(&pike, &steps);
    let today = replay("detach-races-hard-reboot", "2026.1");
    in_order(&today, &["BlockDeviceMapping.destroy", "virDomainDestroy", "virDomainCreate"]);
    assert!(!today.contains("persistent config has vdb"), "{today}");
}

#[test]
fn a_starting_compute_looks_at_its_servers_and_does_nothing_for_the_detach() {
    for policy in ["pike", "2026.1"] {
        let trace = replay("compute-restarts-while-detaching", policy);
        let (_, after) = trace.split_once("ComputeManager.init_host").unwrap();
        let (started, _) = after.split_once(">> quiet").unwrap();
        assert!(started.contains("InstanceList.get_by_filters"), "{trace}");
        for undone in ["roll_detaching", "os-detach", "blockdev", "BlockDeviceMapping.destroy"] {
            assert!(!started.contains(undone), "{undone} under {policy}:\n{trace}");
        }
    }
}

#[test]
fn encryption_metadata_is_asked_for_before_the_guest_is_and_only_of_an_encrypted_volume() {
    for policy in ["pike", "2026.1"] {
        let steps = ["driver_detach", "/encryption", "200 luks", "LibvirtDriver.detach_volume"];
        in_order(&replay("encrypted-volume", policy), &steps);
        assert!(!replay("healthy", policy).contains("/encryption"), "{policy}");
    }
}

#[test]
fn a_detach_that_gets_no_encryption_metadata_is_rolled_back_and_touches_nothing() {
    for policy in ["pike", "2026.1"] {
        let scenario = Arc::new(castoff_scenarios::named("encrypted-volume").unwrap());
        let policy = Policy::named(policy).unwrap();
        let release = Release::named(&policy.default_release).unwrap();
        let prepared = Prepared::new(&scenario, &policy, &release).unwrap();
        let at = FaultPoint {
            process: Process::NovaCompute,
            operation: "cinder::GetEncryption".to_owned(),
            nth: 1,
            request: Some(RequestId(1)),
        };
        let strike = FaultKind::HttpError { status: 500 };
        let plan = Plan { faults: vec![Fault { at, strike, policies: Vec::new() }] };
        for binding in BindingKind::ALL {
            let report = run(&prepared, binding, 1, Some(&plan), true);
            assert_eq!(report.struck, plan.faults);
            assert_eq!((report.end, report.after_retry), (End::RolledBack, End::Detached));
            assert_eq!(report.violations, []);
        }
    }
}
