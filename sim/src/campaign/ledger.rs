//! The coverage ledger: which operations were called and struck by what, which branches were
//! taken, which fields of the policies make a difference, and what of all that was never reached.
//!
//! Strikes are counted in every run. Calls and the pipeline's notes (stations, steps, warnings,
//! errors) are counted in every [`SAMPLE`]-th seed only: those runs are traced, which takes
//! longer. Fields are compared once for each scenario and policy, see [`fields`](super::fields).

use std::collections::{BTreeMap, BTreeSet};

use castoff_ports::call::operation_names;
use castoff_ports::fault::Passed;
use castoff_ports::fault_space::faults_at;
use castoff_ports::trace::{Event, What};
use castoff_ports::{Process, RequestId};
use serde::{Deserialize, Serialize};

use super::fields::Fields;
use crate::run::RunReport;

/// One seed in so many is traced for its calls and notes.
pub const SAMPLE: u64 = 16;

/// What runs reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Runs whose calls and notes were counted.
    pub traced: u64,
    /// Calls in those runs: `process system::Operation`.
    pub called: BTreeMap<String, u64>,
    /// Faults that struck, in all runs: `process system::Operation`, kind, how often.
    pub struck: BTreeMap<String, BTreeMap<String, u64>>,
    /// The pipeline's notes in the traced runs, without what differs between runs.
    pub notes: BTreeMap<String, u64>,
    /// What scenarios reach of the fields, by policy; none where nobody asked, or where the file is
    /// older than this key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Fields>,
}

fn add(map: &mut BTreeMap<String, u64>, key: &str, n: u64) {
    match map.get_mut(key) {
        Some(count) => *count += n,
        None => {
            map.insert(key.to_owned(), n);
        }
    }
}

/// A log line without its numbers and ids: every word with a digit becomes an ellipsis.
fn branch(text: &str) -> String {
    let words = text.split_whitespace();
    let words = words.map(|w| if w.bytes().any(|b| b.is_ascii_digit()) { "…" } else { w });
    words.collect::<Vec<_>>().join(" ")
}

fn process_of(key: &str) -> Option<(Process, &'static str)> {
    let (process, operation) = key.split_once(' ')?;
    let process = [Process::Client, Process::NovaApi, Process::NovaCompute]
        .into_iter()
        .find(|p| p.as_str() == process)?;
    Some((process, operation_names().find(|o| *o == operation)?))
}

impl Ledger {
    /// Takes in a run.
    pub(super) fn add(&mut self, report: &RunReport) {
        for fault in &report.struck {
            let key = format!("{} {}", fault.at.process, fault.at.operation);
            add(self.struck.entry(key).or_default(), fault.strike.as_str(), 1);
        }
        if !report.events.is_empty() {
            self.traced += 1;
            report.events.iter().for_each(|event| self.event(event));
        }
    }

    fn event(&mut self, event: &Event) {
        match &event.what {
            What::Call { operation, .. } => {
                add(&mut self.called, &format!("{} {operation}", event.who), 1);
            }
            What::Note { note } => {
                // The trace's own form of a note, whatever kinds of notes there are.
                let text = match serde_json::to_value(note) {
                    Ok(serde_json::Value::Object(one)) => one
                        .into_iter()
                        .map(|(kind, text)| format!("{kind}: {}", plain(&text)))
                        .collect(),
                    Ok(other) => plain(&other),
                    Err(_) => String::new(),
                };
                add(&mut self.notes, &branch(&text), 1);
            }
            What::Reply { .. } | What::State { .. } | What::Fault { .. } | What::Verdict { .. } => {
            }
        }
    }

    /// Adds another ledger.
    pub fn merge(&mut self, other: Ledger) {
        self.traced += other.traced;
        other.called.iter().for_each(|(k, n)| add(&mut self.called, k, *n));
        other.notes.iter().for_each(|(k, n)| add(&mut self.notes, k, *n));
        for (place, kinds) in other.struck {
            let mine = self.struck.entry(place).or_default();
            kinds.iter().for_each(|(k, n)| add(mine, k, *n));
        }
        for (policy, fields) in other.fields {
            self.fields.entry(policy).or_default().merge(fields);
        }
    }

