//! Which QEMU runs the guests: version and machine type.
//!
//! No operation carries them: what a second unplug request does, and how long a guest takes to let
//! go, hang on them, so scenarios name them and the hypervisor's model follows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A QEMU release, `major.minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
}

impl Version {
    /// `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Version {
        Version { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text that is no version of QEMU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no version of QEMU, expected \"major.minor\", for example \"4.2\"")]
pub struct NoVersion {
    /// The text.
    pub found: String,
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Version, NoVersion> {
        // u16 would take a sign.
        let number = |part: &str| {
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some(Version::new(number(major)?, number(minor)?)))
            .ok_or_else(|| NoVersion { found: text.to_owned() })
    }
}

impl TryFrom<String> for Version {
    type Error = NoVersion;

    fn try_from(text: String) -> Result<Version, NoVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

/// The guest's machine type, which decides how a disk is unplugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// `pc`: ACPI hotplug.
    Pc,
    /// `q35` with ACPI hotplug (QEMU's default since 6.1).
    Q35,
    /// `q35` with native PCIe hotplug: the guest waits 5 s after the attention button.
    Q35Native,
}

/// What runs the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    /// Its release.
    pub version: Version,
    /// The guests' machine type.
    pub machine: Machine,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_two_numbers_and_compares_as_numbers() {
        let parse = |text: &str| text.parse::<Version>();
        assert_eq!(parse("4.2").unwrap(), Version::new(4, 2));
        assert!(parse("10.0").unwrap() > parse("9.2").unwrap());
        for wrong in ["", "4", "4.", ".2", "4.2.0", "+4.2", "4.x", "70000.1"] {
            assert_eq!(parse(wrong), Err(NoVersion { found: wrong.to_owned() }));
        }
        assert_eq!(Version::new(7, 2).to_string(), "7.2");
    }
}
