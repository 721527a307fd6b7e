//! Each semantic check finds its mistake, names its place, and nothing else.

use castoff_ports::Process;
use castoff_ports::call::operation_names;
use castoff_ports::plan::{Fault, FaultKind, FaultPoint, Plan};
use castoff_scenarios::builtin::named;
use castoff_scenarios::check::{
    MAX_LIFETIME_S, MAX_MS, POLICIES, check, check_fault, check_plan, check_restart,
};
use castoff_scenarios::scenario::{Leftover, LetsGo, Linger, Scenario};

/// The places of the problems of `healthy` after a change.
fn places(change: impl FnOnce(&mut Scenario)) -> Vec<String> {
    let mut scenario = named("healthy").expect("built in");
    change(&mut scenario);
    check(&scenario, POLICIES).iter().map(|p| p.place.to_string()).collect()
}

fn fault(operation: &str, strike: FaultKind) -> Fault {
    let operation = operation.to_owned();
    Fault {
        at: FaultPoint { process: Process::NovaCompute, operation, nth: 1, request: None },
        strike,
        policies: Vec::new(),
    }
}

#[test]
fn an_unchanged_scenario_has_no_problem() {
    assert_eq!(places(|_| {}), [""; 0]);
}

#[test]
fn texts_and_numbers_that_cannot_be_meant_are_found() {
    assert_eq!(places(|s| s.name = "Healthy one".into()), ["name"]);
    assert_eq!(places(|s| s.name = "double--dash".into()), ["name"]);
    assert_eq!(places(|s| s.title = " ".into()), ["title"]);
    assert_eq!(places(|s| s.title = "two\nlines".into()), ["title"]);
    assert_eq!(places(|s| s.token.lifetime_s = 0), ["token.lifetime_s"]);
}

#[test]
fn volumes_are_there_unique_and_known_to_those_who_name_them() {
    assert_eq!(places(|s| s.volumes.clear()), ["volume", "actor[0].volume"]);
    assert_eq!(places(|s| s.volumes.push(s.volumes[0].clone())), ["volume[1].name"]);
    assert_eq!(places(|s| s.actors[0].volume = "v2".into()), ["actor[0].volume"]);
    let stale = |volume: &str| Leftover::StaleAttachment { volume: volume.into() };
    assert_eq!(places(|s| s.leftovers.push(stale("v1"))), [""; 0]);
    assert_eq!(places(|s| s.leftovers.push(stale("v9"))), ["leftover[0].volume"]);
}

#[test]
fn a_stale_disk_needs_the_session_of_an_attached_volume() {
    let found = places(|s| {
        s.volumes[0].attached = false;
        s.leftovers.push(Leftover::StaleScsiDevice { volume: "v1".into() });
    });
    assert_eq!(found, ["leftover[0].volume"]);
}

#[test]
fn nobody_acting_and_nothing_expected_are_problems() {
    assert_eq!(places(|s| s.actors.clear()), ["actor"]);
    assert_eq!(places(|s| s.expect.clear()), ["expect"]);
}

#[test]
fn every_operation_of_the_ports_can_be_struck_by_a_crash() {
    for name in operation_names() {
        let crash = FaultKind::CrashBefore { restart_after_ms: None };
        assert_eq!(places(|s| s.faults.push(fault(name, crash))), [""; 0], "{name}");
    }
}

#[test]
fn a_fault_that_its_operation_cannot_have_is_refused() {
    let kind = ["fault[0].strike.kind"];
    let http = FaultKind::HttpError { status: 500 };
    assert_eq!(places(|s| s.faults.push(fault("cinder::Detach", http.clone()))), [""; 0]);
    assert_eq!(places(|s| s.faults.push(fault("iscsi::Logout", http))), kind);
    let exit = FaultKind::CommandFails { exit: 21 };
    assert_eq!(places(|s| s.faults.push(fault("iscsi::Logout", exit.clone()))), [""; 0]);
    assert_eq!(places(|s| s.faults.push(fault("cinder::Detach", exit))), kind);
    assert_eq!(places(|s| s.faults.push(fault("rpc::Cast", FaultKind::Lost))), [""; 0]);
    assert_eq!(places(|s| s.faults.push(fault("cinder::Detach", FaultKind::Lost))), kind);
}

#[test]
fn numbers_of_a_fault_are_in_their_ranges() {
    let status = ["fault[0].strike.status"];
    for wrong in [200, 399, 600] {
        let strike = FaultKind::HttpError { status: wrong };
        assert_eq!(places(|s| s.faults.push(fault("cinder::Detach", strike))), status);
    }
    let strike = FaultKind::Timeout { status: 503, after_ms: 1 };
    assert_eq!(places(|s| s.faults.push(fault("cinder::Detach", strike))), status);
    let strike = FaultKind::CommandFails { exit: 0 };
    let found = places(|s| s.faults.push(fault("iscsi::Logout", strike)));
    assert_eq!(found, ["fault[0].strike.exit"]);
    let mut zeroth = fault("iscsi::Logout", FaultKind::ReplyLost);
    zeroth.at.nth = 0;
    assert_eq!(places(|s| s.faults.push(zeroth)), ["fault[0].at.nth"]);
}

#[test]
fn two_faults_at_one_point_are_one_too_many() {
    let found = places(|s| {
        s.faults.push(fault("cinder::Detach", FaultKind::ReplyLost));
        s.faults.push(fault("cinder::Detach", FaultKind::Delay { ms: 5 }));
    });
    assert_eq!(found, ["fault[1].at"]);
}

