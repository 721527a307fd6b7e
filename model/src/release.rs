//! How the outside behaves, by release: data that models take their variants from.

use std::time::Duration;

use castoff_ports::qemu::{Machine, Qemu, Version};
use serde::{Deserialize, Serialize};

pub mod fixes;

pub use fixes::Fixes;

/// Cinder's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CinderRelease {
    /// ocata: no attachments API, no check of service tokens.
    Ocata,
    /// 2026.1 (cinder 28): attachments API; CVE-2023-2088 fixed.
    V28,
}

/// A named set of behaviours of everything outside the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Name on the command line.
    pub name: String,
    /// Cinder.
    pub cinder: CinderRelease,
    /// os-begin_detaching compares and swaps. Before cinder bug 1238093 was fixed it checked an
    /// object that it had read earlier and then set the status: what its caller has last seen of
    /// the volume decides, so nova's own check is the only one.
    pub begin_detaching_swaps: bool,
    /// Deleting an attachment that is only reserved frees its volume; else the row goes and the
    /// volume stays reserved (cinder bug 1702512).
    pub reserved_attachment_frees: bool,
    /// What runs the guests, unless a scenario says otherwise.
    pub qemu: Qemu,
    /// The longest that virDomainDetachDeviceFlags waits for the guest: 0 in the recorded cases
    /// (Nova's own code against a scripted libvirt), 5 s as measured with libvirt 9.
    pub detach_blocks: Duration,
    /// libvirt reports a missing device with DEVICE_MISSING (4.1 and later), else with
    /// OPERATION_FAILED and INVALID_ARG.
    pub device_missing_error: bool,
    /// Nova sends a service token with the user's token, so that an expired user token is still
    /// accepted inside keystone's allow_expired_window and cinder lets nova delete attachments.
    pub service_token: bool,
    /// iscsid understands `node.session.scan`: os-brick scans by itself.
    pub manual_scan: bool,
    /// How long operations take: the name of a measured profile, or the models' own times.
    #[serde(default)]
    pub timing: Option<String>,
    /// The backend announces new LUNs to the sessions of a shared target, which then scan unless they
    /// are scanned by hand: what `manual_scan` answers (os-brick f67d46c).
    /// `ocata` has it off, as the scenarios of pike were measured without it; no recording backs
    /// either value.
    pub luns_announced: bool,
    /// What single fixes have brought.
    #[serde(flatten)]
    pub fixes: Fixes,
}

/// A text that names no release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseTextError {
    /// No such release.
    #[error("unknown release {0:?}")]
    Unknown(String),
    /// A change without `=`.
    #[error("{0:?} changes nothing: expected FIELD=VALUE after each +")]
    Shape(String),
    /// No such field.
    #[error("releases have no field {0:?}")]
    Field(String),
    /// The field takes other values.
    #[error("{field} cannot be {value}: {reason}")]
    Value {
        /// The field.
        field: String,
        /// The value.
        value: String,
        /// What it takes.
        reason: String,
    },
}

impl Release {
    /// The release of this text: a name, and any number of changes, as
    /// `ocata+begin_detaching_swaps=false`. Values are JSON; a word that is no JSON is a string.
    ///
    /// # Errors
    /// When the name, a field or a value is none.
    pub fn parse(text: &str) -> Result<Release, ReleaseTextError> {
        let mut parts = text.split('+');
        let name = parts.next().unwrap_or_default();
        let base = Self::named(name).ok_or_else(|| ReleaseTextError::Unknown(name.to_owned()))?;
        parts.try_fold(base, |release, change| release.changed(change))
    }

    fn changed(&self, change: &str) -> Result<Release, ReleaseTextError> {
        let (field, text) =
            change.split_once('=').ok_or_else(|| ReleaseTextError::Shape(change.to_owned()))?;
        let value = |reason: String| ReleaseTextError::Value {
            field: field.to_owned(),
            value: text.to_owned(),
            reason,
        };
        let mut all = serde_json::to_value(self).map_err(|e| value(e.to_string()))?;
        let known = all.get_mut(field).filter(|_| field != "name");
        *known.ok_or_else(|| ReleaseTextError::Field(field.to_owned()))? =
            serde_json::from_str(text).unwrap_or_else(|_| text.into());
        let release: Release = serde_json::from_value(all).map_err(|e| value(e.to_string()))?;
        Ok(Release { name: format!("{}+{change}", self.name), ..release })
    }

    /// The release of this name.
    pub fn named(name: &str) -> Option<Release> {
        Self::all().into_iter().find(|r| r.name == name)
    }

    /// Every known release.
    pub fn all() -> Vec<Release> {
        vec![
            Release {
                name: "ocata".to_owned(),
                cinder: CinderRelease::Ocata,
                begin_detaching_swaps: true,
                reserved_attachment_frees: true,
                qemu: Qemu { version: Version::new(2, 8), machine: Machine::Pc },
                detach_blocks: Duration::from_secs(5),
                device_missing_error: false,
                service_token: false,
                manual_scan: false,
                timing: None,
                luns_announced: false,
                fixes: Fixes::ALL,
            },
            Release {
                name: "2026.1".to_owned(),
                cinder: CinderRelease::V28,
                begin_detaching_swaps: true,
                reserved_attachment_frees: true,
                // As measured: Debian 12 with libvirt 9.0.
                qemu: Qemu { version: Version::new(7, 2), machine: Machine::Pc },
                detach_blocks: Duration::from_secs(5),
                device_missing_error: true,
                service_token: true,
                manual_scan: true,
                timing: None,
                luns_announced: true,
                fixes: Fixes::ALL,
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

    use super::*;

    #[test]
    fn a_changed_release_is_named_after_its_change_and_reads_back() {
        let text = "ocata+begin_detaching_swaps=false+manual_scan=true";
        let release = Release::parse(text).unwrap();
        assert!(!release.begin_detaching_swaps && release.manual_scan);
        assert_eq!(release.name, text);
    }

    #[test]
    fn what_names_no_release_is_refused() {
        for (text, says) in [
            ("queens", "unknown release"),
            ("ocata+manual_scan", "changes nothing"),
            ("ocata+name=x", "no field"),
            ("ocata+manual_scan=maybe", "manual_scan cannot be maybe"),
        ] {
            let error = Release::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
