//! The model refines itself, over seeds and names; every kind of difference is found where it is.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

use super::*;

fn traced(scenario: &str, seed: u64) -> Vec<Event> {
    let policy = Policy::named("2026.1").unwrap();
    let release = Release::named("2026.1").unwrap();
    let scenario = with_attach(&castoff_scenarios::resolve(scenario).unwrap());
    let prepared = Prepared::new(&Arc::new(scenario), &policy, &release).unwrap();
    let report = run::run(&prepared, BindingKind::Direct, seed, None, true);
    detach_of(&report.events, DETACH)
}

fn model(scenario: &str) -> Model {
    let policy = Policy::named("2026.1").unwrap();
    let release = Release::named("2026.1").unwrap();
    Model::of(&castoff_scenarios::resolve(scenario).unwrap(), &policy, &release).unwrap()
}

fn made(two_paths: bool, timing: Option<&str>) -> Made<'_> {
    Made { two_paths, machine: None, timing }
}

/// The host's trace: the model's with other names and at other times.
fn elsewhere(mut events: Vec<Event>) -> Vec<Event> {
    let renamed = |text: &mut String| {
        for (from, to) in [
            ("30d72547-9316-4c2a-84c9-6ebc30912e01", "ca570ff0-0000-4000-8000-000000000001"),
            ("10.0.0.1", "192.168.7.9"),
            ("sdb", "sdq"),
            ("session1", "session44"),
            ("compute-1", "rack-7"),
        ] {
            *text = text.replace(from, to);
        }
    };
    for event in &mut events {
        match &mut event.what {
            What::Call { text, .. } | What::Reply { text, .. } => renamed(text),
            What::State { .. } | What::Note { .. } | What::Fault { .. } | What::Verdict { .. } => {}
        }
    }
    events
}

fn position(events: &[Event], wanted: &str, call: bool) -> usize {
    let is = |e: &Event| match &e.what {
        What::Call { operation, .. } => call && *operation == wanted,
        What::Reply { operation, .. } => !call && *operation == wanted,
        What::State { .. } | What::Note { .. } | What::Fault { .. } | What::Verdict { .. } => false,
    };
    events.iter().position(is).unwrap()
}

#[test]
fn other_names_and_another_seed_make_no_difference() {
    for scenario in ["healthy", "healthy-multipath"] {
        let real = elsewhere(traced(scenario, 7));
        let refinement = model(scenario).refine(&real);
        assert_eq!(refinement.differences, [], "{scenario}");
        assert!(refinement.compared > 40, "{}", refinement.compared);
    }
}

#[test]
fn a_call_that_one_side_lacks_is_one_difference() {
    let model = traced("healthy", 0);
    let mut real = elsewhere(model.clone());
    let at = position(&real, "host::FlushBufs", true);
    real.drain(at..=position(&real, "host::FlushBufs", false));
    let lacks = refine(&real, &model);
    assert_eq!(lacks.differences.len(), 1, "{:#?}", lacks.differences);
    assert!(lacks.differences[0].at.ends_with("host::FlushBufs"));
    assert_eq!(lacks.differences[0].real, "");
    assert_eq!(lacks.differences[0].model, "blockdev --flushbufs /dev/<disk1>: exit 0");
    let more = refine(&model, &real);
    assert_eq!((more.differences.len(), more.differences[0].model.as_str()), (1, ""));
}

#[test]
fn another_order_is_a_difference() {
    let model = traced("healthy", 0);
    let mut real = model.clone();
    let logout = position(&real, "iscsi::Logout", true);
    let update = position(&real, "iscsi::NodeUpdate", true);
    real.swap(logout, update);
    real.swap(logout + 1, update + 1);
    assert_eq!(refine(&real, &model).unexplained().count(), 2);
}

#[test]
fn another_outcome_is_a_difference_and_a_known_one_has_its_reason() {
    let model = traced("healthy", 0);
    let mut real = model.clone();
    for (operation, told) in [
        ("iscsi::Logout", "exit 10: iscsiadm: Could not logout"),
        ("host::MultipathdShowStatus", "exit 127: multipathd: not found"),
    ] {
        let at = position(&real, operation, false);
        let What::Reply { text, .. } = &mut real[at].what else { unreachable!() };
        *text = told.to_owned();
    }
    let refinement = refine(&real, &model);
    assert_eq!(refinement.differences.len(), 2, "{:#?}", refinement.differences);
    let unexplained: Vec<&str> = refinement.unexplained().map(|d| d.real.as_str()).collect();
    assert_eq!(unexplained, ["exit 10: iscsiadm: Could not logout"]);
}

