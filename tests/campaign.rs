//! Campaigns as a CI owner runs them: shards, baselines, early ends, one clear error each.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "whole-program tests start castoff's own program; a helper that fails is a failed test"
)]

#[path = "support/campaign.rs"]
mod support;

use support::{Said, castoff, json, refused, settled, wrong};

fn swarm<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["run", "healthy", "cast-lost", "--swarm", "--policy", "pike"];
    args.extend(["--policy", "2026.1", "--binding", "direct", "--seeds", "3..600"]);
    args.extend(["--format", "json"]);
    args.extend(more);
    args
}

#[test]
fn results_do_not_depend_on_jobs_or_shards() {
    let one = castoff(&swarm(&["--jobs", "1"]));
    assert_eq!(one.code, Some(1), "pike and 2026.1 do not survive a swarm: {}", one.stderr);
    assert!(one.stdout.contains("\"cause\""), "there are findings");
    let three = castoff(&swarm(&["--jobs", "3"]));
    assert_eq!(settled(&one.stdout), settled(&three.stdout));

    let dir = tempfile::tempdir().unwrap();
    let parts: Vec<String> =
        (1..=3).map(|i| dir.path().join(format!("part{i}")).to_str().unwrap().to_owned()).collect();
    let mut runs = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let shard = format!("{}/3", i + 1);
        let out = castoff(&swarm(&["--shard", &shard, "--out", part, "--jobs", "2"]));
        let rows = json(&out);
        assert_eq!(rows["shard"], shard.as_str());
        let of = rows["rows"].as_array().unwrap().iter().map(|r| r["runs"].as_u64().unwrap());
        runs.push(of.sum::<u64>());
    }
    assert_eq!(runs.iter().sum::<u64>(), 4 * 597);
    assert!(runs.iter().filter(|n| **n > 0).count() > 1, "work was shared: {runs:?}");

    let of = |parts: &[&str]| -> Vec<String> {
        let mut args = vec!["merge".to_owned(), "--format".to_owned(), "json".to_owned()];
        args.extend(parts.iter().map(|p| (*p).to_owned()));
        args
    };
    let (first, second, third) = (parts[0].as_str(), parts[1].as_str(), parts[2].as_str());
    let merged = castoff(&of(&[third, first, second]));
    assert_eq!(merged.code, one.code, "{}", merged.stderr);
    assert_eq!(settled(&merged.stdout), settled(&one.stdout), "byte by byte");

    refused(&of(&[first, second]), 2, &["chunks are missing", "1/3, 2/3", "--partial"]);
    refused(&of(&[first, first]), 2, &["chunks that another folder has too"]);
    refused(&of(&["/nonexistent", first]), 2, &["/nonexistent"]);
    let partial = castoff(&[of(&[first, second]), vec!["--partial".to_owned()]].concat());
    assert_eq!(json(&partial)["chunks"]["all"], 12);
    assert!(json(&partial)["chunks"]["done"].as_u64().unwrap() < 12);

    let other = dir.path().join("other").to_str().unwrap().to_owned();
    castoff(&["run", "healthy", "--policy", "pike", "--seeds", "0..3", "--out", &other]);
    refused(&of(&[first, &other]), 2, &["is of another campaign: faults of scenario, here swarm"]);
    refused(&swarm(&["--resume", &other]), 2, &["is of another campaign"]);
    refused(&swarm(&["--shard", "2/3", "--resume", first]), 2, &["shard 1/3, here 2/3"]);
    refused(&swarm(&["--out", first]), 2, &["has results already", "--resume"]);
}

#[test]
fn what_a_swarm_finds_is_replayed_by_its_file_and_by_its_command() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let found = json(&castoff(&swarm(&["--out", out])));
    let mut replayed = 0;
    for row in found["rows"].as_array().unwrap() {
        let findings = row["unexpected"].as_array().unwrap();
        for finding in findings.iter().filter(|f| f["plan"].is_array()).take(4) {
            let command = finding["replay"].as_str().unwrap();
            let args: Vec<&str> = command.split(' ').skip(1).collect();
            let again = castoff(&args);
            // The same run may break something graver, too.
            let codes: &[i32] = if finding["class"] == "safety" { &[1] } else { &[1, 3] };
            assert!(again.code.is_some_and(|c| codes.contains(&c)), "{command}: {:?}", again.code);
            assert!(again.stdout.contains(finding["text"].as_str().unwrap()), "{command}");
            let stem = format!(
                "{}-{}-direct-{}-{}",
                row["scenario"].as_str().unwrap(),
                row["policy"].as_str().unwrap(),
                finding["seed"],
                finding["what"].as_str().unwrap()
            );
            let identity = dir.path().join(format!("{stem}.json"));
            if identity.exists() {
                let trace = std::fs::read_to_string(dir.path().join(format!("{stem}.trace")));
                let trace = trace.unwrap();
                assert_eq!(castoff(&["replay", identity.to_str().unwrap()]).stdout, trace);
                assert_eq!(again.stdout, trace, "{command}");
                replayed += 1;
            }
        }
    }
    assert!(replayed >= 4, "only {replayed} findings had files");
}

