//! How the outside behaves, by release: data that models take their variants from.

use std::time::Duration;

use castoff_ports::qemu::{Machine, Qemu, Version};
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
                begin_detaching_swaps: true,
                qemu: Qemu { version: Version::new(2, 8), machine: Machine::Pc },
                detach_blocks: Duration::from_secs(5),
                device_missing_error: false,
                service_token: false,
                manual_scan: false,
            },
            Release {
                name: "2026.1".to_owned(),
                cinder: CinderRelease::V28,
                begin_detaching_swaps: true,
                // As measured: Debian 12 with libvirt 9.0.
                qemu: Qemu { version: Version::new(7, 2), machine: Machine::Pc },
                detach_blocks: Duration::from_secs(5),
                device_missing_error: true,
                service_token: true,
                manual_scan: true,
            },
        ]
    }
}
