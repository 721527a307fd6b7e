//! `castoff calibrate`: what a host took becomes what the models take.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use castoff_sim::latency::profile::Profile;
use serde_json::{Value, json};

fn castoff(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_castoff")).args(args).env("NO_COLOR", "1").output().unwrap()
}

/// The results of a run on a host whose every flush took so long.
fn records(path: &Path, flush_us: u64) {
    let head = json!({
        "castoff-conform": 1, "run": "a1b2", "castoff": "0.1.0", "policy": "2026.1",
        "started": "2026-11-23T08:00:00Z", "host": {"name": "compute"}, "selected": [],
    });
    let case = json!({
        "id": "detach/healthy/one-path", "title": "a disk is detached", "grade": "pass", "took_ms": 3000,
        "steps": [
            {"operation": "host::FlushBufs", "from_us": 100, "took_us": flush_us},
            {"operation": "iscsi::Logout", "from_us": 900_000, "took_us": 250_000},
        ],
    });
    fs::write(path, format!("{head}\n{case}\n")).unwrap();
}

#[test]
fn a_written_profile_is_a_releases_timing() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two, profile] = ["1.jsonl", "2.jsonl", "host.toml"].map(|n| dir.path().join(n));
    records(&one, 700_000);
    records(&two, 700_000);
    let [one, two, profile] = [&one, &two, &profile].map(|p| p.to_str().unwrap());
    let out = castoff(&["calibrate", one, two, "--out", profile]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));

    let read = Profile::parse(&fs::read_to_string(profile).unwrap()).unwrap();
    assert_eq!((read.host.as_str(), read.detaches), ("host compute", 2));
    let flush = read.range("host::FlushBufs").unwrap();
    assert_eq!((flush.n, flush.min_us, flush.p90_us), (2, 700_000, 700_000));

    let release = format!("2026.1+timing={profile}");
    let replay = ["replay", "--scenario", "healthy", "--policy", "2026.1", "--release", &release];
    let out = castoff(&[&replay[..], &["--seed", "1", "--trace", "jsonl"]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let flushes: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .filter(|e: &Value| e["operation"] == "host::FlushBufs")
        .collect();
    let at = |event: &str| {
        let found = flushes.iter().find(|e| e["event"] == event);
        found.unwrap()["at"].as_u64().unwrap()
    };
    // Half on the way there, half on the way back.
    assert_eq!(at("reply") - at("call"), 700_000);
}

#[test]
fn a_timing_that_is_none_is_refused_with_those_that_are() {
    for (timing, says) in [
        ("moon", "one of: lab"),
        ("/no/such.toml", "No such file"),
        ("Cargo.toml", "unknown field"),
    ] {
        let release = format!("2026.1+timing={timing}");
        let out = castoff(&["run", "healthy", "--policy", "2026.1", "--release", &release]);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{stderr}");
        // It is wrapped to the width of a terminal.
        let stderr = stderr.replace('│', "").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(stderr.contains(says) && stderr.contains("castoff calibrate"), "{stderr}");
    }
}
