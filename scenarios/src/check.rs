//! What types cannot say of a scenario: names that must exist, be unique, or be known.
//!
//! Checks are pure and look at a [`Scenario`] only, so a scenario built in Rust is checked by
//! the same code as a file. Each [`Problem`] names its place as a path of keys; [`mod@crate::load`]
//! turns the path into a position in the text.
//!
//! - `faults`: a fault on its own, too: a plan's, or one that is armed while a cloud is served.
//! - `outside`: storage, guest, host and token, each on its own, too: what a served cloud's knobs
//!   turn.

use std::collections::BTreeSet;
use std::fmt;

use castoff_ports::nova::Microversion;

use crate::nearest::nearest;
use crate::scenario::{Expectation, Leftover, Scenario};

/// The policies that there are, and so those that `expect` may name, oldest first.
///
/// A copy of the pipeline's list, on which this crate does not depend; whoever has policies of
/// their own passes their names to [`check()`] instead.
pub const POLICIES: &[&str] = &["pike", "2026.1", "hardened"];

/// One step of the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into an array, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// Where a value is: the keys and indices from the top of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(pub Vec<Step>);

impl fmt::Display for Place {
    /// `fault[0].at.operation`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Something in a scenario that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What was found and what was expected.
    pub message: String,
    /// What to write instead, when that is known.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl Place {
    /// The place of this key or index of the value that is here.
    fn then(&self, step: impl Into<Step>) -> Place {
        Place(self.0.iter().cloned().chain([step.into()]).collect())
    }
}

/// A [`Place`] from keys and indices.
macro_rules! place {
    ($($step:expr),+) => { Place(vec![$(Step::from($step)),+]) };
}

mod faults;
mod outside;

pub use faults::{check_fault, check_plan};
pub use outside::{
    MAX_LIFETIME_S, MAX_MS, MAX_PORTALS, check_device_lingers, check_guest, check_host_events,
    check_restart, check_token,
};

/// Every problem of a scenario, in the order of the file's sections; none when it can be run.
///
/// `policies` are the names that `expect` may use.
pub fn check(scenario: &Scenario, policies: &[&str]) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.texts(scenario);
    problems.volumes(scenario);
    problems.storage(&scenario.storage);
    problems.guest(&scenario.guest);
    problems.device_lingers(scenario.host.device_lingers);
    problems.time(place!["host", "libvirtd_lags_ms"], scenario.host.libvirtd_lags_ms.unwrap_or(0));
    problems.host_events(&scenario.host.events);
    problems.token(&scenario.token);
    problems.users_of_volumes(scenario);
    problems.faults(&place!["fault"], &scenario.faults, policies);
    if scenario.expect.is_empty() {
        problems.add(place!["expect"], "no policy; expected an [expect.<policy>] table");
    }
    for (policy, expectation) in &scenario.expect {
        problems.expectation(policy, expectation, policies);
    }
    problems.0
}

/// The problem of a file whose name is not its scenario's, if it has it.
pub(crate) fn check_file_name(scenario: &Scenario, stem: &str) -> Option<Problem> {
    (scenario.name != stem).then(|| Problem {
        place: place!["name"],
        message: format!("the file is named after its scenario: expected {stem:?}"),
        help: Some(format!("write name = {stem:?}, or name the file {}.toml", scenario.name)),
    })
}

/// Kebab-case: what is a file name, a command line argument and a table's cell alike.
fn is_kebab(name: &str) -> bool {
    let word =
        |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.split('-').all(word)
}

/// S01 to S27, L1 to L8.
fn is_property(name: &str) -> bool {
    let number = |digits: &str, width: usize, last: u32| {
        digits.len() == width
            && digits.bytes().all(|b| b.is_ascii_digit())
            && digits.parse::<u32>().is_ok_and(|n| (1..=last).contains(&n))
    };
    match name.split_at_checked(1) {
        Some(("S", digits)) => number(digits, 2, 27),
        Some(("L", digits)) => number(digits, 1, 8),
        _ => false,
    }
}

