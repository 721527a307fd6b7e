//! `tests/golden/divergences.toml`: what may differ, where, and why.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::boot::Building;
use super::compare::Difference;
use super::session::Step;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    recorded_as: Vec<RecordedAs>,
    instead: Vec<Instead>,
    varies: Vec<Varies>,
    outside: Vec<Outside>,
    building: Vec<Building>,
    divergence: Vec<Divergence>,
}

/// Steps that were sent by another than the record says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedAs {
    /// Who the record says it was.
    says: String,
    /// Who it was.
    is: String,
    /// What gives it away: a path into the recorded body.
    shows: String,
    reason: String,
}

/// A value for which the models have another, wherever it stands under one of the keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instead {
    keys: BTreeSet<String>,
    recorded: Value,
    /// Of a text the beginning counts.
    ours: Value,
    reason: String,
}

/// Keys whose values differ from cloud to cloud; they are there, and of the recorded type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Varies {
    keys: BTreeSet<String>,
    reason: String,
}

/// A request that castoff does not answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    method: String,
    url: String,
    reason: String,
}

/// One step that differs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Divergence {
    session: String,
    /// Counted from one, as the lines of the session are.
    step: usize,
    label: String,
    /// Everything that differs: `status`, `header NAME`, `body/path`.
    differs: BTreeSet<String>,
    reason: String,
}

/// The file, and what of it has been met.
pub(crate) struct Divergences {
    file: File,
    met: BTreeSet<String>,
}

/// What a step comes to.
pub(crate) enum Verdict {
    Agrees,
    Kept,
    Fails(String),
}

impl Divergences {
    /// Reads the file.
    pub(crate) fn load() -> Divergences {
        let text = include_str!("../golden/divergences.toml");
        let file: File = toml::from_str(text).expect("divergences.toml is as its types say");
        Divergences { file, met: BTreeSet::new() }
    }

    /// How far the building of servers had come, and when.
    pub(crate) fn building(&self) -> &[Building] {
        &self.file.building
    }

    /// Who really sent a step, if that is not who the record says. Only of what changes nothing:
    /// that the record is wrong is shown by sending it as the record says, too.
    pub(crate) fn other_caller(&mut self, step: &Step) -> Option<String> {
        let rule = self.file.recorded_as.iter().find(|rule| {
            step.request.method == "GET"
                && step.who.as_ref() == Some(&rule.says)
                && step.response.body.pointer(&rule.shows).is_some()
        })?;
        self.met.insert(rule.to_string());
        Some(rule.is.clone())
    }

    /// Whether castoff leaves this request to others.
    pub(crate) fn is_outside(&mut self, step: &Step) -> bool {
        let asked = &step.request;
        let mut outside = self.file.outside.iter();
        let found = outside.find(|o| o.method == asked.method && o.url == asked.url);
        self.met.extend(found.map(Outside::to_string));
        found.is_some()
    }

    /// What is left when known other values are taken out.
    pub(crate) fn unexplained(&mut self, found: Vec<Difference>) -> Vec<Difference> {
        found.into_iter().filter(|difference| !self.explains(difference)).collect()
    }

    fn explains(&mut self, difference: &Difference) -> bool {
        let Some((recorded, ours)) = &difference.values else { return false };
        let key = difference.key();
        let mut instead = self.file.instead.iter();
        let rule = instead.find(|rule| rule.keys.contains(key) && rule.holds(recorded, ours));
        let rule = rule.map(Instead::to_string).or_else(|| {
            let same = std::mem::discriminant(recorded) == std::mem::discriminant(ours);
            let mut varies = self.file.varies.iter();
            varies.find(|rule| same && rule.keys.contains(key)).map(Varies::to_string)
        });
        let explained = rule.is_some();
        self.met.extend(rule);
        explained
    }

    /// The verdict on a step that differs so.
    pub(crate) fn judge(
        &mut self,
        session: &str,
        index: usize,
        step: &Step,
        differing: &[Difference],
    ) -> Verdict {
        let mut listed = self.file.divergence.iter();
        let listed =
            listed.find(|d| d.session == session && d.step == index + 1 && d.label == step.label);
        let places: BTreeSet<String> = differing.iter().map(|d| d.place.clone()).collect();
        self.met.extend(listed.map(Divergence::to_string));
        match listed {
            None if differing.is_empty() => Verdict::Agrees,
            Some(kept) if kept.differs == places => Verdict::Kept,
            Some(_) if differing.is_empty() => {
                Verdict::Fails("agrees now: take it out of divergences.toml".to_owned())
            }
            Some(_) | None => {
                let each = differing.iter().map(|d| format!("\n    {}: {}", d.place, d.what));
                let listed = listed.map(|d| format!("\n    listed are {:?}", d.differs));
                Verdict::Fails(each.chain(listed).collect())
            }
        }
    }

    /// What is listed and was never met, and what has no reason.
    pub(crate) fn unused(&self) -> Vec<String> {
        let File { recorded_as, instead, varies, outside, building: _, divergence } = &self.file;
        let listed = recorded_as.iter().map(|r| (r.to_string(), &r.reason));
        let listed = listed.chain(instead.iter().map(|r| (r.to_string(), &r.reason)));
        let listed = listed.chain(varies.iter().map(|r| (r.to_string(), &r.reason)));
        let listed = listed.chain(outside.iter().map(|r| (r.to_string(), &r.reason)));
        let listed = listed.chain(divergence.iter().map(|r| (r.to_string(), &r.reason)));
        let wrong = listed.filter_map(|(what, reason)| match reason.is_empty() {
            true => Some(format!("divergences.toml: {what}: no reason")),
            false => (!self.met.contains(&what))
                .then(|| format!("divergences.toml: {what}: no longer occurs")),
        });
        wrong.collect()
    }
}

impl Instead {
    fn holds(&self, recorded: &Value, ours: &Value) -> bool {
        match (&self.recorded, &self.ours, recorded, ours) {
            (Value::String(theirs), Value::String(mine), Value::String(a), Value::String(b)) => {
                let rest = a.strip_prefix(theirs.as_str());
                rest.is_some() && rest == b.strip_prefix(mine.as_str())
            }
            _ => self.recorded == *recorded && self.ours == *ours,
        }
    }
}

impl std::fmt::Display for RecordedAs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "steps as {} that show {}", self.says, self.shows)
    }
}

impl std::fmt::Display for Instead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} instead of {} in {:?}", self.ours, self.recorded, self.keys)
    }
}

impl std::fmt::Display for Varies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "other values of {:?}", self.keys)
    }
}

impl std::fmt::Display for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "outside {} {}", self.method, self.url)
    }
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, step {} ({})", self.session, self.step, self.label)
    }
}
