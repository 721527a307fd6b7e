//! The compute host below nova: open-iscsi's records and sessions, and the kernel's SCSI disks.
//!
//! It outlives every nova-compute process. What makes it worth modelling is what it does not do:
//! a scan never looks again at a disk that is there, so a disk that was left behind keeps the
//! identity it had when it was probed while its LUN number serves another volume; a logout takes
//! the disks away whether a guest uses them or not; and nothing flushes for you.
//!
//! - `iscsiadm`: records, sessions, login and logout, with iscsiadm's texts and exit codes.
//! - `sysfs`: what os-brick reads and writes in sysfs, udev's links, `blockdev`, `scsi_id`.
//! - `multipath`: device-mapper maps over several paths, and multipathd.
//! - `crypt`: LUKS mappings that cryptsetup opened over a disk.
//! - `journal`: castoff's own files on the host.
//! - `block_io`: where a read or write of an open disk ends up now; the page cache.

use std::time::Duration;

use castoff_ports::host::by_path_name;
use castoff_ports::{DeviceName, Hctl, Iqn, Lun, Portal, Sid, SimTime, VolumeId};
use smallvec::SmallVec;

use crate::fact::{Fact, Facts};
use crate::hypervisor::Hypervisor;
use crate::release::Release;
use crate::storage::{Stamp, Storage};
use crate::world::Step;

#[cfg(test)]
pub(crate) mod bed;
mod block_io;
mod crypt;
mod disk_name;
mod iscsiadm;
mod journal;
mod multipath;
mod quirks;
#[cfg(test)]
mod state_machine;
mod sysfs;
#[cfg(test)]
mod tests;

pub use block_io::Written;
pub use journal::Journal;
pub use multipath::DmMap;
pub use quirks::Quirks;

/// Initiator name of the compute host unless a scenario sets another (Debian's form).
const INITIATOR: &str = "iqn.1993-08.org.debian:01:castoff";

/// The SCSI host number of the first session: host0 and host1 are the machine's own.
const FIRST_SCSI_HOST: u32 = 2;

/// How long a deleted SCSI disk stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linger {
    /// Goes after this time.
    For(Duration),
    /// Stays until its session is logged out (a failed path's error handler, F55).
    Never,
}

/// A SCSI disk that somebody opened: the name alone may mean another disk later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceHandle {
    /// Kernel name at the time of the open.
    pub name: DeviceName,
    /// Number of the disk, counted over the host's life.
    pub generation: u32,
}

/// Whether a SCSI disk works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskState {
    /// `SDEV_RUNNING`.
    Running,
    /// `SDEV_CANCEL`: deleted, still listed; it takes no I/O and cannot be opened.
    Deleting {
        /// When it is gone; none when only a logout removes it.
        gone_at: Option<SimTime>,
    },
}

/// A SCSI disk of an iSCSI session.
#[derive(Clone, Debug)]
pub struct ScsiDisk {
    /// `sdb`.
    pub name: DeviceName,
    /// Number of the disk, counted over the host's life.
    pub generation: u32,
    /// Its address.
    pub hctl: Hctl,
    /// Its session.
    pub sid: Sid,
    /// Its LUN.
    pub lun: Lun,
    /// The volume that it showed when it was probed.
    pub volume: VolumeId,
    /// Whether it works.
    pub state: DiskState,
    /// Acknowledged writes in the page cache that have not reached the LUN.
    pub dirty: Vec<Stamp>,
    /// Its link in `/dev/disk/by-path/`: udev keeps it as long as the disk.
    pub by_path: String,
}

impl ScsiDisk {
    /// What an open of this disk holds.
    pub fn handle(&self) -> DeviceHandle {
        DeviceHandle { name: self.name.clone(), generation: self.generation }
    }

    fn is(&self, handle: &DeviceHandle) -> bool {
        self.generation == handle.generation
    }
}

/// A logged-in iSCSI session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number, counting up from 1.
    pub sid: Sid,
    /// Portal.
    pub portal: Portal,
    /// Target.
    pub iqn: Iqn,
    /// Its SCSI host.
    pub host: u32,
}

/// A node record of open-iscsi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Portal.
    pub portal: Portal,
    /// Target.
    pub iqn: Iqn,
    /// It came of a discovery, which told its portal group; of one made with `--op new` that is
    /// not known.
    pub discovered: bool,
    /// `node.startup = automatic`: a boot of the host logs in again.
    pub automatic: bool,
    /// `node.session.scan = manual`: a login scans nothing by itself.
    pub manual_scan: bool,
}