#[test]
fn a_call_that_only_the_host_makes_has_its_reason_only_where_the_model_has_none() {
    let step = |operation, asked: &str, answered: &str| Step {
        operation,
        asked: asked.to_owned(),
        answered: answered.to_owned(),
        took: Duration::ZERO,
    };
    let link = "realpath /dev/disk/by-path/<link1>";
    let gone = step("host::RealPath", link, "/dev/disk/by-path/<link1>");
    let there = step("host::RealPath", link, "/dev/<disk1>");
    let pause = step("runtime::Sleep", "sleep 2 s", "slept");
    let late = compare(
        &[there.clone(), pause.clone(), gone.clone()],
        std::slice::from_ref(&gone),
        &Ranges::new(),
    );
    assert_eq!((late.differences.len(), late.unexplained().count()), (2, 0), "{late:#?}");
    let alone = compare(&[pause], &[], &Ranges::new());
    assert_eq!(alone.unexplained().count(), 1, "a pause that nothing follows: {alone:#?}");
    let other = compare(&[there], &[gone], &Ranges::new());
    assert_eq!(other.unexplained().count(), 1, "{other:#?}");
}

#[test]
fn a_refusal_is_no_answer_with_the_same_words() {
    let model = traced("healthy", 0);
    let mut real = model.clone();
    let at = position(&real, "iscsi::Logout", false);
    let What::Reply { ok, .. } = &mut real[at].what else { unreachable!() };
    *ok = false;
    assert!(refine(&real, &model).differences[0].real.starts_with("refused: exit 0"));
}

#[test]
fn an_answer_that_takes_far_longer_than_the_model_allows_is_a_difference() {
    let mut real = traced("healthy", 3);
    let at = position(&real, "iscsi::Logout", false);
    for event in real.iter_mut().filter(|e| e.who == "nova-compute") {
        event.at = SimTime(event.at.0 * 2);
    }
    assert_eq!(model("healthy").refine(&real).differences, [], "twice as slow is a slow machine");
    for event in &mut real[at..] {
        event.at = event.at + Duration::from_secs(9);
    }
    let late = model("healthy").refine(&real).differences;
    assert_eq!(late.len(), 1, "{late:#?}");
    assert!(late[0].at.ends_with("iscsi::Logout") && late[0].real.starts_with("9."), "{late:?}");
}

#[test]
fn what_the_user_asks_afterwards_is_no_part_of_a_detach() {
    let events = traced("healthy", 0);
    let asked = |e: &&Event| matches!(&e.what, What::Call { operation, .. } if operation.starts_with("nova::"));
    assert_eq!(events.iter().filter(asked).count(), 0);
    assert!(
        events.iter().any(|e| e.who == "nova-api")
            && events.iter().any(|e| e.who == "nova-compute")
    );
}

#[test]
fn a_healthy_case_is_refined_by_its_number_of_paths_and_the_host_s_times() {
    let policy = Policy::named("2026.1").unwrap();
    for (scenario, two) in [("healthy", false), ("healthy-multipath", true)] {
        let real = elsewhere(traced(scenario, 5));
        let refined = healthy(&real, DETACH, made(two, None), &policy).unwrap();
        assert_eq!(refined.differences, [], "{scenario}");
        let other = healthy(&real, DETACH, made(!two, None), &policy).unwrap();
        assert!(other.unexplained().count() > 3, "{scenario}");
    }
    let error = healthy(&[], DETACH, made(false, Some("moon")), &policy).err().unwrap().to_string();
    assert!(
        error.contains("no timing profile \"moon\"; give a file (*.toml), or one of: lab"),
        "{error}"
    );
}

/// A detach that castoff's pipeline made in the lab (libvirt 9.0, QEMU 7.2, open-iscsi 2.1.8, one
/// path, q35), as it was recorded.
#[test]
fn a_recorded_detach_in_the_lab_is_one_that_the_model_allows() {
    let real = recorded(include_str!("lab-one-path.jsonl"));
    let policy = Policy::named("2026.1").unwrap();
    let refined = healthy(&real, DETACH, made(false, Some("lab")), &policy).unwrap();
    assert_eq!(refined.differences, []);
    assert_eq!(refined.compared, 47);
}

/// Events as `to_jsonl` writes them; names of operations are the program's own again.
fn recorded(lines: &str) -> Vec<Event> {
    let known = |name: &str| castoff_ports::call::operation_names().find(|n| *n == name).unwrap();
    let system = |name: &str| known(name).split("::").next().unwrap();
    let event = |line: &str| {
        let e: serde_json::Value = serde_json::from_str(line).unwrap();
        let operation = known(e["operation"].as_str().unwrap());
        let text = e["text"].as_str().unwrap().to_owned();
        Event {
            at: SimTime(e["at"].as_u64().unwrap()),
            who: if e["who"] == "nova-api" { "nova-api" } else { "nova-compute" },
            request: Some(DETACH),
            what: match e["event"].as_str().unwrap() {
                "call" => What::Call { to: system(operation), operation, text },
                "reply" => {
                    let ok = e["ok"].as_bool().unwrap();
                    What::Reply { from: system(operation), operation, text, ok }
                }
                other => panic!("{other}"),
            },
        }
    };
    lines.lines().map(event).collect()
}
