//! What a conformance run found, as JSON lines: a head that says which run on which host, then a
//! line a finished case. JUnit, TAP and HTML are made of it.
//!
//! A line is written whole, and before the next case begins. So a run that was killed leaves a
//! file that can be read up to its last line, which alone can be torn; the head names the
//! selected cases, so those that never ran are known too.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The format's version.
pub const VERSION: u32 = 1;

/// The first line: which run, on which host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The format's version.
    #[serde(rename = "castoff-conform")]
    pub format: u32,
    /// The run's id; it is part of the names of all that the run makes on the host.
    pub run: String,
    /// castoff's version.
    pub castoff: String,
    /// The policy of the pipeline.
    pub policy: String,
    /// When the run began: RFC 3339, UTC.
    pub started: String,
    /// The host.
    pub host: HostFacts,
    /// Ids of the selected cases, in their order.
    #[serde(default)]
    pub selected: Vec<String>,
}

/// What the host runs; a version that could not be asked for is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// libvirt's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<String>,
    /// QEMU's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu: Option<String>,
    /// The kernel's release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// open-iscsi's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_iscsi: Option<String>,
    /// multipath-tools' version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multipath: Option<String>,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// The host does what the pipeline assumes.
    Pass,
    /// It does something else, and detach stays safe.
    Differs,
    /// What must hold does not.
    Fail,
    /// It was not run: the reason says why.
    Skip,
}

impl Grade {
    /// All of them.
    pub const ALL: [Grade; 4] = [Grade::Pass, Grade::Differs, Grade::Fail, Grade::Skip];

    /// As it stands in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::Pass => "pass",
            Grade::Differs => "differs",
            Grade::Fail => "fail",
            Grade::Skip => "skip",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One case's result: a line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseRecord {
    /// Hierarchical id, `guest/unplug/second-request-while-pending`.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// What it checks: bug numbers, sections of documents, functions of nova and os-brick.
    #[serde(default)]
    pub cites: Vec<String>,
    /// How it ended.
    pub grade: Grade,
    /// Why it differs, failed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the whole case took, milliseconds.
    pub took_ms: u64,
    /// What was checked, in order.
    #[serde(default)]
    pub checks: Vec<CheckRecord>,
    /// What the detach did on the host, in the order in which it began.
    #[serde(default)]
    pub steps: Vec<StepRecord>,
    /// Against the same case on the models, if it was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refinement: Option<Refinement>,
    /// The command that runs this case alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// What.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub found: String,
}

/// One operation on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The operation's name, `system::Operation`.
    pub operation: String,
    /// When it was called: microseconds since the detach began.
    pub from_us: u64,
    /// Until its reply: microseconds.
    pub took_us: u64,
}

/// A case's trace on the host beside the trace of the same case on the models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refinement {
    /// How many calls of the two traces were compared.
    pub compared: usize,
    /// Where they differ, in order.
    #[serde(default)]
    pub differences: Vec<Difference>,
}

impl Refinement {
    /// The differences that nothing explains: findings about the model, or about the host.
    pub fn unexplained(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|d| d.explained.is_none())
    }
}

/// One place where host and model differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where: the number of the call and the operation.
    pub at: String,
    /// What the host did; empty when it did nothing there.
    pub real: String,
    /// What the model did; empty when it did nothing there.
    pub model: String,
    /// Why that is as it should be, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<String>,
}

/// A run's file.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// Which run.
    pub head: Head,
    /// The finished cases, in their order.
    pub cases: Vec<CaseRecord>,
    /// Whether the last line was torn: the run was killed while it wrote.
    pub torn: bool,
}

impl Records {
    /// The selected cases that have no result: the run ended before them.
    pub fn never_ran(&self) -> Vec<&str> {
        let done = |id: &&String| self.cases.iter().any(|c| c.id == **id);
        self.head.selected.iter().filter(|id| !done(id)).map(String::as_str).collect()
    }

    /// How many cases ended so.
    pub fn count(&self, grade: Grade) -> usize {
        self.cases.iter().filter(|c| c.grade == grade).count()
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The first line is no head.
    #[error("line 1 is no head of a conformance run")]
    NoHead,
    /// Another version of the format.
    #[error("it has conformance results of version {found}, this castoff reads {VERSION}")]
    Version {
        /// The version that it has.
        found: u64,
    },
    /// A line that is damaged.
    #[error("line {line}: {why}")]
    Damaged {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// A line of the file, its end included.
pub fn line<T: Serialize>(of: &T) -> String {
    // Strings, numbers and lists of them always serialise.
    serde_json::to_string(of).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}")) + "\n"
}

/// Reads a run's file.
///
/// # Errors
/// When the first line is no head, or one of another version; when a line before the last is
/// damaged.
pub fn read(text: &str) -> Result<Records, RecordError> {
    let mut lines = text.split_inclusive('\n').enumerate();
    let (_, first) = lines.next().ok_or(RecordError::NoHead)?;
    let document: serde_json::Value =
        serde_json::from_str(first).map_err(|_| RecordError::NoHead)?;
    match document.get("castoff-conform").and_then(serde_json::Value::as_u64) {
        None => return Err(RecordError::NoHead),
        Some(found) if found != u64::from(VERSION) => return Err(RecordError::Version { found }),
        Some(_) => {}
    }
    let damaged = |line, e: serde_json::Error| RecordError::Damaged { line, why: e.to_string() };
    let head = serde_json::from_value(document).map_err(|e| damaged(1, e))?;
    let mut records = Records { head, cases: Vec::new(), torn: false };
    for (index, text) in lines {
        match serde_json::from_str(text) {
            Ok(case) => records.cases.push(case),
            // Only a line without an end can have been torn.
            Err(_) if !text.ends_with('\n') => records.torn = true,
            Err(e) => return Err(damaged(index + 1, e)),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

    use super::*;

    fn head() -> Head {
        Head {
            format: VERSION,
            run: "7f3a".to_owned(),
            castoff: "0.1.0".to_owned(),
            policy: "2026.1".to_owned(),
            started: "2026-03-04T05:06:07Z".to_owned(),
            host: HostFacts { libvirt: Some("9.0.0".to_owned()), ..HostFacts::default() },
            selected: vec!["healthy/file".to_owned(), "healthy/iscsi".to_owned()],
        }
    }

    fn case(id: &str) -> CaseRecord {
        let difference = |explained: Option<&str>| Difference {
            at: "3 iscsi::Logout".to_owned(),
            real: "exit 21".to_owned(),
            model: "exit 0".to_owned(),
            explained: explained.map(str::to_owned),
        };
        CaseRecord {
            id: id.to_owned(),
            title: "a disk is \"given\" back".to_owned(),
            cites: vec!["LP 1882521".to_owned()],
            grade: Grade::Differs,
            reason: Some("the event came late".to_owned()),
            took_ms: 8_250,
            checks: vec![CheckRecord { name: "c".to_owned(), ok: true, found: "1\n2".to_owned() }],
            steps: vec![StepRecord {
                operation: "libvirt::DetachDeviceFlags".to_owned(),
                from_us: 1,
                took_us: 2,
            }],
            refinement: Some(Refinement {
                compared: 9,
                differences: vec![difference(None), difference(Some("LIO answers so"))],
            }),
            replay: Some("castoff conform --case x".to_owned()),
        }
    }

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
}
