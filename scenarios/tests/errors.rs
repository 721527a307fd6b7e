//! What the author of a broken scenario file reads: file, line, and what was expected.
//!
//! Each test breaks a good file in one way and keeps the whole message as a snapshot.

use castoff_scenarios::builtin::resolve;
use castoff_scenarios::{LoadError, POLICIES, parse};
use miette::{GraphicalReportHandler, GraphicalTheme};

const GOOD: &str = r#"name = "mine"
title = "a scenario of mine"

[[volume]]
name = "v1"

[guest]
lets_go = { after_ms = 5000 }

[[actor]]
action = "detach"
volume = "v1"

[[fault]]
at = { process = "nova-compute", operation = "host::FlushBufs", nth = 1 }
strike = { kind = "crash-before", restart_after_ms = 36000 }

[expect.pike]
end = "stuck-detaching"
after_retry = "stuck-detaching"
violates = ["L1", "L2"]
"#;

/// The message for the good file with `from` replaced, which it must contain.
fn message(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "nothing to replace: {from}");
    let error =
        parse("mine.toml", &GOOD.replacen(from, to, 1), POLICIES).expect_err("it is broken");
    render(error)
}

/// As a terminal of 100 columns without colours shows it, after the plain one-line form.
fn render(error: LoadError) -> String {
    let plain = error.to_string();
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .with_links(false)
        .render_report(&mut text, &error)
        .expect("a string takes any text");
    format!("{plain}\n\n{text}")
}

#[test]
fn the_unbroken_file_is_accepted() {
    let scenario = parse("mine.toml", GOOD, POLICIES).unwrap();
    assert_eq!(scenario.faults.len(), 1);
}

#[test]
fn an_unknown_key_is_shown_with_the_keys_that_are_known() {
    insta::assert_snapshot!(message("lets_go", "let_go"));
}

#[test]
fn an_unknown_key_of_a_fault_is_no_silent_default() {
    insta::assert_snapshot!(message("strike = {", "nth = 2\nstrike = {"));
}

#[test]
fn a_wrong_type_is_shown_with_the_expected_one() {
    insta::assert_snapshot!(message("after_ms = 5000", "after_ms = \"5 s\""));
}

#[test]
fn an_unknown_kind_of_fault_is_shown_with_the_kinds_that_are_known() {
    insta::assert_snapshot!(message("crash-before", "crash"));
}

#[test]
fn an_unknown_operation_suggests_the_nearest() {
    insta::assert_snapshot!(message("host::FlushBufs", "host::FlushBuf"));
}

#[test]
fn an_operation_of_an_unknown_system_suggests_the_nearest_of_all() {
    insta::assert_snapshot!(message("host::FlushBufs", "kernel::FlushBufs"));
}

#[test]
fn an_unknown_policy_lists_the_known_ones() {
    insta::assert_snapshot!(message("[expect.pike]", "[expect.pyke]"));
}

#[test]
fn a_missing_actor_says_how_to_write_one() {
    insta::assert_snapshot!(message("[[actor]]\naction = \"detach\"\nvolume = \"v1\"\n", ""));
}

#[test]
fn an_empty_list_of_actors_is_refused_too() {
    let without = GOOD.replace("[[actor]]\naction = \"detach\"\nvolume = \"v1\"\n", "");
    let error = parse("mine.toml", &format!("actor = []\n{without}"), POLICIES).unwrap_err();
    insta::assert_snapshot!(render(error));
}

#[test]
fn a_syntax_error_is_shown_where_it_is() {
    insta::assert_snapshot!(message("name = \"v1\"", "name = v1"));
}

#[test]
fn several_mistakes_are_shown_at_once() {
    let text = GOOD
        .replace("name = \"mine\"", "name = \"yours\"")
        .replace("volume = \"v1\"", "volume = \"v2\"")
        .replace("nth = 1", "nth = 0")
        .replace("\"L1\", \"L2\"", "\"L1\", \"L9\", \"S3\", \"L1\"");
    let error = parse("mine.toml", &text, POLICIES).unwrap_err();
    insta::assert_snapshot!(render(error));
}

#[test]
fn a_file_cut_off_or_garbled_anywhere_is_an_error_with_a_line_of_it() {
    let text = GOOD.replace("mine\"\n", "mine é\"\n");
    let lines = text.lines().count();
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        for broken in [text[..at].to_owned(), format!("{}€{rest}", &text[..at])] {
            let error = match parse("mine.toml", &broken, POLICIES) {
                Ok(_) => panic!("accepted: {broken}"),
                Err(error) => error,
            };
            let LoadError::Mistakes(mistakes) = &error else { panic!("{error}") };
            assert!((1..=lines).contains(&mistakes.line), "{error}");
            assert!(render(error).contains("mine.toml:"));
        }
    }
}

#[test]
fn an_unknown_name_of_a_scenario_suggests_the_nearest_and_lists_all() {
    insta::assert_snapshot!(render(resolve("guest-never-let-go").unwrap_err()));
}