#[test]
fn coverage_says_what_was_reached_and_what_never_was() {
    let coverage = json(&castoff(&swarm(&[])))["coverage"].clone();
    let place = "nova-compute cinder::AttachmentDelete";
    assert!(coverage["called"][place].as_u64().unwrap() > 0);
    let struck = coverage["struck"][place].as_object().unwrap();
    assert!(struck.values().all(|n| n.as_u64().unwrap() > 0) && struck.len() > 2, "{struck:?}");
    let never = coverage["never_called"].as_array().unwrap();
    assert!(never.iter().any(|o| o == "host::MultipathFlush"), "no multipath here: {never:?}");
    assert!(!never.iter().any(|o| o == "cinder::AttachmentDelete"));
    for (place, kinds) in coverage["never_struck"].as_object().unwrap() {
        for kind in kinds.as_array().unwrap() {
            assert!(coverage["struck"][place][kind.as_str().unwrap()].is_null(), "{place} {kind}");
        }
    }
    assert!(coverage["notes"].as_object().unwrap().keys().any(|n| n.starts_with("error: ")));
    let args = ["run", "healthy", "--swarm", "--binding", "direct", "--seeds", "0..64"];
    let text = castoff(&[&args[..], &["--coverage"]].concat()).stdout;
    assert!(text.contains("NEVER STRUCK BY") && text.contains("never called ("), "{text}");
    assert!(text.contains("never reached under hardened ("), "{text}");
    let plain = castoff(&args).stdout;
    assert!(!plain.contains("never called") && !plain.contains("never reached"), "{plain}");
}

/// The fields of one policy in a JSON result.
fn fields_of(said: &Said, policy: &str) -> (u64, Vec<String>, Vec<String>) {
    let fields = json(said)["coverage"]["fields"][policy].clone();
    let reached = fields["reached"].as_object().unwrap().keys().cloned().collect();
    let never = fields["never_reached"].as_array().unwrap();
    let never = never.iter().map(|f| f.as_str().unwrap().to_owned()).collect();
    (fields["scenarios"].as_u64().unwrap(), reached, never)
}

#[test]
fn every_field_of_a_policy_is_reached_or_listed_once_whoever_runs_the_first_seed() {
    let dir = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let args = ["run", "healthy", "detach-races-hard-reboot", "--policy", "2026.1"];
        castoff(&[&args[..], &["--seeds", "0..5", "--format", "json"], more].concat())
    };
    let out = dir.path().join("whole").to_str().unwrap().to_owned();
    let whole = run(&["--out", &out]);
    let (scenarios, reached, never) = fields_of(&whole, "2026.1");
    assert_eq!(scenarios, 2, "once a scenario, not once a binding");
    for field in ["instance-lock", "connector-first", "reboot-lock"] {
        assert!(reached.iter().any(|f| f == field), "{field}: {reached:?}");
    }
    for field in ["root-refused", "multiattach-count", "missing-mapping-closed"] {
        assert!(never.iter().any(|f| f == field), "{field}: {never:?}");
    }
    assert!(never.iter().all(|f| !reached.contains(f)) && never.is_sorted());
    let fixed = &json(&whole)["coverage"]["fields"]["2026.1"]["never_changed"];
    assert!(fixed.as_array().unwrap().iter().any(|f| f == "service-token"), "{fixed}");

    let parts: Vec<String> =
        (1..=2).map(|i| dir.path().join(format!("part{i}")).to_str().unwrap().to_owned()).collect();
    for (i, part) in parts.iter().enumerate() {
        run(&["--shard", &format!("{}/2", i + 1), "--out", part]);
    }
    let merged = castoff(&["merge", &parts[1], &parts[0], "--format", "json"]);
    assert_eq!(settled(&merged.stdout), settled(&whole.stdout));
    let resumed = run(&["--resume", &out]);
    assert_eq!(settled(&resumed.stdout), settled(&whole.stdout), "what is done is not added again");

    // Results of a castoff that did not compare: they are read, and nothing is said of fields.
    let path = dir.path().join("whole/results.jsonl");
    let lines = std::fs::read_to_string(&path).unwrap();
    assert!(lines.contains("\"fields\""));
    std::fs::write(&path, lines.lines().map(without_fields).collect::<String>()).unwrap();
    let mut read = json(&castoff(&["merge", &out, "--format", "json"]))["coverage"].clone();
    assert_eq!(read["fields"].take(), serde_json::json!({}));
    let mut coverage = json(&whole)["coverage"].clone();
    coverage["fields"].take();
    assert_eq!(read, coverage, "nothing else is lost");
}