fn unknown(what: &str, found: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("no {what} {found:?}; did you mean {near:?}?"),
        None => format!("no {what} {found:?}"),
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Problem { place, message: message.into(), help: None });
    }

    /// A name that is not `known`; `whose` says what the known ones are.
    fn add_unknown(&mut self, place: Place, what: &str, found: &str, whose: &str, known: &[&str]) {
        self.0.push(Problem {
            place,
            message: unknown(what, found, nearest(found, known.iter().copied())),
            help: Some(format!("{whose}: {}", known.join(", "))),
        });
    }

    fn texts(&mut self, scenario: &Scenario) {
        if !is_kebab(&scenario.name) {
            self.add(
                place!["name"],
                "expected a name in kebab-case: lower case letters and digits, joined by -",
            );
        }
        if scenario.title.trim().is_empty() || scenario.title.contains('\n') {
            self.add(place!["title"], "expected one line of text");
        }
    }

    fn volumes(&mut self, scenario: &Scenario) {
        if scenario.volumes.is_empty() {
            self.add(place!["volume"], "expected at least one [[volume]]");
        }
        let mut seen = BTreeSet::new();
        for (i, volume) in scenario.volumes.iter().enumerate() {
            if !is_kebab(&volume.name) {
                self.add(
                    place!["volume", i, "name"],
                    "expected a name in kebab-case, for example \"v1\"",
                );
            } else if !seen.insert(volume.name.as_str()) {
                self.add(
                    place!["volume", i, "name"],
                    format!("a volume {:?} is already there; names are unique", volume.name),
                );
            }
            if volume.server.as_deref().is_some_and(|name| !is_kebab(name)) {
                self.add(
                    place!["volume", i, "server"],
                    "expected a name in kebab-case, for example \"s2\"",
                );
            }
        }
    }

    fn users_of_volumes(&mut self, scenario: &Scenario) {
        let known: Vec<&str> = scenario.volumes.iter().map(|v| v.name.as_str()).collect();
        for (i, leftover) in scenario.leftovers.iter().enumerate() {
            let volume = match leftover {
                Leftover::StaleAttachment { volume } | Leftover::StaleScsiDevice { volume } => {
                    volume
                }
                Leftover::CorruptNodeRecord => continue,
            };
            match scenario.volumes.iter().find(|v| v.name == *volume) {
                None => {
                    let place = place!["leftover", i, "volume"];
                    self.add_unknown(place, "volume", volume, "volumes of this file", &known);
                }
                // Without an attached volume there is no session to leave a disk in.
                Some(v) if matches!(leftover, Leftover::StaleScsiDevice { .. }) && !v.attached => {
                    self.add(
                        place!["leftover", i, "volume"],
                        format!(
                            "{volume:?} is not attached: the host has no session to its target"
                        ),
                    );
                }
                Some(_) => {}
            }
        }
        if scenario.actors.is_empty() {
            self.add(place!["actor"], "nobody acts; expected at least one [[actor]]");
        }
        for (i, actor) in scenario.actors.iter().enumerate() {
            if actor.server.as_ref().is_some_and(|s| !is_kebab(s)) {
                self.add(place!["actor", i, "server"], "expected a name in kebab-case");
            }
            if !scenario.volumes.iter().any(|v| v.name == actor.volume) {
                let place = place!["actor", i, "volume"];
                self.add_unknown(place, "volume", &actor.volume, "volumes of this file", &known);
            }
            if actor.microversion.is_some_and(|n| !(1..=Microversion::LATEST.0).contains(&n)) {
                let latest = Microversion::LATEST.0;
                self.add(place!["actor", i, "microversion"], format!("expected 1 to {latest}"));
            }
            self.time(place!["actor", i, "at_ms"], actor.at_ms);
        }
    }

    fn expectation(&mut self, policy: &str, expectation: &Expectation, policies: &[&str]) {
        if !policies.contains(&policy) {
            self.add_unknown(place!["expect", policy], "policy", policy, "policies", policies);
        }
        let mut seen = BTreeSet::new();
        for (i, property) in expectation.violates.iter().enumerate() {
            let place = place!["expect", policy, "violates", i];
            if !is_property(property) {
                self.add(
                    place,
                    format!("no property {property:?}; expected S01 to S27 or L1 to L8"),
                );
            } else if !seen.insert(property.as_str()) {
                self.add(place, format!("{property} is listed twice"));
            }
        }
        if expectation.because.contains('\n') {
            self.add(place!["expect", policy, "because"], "expected one line of text");
        }
    }
}
