//! What was broken, by property and cause.

use std::collections::BTreeMap;

use castoff_ports::plan::Fault;

use crate::properties::{CATALOGUE, Property, Violation};

/// A set of properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken(u64);

impl Broken {
    /// Those of these violations.
    pub fn of(violations: &[Violation]) -> Self {
        Broken(violations.iter().fold(0, |set, v| set | bit(v.property)))
    }
    /// Whether this one is among them.
    pub fn has(self, property: &Property) -> bool {
        self.0 & bit(property) != 0
    }
    /// These and those.
    #[must_use]
    pub fn and(self, other: Broken) -> Broken {
        Broken(self.0 | other.0)
    }
    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(property: &Property) -> u64 {
    // Every property is one of the catalogue's, which has fewer than 64.
    CATALOGUE.iter().position(|p| p.name == property.name).map_or(0, |i| 1 << i)
}

/// One way to break one property.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// What is broken.
    pub property: &'static Property,
    /// The smallest plan that shows it, and of those the first; empty: the scenario alone.
    pub plan: Vec<Fault>,
    /// What contradicts the property, in the run of that plan.
    pub facts: String,
    /// The how many-th plan of the search it was.
    pub tried: u64,
    /// How many plans broke the property in this way.
    pub plans: u64,
}

/// All of them, by property and by what strikes where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Causes {
    known: BTreeMap<(&'static str, String), Cause>,
    /// Plans that broke again, with one fault more, what a smaller plan breaks.
    repeated: BTreeMap<&'static str, u64>,
}

/// Faults of one kind at one operation are one cause, however often the operation is called.
fn class(plan: &[Fault]) -> String {
    let each =
        plan.iter().map(|f| format!("{} {} {}", f.at.process, f.at.operation, f.strike.as_str()));
    each.collect::<Vec<_>>().join(" + ")
}

impl Causes {
    /// Puts a violation down to its plan, unless a smaller plan breaks the property anyhow.
    pub(super) fn add(&mut self, violation: &Violation, plan: &[Fault], known: Broken, tried: u64) {
        let name = violation.property.name;
        if known.has(violation.property) {
            *self.repeated.entry(name).or_default() += 1;
            return;
        }
        let cause = Cause {
            property: violation.property,
            plan: plan.to_vec(),
            facts: violation.facts.clone(),
            tried,
            plans: 1,
        };
        self.put((name, class(plan)), cause);
    }

    fn put(&mut self, key: (&'static str, String), cause: Cause) {
        self.known.entry(key).and_modify(|c| c.plans += cause.plans).or_insert(cause);
    }

    /// So many plans were tried before these.
    pub(super) fn later_by(&mut self, plans: u64) {
        for cause in self.known.values_mut() {
            cause.tried += plans;
        }
    }

    /// Takes in what another part of the search found; parts come in the search's order.
    pub(super) fn merge(&mut self, other: Causes) {
        for (key, cause) in other.known {
            self.put(key, cause);
        }
        for (name, n) in other.repeated {
            *self.repeated.entry(name).or_default() += n;
        }
    }

    /// All causes, by property, small plans first.
    pub fn all(&self) -> Vec<&Cause> {
        let mut all: Vec<&Cause> = self.known.values().collect();
        all.sort_by_key(|c| (c.property.name, c.plan.len()));
        all
    }

    /// The properties that were broken, with how many plans broke each.
    pub fn by_property(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = self.repeated.clone();
        for ((name, _), cause) in &self.known {
            *counts.entry(name).or_default() += cause.plans;
        }
        counts
    }

    /// Whether nothing was broken.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
