//! A run as TAP version 14 (testanything.org): a line a case, with a YAML block where there is
//! more to say.

use std::fmt::Write as _;

use serde::Serialize;

use super::record::{CaseRecord, Grade, Records};

/// `\` and `#` have a meaning of their own in a description, and a line is a line.
fn description(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").replace('\\', "\\\\").replace('#', "\\#")
}

/// JSON is YAML.
fn yaml(out: &mut String, key: &str, value: &impl Serialize) {
    // Strings and lists of them always serialise, and writing to a String cannot fail.
    let _ = writeln!(out, "  {key}: {}", serde_json::to_string(value).unwrap_or_default());
}

/// The document.
pub fn tap(records: &Records) -> String {
    let never = records.never_ran();
    let mut out = "TAP version 14\n".to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "1..{}", records.cases.len() + never.len());
    for (name, value) in records.head.facts() {
        let _ = writeln!(out, "# {name}: {}", value.replace('\n', " "));
    }
    for (number, case) in (1..).zip(&records.cases) {
        point(&mut out, number, case);
    }
    for (number, id) in (records.cases.len() + 1..).zip(never) {
        let _ = writeln!(out, "not ok {number} - {}", description(id));
        out.push_str("  ---\n");
        yaml(&mut out, "reason", &"the run ended before this case, or during it");
        out.push_str("  ...\n");
    }
    out
}

fn point(out: &mut String, number: usize, case: &CaseRecord) {
    let word = match case.grade {
        Grade::Pass | Grade::Differs | Grade::Skip => "ok",
        Grade::Fail => "not ok",
    };
    let reason = case.reason.as_deref().unwrap_or_default();
    let _ = write!(out, "{word} {number} - {}", description(&case.id));
    if case.grade == Grade::Skip {
        let _ = write!(out, " # SKIP {}", description(reason));
    }
    out.push_str("\n  ---\n");
    yaml(out, "title", &case.title);
    yaml(out, "grade", &case.grade);
    if !reason.is_empty() {
        yaml(out, "reason", &reason);
    }
    yaml(out, "duration_ms", &case.took_ms);
    let broken: Vec<String> =
        case.checks.iter().filter(|c| !c.ok).map(|c| format!("{}: {}", c.name, c.found)).collect();
    if !broken.is_empty() {
        yaml(out, "does_not_hold", &broken);
    }
    let unexplained: Vec<_> = case.refinement.iter().flat_map(|r| r.unexplained()).collect();
    if !unexplained.is_empty() {
        yaml(out, "unexplained", &unexplained);
    }
    if let Some(replay) = &case.replay {
        yaml(out, "replay", replay);
    }
    out.push_str("  ...\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

    use super::super::record::samples;
    use super::*;

    #[test]
    fn a_line_a_case_and_the_plan_counts_those_that_never_ran() {
        let tap = tap(&samples::every_grade());
        let mut lines = tap.lines();
        assert_eq!(lines.next(), Some("TAP version 14"));
        assert_eq!(lines.next(), Some("1..5"));
        let points: Vec<&str> =
            tap.lines().filter(|l| l.starts_with("ok") || l.starts_with("not ok")).collect();
        assert_eq!(
            points,
            [
                "ok 1 - guest/unplug/pass",
                "ok 2 - guest/unplug/differs",
                "not ok 3 - initiator/logout/fail",
                "ok 4 - initiator/logout/skip # SKIP needs multipathd \\# of multipath-tools",
                "not ok 5 - initiator/never",
            ]
        );
    }

    #[test]
    fn every_block_ends_and_its_values_are_json() {
        let tap = tap(&samples::every_grade());
        let mut inside = false;
        for line in tap.lines() {
            match line {
                "  ---" => assert!(!std::mem::replace(&mut inside, true)),
                "  ..." => assert!(std::mem::replace(&mut inside, false)),
                _ if inside => {
                    let (_, value) = line.split_once(": ").unwrap();
                    serde_json::from_str::<serde_json::Value>(value).unwrap();
                }
                _ => assert!(!line.starts_with(' '), "{line}"),
            }
        }
        assert!(!inside);
    }
}
