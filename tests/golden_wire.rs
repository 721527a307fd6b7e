//! Recorded wire sessions, replayed: the models must answer as the real services did.
//!
//! Every JSON file in `tests/golden/wire` that is a list of requests and responses is a session.
//! It was recorded from Keystone 29, Cinder 28 and Nova 33, and is replayed step by step through
//! the pure functions of `castoff_model::wire`, without a socket. Ids are learnt from the answers;
//! status, headers, keys, types, values and messages must agree. What does not, and stays so, is in
//! `tests/golden/divergences.toml`; anything else fails, and so does a divergence that is gone.
//!
//! - `session`: the files. - `cloud`: what the requests are put to. - `ids`: recorded to ours.
//! - `compare`: two responses. - `divergences`: what may differ. - `nova`: the door to nova-api.

#[path = "golden_wire/cloud.rs"]
mod cloud;
#[path = "golden_wire/compare.rs"]
mod compare;
#[path = "golden_wire/divergences.rs"]
mod divergences;
#[path = "golden_wire/ids.rs"]
mod ids;
#[path = "golden_wire/nova.rs"]
mod nova;
#[path = "golden_wire/session.rs"]
mod session;

use cloud::Cloud;
use compare::differences;
use divergences::{Divergences, Verdict};
use session::{Session, Step};

/// What became of a session's steps.
#[derive(Default)]
struct Tally {
    agree: usize,
    kept: usize,
    /// Labels of the steps that nobody answers yet.
    skipped: Vec<String>,
    failures: Vec<String>,
}

impl Tally {
    fn summary(&self, name: &str) -> String {
        let mut text = match self.agree {
            0 if !self.skipped.is_empty() => format!("{name}: no step agrees yet"),
            _ => format!("{name}: {} steps agree, {} kept divergences", self.agree, self.kept),
        };
        if !self.skipped.is_empty() {
            let (count, labels) = (self.skipped.len(), self.skipped.join(", "));
            text += &format!("; {count} skipped, nova-api is not asked: {labels}");
        }
        text
    }
}

fn replay(cloud: &mut Cloud, session: &Session, divergences: &mut Divergences) -> Tally {
    let mut tally = Tally::default();
    for (index, step) in session.steps.iter().enumerate() {
        cloud.begin(&session.name, step);
        let Some(differing) = differing(cloud, step, step.who.as_deref()) else {
            tally.skipped.push(step.label.clone());
            continue;
        };
        let verdict = match divergences.other_caller(step) {
            // The recorder's word is taken first: only what it does not explain is asked again.
            Some(who) if !differing.is_empty() => {
                let again = self::differing(cloud, step, Some(&who));
                divergences.judge_as(&session.name, index, step, again.unwrap_or_default())
            }
            _ => divergences.judge(&session.name, index, step, differing),
        };
        match verdict {
            Verdict::Agrees => tally.agree += 1,
            Verdict::Kept => tally.kept += 1,
            Verdict::Fails(why) => {
                let (name, number, label) = (&session.name, index + 1, &step.label);
                tally.failures.push(format!("{name}, step {number} ({label}): {why}"));
            }
        }
    }
    tally
}

/// Where our response to a step differs from the recorded one; none when nobody answers.
fn differing(
    cloud: &mut Cloud,
    step: &Step,
    who: Option<&str>,
) -> Option<Vec<compare::Difference>> {
    let ours = cloud.send(step, who)?;
    let mut ids = cloud.ids.clone();
    let found = differences(&step.response, &ours, &mut ids);
    // A response that differs teaches nothing.
    if found.is_empty() {
        cloud.ids = ids;
    }
    Some(found)
}

#[test]
fn the_models_answer_as_the_recorded_services_did() {
    let mut divergences = Divergences::load();
    let mut failures = Vec::new();
    let mut shared = Cloud::new();
    for session in session::load_all() {
        let mut fresh = Cloud::new();
        let cloud = if session.alone() { &mut fresh } else { &mut shared };
        let tally = replay(cloud, &session, &mut divergences);
        println!("{}", tally.summary(&session.name));
        if tally.skipped.is_empty() && tally.agree == 0 {
            failures.push(format!("{}: no step of it agrees", session.name));
        }
        failures.extend(tally.failures);
    }
    failures.extend(divergences.unused());
    assert!(failures.is_empty(), "{} disagreements:\n{}", failures.len(), failures.join("\n"));
}
