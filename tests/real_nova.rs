//! What a real Nova 33 with os-brick 7 did on a real host, against policy `2026.1` in the simulation:
//! the same detaching calls to libvirt and the same commands, in the same order, with one path to the
//! volume and with two; and the steps of both detaches in the order that was measured.
//!
//! What the recordings are, and what is left out of them, says `castoff::conform::recorded`. On the
//! real binding the same is compared in the lab: `castoff conform --lab detach/healthy/one-path
//! detach/healthy/two-paths guest/unplug/never-answers`.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::Command;

use castoff::conform::recorded::{
    NEVER_ANSWERED, Recording, issued_commands, recorded_commands, recorded_libvirt,
    recorded_requests, seconds_of,
};
use serde_json::Value;

/// Every event of a run under 2026.1.
fn events(scenario: &str) -> Vec<Value> {
    let out = Command::new(env!("CARGO_BIN_EXE_castoff"))
        .args(["replay", "--scenario", scenario, "--policy", "2026.1", "--trace", "jsonl"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).collect()
}

fn calls(scenario: &str) -> Vec<(String, String)> {
    events(scenario)
        .iter()
        .filter(|e| e["event"] == "call" && e["who"] == "nova-compute")
        .map(|e| (e["to"].as_str().unwrap().to_owned(), e["text"].as_str().unwrap().to_owned()))
        .collect()
}

fn our_libvirt(calls: &[(String, String)]) -> Vec<String> {
    let ours = calls.iter().filter(|(to, text)| to == "libvirt" && text.starts_with("vir"));
    ours.map(|(_, text)| {
        let mut words = text.split(' ');
        let name = words.next().unwrap();
        match (name, words.next_back()) {
            ("virDomainGetXMLDesc", Some("INACTIVE")) => format!("{name} INACTIVE-XML"),
            ("virDomainGetXMLDesc", _) => format!("{name} LIVE-XML"),
            ("virDomainDetachDeviceFlags", Some(flags)) => format!("{name} {flags}"),
            _ => name.to_owned(),
        }
    })
    .collect()
}

fn our_commands(calls: Vec<(String, String)>) -> Vec<String> {
    issued_commands(calls.into_iter().map(|(_, text)| text.trim_end_matches(" <<< 1").to_owned()))
}

#[test]
fn a_healthy_detach_makes_the_same_libvirt_calls_in_the_same_order() {
    let recorded = recorded_libvirt(Recording::OnePath.libvirt_log());
    assert_eq!(recorded.len(), 13, "{recorded:#?}");
    assert_eq!(our_libvirt(&calls("healthy")), recorded);
}

#[test]
fn a_detach_with_two_paths_makes_the_same_libvirt_calls_in_the_same_order() {
    let recorded = recorded_libvirt(Recording::TwoPaths.libvirt_log());
    assert_eq!(recorded.len(), 13, "{recorded:#?}");
    assert_eq!(our_libvirt(&calls("healthy-multipath")), recorded);
}

#[test]
fn a_healthy_detach_runs_the_same_commands_in_the_same_order() {
    let recorded = recorded_commands(Recording::OnePath.command_log());
    assert_eq!(recorded.len(), 9, "{recorded:#?}");
    assert_eq!(our_commands(calls("healthy")), recorded);
}

#[test]
fn a_detach_with_two_paths_runs_the_same_commands_in_the_same_order() {
    let recorded = recorded_commands(Recording::TwoPaths.command_log());
    assert_eq!(recorded.len(), 12, "{recorded:#?}");
    assert_eq!(our_commands(calls("healthy-multipath")), recorded);
}

/// What in our trace is a step that was measured; none is another's.
fn is_step(step: &str, event: &Value) -> Option<bool> {
    let is = |kind: &str, operation: &str, text: &str| {
        event["event"] == kind
            && event["operation"].as_str().is_none_or(|o| o == operation)
            && event["text"].as_str().is_some_and(|t| t.contains(text))
    };
    Some(match step {
        "delete202" => is("reply", "nova::DeleteVolumeAttachment", "202"),
        "cast received, lock" => is("call", "runtime::Lock", "(InProcess)"),
        "persistent detach" => is("call", "libvirt::DetachDeviceFlags", "CONFIG"),
        "live detach sent" => is("call", "libvirt::DetachDeviceFlags", "LIVE"),
        "event" => is("state", "", "DEVICE_REMOVED"),
        "sync detach returned" => is("call", "libvirt::WaitForEvent", ""),
        "brick start" => is("call", "runtime::Lock", "os-brick-connect_volume"),
        "discoverydb+session done" => is("reply", "iscsi::Sessions", ""),
        "flush" => is("reply", "host::FlushBufs", ""),
        "scsi delete" => is("call", "host::DeleteDevice", ""),
        "scsi gone" => is("call", "host::UnlinkByIdLinks", ""),
        "startup=manual done" => is("reply", "iscsi::NodeUpdate", ""),
        "logout done" => is("reply", "iscsi::Logout", ""),
        "node delete done" => is("reply", "iscsi::NodeDelete", ""),
        "brick end" => is("call", "runtime::Unlock", "os-brick-connect_volume"),
        "vol_available" => is("state", "", "status detaching -> available"),
        "bdm_gone" => is("reply", "novadb::BdmDestroy", ""),
        "lock released (attachment_delete + BDM destroy done)" => {
            is("call", "runtime::Unlock", "") && !is("call", "runtime::Unlock", "os-brick")
        }
        // Lines of nova's and os-brick's logs, and what the recorder asked for before and after.
        "detaching" | "guest unplug done" | "disconnect" | "post" | "attach_inuse" => return None,
        other => panic!("the recordings have a step that this test does not know: {other}"),
    })
}

fn steps_come_in_the_measured_order(measured: &str, scenario: &str) {
    let mut wanted: Vec<(f64, &str)> = Vec::new();
    let mut absent = Vec::new();
    for line in measured.lines() {
        let (step, rest) = line.split_once(" median ").unwrap();
        let step = step.trim_end();
        match rest.split_whitespace().next().unwrap() {
            "None" => absent.push(step),
            seconds => wanted.push((seconds.parse().unwrap(), step)),
        }
    }
    wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let events = events(scenario);
    let position = |step| events.iter().position(|e| is_step(step, e) == Some(true));
    let steps = wanted.iter().map(|(_, step)| *step);
    let recorded: Vec<&str> = steps.filter(|s| is_step(s, &Value::Null).is_some()).collect();
    let mut ours = recorded.clone();
    ours.sort_by_key(|s| position(s).unwrap_or_else(|| panic!("{scenario} has no step {s}")));
    assert_eq!(ours, recorded, "{scenario}");
    for step in absent {
        assert_eq!(position(step), None, "{scenario} has step {step}");
    }
}

#[test]
fn the_steps_of_a_detach_come_in_the_measured_order() {
    for measured in [
        include_str!("golden/real-nova/healthy-steps-this-trace.txt"),
        include_str!("golden/real-nova/steps-one-path.txt"),
    ] {
        steps_come_in_the_measured_order(measured, "healthy");
    }
    let two = include_str!("golden/real-nova/steps-two-paths.txt");
    steps_come_in_the_measured_order(two, "healthy-multipath");
}

#[test]
fn a_guest_that_never_lets_go_is_asked_as_often_and_as_seldom() {
    let events = events("guest-never-lets-go");
    // The retry of the user comes after the guest has let go: it finds no disk to ask for.
    let given_up = events.iter().position(|e| e["operation"] == "cinder::RollDetaching").unwrap();
    let (mut ours, mut look) = (Vec::new(), "");
    for event in events[..given_up].iter().filter(|e| e["event"] == "call") {
        let text = event["text"].as_str().unwrap();
        match text {
            "virDomainGetXMLDesc INACTIVE" => look = "INACTIVE-XML",
            "virDomainGetXMLDesc" => look = "LIVE-XML",
            _ if text.starts_with("virDomainDetachDeviceFlags ") => {
                let at = event["at"].as_f64().unwrap() / 1e6;
                ours.push((at, format!("{look} {}", text.rsplit(' ').next().unwrap())));
            }
            _ => {}
        }
    }
    let whats = |requests: &[(f64, String)]| -> Vec<String> {
        requests.iter().map(|(_, what)| what.clone()).collect()
    };
    // 5 s until libvirt's call comes back and 20 s for the event: the pause in whole seconds.
    let pauses = |requests: &[(f64, String)]| -> Vec<f64> {
        requests.windows(2).map(|two| (two[1].0 - two[0].0).round()).collect()
    };
    // The recording has two detaches side by side.
    for alias in NEVER_ANSWERED {
        let recorded = recorded_requests(Recording::NeverAnswers.libvirt_log(), alias);
        assert_eq!(recorded.len(), 9, "{recorded:?}");
        assert_eq!(whats(&ours), whats(&recorded));
        assert_eq!(pauses(&ours), pauses(&recorded));
    }
}

#[test]
fn nothing_is_done_to_the_host_while_a_guest_holds_its_disk() {
    let log = Recording::NeverAnswers.command_log();
    let lines = Recording::NeverAnswers.libvirt_log().lines();
    let asked = lines.filter(|l| l.contains(" virDomainDetachDeviceFlags:"));
    let last = asked.filter_map(seconds_of).next_back().unwrap();
    // 25 s after the last request nova gives up; the log's commands are later ones of others.
    assert!(log.lines().filter_map(seconds_of).all(|at| at > last + 25.0), "{log}");

    let calls = calls("guest-never-lets-go");
    let given_up = calls.iter().position(|(_, text)| text.contains("os-roll_detaching")).unwrap();
    assert_eq!(our_commands(calls[..given_up].to_vec()), Vec::<String>::new());
}
