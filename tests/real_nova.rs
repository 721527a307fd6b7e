//! What a real Nova 33 with os-brick 7 did on a real host, against policy `2026.1`: the same
//! detaching calls to libvirt and the same commands, in the same order.
//!
//! The recordings (`tests/golden/real-nova`) are libvirtd's own log of API calls and a log of
//! every command. Left out as noise of other threads or of libvirt's client: version and
//! reference calls, the lookup that LookupByUUIDString makes itself, the domain's id, device
//! events' own calls, and udev's `multipath -u`.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

fn calls(scenario: &str) -> Vec<(String, String)> {
    let out = Command::new(env!("CARGO_BIN_EXE_castoff"))
        .args(["replay", "--scenario", scenario, "--policy", "2026.1", "--trace", "jsonl"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let events = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    events
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

/// The command's words without what differs between hosts: target, portal, device.
fn shape(command: &str) -> String {
    let words = command.split(' ').map(|w| match w {
        w if w.starts_with("iqn.") => "IQN",
        w if w.contains(":326") => "PORTAL",
        w if w.starts_with("/dev/sd") => "/dev/sdX",
        w if w.starts_with("/sys/block/sd") => "/sys/block/sdX/device/delete",
        w => w,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_healthy_detach_makes_the_same_libvirt_calls_in_the_same_order() {
    let recorded = recorded_libvirt(include_str!("golden/real-nova/healthy-libvirt-api.log"));
    assert_eq!(recorded.len(), 13, "{recorded:#?}");
    assert_eq!(our_libvirt(&calls("healthy")), recorded);
}

#[test]
fn a_healthy_detach_runs_the_same_commands_in_the_same_order() {
    let log = include_str!("golden/real-nova/healthy-exec.log");
    let recorded: Vec<String> = log
        .lines()
        .filter_map(|l| l.split_once(" START ").map(|(_, command)| shape(command)))
        .filter(|c| !c.starts_with("multipath -u"))
        .collect();
    let commands = ["iscsiadm ", "multipathd ", "blockdev ", "tee "];
    let ours: Vec<String> = calls("healthy")
        .into_iter()
        .map(|(_, text)| text.trim_end_matches(" <<< 1").to_owned())
        .filter(|text| commands.iter().any(|c| text.starts_with(c)))
        .map(|text| shape(&text))
        .collect();
    assert_eq!(recorded.len(), 9, "{recorded:#?}");
    assert_eq!(ours, recorded);
}

#[test]
fn a_guest_that_never_lets_go_is_asked_eight_times_for_each_change_of_its_config() {
    // The recording has two detaches side by side.
    let log = include_str!("golden/real-nova/never-ack-libvirt-api.log");
    let count = |text: &str, flags: &str| {
        let mut open = false;
        text.lines()
            .filter(|l| {
                open |= l.contains("virDomainDetachDeviceFlags");
                let ends = open && l.starts_with(", flags=");
                open &= !ends;
                ends && l.ends_with(flags)
            })
            .count()
    };
    assert_eq!((count(log, "0x2"), count(log, "0x1")), (2, 16));
    let ours = our_libvirt(&calls("guest-never-lets-go"));
    // The retry of the user comes after the guest has let go: it finds no disk to ask for.
    let asked = |flags: &str| ours.iter().filter(|c| c.ends_with(flags)).count();
    assert_eq!((asked("Flags CONFIG"), asked("Flags LIVE")), (1, 8));
}
