//! `castoff ablate --bugs`: what it finds can be replayed, what it misses is exit code 3.

// Whole-program tests start castoff's own program; a helper that fails is a failed test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::{Command, Output};

fn castoff(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_castoff")).args(args).env("NO_COLOR", "1").output().unwrap()
}

#[test]
fn a_bug_that_is_found_comes_with_the_command_that_shows_it_again() {
    let args =
        ["ablate", "guest-never-lets-go", "--bug", "N01", "--bug", "N54", "--format", "json"];
    let out = castoff(&args);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&all["found"], &all["out"]), (&1.into(), &1.into()), "{all}");
    let bug = &all["bugs"][0];
    assert_eq!(bug["property"], "S02", "{bug}");
    assert_eq!(bug["recorded"], true, "{bug}");
    let command = bug["replay"].as_str().unwrap().to_owned();
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let again = String::from_utf8(castoff(&words).stdout).unwrap();
    assert!(again.contains("S02"), "{command}: {again}");
    assert_eq!(castoff(&args).stdout, out.stdout, "two hunts say the same");
}

#[test]
fn a_bug_that_nothing_finds_is_exit_code_3() {
    // No volume of this scenario is encrypted.
    let out = castoff(&["ablate", "healthy", "--bug", "N19", "--seeds", "1"]);
    assert_eq!(out.status.code(), Some(3));
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(shown.contains("NOT FOUND") && shown.contains("1 not found"), "{shown}");
}

#[test]
fn an_unknown_bug_is_refused() {
    let out = castoff(&["ablate", "--bug", "N99"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8(out.stderr).unwrap().contains("N99"));
}
