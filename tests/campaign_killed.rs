//! The kill test: a campaign that is killed ten times ends with the result of one that was not.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "whole-program tests start castoff's own program; a helper that fails is a failed test"
)]
#![cfg(unix)]

#[path = "support/campaign.rs"]
mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use castoff_sim::rng::SimRng;
use support::{castoff, command, json, settled, wrong};

/// No step of this test takes as long on any machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// 72 chunks of 256 seeds, half of them with findings.
fn campaign<'a>(wrong: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["run", "healthy", wrong, "--policy", "pike", "--binding", "direct"];
    args.extend(["--seeds", "0..9216", "--jobs", "2", "--format", "json"]);
    args.extend(more);
    args
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |m| m.len())
}

fn lines(file: &Path) -> usize {
    std::fs::read(file).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
}

/// Starts the campaign, and kills it as soon as its file has grown to `bytes`.
fn killed_at(args: &[&str], file: &Path, bytes: u64) -> bool {
    let mut child =
        command().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let mut ended = None;
    while length(file) < bytes && ended.is_none() {
        assert!(begun.elapsed() < DEADLINE, "it does not get on");
        std::thread::yield_now();
        ended = child.try_wait().unwrap();
    }
    // Child::kill is SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}

#[test]
fn a_campaign_that_is_killed_ten_times_loses_nothing_and_counts_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = wrong(dir.path());
    let run = |more: &[&str]| castoff(&campaign(&scenario, more));
    let whole = run(&[]);
    assert_eq!(whole.code, Some(1), "{}", whole.stderr);
    assert_eq!(json(&whole)["chunks"]["done"], 72, "{}", whole.stderr);
    let out = dir.path().join("results");
    let file = out.join("results.jsonl");
    let out = out.to_str().unwrap();
    let mut rng = SimRng::new(0x6b69_6c6c);
    let mut kept = Vec::new();
    for kill in 0..10 {
        let begins = !file.exists();
        let args = if begins { ["--out", out] } else { ["--resume", out] };
        // Anywhere: in the header, between two lines, within one, some lines further on.
        let bytes = match kill {
            0 => u64::from(rng.between(0, 1)),
            _ => length(&file) + u64::from(rng.between(1, 5_000)),
        };
        assert!(
            killed_at(&campaign(&scenario, &args), &file, bytes),
            "kill {kill}: it had ended before"
        );
        kept.push(lines(&file));
    }
    assert!(kept.windows(2).all(|pair| pair[0] <= pair[1]), "chunks were lost: {kept:?}");
    let done = kept.last().copied().unwrap_or_default();
    assert!((2..73).contains(&done), "killed on the way: {kept:?}");
    let args = if file.exists() { ["--resume", out] } else { ["--out", out] };
    let end = run(&args);
    assert_eq!(end.code, whole.code, "{}", end.stderr);
    assert_eq!(settled(&end.stdout), settled(&whole.stdout), "byte by byte; kept {kept:?}");
    assert_eq!(lines(&file), 1 + 72, "a header, and each chunk once");
    let merged = castoff(&["merge", out, "--format", "json"]);
    assert_eq!(settled(&merged.stdout), settled(&whole.stdout));
    // Once it is done, going on with it runs nothing.
    let again = run(&["--resume", out]);
    assert_eq!(settled(&again.stdout), settled(&whole.stdout));
    assert_eq!(lines(&file), 1 + 72);
}