/// A record of open-iscsi's discovery database: what sendtargets once found at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Whom sendtargets asked.
    pub address: Portal,
    /// What it answered.
    pub targets: Vec<(Iqn, Portal)>,
}

/// The compute host's kernel and open-iscsi.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `/etc/iscsi/initiatorname.iscsi`.
    pub initiator: Iqn,
    /// How long a deleted disk stays; none: it goes at once.
    pub linger: Option<Linger>,
    /// Guests' writes stay in the page cache until a flush (`cache='writeback'`).
    pub writeback: bool,
    /// `blockdev --flushbufs` fails (F54).
    pub flush_fails: bool,
    /// Whether multipathd runs.
    pub multipathd: bool,
    /// What is odd about it.
    pub quirks: Quirks,
    /// iscsid knows `node.session.scan`.
    knows_manual_scan: bool,
    nodes: Vec<Node>,
    sessions: Vec<Session>,
    disks: Vec<ScsiDisk>,
    maps: Vec<DmMap>,
    /// Name of each LUKS mapping, and the disk under it.
    crypts: Vec<(String, u32)>,
    /// `/etc/multipath/wwids`.
    wwids: Vec<String>,
    discoveries: Vec<Discovery>,
    /// castoff's own files.
    pub journal: Journal,
    next_sid: u32,
    next_host: u32,
    next_generation: u32,
}

impl Kernel {
    /// A host without sessions and records.
    pub fn new(release: &Release) -> Kernel {
        Kernel {
            initiator: Iqn::new(INITIATOR),
            linger: None,
            writeback: false,
            flush_fails: false,
            multipathd: false,
            quirks: Quirks::of(release),
            knows_manual_scan: release.manual_scan,
            nodes: Vec::new(),
            sessions: Vec::new(),
            disks: Vec::new(),
            maps: Vec::new(),
            crypts: Vec::new(),
            wwids: Vec::new(),
            discoveries: Vec::new(),
            journal: Journal::default(),
            next_sid: 1,
            next_host: FIRST_SCSI_HOST,
            next_generation: 1,
        }
    }

    /// The SCSI disks, oldest first.
    pub fn devices(&self) -> impl Iterator<Item = &ScsiDisk> {
        self.disks.iter()
    }

    /// The disk of this name.
    pub fn device(&self, name: &DeviceName) -> Option<&ScsiDisk> {
        self.disks.iter().find(|d| d.name == *name)
    }

    /// The sessions, oldest first.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The session to this target at this portal.
    pub fn session(&self, portal: &Portal, iqn: &Iqn) -> Option<&Session> {
        self.sessions.iter().find(|s| s.portal == *portal && s.iqn == *iqn)
    }

    /// The node records, oldest first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The disk behind a by-path link (its name without the directory).
    pub fn by_path(&self, link: &str) -> Option<&ScsiDisk> {
        self.disks.iter().find(|d| d.by_path == link)
    }

    /// Leaves what a sendtargets discovery leaves: scenarios of hosts that ran multipath before.
    pub fn add_discovery(&mut self, discovery: Discovery) {
        self.discoveries.push(discovery);
    }

    /// A leftover: a disk, with its session and node record, whose volume is not mapped any more.
    ///
    /// A host gets into this state when cinder unmaps before the host has let go (S02), and
    /// whoever connects that LUN number next finds the disk (bugs of class B25).
    pub fn add_stale_device(
        &mut self,
        facts: &mut Facts,
        storage: &Storage,
        portal: &Portal,
        iqn: &Iqn,
        lun: Lun,
        volume: &VolumeId,
    ) -> DeviceName {
        debug_assert_ne!(
            storage.lun(iqn, &self.initiator, lun),
            Some(volume),
            "a disk whose LUN still serves its volume is no leftover"
        );
        if self.node(portal, iqn).is_none() {
            self.new_node(facts, portal.clone(), iqn.clone(), false);
        }
        let session = match self.session(portal, iqn) {
            Some(s) => s.clone(),
            None => self.new_session(facts, portal.clone(), iqn.clone()),
        };
        self.new_disk(facts, &session, lun, volume.clone())
    }

    /// What keeps deleted disks from going lets them go: those that linger are due at `now`.
    pub fn heal(&mut self, now: SimTime) {
        self.linger = None;
        for disk in &mut self.disks {
            if let DiskState::Deleting { gone_at } = &mut disk.state {
                *gone_at = Some(gone_at.map_or(now, |at| at.min(now)));
            }
        }
    }

