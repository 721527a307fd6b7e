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

impl Head {
    /// Name and value of all that is known of run and host.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let HostFacts { name, libvirt, qemu, kernel, open_iscsi, multipath } = &self.host;
        let mut facts = vec![
            ("run", self.run.clone()),
            ("castoff", self.castoff.clone()),
            ("policy", self.policy.clone()),
            ("started", self.started.clone()),
        ];
        let host = [
            ("host", name),
            ("kernel", kernel),
            ("libvirt", libvirt),
            ("qemu", qemu),
            ("open-iscsi", open_iscsi),
            ("multipath-tools", multipath),
        ];
        facts.extend(host.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
        facts
    }
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

/// A case's group: the first part of its id.
pub fn group(id: &str) -> &str {
    id.split('/').next().filter(|first| !first.is_empty()).unwrap_or("conform")
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
    /// The profile that the times were compared with; none: they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<String>,
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
pub(crate) mod samples;

#[cfg(test)]
mod tests;
