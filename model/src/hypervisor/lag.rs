//! libvirt that hears late of what QEMU has done: between the guest's release of a disk and the
//! DEVICE_DELETED that libvirtd reads, its XML lists a disk that QEMU does not have any more, and
//! another request is answered with QEMU's "Device X not found" (nova bug 1815949).

use castoff_ports::libvirt::{DeviceEvent, error};
use castoff_ports::{Refusal, SimTime};

use super::{Host, Hypervisor, LiveDisk};

/// A disk that QEMU has removed and libvirt lists.
#[derive(Clone, Debug)]
pub(super) struct Lagging {
    pub(super) disk: LiveDisk,
    pub(super) until: SimTime,
}

impl Hypervisor {
    /// libvirt hears of the removal now, or later.
    pub(super) fn removed(&mut self, host: &mut Host<'_, '_>, at: usize, disk: LiveDisk) {
        match self.events_lag {
            Some(lag) => {
                let until = host.step.now + lag;
                self.domains[at].lagging.push(Lagging { disk, until });
            }
            None => self.heard(host, at, &disk),
        }
    }

    fn heard(&mut self, host: &mut Host<'_, '_>, at: usize, disk: &LiveDisk) {
        self.emit(host.step, &disk.instance, &disk.alias, DeviceEvent::Removed);
        self.end_job_on(host, at, &disk.target, Ok(()));
    }

    /// When libvirt hears of a removal next.
    pub(super) fn next_heard(&self) -> Option<SimTime> {
        self.domains.iter().flat_map(|d| d.lagging.iter().map(|l| l.until)).min()
    }

    /// Lets libvirt hear of what is due.
    pub(super) fn hear_due(&mut self, host: &mut Host<'_, '_>) {
        for at in 0..self.domains.len() {
            let now = host.step.now;
            let due = |l: &Lagging| l.until <= now;
            while let Some(i) = self.domains[at].lagging.iter().position(due) {
                let Lagging { disk, .. } = self.domains[at].lagging.remove(i);
                self.heard(host, at, &disk);
            }
        }
    }

    /// virDomainBlockStats: libvirt looks the target up in its own list, then asks QEMU
    /// (qemuDomainBlocksStatsGather); a job of its own kind, so it waits for a hotplug under way.
    pub(super) fn block_stats(&self, at: usize, target: &str) -> Result<(), Refusal> {
        let domain = &self.domains[at];
        if !domain.is_live() {
            let message = "Requested operation is not valid: domain is not running";
            return Err(Refusal::libvirt(error::OPERATION_INVALID, message));
        }
        if domain.live.iter().any(|d| d.target == target) {
            return Ok(());
        }
        let Some(gone) = domain.lagging.iter().find(|l| l.disk.target == target) else {
            let message = format!("invalid argument: invalid path: {target}");
            return Err(Refusal::libvirt(error::INVALID_ARG, message));
        };
        // libvirt asks by the QOM path of a virtio disk.
        let path = format!("/machine/peripheral/{}/virtio-backend", gone.disk.alias);
        let message = format!("internal error: cannot find statistics for device '{path}'");
        Err(Refusal::libvirt(error::INTERNAL_ERROR, message))
    }

    /// What QEMU says to a request for a disk that it has removed.
    pub(super) fn not_in_qemu(&self, at: usize, target: &str) -> Option<Refusal> {
        let gone = self.domains[at].lagging.iter().find(|l| l.disk.target == target)?;
        let message = format!(
            "internal error: unable to execute QEMU command 'device_del': Device {} not found",
            gone.disk.alias
        );
        Some(Refusal::libvirt(error::INTERNAL_ERROR, message))
    }
}