    /// When a lingering disk goes by itself.
    pub fn next_timer(&self) -> Option<SimTime> {
        self.disks
            .iter()
            .filter_map(|d| match d.state {
                DiskState::Running => None,
                DiskState::Deleting { gone_at } => gone_at,
            })
            .min()
    }

    /// Lets the disks go whose time has come.
    pub fn advance(&mut self, step: &mut Step<'_>, hypervisor: &Hypervisor) {
        let now = step.now;
        let due = |d: &ScsiDisk| match d.state {
            DiskState::Running => false,
            DiskState::Deleting { gone_at } => gone_at.is_some_and(|at| at <= now),
        };
        self.remove_disks(step.facts, hypervisor, true, due);
    }

    fn node(&self, portal: &Portal, iqn: &Iqn) -> Option<&Node> {
        self.nodes.iter().find(|n| n.portal == *portal && n.iqn == *iqn)
    }

    fn new_node(&mut self, facts: &mut Facts, portal: Portal, iqn: Iqn, discovered: bool) {
        facts.push(Fact::NodeNew { portal: portal.clone(), target: iqn.clone() });
        self.nodes.push(Node { portal, iqn, discovered, automatic: false, manual_scan: false });
    }

    fn new_session(&mut self, facts: &mut Facts, portal: Portal, iqn: Iqn) -> Session {
        let session = Session { sid: Sid(self.next_sid), portal, iqn, host: self.next_host };
        self.next_sid += 1;
        self.next_host += 1;
        facts.push(Fact::SessionUp {
            sid: session.sid,
            portal: session.portal.clone(),
            target: session.iqn.clone(),
        });
        self.sessions.push(session.clone());
        session
    }

    fn new_disk(
        &mut self,
        facts: &mut Facts,
        session: &Session,
        lun: Lun,
        volume: VolumeId,
    ) -> DeviceName {
        let name = self.lowest_free_name();
        facts.push(Fact::DeviceUp {
            device: name.clone(),
            sid: session.sid,
            lun,
            volume: volume.clone(),
        });
        self.disks.push(ScsiDisk {
            name: name.clone(),
            generation: self.next_generation,
            hctl: Hctl { host: session.host, channel: 0, target: 0, lun },
            sid: session.sid,
            lun,
            volume,
            state: DiskState::Running,
            dirty: Vec::new(),
            by_path: by_path_name(&session.portal, &session.iqn, lun),
        });
        self.next_generation += 1;
        self.consider(self.next_generation - 1);
        name
    }

    /// Probes LUNs of a session: `only` this one, or every LUN that the target reports.
    ///
    /// A disk that is there, working or being deleted, is not looked at again
    /// (`scsi_probe_and_add_lun` finds it first), and none is removed.
    fn scan(&mut self, facts: &mut Facts, storage: &Storage, session: &Session, only: Option<Lun>) {
        if !storage.answers(&session.portal) {
            return;
        }
        // REPORT LUNS lists them by number, whichever was mapped first (tgt sorts: tgt_device_create).
        let mut luns: SmallVec<[(Lun, &VolumeId); 4]> =
            storage.luns(&session.iqn, &self.initiator).collect();
        luns.sort_unstable_by_key(|(lun, _)| *lun);
        for (lun, volume) in luns {
            let wanted = only.is_none_or(|l| l == lun);
            let known = self.disks.iter().any(|d| d.sid == session.sid && d.lun == lun);
            if wanted && !known {
                self.new_disk(facts, session, lun, volume.clone());
            }
        }
    }

    /// `deleted`: somebody has asked for it; otherwise they go with their session.
    fn remove_disks(
        &mut self,
        facts: &mut Facts,
        hypervisor: &Hypervisor,
        deleted: bool,
        gone: impl Fn(&ScsiDisk) -> bool,
    ) {
        // One at a time: the last path of a map is the last one only when the others have gone.
        while let Some(at) = self.disks.iter().position(&gone) {
            let disk = &self.disks[at];
            facts.push(Fact::DeviceGone {
                device: disk.name.clone(),
                volume: disk.volume.clone(),
                dirty: disk.dirty.len() as u32,
                in_use: self.in_use(hypervisor, disk),
                running: disk.state == DiskState::Running && !deleted,
            });
            self.disks.remove(at);
            self.forget_paths(hypervisor);
        }
    }
}