/// A line of results as it was before fields were compared.
fn without_fields(line: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
    value.as_object_mut().unwrap().remove("sum");
    if let Some(ledger) = value.pointer_mut("/row/ledger") {
        ledger.as_object_mut().unwrap().remove("fields");
    }
    castoff_sim::campaign::results::line(&value)
}

#[test]
fn only_what_the_baseline_does_not_know_fails() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = wrong(dir.path());
    let file = dir.path().join("known.json");
    let known = file.to_str().unwrap();
    let run = |more: &[&str]| {
        let args = ["run", &scenario, "--policy", "pike", "--binding", "direct"];
        castoff(&[&args[..], &["--seeds", "0..3"], more].concat())
    };
    assert_eq!(run(&["--write-baseline", known]).code, Some(1), "writing excuses nothing yet");
    let again = run(&["--baseline", known]);
    assert_eq!(again.code, Some(0), "{}", again.stdout);
    assert!(again.stdout.contains("in the baseline: wrong under pike"), "{}", again.stdout);
    assert!(again.stdout.contains("all as expected, "), "{}", again.stdout);
    assert!(!again.stdout.contains("unexpected: "), "{}", again.stdout);

    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("S08", "S09")).unwrap();
    assert_eq!(run(&["--baseline", known]).code, Some(1), "another property is new");
    std::fs::write(&file, text.replace("\"castoff-baseline\": 1", "\"castoff-baseline\": 9"))
        .unwrap();
    let args = ["run", &scenario, "--baseline", known];
    refused(&args, 2, &["known.json", "version 9", "reads 1"]);
    std::fs::write(&file, "[]").unwrap();
    refused(&args, 2, &["known.json", "it is no baseline", "--write-baseline"]);
    refused(&["run", "healthy", "--baseline", "/nonexistent"], 2, &["/nonexistent"]);
}

#[test]
fn fail_fast_ends_at_the_same_chunk_with_any_number_of_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = wrong(dir.path());
    let run = |more: &[&str]| {
        let args = ["run", &scenario, "--policy", "pike", "--binding", "direct", "--fail-fast"];
        castoff(&[&args[..], &["--seeds", "0..1500", "--format", "json"], more].concat())
    };
    let one = run(&["--jobs", "1"]);
    assert_eq!(one.code, Some(1), "{}", one.stderr);
    let found = json(&one);
    assert_eq!(found["stopped"], "fail-fast");
    assert_eq!(found["chunks"], serde_json::json!({ "done": 1, "all": 6 }));
    assert_eq!(settled(&one.stdout), settled(&run(&["--jobs", "4"]).stdout));

    let known = dir.path().join("known.json");
    let known = known.to_str().unwrap();
    run(&["--write-baseline", known]);
    let all = run(&["--baseline", known]);
    assert_eq!(all.code, Some(0), "{}", all.stdout);
    assert_eq!(json(&all)["chunks"]["done"], 6, "what is known ends nothing");
}

#[test]
fn a_time_budget_ends_a_campaign_that_has_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let args = ["run", "healthy", "--policy", "pike", "--binding", "direct"];
    let args = [&args[..], &["--seeds", "0..50000000", "--time-budget", "1s"]].concat();
    let ended = castoff(&[&args[..], &["--out", out, "--format", "json"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let found = json(&ended);
    assert_eq!(found["stopped"], "time-budget");
    let done = found["chunks"]["done"].as_u64().unwrap();
    assert!(done < found["chunks"]["all"].as_u64().unwrap());
    // The next slot of the CI machine goes on where this one ended.
    let next = json(&castoff(&[&args[..], &["--resume", out, "--format", "json"]].concat()));
    assert!(next["chunks"]["done"].as_u64().unwrap() >= done);
}

#[test]
fn what_cannot_be_run_is_refused() {
    refused(&["run", "--shard", "0/3"], 2, &["\"0/3\" is no shard", "I from 1 to N"]);
    refused(&["run", "--shard", "x"], 2, &["is no shard"]);
    refused(&["run", "--time-budget", "60"], 2, &["60s, 5m or 2h"]);
    refused(&["run", "--resume", "/nonexistent"], 2, &["/nonexistent has no results", "--out"]);
    refused(&["run", "--resume", "a", "--out", "b"], 2, &["--resume", "--out"]);
    refused(&["merge"], 2, &["DIR"]);
}
