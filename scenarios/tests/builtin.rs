//! The built-in scenarios are read, checked and found.

use castoff_scenarios::builtin::{FILES, all, named, names, resolve};
use castoff_scenarios::{LoadError, POLICIES, parse};

#[test]
fn every_builtin_scenario_is_free_of_mistakes_and_named_after_its_file() {
    for (name, text) in FILES {
        let scenario = parse(&format!("{name}.toml"), text, POLICIES)
            .unwrap_or_else(|e| panic!("{name}: {:?}", miette::Report::new(e)));
        assert_eq!(scenario.name, *name);
    }
}

#[test]
fn every_builtin_scenario_tells_its_story_and_gives_reasons_for_every_policy() {
    for scenario in all() {
        assert!(!scenario.story.trim().is_empty(), "{} has no story", scenario.name);
        let policies: Vec<&str> = scenario.expect.keys().map(String::as_str).collect();
        assert_eq!(policies, ["2026.1", "hardened", "pike"], "{}", scenario.name);
        for (policy, expectation) in &scenario.expect {
            assert!(!expectation.because.is_empty(), "{}: {policy} has no reason", scenario.name);
        }
    }
}

#[test]
fn every_file_of_the_directory_is_built_in() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/files");
    #[expect(clippy::disallowed_methods, reason = "the names are sorted below")]
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut known: Vec<String> = names().map(|name| format!("{name}.toml")).collect();
    known.sort();
    assert_eq!(files, known);
}

#[test]
fn a_scenario_survives_being_written_and_read_again() {
    for scenario in all() {
        let text = toml::to_string(&scenario).unwrap();
        let again: castoff_scenarios::Scenario = toml::from_str(&text).unwrap();
        assert_eq!(again, scenario, "{text}");
    }
}

#[test]
fn a_name_and_a_path_resolve_to_the_same_scenario() {
    let by_name = resolve("cast-lost").unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/files/cast-lost.toml");
    let by_path = resolve(path).unwrap();
    // A replay has to name the file, not only the scenario in it.
    assert_eq!((by_path.argument(), by_name.argument()), (path, "cast-lost"));
    assert_eq!(castoff_scenarios::Scenario { source: None, ..by_path }, by_name);
    assert_eq!(named("cast-lost"), Some(by_name));
    assert_eq!(named("no-such-scenario"), None);
}

#[test]
fn what_looks_like_a_path_fails_as_a_path() {
    for arg in ["./healthy", "missing.toml"] {
        let error = resolve(arg).unwrap_err();
        assert!(matches!(error, LoadError::Read { .. }), "{arg}: {error}");
        assert!(error.to_string().contains(arg), "{error}");
    }
}
