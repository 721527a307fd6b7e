//! What single fixes have brought to cinder and its drivers: with `false` the bug is back.

use serde::{Deserialize, Serialize};

/// Whether each fix is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixes {
    /// Only a service deletes an attachment that nova uses (CVE-2023-2088, cinder bug 2004555).
    pub attachment_deletion_checked: bool,
    /// A volume in `error` is not reserved (cinder bug 1785050, 9c0123eb7).
    pub error_volumes_refused: bool,
    /// An attachment that is not there is 404; else the driver's exception comes back from
    /// cinder-volume as 500 (cinder bugs 1449870 and 1450431).
    pub missing_attachment_is_404: bool,
    /// A connection without a connector is not terminated; else the driver fails on it (cinder bug
    /// 1738254, 1bcab6a48).
    pub missing_connector_skipped: bool,
    /// A connector without initiator terminates nothing; else the driver fails on it (cinder bug
    /// 1966513, daa803b8e).
    pub missing_initiator_skipped: bool,
    /// A volume of a shared target says so; else nova takes no lock for it (cinder bugs 1800136 and
    /// 2129271).
    pub shared_targets_told: bool,
    /// Each LUN has an identity of its own; else all show the same (cinder bug 1917750, 67b063e92).
    pub lun_ids_differ: bool,
}

impl Fixes {
    /// All of them: today's code.
    pub const ALL: Fixes = Fixes {
        attachment_deletion_checked: true,
        error_volumes_refused: true,
        missing_attachment_is_404: true,
        missing_connector_skipped: true,
        missing_initiator_skipped: true,
        shared_targets_told: true,
        lun_ids_differ: true,
    };
}
