//! What libvirt knows of a guest: its disks, live and configured, and the jobs on it.

use std::collections::VecDeque;

use castoff_ports::libvirt::{
    AttachDeviceFlags, BlockStats, DetachDeviceFlags, GuestDisk, PowerState,
};
use castoff_ports::{Alias, InstanceId, Process, SimTime, VolumeId};

use super::lag::Lagging;
use crate::kernel::DeviceHandle;
use crate::world::Ticket;

/// How far the unplug of a live disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplug {
    /// Not requested.
    Idle,
    /// Requested; the guest has it.
    Pending {
        /// When QEMU took the last request.
        asked_at: SimTime,
        /// When the guest answers; none while it does not.
        answers_at: Option<SimTime>,
        /// The answer will be no.
        refuses: bool,
        /// False when the request came while the guest was booting: it will not act on it.
        heard: bool,
    },
    /// QEMU 4.2 took a second request for the end of the first (nova bug 1882521): requests are
    /// accepted and nothing comes of them until the guest is resumed or starts answering anew.
    Aborted,
}

/// A disk of a running guest.
#[derive(Clone, Debug)]
pub struct LiveDisk {
    /// The guest.
    pub instance: InstanceId,
    /// `vdb`.
    pub target: String,
    /// The volume that the guest means: the serial it was plugged with.
    pub volume: VolumeId,
    /// The host device that QEMU has open.
    pub device: DeviceHandle,
    /// `ua-<volume id>` as nova set it, or libvirt's own `virtio-disk<n>`.
    pub alias: Alias,
    /// As the XML has it.
    pub source_dev: String,
    /// The serial as the XML has it.
    pub serial: Option<VolumeId>,
    /// How far its unplug is.
    pub unplug: Unplug,
}

impl LiveDisk {
    /// As the XML has it.
    pub(super) fn config(&self) -> GuestDisk {
        GuestDisk {
            target_dev: self.target.clone(),
            source_dev: self.source_dev.clone(),
            serial: self.serial.clone(),
            alias: Some(self.alias.clone()),
        }
    }
}

/// A call that waits for the domain's job lock, or holds it while it waits for the guest.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) ticket: Ticket,
    /// Who gets the answer; nobody once the caller has died.
    pub(super) caller: Option<(Process, u32)>,
    pub(super) call: JobCall,
}

#[derive(Clone, Debug)]
pub(super) enum JobCall {
    Attach(AttachDeviceFlags),
    Detach(DetachDeviceFlags),
    Stats(BlockStats),
}

/// The job that holds a domain's lock: a detach that waits for the guest.
#[derive(Clone, Debug)]
pub(super) struct Unplugging {
    pub(super) ticket: Ticket,
    pub(super) caller: Option<(Process, u32)>,
    pub(super) target: String,
    /// Remove the disk from the persistent config when the live part has succeeded.
    pub(super) config: bool,
    pub(super) until: SimTime,
}

#[derive(Clone, Debug)]
pub(super) struct Domain {
    pub(super) id: InstanceId,
    pub(super) persistent: bool,
    /// False once a transient domain has stopped: libvirt knows it no more.
    pub(super) defined: bool,
    pub(super) power: PowerState,
    pub(super) live: Vec<LiveDisk>,
    pub(super) config: Vec<GuestDisk>,
    /// Disks that QEMU has removed and libvirt lists.
    pub(super) lagging: Vec<Lagging>,
    /// The disks in its saved memory (managed save): the next start opens these.
    pub(super) saved: Option<Vec<GuestDisk>>,
    /// The guest restarts its system, up to this time, and hears no request.
    pub(super) boots_until: Option<SimTime>,
    /// Paused by whoever has the host, not by nova: to be resumed when that stops.
    pub(super) held: bool,
    pub(super) job: Option<Unplugging>,
    pub(super) queue: VecDeque<Job>,
}

impl Domain {
    pub(super) fn new(id: InstanceId, persistent: bool, power: PowerState) -> Domain {
        Domain {
            id,
            persistent,
            defined: true,
            power,
            live: Vec::new(),
            config: Vec::new(),
            lagging: Vec::new(),
            saved: None,
            boots_until: None,
            held: false,
            job: None,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        is_live(self.power)
    }
}

/// Whether QEMU runs; nova's `live`.
pub(super) fn is_live(power: PowerState) -> bool {
    match power {
        PowerState::Running | PowerState::Paused => true,
        PowerState::Shutdown | PowerState::Crashed => false,
    }
}