#[test]
fn expectations_name_known_policies_and_well_formed_properties() {
    let expect = |s: &mut Scenario, violates: &[&str]| {
        let expectation = s.expect.get_mut("pike").unwrap();
        expectation.violates = violates.iter().map(|v| (*v).to_owned()).collect();
    };
    assert_eq!(places(|s| expect(s, &["S01", "S27", "L1", "L8"])), [""; 0]);
    for wrong in ["S00", "S28", "S1", "S001", "L0", "L9", "L01", "s01", "", "é1", "S+1"] {
        assert_eq!(places(|s| expect(s, &[wrong])), ["expect.pike.violates[0]"], "{wrong}");
    }
    assert_eq!(places(|s| expect(s, &["S02", "S02"])), ["expect.pike.violates[1]"]);
    let renamed = places(|s| {
        let expectation = s.expect.remove("pike").unwrap();
        s.expect.insert("queens".into(), expectation);
    });
    assert_eq!(renamed, ["expect.queens"]);
}

#[test]
fn times_have_an_end_and_say_what_was_found_and_what_is_needed() {
    let strike_at = |operation: &str, strike| places(|s| s.faults.push(fault(operation, strike)));
    for (ms, found) in [(MAX_MS, 0), (MAX_MS + 1, 1), (u64::MAX, 1)] {
        let restart_after_ms = Some(ms);
        for (place, problems) in [
            ("actor[0].at_ms", places(|s| s.actors[0].at_ms = ms)),
            ("guest.lets_go.after_ms", places(|s| s.guest.lets_go = LetsGo::AfterMs(ms))),
            (
                "host.device_lingers.for_ms",
                places(|s| s.host.device_lingers = Some(Linger::ForMs(ms))),
            ),
            (
                "fault[0].strike.after_ms",
                strike_at("cinder::Detach", FaultKind::Timeout { status: 504, after_ms: ms }),
            ),
            ("fault[0].strike.ms", strike_at("cinder::Detach", FaultKind::Delay { ms })),
            (
                "fault[0].strike.restart_after_ms",
                strike_at("cinder::Detach", FaultKind::CrashBefore { restart_after_ms }),
            ),
            (
                "fault[0].strike.restart_after_ms",
                strike_at("cinder::Detach", FaultKind::CrashAfter { restart_after_ms }),
            ),
        ] {
            assert_eq!(problems, vec![place; found], "{ms}");
        }
    }
    for (lifetime, found) in [(1, 0), (MAX_LIFETIME_S, 0), (MAX_LIFETIME_S + 1, 1)] {
        let problems = places(|s| s.token.lifetime_s = lifetime);
        assert_eq!(problems, vec!["token.lifetime_s"; found], "{lifetime}");
    }
    let told = check_restart(Some(u64::MAX))[0].to_string();
    assert!(told.contains(&u64::MAX.to_string()) && told.contains("0 to 86400000"), "{told}");
}

#[test]
fn a_backend_has_a_portal_that_answers() {
    let storage =
        |portals, lost| places(|s| (s.storage.portals, s.storage.lost_portals) = (portals, lost));
    assert_eq!(storage(1, 0), [""; 0]);
    assert_eq!(storage(8, 7), [""; 0]);
    assert_eq!(storage(0, 0), ["storage.portals"]);
    assert_eq!(storage(9, 0), ["storage.portals"]);
    assert_eq!(storage(2, 2), ["storage.lost_portals"]);
    assert_eq!(storage(2, 255), ["storage.lost_portals"]);
}

#[test]
fn microversions_are_those_that_nova_has() {
    assert_eq!(places(|s| s.actors[0].microversion = Some(1)), [""; 0]);
    assert_eq!(places(|s| s.actors[0].microversion = Some(103)), [""; 0]);
    assert_eq!(places(|s| s.actors[0].microversion = Some(0)), ["actor[0].microversion"]);
    assert_eq!(places(|s| s.actors[0].microversion = Some(104)), ["actor[0].microversion"]);
}

#[test]
fn servers_are_named_in_kebab_case() {
    assert_eq!(places(|s| s.volumes[0].server = Some("s2".into())), [""; 0]);
    assert_eq!(places(|s| s.volumes[0].server = Some("S 2".into())), ["volume[0].server"]);
}

#[test]
fn a_plan_is_checked_as_the_faults_of_a_scenario_are() {
    let places = |faults: &[Fault]| -> Vec<String> {
        let plan = Plan { faults: faults.to_vec() };
        check_plan(&plan, POLICIES).iter().map(|p| p.place.to_string()).collect()
    };
    assert_eq!(places(&[]), ["faults"]);
    let good = fault("cinder::Detach", FaultKind::ReplyLost);
    assert_eq!(places(std::slice::from_ref(&good)), [""; 0]);
    assert_eq!(places(&[good.clone(), good.clone()]), ["faults[1].at"]);
    let unknown = fault("cinder::Nothing", FaultKind::ReplyLost);
    assert_eq!(places(&[good.clone(), unknown.clone()]), ["faults[1].at.operation"]);
    let status = fault("cinder::Detach", FaultKind::HttpError { status: 399 });
    assert_eq!(places(&[status]), ["faults[0].strike.status"]);
    let mut zeroth = good;
    zeroth.at.nth = 0;
    zeroth.policies = vec!["queens".into()];
    assert_eq!(places(&[zeroth]), ["faults[0].at.nth", "faults[0].policies[0]"]);
    assert_eq!(check_fault(&unknown, POLICIES)[0].place.to_string(), "at.operation");
}