    /// Operations that nobody called in a traced run.
    pub fn never_called(&self) -> Vec<&'static str> {
        let called: BTreeSet<&str> =
            self.called.keys().filter_map(|k| process_of(k)).map(|(_, o)| o).collect();
        operation_names().filter(|o| !called.contains(o)).collect()
    }

    /// Kinds of faults that never struck an operation which was called: `process
    /// system::Operation`, and the kinds of the fault space that are missing there.
    pub fn never_struck(&self) -> BTreeMap<String, Vec<&'static str>> {
        let mut never = BTreeMap::new();
        for place in self.called.keys().chain(self.struck.keys()) {
            let Some((process, operation)) = process_of(place) else { continue };
            let passed = Passed { process, request: RequestId(1), operation, nth: 1 };
            let struck = self.struck.get(place);
            let mut kinds: Vec<&'static str> = Vec::new();
            for fault in faults_at(&passed) {
                let kind = fault.strike.as_str();
                if !struck.is_some_and(|s| s.contains_key(kind)) && !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            if !kinds.is_empty() {
                never.insert(place.clone(), kinds);
            }
        }
        never
    }
}

/// A step is a number and a name; the rest are texts.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(parts) => {
            parts.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_counted_without_its_ids() {
        assert_eq!(
            branch("volume 30d72547-9316-4c2a-84c9-6ebc309120e1 is not  there"),
            "volume … is not there"
        );
    }

    #[test]
    fn what_was_called_and_never_struck_is_listed_kind_by_kind() {
        let mut ledger = Ledger::default();
        let place = "nova-api cinder::GetVolume";
        ledger.called.insert(place.to_owned(), 4);
        ledger.struck.entry(place.to_owned()).or_default().insert("unreachable".to_owned(), 2);
        let never = ledger.never_struck();
        let kinds = &never[place];
        assert!(kinds.contains(&"http-error") && kinds.contains(&"crash-after"), "{kinds:?}");
        assert!(!kinds.contains(&"unreachable"), "{kinds:?}");
        assert!(!ledger.never_called().contains(&"cinder::GetVolume"));
        assert!(ledger.never_called().contains(&"cinder::AttachmentDelete"));
    }

    #[test]
    fn a_ledger_of_before_fields_were_counted_reads_as_one_without_any() {
        let old = r#"{"traced":1,"called":{},"struck":{},"notes":{}}"#;
        let ledger: Ledger = serde_json::from_str(old).unwrap();
        assert_eq!(ledger, Ledger { traced: 1, ..Ledger::default() });
        assert_eq!(serde_json::to_string(&ledger).unwrap(), old, "and is written as it was");
    }

    #[test]
    fn fields_of_two_ledgers_are_counted_by_policy_and_once() {
        let fields = |scenario: &str, by: &[&str]| Fields {
            scenarios: BTreeSet::from([scenario.to_owned()]),
            reached: BTreeMap::from([(
                "instance-lock".to_owned(),
                by.iter().map(|s| (*s).to_owned()).collect(),
            )]),
            ..Fields::default()
        };
        let of = |policy: &str, fields: Fields| Ledger {
            fields: BTreeMap::from([(policy.to_owned(), fields)]),
            ..Ledger::default()
        };
        let mut all = of("pike", fields("healthy", &[]));
        all.merge(of("pike", fields("cast-lost", &["cast-lost"])));
        all.merge(of("2026.1", fields("healthy", &["healthy"])));
        let once = all.clone();
        assert_eq!(once.fields["pike"].scenarios.len(), 2);
        assert_eq!(once.fields["pike"].reached["instance-lock"].len(), 1);
        all.merge(once.clone());
        assert_eq!(all, once);
    }
}
