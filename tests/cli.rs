//! The command line: what it prints, what it exits with, how it refuses.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "support/campaign.rs"]
mod support;

use std::process::{Command, Output};

fn castoff(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_castoff")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn refused(args: &[&str], code: i32, words: &[&str]) {
    let out = castoff(args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args:?} does not say {word:?}:\n{stderr}");
    }
    assert!(!stderr.contains("backtrace") && !stderr.contains("panicked"), "{stderr}");
    assert!(out.stdout.is_empty(), "an error belongs on stderr");
}

#[test]
fn an_unknown_scenario_is_refused_with_the_nearest_name() {
    refused(&["run", "helthy"], 2, &["helthy", "healthy"]);
}

#[test]
fn an_unknown_policy_is_refused_with_the_names_that_exist() {
    refused(&["run", "healthy", "--policy", "kilo"], 2, &["kilo", "pike", "2026.1", "hardened"]);
}

#[test]
fn a_seed_range_without_a_seed_is_refused() {
    refused(&["run", "--seeds", "5..5"], 2, &["5..5", "no seed"]);
    refused(&["run", "--seeds", "x"], 2, &["0..100"]);
}

#[test]
fn a_policy_with_a_release_that_cannot_work_is_refused_with_the_reason() {
    refused(&["run", "healthy", "--policy", "pike", "--release", "2026.1"], 2, &["service token"]);
}

#[test]
fn a_broken_scenario_file_is_refused_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.toml");
    std::fs::write(&path, "name = \"broken\"\ntitle = 3\n").unwrap();
    refused(&["run", path.to_str().unwrap()], 2, &["broken.toml", "string"]);
}

#[test]
fn a_missing_identity_file_is_refused() {
    refused(&["replay", "/nonexistent.json"], 2, &["/nonexistent.json"]);
}

#[cfg(not(feature = "real"))]
#[test]
fn conform_without_the_feature_says_what_to_install_and_exits_5() {
    refused(&["conform", "--lab"], 5, &["libvirt-dev", "--features real"]);
}

#[test]
fn conform_lists_its_cases_without_real_bindings() {
    let out = castoff(&["conform", "--list", "--format", "json"]);
    assert!(out.status.success());
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let ids: Vec<&str> = json.as_array().unwrap().iter().filter_map(|c| c["id"].as_str()).collect();
    assert!(ids.len() >= 30, "{ids:?}");
    let out = castoff(&["conform", "--list", "guest/unplug/*", "detach/healthy/pc"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && text.lines().count() > 1, "{text}");
    assert!(
        text.lines().skip(1).all(|l| l.starts_with("guest/unplug/") || l.contains(" pc ")),
        "{text}"
    );
}

#[test]
fn conform_says_what_it_would_do_and_refuses_a_case_that_is_none() {
    let out = castoff(&["conform", "--dry-run", "--lab", "host/device/dirty-pages"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("Dirty(1) Before call 1 of host::FlushBufs"), "{text}");
    refused(&["conform", "--list", "host/nothing"], 2, &["host/nothing", "--list"]);
}

#[test]
fn lists_are_json_arrays_of_objects_with_a_name() {
    for what in ["scenarios", "policies", "releases", "properties", "operations"] {
        let out = castoff(&["list", what, "--format", "json"]);
        assert!(out.status.success());
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let rows = json.as_array().unwrap();
        assert!(!rows.is_empty(), "{what}");
        assert!(rows.iter().all(|r| r["name"].is_string()), "{what}");
    }
}

#[test]
fn run_prints_rows_as_json_with_the_documented_keys() {
    let out =
        castoff(&["run", "healthy", "--seeds", "0..5", "--binding", "all", "--format", "json"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "three policies on two bindings");
    for row in rows {
        for key in ["scenario", "binding", "policy", "runs", "violations", "runs_per_second"] {
            assert!(!row[key].is_null(), "{key} is missing in {row}");
        }
        assert_eq!(row["runs"], 5);
    }
}

#[test]
fn an_unexpected_violation_exits_1_and_is_written_out_so_that_it_can_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let path = support::wrong(dir.path());
    let out_dir = dir.path().join("out");
    let out = castoff(&[
        "run",
        &path,
        "--policy",
        "pike",
        "--binding",
        "direct",
        "--seeds",
        "0..3",
        "--out",
        out_dir.to_str().unwrap(),
    ]);
    let stdout = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("castoff replay --scenario"), "{stdout}");
    let identity = out_dir.join("wrong-pike-direct-0.json");
    let trace = std::fs::read_to_string(out_dir.join("wrong-pike-direct-0.trace")).unwrap();
    assert!(trace.contains("S08"), "{trace}");
    let again = castoff(&["replay", identity.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(String::from_utf8(again.stdout).unwrap(), trace, "a replay is the same run");
    assert!(out_dir.join("rows.json").exists());
}

#[test]
fn a_planned_fault_that_never_strikes_is_no_pass() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("idle.toml");
    std::fs::write(
        &path,
        r#"
name = "idle"
title = "a fault at a call that is never made"
[[volume]]
name = "v1"
[[actor]]
action = "detach"
volume = "v1"
[[fault]]
at = { process = "nova-api", operation = "cinder::BeginDetaching", nth = 5 }
strike = { kind = "reply-lost" }
[expect.pike]
end = "detached"
after_retry = "detached"
"#,
    )
    .unwrap();
    for binding in ["direct", "network"] {
        let out = castoff(&[
            "run",
            path.to_str().unwrap(),
            "--policy",
            "pike",
            "--binding",
            binding,
            "--seeds",
            "0..2",
        ]);
        let stdout = String::from_utf8(out.stdout).unwrap();
        assert_eq!(out.status.code(), Some(3), "{stdout}");
        assert!(stdout.contains("a planned fault never struck"), "{stdout}");
    }
}

#[test]
fn absurd_numbers_are_refused_or_survived() {
    refused(&["run", "--seeds", "0..1000000000000"], 2, &["too many"]);
    let out = castoff(&[
        "run",
        "healthy",
        "--binding",
        "direct",
        "--seeds",
        "18446744073709551614..18446744073709551615",
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_plan_that_cannot_be_meant_is_refused_with_what_was_found_and_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.json");
    let replay =
        ["replay", "--scenario", "healthy", "--policy", "pike", "--plan", path.to_str().unwrap()];
    let fault = |at: &str, strike: &str| {
        format!(
            r#"{{"faults": [{{"at": {{"process": "nova-api", {at}}}, "strike": {{{strike}}}}}]}}"#
        )
    };
    let (begin, lost) = (r#""operation": "cinder::BeginDetaching""#, r#""kind": "reply-lost""#);
    for (plan, told) in [
        ("{}".to_owned(), "no fault"),
        (fault(r#""operation": "cinder::BeginDetach""#, lost), "cinder::BeginDetaching"),
        (fault(&format!(r#"{begin}, "nth": 0"#), lost), "counted from 1"),
        (fault(begin, r#""kind": "http-error", "status": 200"#), "400 to 599"),
        (fault(begin, r#""kind": "delay", "ms": 18446744073709551615"#), "0 to 86400000"),
        (fault(&format!(r#"{begin}, "times": 2"#), lost), "times"),
    ] {
        std::fs::write(&path, &plan).unwrap();
        refused(&replay, 2, &[told]);
    }
}

#[test]
fn a_replay_of_nothing_names_both_ways_to_say_what() {
    refused(&["replay"], 2, &["FILE", "--scenario"]);
}
