//! How the outside behaves, by release: data that models take their variants from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Cinder's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CinderRelease {
    /// ocata: no attachments API, no check of service tokens.
    Ocata,
    /// 2026.1 (cinder 28): attachments API; CVE-2023-2088 fixed.
    V28,
}

/// What a second `device_del` does while one is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QemuUnplug {
    /// Before QEMU 4.2, and ACPI hotplug since 6: accepted, changes nothing.
    SecondIgnored,
    /// QEMU 4.2: it aborts the first, whose event never comes (nova bug 1882521).
    SecondAborts,
    /// QEMU 5 and native PCIe hotplug: error, "already in the process of unplug".
    SecondRefused,
}

/// A named set of behaviours of everything outside the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Name on the command line.
    pub name: String,
    /// Cinder.
    pub cinder: CinderRelease,
    /// Second `device_del`.
    pub qemu: QemuUnplug,
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
}

impl Release {
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
                qemu: QemuUnplug::SecondIgnored,
                detach_blocks: Duration::from_secs(5),
                device_missing_error: false,
                service_token: false,
                manual_scan: false,
            },
            Release {
                name: "2026.1".to_owned(),
                cinder: CinderRelease::V28,
                qemu: QemuUnplug::SecondIgnored,
                detach_blocks: Duration::from_secs(5),
                device_missing_error: true,
                service_token: true,
                manual_scan: true,
            },
        ]
    }
}
