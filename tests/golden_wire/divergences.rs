//! `tests/golden/divergences.toml`: what may differ, where, and why.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::compare::Difference;
use super::session::Step;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    recorded_as: Vec<RecordedAs>,
    #[serde(default)]
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
    met: BTreeSet<usize>,
    met_as: BTreeSet<usize>,
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
        let reasons = file.recorded_as.iter().map(|r| &r.reason);
        let mut reasons = reasons.chain(file.divergence.iter().map(|d| &d.reason));
        assert!(reasons.all(|reason| !reason.is_empty()), "every divergence has a reason");
        Divergences { file, met: BTreeSet::new(), met_as: BTreeSet::new() }
    }

    /// Who really sent a step, if that is not who the record says. Only of what changes nothing:
    /// it is sent twice.
    pub(crate) fn other_caller(&self, step: &Step) -> Option<String> {
        self.rule(step).map(|at| self.file.recorded_as[at].is.clone())
    }

    fn rule(&self, step: &Step) -> Option<usize> {
        self.file.recorded_as.iter().position(|rule| {
            step.request.method == "GET"
                && step.who.as_ref() == Some(&rule.says)
                && step.response.body.pointer(&rule.shows).is_some()
        })
    }

    /// The verdict on a step that was sent by another than the record says.
    pub(crate) fn judge_as(
        &mut self,
        session: &str,
        index: usize,
        step: &Step,
        differing: Vec<Difference>,
    ) -> Verdict {
        match self.judge(session, index, step, differing) {
            Verdict::Agrees => {
                self.met_as.extend(self.rule(step));
                Verdict::Kept
            }
            verdict => verdict,
        }
    }

    /// The verdict on a step that differs so.
    pub(crate) fn judge(
        &mut self,
        session: &str,
        index: usize,
        step: &Step,
        differing: Vec<Difference>,
    ) -> Verdict {
        let listed = self
            .file
            .divergence
            .iter()
            .position(|d| d.session == session && d.step == index + 1 && d.label == step.label);
        let places: BTreeSet<String> = differing.iter().map(|d| d.place.clone()).collect();
        match listed {
            None if differing.is_empty() => Verdict::Agrees,
            Some(at) if self.file.divergence[at].differs == places => {
                self.met.insert(at);
                Verdict::Kept
            }
            Some(at) => {
                self.met.insert(at);
                let listed = &self.file.divergence[at].differs;
                Verdict::Fails(match differing.is_empty() {
                    true => "agrees now: take it out of divergences.toml".to_owned(),
                    false => format!("differs in {places:?}, listed are {listed:?}"),
                })
            }
            None => {
                let each = differing.iter().map(|d| format!("\n    {}: {}", d.place, d.what));
                Verdict::Fails(each.collect())
            }
        }
    }

    /// What is listed and was never met.
    pub(crate) fn unused(&self) -> Vec<String> {
        let steps = self.file.divergence.iter().enumerate();
        let steps = steps.filter(|(at, _)| !self.met.contains(at)).map(|(_, d)| {
            format!("divergences.toml: {}, step {} ({}): no such step", d.session, d.step, d.label)
        });
        let rules = self.file.recorded_as.iter().enumerate();
        let rules = rules.filter(|(at, _)| !self.met_as.contains(at)).map(|(_, rule)| {
            format!("divergences.toml: no step of {} shows {}", rule.says, rule.shows)
        });
        steps.chain(rules).collect()
    }
}
