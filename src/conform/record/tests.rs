//! What is written is read again, and what is not ours is refused.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

use super::samples::{case, head};
use super::*;

fn file() -> String {
    line(&head()) + &line(&case("healthy/file")) + &line(&case("healthy/iscsi"))
}

#[test]
fn what_is_written_is_read_again() {
    let records = read(&file()).unwrap();
    assert_eq!(records.head, head());
    assert_eq!(records.cases, [case("healthy/file"), case("healthy/iscsi")]);
    assert!(!records.torn);
    assert_eq!(file().lines().count(), 3, "no line has a line end within");
    assert_eq!(records.cases[0].refinement.as_ref().unwrap().unexplained().count(), 1);
    assert_eq!((records.count(Grade::Differs), records.count(Grade::Pass)), (2, 0));
}

#[test]
fn a_key_of_a_newer_castoff_is_ignored_and_an_absent_list_is_empty() {
    let newer = r#"{"id":"x","title":"t","grade":"skip","took_ms":0,"weather":"fine"}"#;
    let records = read(&(line(&head()) + newer)).unwrap();
    let case = &records.cases[0];
    assert_eq!((case.grade, case.checks.len(), &case.refinement), (Grade::Skip, 0, &None));
}

#[test]
fn wherever_a_file_is_torn_the_whole_lines_are_read_and_the_rest_is_known() {
    let all = file();
    let head_end = all.find('\n').unwrap() + 1;
    for end in head_end..all.len() {
        let Some(cut) = all.get(..end) else { continue };
        let records = read(cut).unwrap();
        // A line that lacks only its end is whole.
        let whole = (all.get(..=end).unwrap_or(cut)).matches('\n').count().max(1) - 1;
        assert_eq!(records.cases.len(), whole, "cut at {end}");
        assert_eq!(records.never_ran().len(), 2 - whole, "cut at {end}");
    }
}

#[test]
fn another_version_is_refused_with_both_numbers() {
    let newer = line(&Head { format: VERSION + 1, ..head() });
    let error = read(&newer).unwrap_err().to_string();
    assert_eq!(error, "it has conformance results of version 2, this castoff reads 1");
}

#[test]
fn another_file_is_refused() {
    for other in ["", "\n", "{}\n", "[1]\n", "{\"castoff-results\":1}\n", "TAP version 14\n"] {
        assert!(matches!(read(other), Err(RecordError::NoHead)), "{other:?}");
    }
}

#[test]
fn a_line_that_is_damaged_before_the_last_is_refused_with_its_number() {
    let damaged = file().replace("\"grade\":\"differs\"", "\"grade\":\"fine\"");
    let error = read(&damaged).unwrap_err().to_string();
    assert!(error.starts_with("line 2: unknown variant `fine`"), "{error}");
}

#[test]
fn a_grade_is_written_as_it_is_shown() {
    for grade in Grade::ALL {
        assert_eq!(serde_json::to_value(grade).unwrap(), grade.as_str());
    }
}
