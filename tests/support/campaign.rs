//! Running castoff's own program and reading what it says of a campaign.

#![allow(dead_code, reason = "every test file uses some of this")]

use std::path::Path;
use std::process::Command;

/// Under pike a disk that stays is forgotten at the second try (nova bug 1727260); this file
/// expects no harm of it.
const WRONG: &str = r#"
name = "wrong"
title = "a host whose disks stay, expected to be harmless"
[[volume]]
name = "v1"
[host]
device_lingers = "forever"
[[actor]]
action = "detach"
volume = "v1"
[expect.pike]
end = "detached"
after_retry = "detached"
"#;

/// A scenario file whose runs under pike show S08 and another end than it expects.
pub(crate) fn wrong(dir: &Path) -> String {
    let path = dir.join("wrong.toml");
    std::fs::write(&path, WRONG).unwrap();
    path.to_str().unwrap().to_owned()
}

/// How a command ended, and what it said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_castoff"));
    command.env("NO_COLOR", "1");
    command
}

pub(crate) fn castoff<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Said {
    let out = command().args(args).output().unwrap();
    Said {
        code: out.status.code(),
        stdout: String::from_utf8(out.stdout).unwrap(),
        stderr: String::from_utf8(out.stderr).unwrap(),
    }
}

pub(crate) fn json(said: &Said) -> serde_json::Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {}", said.stderr))
}

/// A JSON result without the lines that tell how long it took.
pub(crate) fn settled(stdout: &str) -> String {
    let timing =
        |line: &&str| line.contains("\"wall_seconds\"") || line.contains("\"runs_per_second\"");
    assert!(stdout.lines().any(|l| timing(&l)), "no result: {stdout}");
    stdout.lines().filter(|l| !timing(l)).collect::<Vec<_>>().join("\n")
}

/// One clear error: this code, these words, on stderr alone.
pub(crate) fn refused<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(
    args: &[S],
    code: i32,
    words: &[&str],
) {
    let said = castoff(args);
    // The reporter wraps lines.
    let text = said.stderr.replace("│", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(said.code, Some(code), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?} does not say {word:?}: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(said.stdout.is_empty(), "an error belongs on stderr: {}", said.stdout);
}
