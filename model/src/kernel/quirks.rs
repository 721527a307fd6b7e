//! What is odd about a compute host or its backend.

use castoff_ports::Iqn;

use super::{Kernel, ScsiDisk, Session, sysfs};
use crate::fact::Facts;
use crate::release::Release;
use crate::storage::Storage;

/// What differs from a host where all is well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quirks {
    /// `iscsiadm -m session` warns on standard error beside its list.
    pub iscsiadm_warns: bool,
    /// open-iscsi's database has a record without target and portal, which `-m node` lists.
    pub corrupt_record: bool,
    /// All LUNs show one identity (cinder bug 1917750).
    pub lun_ids_equal: bool,
    /// The backend announces a new LUN to the sessions of its target, which look for it at once
    /// unless they are scanned by hand (os-brick f67d46c).
    pub luns_announced: bool,
}

impl Quirks {
    /// Those of a release.
    pub(super) fn of(release: &Release) -> Quirks {
        Quirks {
            lun_ids_equal: !release.fixes.lun_ids_differ,
            luns_announced: release.luns_announced,
            ..Quirks::default()
        }
    }
}

impl Kernel {
    /// Whether the installed open-iscsi knows `node.session.scan`.
    pub fn knows_manual_scan(&self) -> bool {
        self.knows_manual_scan
    }

    /// open-iscsi is one that does not know `node.session.scan`, and reads over it in its records:
    /// iscsid, started anew, scans its sessions by itself.
    pub fn install_old_open_iscsi(&mut self) {
        self.knows_manual_scan = false;
        for node in &mut self.nodes {
            node.manual_scan = false;
        }
    }

    /// A target has a new LUN: sessions that scan by themselves look at all of it.
    pub(crate) fn lun_added(&mut self, facts: &mut Facts, storage: &Storage, target: &Iqn) {
        if !self.quirks.luns_announced {
            return;
        }
        let by_itself = |s: &&Session| {
            s.iqn == *target && self.node(&s.portal, &s.iqn).is_none_or(|n| !n.manual_scan)
        };
        let sessions: Vec<Session> = self.sessions.iter().filter(by_itself).cloned().collect();
        for session in sessions {
            self.scan(facts, storage, &session, None);
        }
    }

    /// What udev calls this disk.
    pub(super) fn wwid_of(&self, disk: &ScsiDisk) -> String {
        match self.quirks.lun_ids_equal {
            // tgt's own default, for whatever LUN.
            true => "360000000000000000e00000000010001".to_owned(),
            false => sysfs::wwid(&disk.volume),
        }
    }
}
