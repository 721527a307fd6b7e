//! What a guest does by itself: it writes, it answers unplug requests, it is paused or stopped.
//!
//! Blocks are stamped, so that a volume's blocks tell who wrote them and meant which volume.

use castoff_ports::libvirt::PowerState;
use castoff_ports::{InstanceId, Refusal, SimTime};

use super::{Domain, Host, Hypervisor, Io, LetsGo, Unplug, is_live};
use crate::fact::{Fact, Facts};
use crate::kernel::{Kernel, Written};
use crate::storage::{Stamp, Storage};

impl Hypervisor {
    /// Makes a running guest without disks; one of this id that has stopped for good is forgotten.
    pub fn start_guest(&mut self, instance: InstanceId, persistent: bool) {
        self.domains.retain(|d| d.defined || d.id != instance || d.job.is_some());
        debug_assert!(self.find(&instance).is_none(), "guest {instance} runs already");
        self.domains.push(Domain::new(instance, persistent, PowerState::Running));
    }

    /// Changes how guests answer from now on; pending requests are answered that way too, counted
    /// from now.
    pub fn set_lets_go(&mut self, now: SimTime, lets_go: LetsGo) {
        self.lets_go = lets_go;
        for at in 0..self.domains.len() {
            self.answer_anew(at, now);
        }
    }

    /// Pauses, resumes or stops a guest, or boots it from its persistent config.
    ///
    /// A guest that stops has no live disks any more, whoever waits for an unplug is answered at
    /// once, and a transient domain is gone with it.
    pub fn set_power(
        &mut self,
        facts: &mut Facts,
        kernel: &mut Kernel,
        storage: &mut Storage,
        now: SimTime,
        instance: &InstanceId,
        power: PowerState,
    ) -> Result<(), Refusal> {
        let at = self.position(instance)?;
        let before = std::mem::replace(&mut self.domains[at].power, power);
        if before == power {
            return Ok(());
        }
        match (is_live(before), is_live(power)) {
            (true, false) => self.stop(facts, at, now),
            (false, true) => {
                let booted = self.boot(&mut Io { now, facts, kernel, storage }, at);
                if booted.is_err() {
                    self.stop(facts, at, now);
                    self.domains[at].power = before;
                }
                return booted;
            }
            (true, true) => {
                // Measured: a paused guest answers 0.4 s after it has been resumed.
                self.answer_anew(at, now);
                self.arm_writes(now);
            }
            (false, false) => {}
        }
        Ok(())
    }

    fn boot(&mut self, io: &mut Io<'_>, at: usize) -> Result<(), Refusal> {
        let saved = self.domains[at].saved.clone();
        for disk in saved.unwrap_or_else(|| self.domains[at].config.clone()) {
            self.plug(io, at, &disk)?;
        }
        self.domains[at].saved = None;
        Ok(())
    }

    pub(super) fn stop(&mut self, facts: &mut Facts, at: usize, now: SimTime) {
        let domain = &mut self.domains[at];
        domain.defined = domain.persistent;
        (domain.boots_until, domain.held) = (None, false);
        domain.lagging.clear();
        if let Some(job) = &mut domain.job {
            job.until = now;
        }
        for disk in domain.live.drain(..) {
            facts.push(Fact::DiskClosed {
                instance: disk.instance,
                target: disk.target,
                volume: disk.volume,
            });
        }
    }

    /// Starts the guest's answer to pending requests again; an aborted one may be sent again.
    pub(super) fn answer_anew(&mut self, at: usize, now: SimTime) {
        let pending = self.pending(at, now);
        for disk in &mut self.domains[at].live {
            disk.unplug = match disk.unplug {
                // What a guest has missed while it booted stays missed.
                Unplug::Pending { heard: false, .. } => disk.unplug,
                Unplug::Pending { .. } => pending,
                Unplug::Idle | Unplug::Aborted => Unplug::Idle,
            };
        }
    }

    /// A running guest writes one block to one disk.
    pub(super) fn guest_write(&mut self, io: &mut Io<'_>, at: usize, disk: usize) {
        let domain = &self.domains[at];
        if domain.power != PowerState::Running {
            return;
        }
        let disk = &domain.live[disk];
        let (instance, volume) = (disk.instance.clone(), disk.volume.clone());
        let seq = self.next_seq;
        self.next_seq += 1;
        let stamp = Stamp { instance: instance.clone(), volume: volume.clone(), seq };
        let (served_by, cached) = match io.kernel.write(io.storage, &disk.device, stamp) {
            Written::Stored(volume) => (Some(volume), false),
            Written::Cached(volume) => (Some(volume), true),
            Written::Queued => return,
            Written::Failed => (None, false),
        };
        io.facts.push(Fact::GuestWrite { instance, volume, served_by, cached, seq });
    }

    /// Begins the periodic writes, when they are not under way.
    pub(super) fn arm_writes(&mut self, now: SimTime) {
        if let Some(every) = self.guest_writes_every
            && self.next_write <= now
        {
            self.next_write = now + every;
        }
    }

    /// When guests write next by themselves, if any has a disk to write to.
    pub(super) fn next_write(&self) -> Option<SimTime> {
        let due = self.guest_writes_every.is_some()
            && self.next_write <= self.guest_writes_until
            && self.domains.iter().any(|d| d.power == PowerState::Running && !d.live.is_empty());
        due.then_some(self.next_write)
    }

    pub(super) fn write_if_due(&mut self, host: &mut Host<'_, '_>) {
        let due = self.next_write().is_some_and(|at| at <= host.step.now);
        let Some(every) = self.guest_writes_every.filter(|_| due) else { return };
        self.next_write = host.step.now + every;
        for at in 0..self.domains.len() {
            for disk in 0..self.domains[at].live.len() {
                self.guest_write(&mut host.io(), at, disk);
            }
        }
    }
}
