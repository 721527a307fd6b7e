//! What a real Nova 33 with os-brick 7 did on a real host, against policy `2026.1`: the same
//! detaching calls to libvirt and the same commands, in the same order, with one path to the
//! volume and with two; and the steps of both detaches in the order that was measured.
//!
//! The recordings (`tests/golden/real-nova`) are libvirtd's own log of API calls, a log of every
//! command, and when each step was seen. Left out as noise of other threads or of libvirt's
//! client: version and reference calls, the lookup that LookupByUUIDString makes itself, the
//! domain's id, device events' own calls. Left out as udev's doing, not os-brick's: [`UDEV`].
//!
//! One order is not os-brick's to keep: it deletes the disks of a map as it walks a Python set of
//! their names, which has no order. The model takes the portals' order, one of those. The disks
//! are therefore named here by the order in which they go.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

/// Commands of udev's rules and of device-mapper's own, which run when a disk or a map changes.
const UDEV: [&str; 4] =
    ["multipath -u ", "multipath -U ", "dmsetup deps ", "dmsetup udevcomplete "];

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

/// `name flags` of the recorded libvirt calls that a detach is made of.
fn recorded_libvirt(log: &str) -> Vec<String> {
    let kept = [
        "virDomainLookupByUUIDString",
        "virDomainGetInfo",
        "virDomainIsPersistent",
        "virDomainGetXMLDesc",
        "virDomainDetachDeviceFlags",
        "virSecretLookupByUsage",
    ];
    let mut calls: Vec<String> = Vec::new();
    for line in log.lines() {
        if let Some(name) = kept.iter().find(|k| line.contains(&format!(" {k}:"))) {
            calls.push((*name).to_owned());
        }
        // The flags of a call with XML stand on a line of their own, after it.
        if let Some((_, flags)) = line.split_once("flags=")
            && let Some(last) = calls.last_mut()
            && !last.contains(' ')
            && (last.ends_with("XMLDesc") || last.ends_with("DetachDeviceFlags"))
        {
            last.push_str(match flags {
                "0x0" => " LIVE-XML",
                "0x1" => " LIVE",
                "0x2" if last.ends_with("XMLDesc") => " INACTIVE-XML",
                "0x2" => " CONFIG",
                other => panic!("flags {other} are not part of a detach"),
            });
        }
    }
    calls
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

/// The commands without what differs between hosts: targets, portals, disks and maps are named by
/// the order in which they come.
fn shapes(commands: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let mut name = |kind: &str, word: &str| {
        let word = format!("{kind} {word}");
        if !seen.contains(&word) {
            seen.push(word.clone());
        }
        let same = seen.iter().filter(|s| s.split(' ').next() == Some(kind));
        format!("{kind}{}", same.take_while(|s| **s != word).count() + 1)
    };
    let mut shape = |word: &str| {
        let disk = word.strip_prefix("/sys/block/").and_then(|w| w.strip_suffix("/device/delete"));
        match (word, disk, word.strip_prefix("/dev/")) {
            (_, Some(disk), _) => format!("/sys/block/{}/device/delete", name("disk", disk)),
            (_, None, Some(disk)) => format!("/dev/{}", name("disk", disk)),
            (w, None, None) if w.starts_with("iqn.") => name("target", w),
            (w, None, None) if w.contains(":326") => name("portal", w),
            (w, None, None) if w.starts_with("mpath") => name("map", w),
            (w, None, None) => w.to_owned(),
        }
    };
    let commands = commands.into_iter();
    commands.map(|c| c.split(' ').map(&mut shape).collect::<Vec<_>>().join(" ")).collect()
}

fn recorded_commands(log: &str) -> Vec<String> {
    let started = log.lines().filter_map(|l| l.split_once(" START "));
    let commands = started.map(|(_, command)| command.to_owned());
    shapes(commands.filter(|c| !UDEV.iter().any(|udev| c.starts_with(udev))))
}

fn our_commands(calls: Vec<(String, String)>) -> Vec<String> {
    let commands = ["iscsiadm ", "multipath ", "multipathd ", "blockdev ", "tee ", "dmsetup "];
    let texts = calls.into_iter().map(|(_, text)| text.trim_end_matches(" <<< 1").to_owned());
    shapes(texts.filter(|text| commands.iter().any(|c| text.starts_with(c))))
}

#[test]
fn a_healthy_detach_makes_the_same_libvirt_calls_in_the_same_order() {
    let recorded = recorded_libvirt(include_str!("golden/real-nova/healthy-libvirt-api.log"));
    assert_eq!(recorded.len(), 13, "{recorded:#?}");
    assert_eq!(our_libvirt(&calls("healthy")), recorded);
}

#[test]
fn a_detach_with_two_paths_makes_the_same_libvirt_calls_in_the_same_order() {
    let log = include_str!("golden/real-nova/healthy-multipath-libvirt-api.log");
    let recorded = recorded_libvirt(log);
    assert_eq!(recorded.len(), 13, "{recorded:#?}");
    assert_eq!(our_libvirt(&calls("healthy-multipath")), recorded);
}

#[test]
fn a_healthy_detach_runs_the_same_commands_in_the_same_order() {
    let recorded = recorded_commands(include_str!("golden/real-nova/healthy-exec.log"));
    assert_eq!(recorded.len(), 9, "{recorded:#?}");
    assert_eq!(our_commands(calls("healthy")), recorded);
}

#[test]
fn a_detach_with_two_paths_runs_the_same_commands_in_the_same_order() {
    let recorded = recorded_commands(include_str!("golden/real-nova/healthy-multipath-exec.log"));
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

const NEVER_ACK: &str = include_str!("golden/real-nova/never-ack-libvirt-api.log");

/// Seconds of the day of a line that has a time.
fn seconds_of(line: &str) -> Option<f64> {
    let is_time = |w: &&str| w.get(2..3) == Some(":") && w.get(5..6) == Some(":");
    let time = line.split_whitespace().find(is_time)?;
    let mut parts = time.get(..12)?.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
}

/// Every request to let go of a disk: when, and after which look at the XML.
fn recorded_requests(alias: &str) -> Vec<(f64, String)> {
    let (mut requests, mut look, mut at) = (Vec::new(), "", 0.0);
    let mut ours = false;
    for line in NEVER_ACK.lines() {
        if line.contains(" virDomainGetXMLDesc:") {
            look = if line.ends_with("flags=0x2") { "INACTIVE-XML" } else { "LIVE-XML" };
        }
        if line.contains(" virDomainDetachDeviceFlags:") {
            (at, ours) = (seconds_of(line).unwrap(), false);
        }
        ours |= line.contains(alias);
        match line.strip_prefix(", flags=") {
            Some("0x2") if ours => requests.push((at, format!("{look} CONFIG"))),
            Some("0x1") if ours => requests.push((at, format!("{look} LIVE"))),
            _ => {}
        }
    }
    requests
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
    let aliases =
        ["ua-751dc159-7641-4aca-b6fb-cb50098d0234", "ua-594ce482-ddc3-42f2-831f-7c3a58c8c128"];
    // The recording has two detaches side by side.
    for alias in aliases {
        let recorded = recorded_requests(alias);
        assert_eq!(recorded.len(), 9, "{recorded:?}");
        assert_eq!(whats(&ours), whats(&recorded));
        assert_eq!(pauses(&ours), pauses(&recorded));
    }
}

#[test]
fn nothing_is_done_to_the_host_while_a_guest_holds_its_disk() {
    let log = include_str!("golden/real-nova/never-ack-exec.log");
    let asked = NEVER_ACK.lines().filter(|l| l.contains(" virDomainDetachDeviceFlags:"));
    let last = asked.filter_map(seconds_of).next_back().unwrap();
    // 25 s after the last request nova gives up; the log's commands are later ones of others.
    assert!(log.lines().filter_map(seconds_of).all(|at| at > last + 25.0), "{log}");

    let calls = calls("guest-never-lets-go");
    let given_up = calls.iter().position(|(_, text)| text.contains("os-roll_detaching")).unwrap();
    assert_eq!(our_commands(calls[..given_up].to_vec()), Vec::<String>::new());
}
