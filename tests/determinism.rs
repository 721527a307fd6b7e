//! One identity, one trace: in any process, with any number of jobs.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::Command;

fn castoff(args: &[&str]) -> Vec<u8> {
    Command::new(env!("CARGO_BIN_EXE_castoff")).args(args).output().unwrap().stdout
}

fn replay(scenario: &str, policy: &str, binding: &str) -> Vec<u8> {
    castoff(&[
        "replay",
        "--scenario",
        scenario,
        "--policy",
        policy,
        "--binding",
        binding,
        "--seed",
        "7",
        "--trace",
        "jsonl",
    ])
}

#[test]
fn two_processes_write_the_same_trace_of_any_scenario_on_either_binding() {
    for scenario in castoff_scenarios::all() {
        for binding in ["direct", "network"] {
            for policy in ["pike", "2026.1", "hardened"] {
                let first = replay(&scenario.name, policy, binding);
                let lines = first.iter().filter(|b| **b == b'\n').count();
                // A DELETE that is refused at the door is short.
                assert!(lines > 20, "{} is too short a trace: {lines} lines", scenario.name);
                assert!(
                    first == replay(&scenario.name, policy, binding),
                    "{} under {policy} on {binding} differs between two processes",
                    scenario.name
                );
            }
        }
    }
}

#[test]
fn another_seed_is_another_trace() {
    let other = castoff(&[
        "replay",
        "--scenario",
        "healthy",
        "--policy",
        "pike",
        "--seed",
        "8",
        "--trace",
        "jsonl",
    ]);
    assert!(replay("healthy", "pike", "direct") != other);
}

#[test]
fn the_rows_of_a_campaign_do_not_depend_on_the_number_of_jobs() {
    let rows = |jobs: &str| {
        let out = castoff(&[
            "run",
            "two-detaches-race",
            "cinder-times-out",
            "--seeds",
            "0..600",
            "--binding",
            "direct",
            "--jobs",
            jobs,
            "--format",
            "json",
        ]);
        let mut json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        for row in json["rows"].as_array_mut().unwrap() {
            let row = row.as_object_mut().unwrap();
            assert!(row.remove("wall_seconds").is_some());
            assert!(row.remove("runs_per_second").is_some());
        }
        json
    };
    let one = rows("1");
    assert_eq!(one["rows"].as_array().map(Vec::len), Some(6));
    assert_eq!(one, rows("2"));
    assert_eq!(one, rows("5"));
}

#[test]
fn scenario_files_may_name_just_the_policies_of_the_pipeline() {
    let policies = castoff_pipeline::policy::Policy::all();
    let names: Vec<&str> = policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(castoff_scenarios::check::POLICIES, names);
}
