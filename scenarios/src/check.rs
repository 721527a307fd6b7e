//! What types cannot say of a scenario: names that must exist, be unique, or be known.
//!
//! Checks are pure and look at a [`Scenario`] only, so a scenario built in Rust is checked by
//! the same code as a file. Each [`Problem`] names its place as a path of keys; [`mod@crate::load`]
//! turns the path into a position in the text.

use std::collections::BTreeSet;
use std::fmt;

use castoff_ports::call::operation_names;
use castoff_ports::plan::{Fault, FaultKind};

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

/// A [`Place`] from keys and indices.
macro_rules! place {
    ($($step:expr),+) => { Place(vec![$(Step::from($step)),+]) };
}

/// Every problem of a scenario, in the order of the file's sections; none when it can be run.
///
/// `policies` are the names that `expect` may use.
pub fn check(scenario: &Scenario, policies: &[&str]) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.texts(scenario);
    problems.volumes(scenario);
    if scenario.token.lifetime_s == 0 {
        problems.add(
            place!["token", "lifetime_s"],
            "a token lives at least 1 second; keystone's default is 3600",
        );
    }
    problems.users_of_volumes(scenario);
    for (i, fault) in scenario.faults.iter().enumerate() {
        problems.fault(i, fault, policies);
        if scenario.faults[..i].iter().any(|f| f.at == fault.at) {
            // The fault layer counts calls: the point is passed once, the second never strikes.
            problems.add(
                place!["fault", i, "at"],
                "an earlier fault strikes at this point; only one can",
            );
        }
    }
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

/// The system that an operation is called on.
fn system_of(operation: &str) -> &str {
    operation.split("::").next().unwrap_or(operation)
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

    /// An operation that the ports do not have.
    fn add_unknown_operation(&mut self, place: Place, found: &str) {
        let (system, name) = found.split_once("::").unwrap_or(("", found));
        let of_system: Vec<&str> = operation_names().filter(|n| system_of(n) == system).collect();
        if !of_system.is_empty() {
            let whose = format!("operations of {system}");
            return self.add_unknown(place, "operation", found, &whose, &of_system);
        }
        // The list of all operations would be no help: the systems, and the nearest of all.
        let mut systems: Vec<&str> = operation_names().map(system_of).collect();
        systems.dedup();
        self.0.push(Problem {
            place,
            message: unknown("operation", found, nearest(name, operation_names())),
            help: Some(format!("systems: {}", systems.join(", "))),
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
            let (Leftover::StaleAttachment { volume } | Leftover::StaleScsiDevice { volume }) =
                leftover;
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
            if !scenario.volumes.iter().any(|v| v.name == actor.volume) {
                let place = place!["actor", i, "volume"];
                self.add_unknown(place, "volume", &actor.volume, "volumes of this file", &known);
            }
        }
    }

    fn fault(&mut self, i: usize, fault: &Fault, policies: &[&str]) {
        let operation = fault.at.operation.as_str();
        if operation_names().any(|name| name == operation) {
            if let Some(needed) = refused_by(&fault.strike, operation) {
                self.add(
                    place!["fault", i, "strike", "kind"],
                    format!("cannot strike {operation}: expected {needed}"),
                );
            }
        } else {
            self.add_unknown_operation(place!["fault", i, "at", "operation"], operation);
        }
        if fault.at.nth == 0 {
            self.add(place!["fault", i, "at", "nth"], "calls are counted from 1");
        }
        for (j, policy) in fault.policies.iter().enumerate() {
            if !policies.contains(&policy.as_str()) {
                self.add_unknown(
                    place!["fault", i, "policies", j],
                    "policy",
                    policy,
                    "policies",
                    policies,
                );
            }
        }
        match fault.strike {
            FaultKind::HttpError { status } if !(400..=599).contains(&status) => self.add(
                place!["fault", i, "strike", "status"],
                format!("{status} is no error status; expected 400 to 599"),
            ),
            FaultKind::Timeout { status, .. } if !matches!(status, 500 | 504) => self.add(
                place!["fault", i, "strike", "status"],
                format!(
                    "{status} is no timeout; expected 500 (inside the service) or 504 (gateway)"
                ),
            ),
            FaultKind::CommandFails { exit: 0 } => self.add(
                place!["fault", i, "strike", "exit"],
                "0 is success; expected an exit code that is not 0",
            ),
            _ => {}
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

/// What a fault of this kind needs instead of this operation, when it cannot strike it.
fn refused_by(kind: &FaultKind, operation: &str) -> Option<&'static str> {
    let system = system_of(operation);
    match kind {
        FaultKind::HttpError { .. } | FaultKind::Timeout { .. } => {
            (!matches!(system, "keystone" | "nova" | "cinder"))
                .then_some("an operation of an HTTP service: keystone, nova or cinder")
        }
        FaultKind::CommandFails { .. } => (!matches!(system, "iscsi" | "host"))
            .then_some("a command of the compute host: iscsi or host"),
        FaultKind::Lost => (operation != "rpc::Cast")
            .then_some("rpc::Cast, the one message without a reply; others are \"unreachable\""),
        // Time passes for everybody, and everybody can die.
        FaultKind::Unreachable
        | FaultKind::ReplyLost
        | FaultKind::Delay { .. }
        | FaultKind::Duplicate { .. }
        | FaultKind::Environment { .. }
        | FaultKind::CrashBefore { .. }
        | FaultKind::CrashAfter { .. } => None,
    }
}
