//! Properties: named functions over the world, judged on every run.
//!
//! Safety is judged after every transition that touched what a property reads; liveness and
//! agreement when all is quiet, the faults have stopped and the same user has retried once.
//! [`CATALOGUE`] says what each means; the functions are in [`safety`] and [`quiet`].

mod quiet;
mod safety;

use std::fmt;

use castoff_model::{Fact, World};
use castoff_ports::{InstanceId, RequestId, SimTime, VolumeId};

/// Whether breaking it is a wrong step or a missing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing bad happens.
    Safety,
    /// Something good happens at last.
    Liveness,
}

/// A property as a user meets it.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its id: `S01`.
    pub name: &'static str,
    /// Safety or liveness.
    pub class: Class,
    /// Its short title.
    pub title: &'static str,
    /// What it says.
    pub statement: &'static str,
}

/// The properties that are checked.
pub const CATALOGUE: &[Property] = &[
    Property {
        name: "S01",
        class: Class::Safety,
        title: "NoAvailableWhileLive",
        statement: "a volume that is available, or has no attachment, is no guest's live disk and serves no guest's write",
    },
    Property {
        name: "S02",
        class: Class::Safety,
        title: "UnmapAfterRemove",
        statement: "the backend unmaps a volume from a host only when that host has no SCSI disk of it",
    },
    Property {
        name: "S03",
        class: Class::Safety,
        title: "RemoveAfterRelease",
        statement: "a disk that a guest has open is never deleted, logged out or unmapped",
    },
    Property {
        name: "S04",
        class: Class::Safety,
        title: "Identity",
        statement: "every guest write to a volume reaches that volume",
    },
    Property {
        name: "S05",
        class: Class::Safety,
        title: "NoLostAck",
        statement: "every write that was acknowledged to the guest is on the backend when its disk or its mapping goes",
    },
    Property {
        name: "S08",
        class: Class::Safety,
        title: "CleanHost",
        statement: "a detached volume leaves no SCSI disk on the host, and no session or node record without a disk",
    },
    Property {
        name: "S09",
        class: Class::Safety,
        title: "DbAgreement",
        statement: "nova has a BDM exactly where cinder has an attachment, and they name the same one",
    },
    Property {
        name: "S15",
        class: Class::Safety,
        title: "NoFalseSuccess",
        statement: "when a detach is called a success, the disk is gone from the live and the persistent domain",
    },
    Property {
        name: "L1",
        class: Class::Liveness,
        title: "Terminates",
        statement: "each accepted DELETE ends: detached, rolled back, or an error that the user can see",
    },
    Property {
        name: "L2",
        class: Class::Liveness,
        title: "NoOrphanDetaching",
        statement: "no volume stays detaching when nobody works on it",
    },
];

/// The property of this name.
pub fn named(name: &str) -> Option<&'static Property> {
    CATALOGUE.iter().find(|p| p.name == name)
}

/// A broken property.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which.
    pub property: &'static Property,
    /// When.
    pub at: SimTime,
    /// The facts that contradict it.
    pub facts: String,
}

impl PartialEq for Property {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} broken: {}", self.property.name, self.property.title, self.facts)
    }
}

/// A user's detach, as the checker follows it.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The request.
    pub request: RequestId,
    /// The server.
    pub instance: InstanceId,
    /// The volume.
    pub volume: VolumeId,
    /// 202 was answered; none while there is no answer.
    pub accepted: Option<bool>,
}

/// At most so many violations are kept of one run: the first ones tell the story.
const MAX_VIOLATIONS: usize = 32;

/// Checks one run.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    watched: Vec<Watched>,
    violations: Vec<Violation>,
}

impl Checker {
    /// A checker that follows these detaches.
    pub fn new(watched: Vec<Watched>) -> Self {
        Checker { watched, violations: Vec::new() }
    }

    /// Judges one transition.
    pub fn facts(&mut self, world: &World, now: SimTime, facts: &[Fact]) {
        for fact in facts {
            safety::judge(self, world, now, fact);
        }
    }

    /// Judges the requests when all is quiet for the first time.
    pub fn settled(&mut self, world: &World, now: SimTime) {
        quiet::terminates(self, world, now);
    }

    /// Judges the end.
    pub fn quiescent(&mut self, world: &World, now: SimTime) {
        quiet::clean_host(self, world, now);
        quiet::databases_agree(self, world, now);
        quiet::no_orphan_detaching(self, world, now);
    }

    /// A user's detach was answered.
    pub fn detach_answered(&mut self, request: RequestId, accepted: bool) {
        if let Some(w) = self.watched.iter_mut().find(|w| w.request == request) {
            w.accepted = Some(accepted);
        }
    }

    /// What was broken.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn broken(&mut self, name: &'static str, at: SimTime, facts: String) {
        // Names come from this file's own callers: a wrong one shows in the first test.
        let property = named(name).expect("property is in the catalogue");
        let known = self.violations.iter().any(|v| v.property == property && v.facts == facts);
        if !known && self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { property, at, facts });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_has_a_name_and_a_statement_of_its_own() {
        for (i, p) in CATALOGUE.iter().enumerate() {
            assert_eq!(named(p.name).map(|q| q.title), Some(p.title));
            assert!(CATALOGUE[i + 1..].iter().all(|q| q.name != p.name));
            let prefix = if p.class == Class::Safety { 'S' } else { 'L' };
            assert!(p.name.starts_with(prefix), "{} {:?}", p.name, p.class);
        }
    }
}
