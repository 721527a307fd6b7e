//! A host's own times: how long each operation took in so many detaches, as data.
//!
//! `castoff calibrate` writes such a file; one that is kept in `sim/profiles` has a name. A release
//! that names one of these, or a file (`--release 2026.1+timing=lab`, `…+timing=my-host.toml`), takes
//! its times from it.

use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// The format's version.
pub const VERSION: u32 = 1;

/// The times of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The format's version.
    #[serde(rename = "castoff-profile")]
    pub version: u32,
    /// Which host.
    pub host: String,
    /// Of how many detaches.
    pub detaches: u32,
    /// A whole detach.
    pub whole: Range,
    /// By `system::Operation`.
    pub operation: BTreeMap<String, Range>,
}

/// What was measured, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// How many.
    pub n: u32,
    /// The shortest.
    pub min_us: u32,
    /// The one in the middle.
    pub median_us: u32,
    /// Nine of ten are not longer.
    pub p90_us: u32,
}

/// Why a profile cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is no TOML of this form.
    #[error("{0}")]
    Form(#[from] toml::de::Error),
    /// Neither a kept one nor a file.
    #[error("there is no timing profile {name:?}; give a file (*.toml), or one of: {}", Profile::NAMES.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// errno's text.
        message: String,
    },
    /// Another version of the format.
    #[error("it is a profile of version {found}, this castoff reads {VERSION}")]
    Version {
        /// The version that it has.
        found: u32,
    },
    /// A range that is none.
    #[error("{operation}: the shortest, the median and the 90th percentile are not in their order")]
    Order {
        /// Of which operation.
        operation: String,
    },
}

static LAB: LazyLock<Option<Profile>> =
    LazyLock::new(|| Profile::parse(include_str!("../../profiles/lab.toml")).ok());

impl Range {
    /// The range of these, if there are any.
    pub fn of(mut micros: Vec<u32>) -> Option<Range> {
        micros.sort_unstable();
        let last = micros.len().checked_sub(1)?;
        let at = |part: usize| micros[last * part / 10];
        // So many steps are in no file.
        let n = u32::try_from(micros.len()).unwrap_or(u32::MAX);
        Some(Range { n, min_us: micros[0], median_us: at(5), p90_us: at(9) })
    }
}

impl Profile {
    /// The names of the kept profiles.
    pub const NAMES: [&'static str; 1] = ["lab"];

    /// The kept profile of this name: `lab` is real/lab, on a busy 2-core machine.
    pub fn named(name: &str) -> Option<&'static Profile> {
        match name {
            "lab" => LAB.as_ref(),
            _ => None,
        }
    }

    /// The kept profile of this name, or the one in this file: a file's name has a `/` or ends with
    /// `.toml`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn resolve(name: &str) -> Result<Rc<Profile>, ProfileError> {
        if let Some(kept) = Profile::named(name) {
            return Ok(Rc::new(kept.clone()));
        }
        if !name.contains('/') && !name.ends_with(".toml") {
            return Err(ProfileError::Unknown { name: name.to_owned() });
        }
        let text = fs::read_to_string(name)
            .map_err(|e| ProfileError::File { path: name.to_owned(), message: e.to_string() })?;
        Profile::parse(&text).map(Rc::new)
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// When it has another form or version, or a range that is none.
    pub fn parse(text: &str) -> Result<Profile, ProfileError> {
        let profile: Profile = toml::from_str(text)?;
        if profile.version != VERSION {
            return Err(ProfileError::Version { found: profile.version });
        }
        let ordered = |r: &Range| r.min_us <= r.median_us && r.median_us <= r.p90_us;
        match profile.operation.iter().find(|(_, range)| !ordered(range)) {
            Some((operation, _)) => Err(ProfileError::Order { operation: operation.clone() }),
            None => Ok(profile),
        }
    }

    /// The range of this operation, if it was measured.
    pub fn range(&self, operation: &str) -> Option<Range> {
        self.operation.get(operation).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

    use super::*;

    #[test]
    fn every_kept_profile_loads_and_knows_the_steps_of_a_detach() {
        for name in Profile::NAMES {
            let profile = Profile::named(name).unwrap();
            for operation in
                ["libvirt::XmlDesc", "host::FlushBufs", "host::DeleteDevice", "iscsi::Logout"]
            {
                let range = profile.range(operation).unwrap();
                assert!(range.n >= profile.detaches && range.min_us > 0, "{name} {operation}");
            }
            assert!(profile.detaches >= 10 && profile.whole.n == profile.detaches);
            let known = |name: &str| castoff_ports::call::operation_names().any(|n| n == name);
            assert!(profile.operation.keys().all(|name| known(name)), "{name}");
        }
        assert_eq!(Profile::named("moon"), None);
    }

    #[test]
    fn a_range_is_what_was_measured() {
        let range = Range::of((1..=10).rev().collect()).unwrap();
        assert_eq!(range, Range { n: 10, min_us: 1, median_us: 5, p90_us: 9 });
        assert_eq!(Range::of(vec![7]).unwrap().p90_us, 7);
        assert_eq!(Range::of(Vec::new()), None);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        let good = toml::to_string(Profile::named("lab").unwrap()).unwrap();
        assert_eq!(Profile::parse(&good).unwrap(), *Profile::named("lab").unwrap());
        let newer = good.replace("castoff-profile = 1", "castoff-profile = 2");
        assert!(matches!(Profile::parse(&newer), Err(ProfileError::Version { found: 2 })));
        assert!(matches!(Profile::parse("x = 1"), Err(ProfileError::Form(_))));
        let mut wrong = Profile::named("lab").unwrap().clone();
        let first = wrong.operation.values_mut().next().unwrap();
        first.min_us = first.p90_us + 1;
        let wrong = toml::to_string(&wrong).unwrap();
        assert!(matches!(Profile::parse(&wrong), Err(ProfileError::Order { .. })));
    }
}
