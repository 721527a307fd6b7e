//! What happens on the host by itself, at a time that was said before the run.
//!
//! libvirtd forgets nothing of its domains when it restarts, but its clients do: calls under way
//! lose their connection, and nobody hears of events until nova has called again, which is when it
//! registers for them (nova's `Host._get_new_connection`). A guest that is reset lets go of every
//! disk whose unplug is pending (QEMU ejects the slot on reset), and hears of no request before
//! its system runs: Linux clears the events that came while it booted.

use std::time::Duration;

use castoff_ports::libvirt::{Call, PowerState};
use castoff_ports::{Failure, SimTime};

use super::{Host, Hypervisor, LetsGo, Unplug};

/// What happens to the host and every guest on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// libvirtd stops, and is back after this time; guests run on.
    LibvirtdRestarts(Duration),
    /// QEMU is killed.
    QemuDies,
    /// The guest restarts its system, which takes this time.
    GuestReboots(Duration),
    /// Somebody pauses the guest, behind nova's back.
    GuestPauses,
    /// It goes on.
    GuestResumes,
}

/// libvirtd, as nova-compute finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Libvirtd {
    /// It answers, and nova hears of events.
    Up,
    /// It does not run.
    Down {
        /// Until then.
        until: SimTime,
    },
    /// It runs again; nova has not called since, and hears nothing.
    Unregistered,
}

impl Libvirtd {
    /// When it is back.
    pub(super) fn up_at(self) -> Option<SimTime> {
        match self {
            Libvirtd::Down { until } => Some(until),
            Libvirtd::Up | Libvirtd::Unregistered => None,
        }
    }
}

impl Hypervisor {
    /// Lets this happen at that time.
    pub fn schedule(&mut self, at: SimTime, happening: Happening) {
        self.happenings.push((at, happening));
    }

    /// What hinders stops: guests run and answer like this, libvirtd is up, nothing more happens.
    pub fn heal(&mut self, now: SimTime, lets_go: LetsGo) {
        self.happenings.clear();
        self.events_lag = None;
        if let Libvirtd::Down { .. } = self.libvirtd {
            self.libvirtd = Libvirtd::Unregistered;
        }
        for domain in &mut self.domains {
            domain.boots_until = None;
            if std::mem::take(&mut domain.held) && domain.power == PowerState::Paused {
                domain.power = PowerState::Running;
            }
        }
        self.arm_writes(now);
        self.set_lets_go(now, lets_go);
    }

    /// Whether a call finds libvirtd; nova's waiters are its own memory.
    pub(super) fn reach_libvirtd(&mut self, call: &Call) -> Result<(), Failure> {
        let own = matches!(
            call,
            Call::CreateWaiter(_)
                | Call::WaitForEvent(_)
                | Call::DeleteWaiter(_)
                | Call::CleanupWaiters(_)
        );
        match self.libvirtd {
            Libvirtd::Up => {}
            Libvirtd::Down { .. } if !own => {
                return Err(Failure::Unreachable { system: "libvirt".to_owned() });
            }
            Libvirtd::Unregistered if !own => self.libvirtd = Libvirtd::Up,
            Libvirtd::Down { .. } | Libvirtd::Unregistered => {}
        }
        Ok(())
    }

    /// Lets happen what is due.
    pub(super) fn happen(&mut self, host: &mut Host<'_, '_>) {
        let now = host.step.now;
        if self.libvirtd.up_at().is_some_and(|at| at <= now) {
            self.libvirtd = Libvirtd::Unregistered;
        }
        // The earliest first; of one time, as they were said.
        while let Some(next) = (0..self.happenings.len())
            .filter(|i| self.happenings[*i].0 <= now)
            .min_by_key(|i| self.happenings[*i].0)
        {
            let (_, happening) = self.happenings.remove(next);
            match happening {
                Happening::LibvirtdRestarts(down) => self.restart_libvirtd(host, down),
                Happening::QemuDies => self.each_live(|this, at| {
                    this.domains[at].power = PowerState::Shutdown;
                    this.stop(host.step.facts, at, now);
                }),
                Happening::GuestReboots(boot) => {
                    self.each_live(|this, at| this.reset(host, at, boot));
                }
                Happening::GuestPauses => self.each_live(|this, at| this.hold(at, now)),
                Happening::GuestResumes => self.each_live(|this, at| this.release(at, now)),
            }
        }
    }

    fn each_live(&mut self, mut act: impl FnMut(&mut Self, usize)) {
        for at in 0..self.domains.len() {
            if self.domains[at].is_live() {
                act(self, at);
            }
        }
    }

    /// Calls under way end without an answer; what QEMU has been told goes on.
    fn restart_libvirtd(&mut self, host: &mut Host<'_, '_>, down: Duration) {
        self.libvirtd = Libvirtd::Down { until: host.step.now + down };
        for domain in &mut self.domains {
            let job = domain.job.take().map(|j| (j.ticket, j.caller));
            let queued = domain.queue.drain(..).map(|j| (j.ticket, j.caller));
            for (ticket, _) in job.into_iter().chain(queued).filter(|(_, c)| c.is_some()) {
                let lost = Failure::NoReply { system: "libvirt".to_owned() };
                host.step.completed.push((ticket, Err(lost)));
            }
        }
    }

    fn reset(&mut self, host: &mut Host<'_, '_>, at: usize, boot: Duration) {
        if self.domains[at].power != PowerState::Running {
            return;
        }
        self.domains[at].boots_until = Some(host.step.now + boot);
        // Backwards: a disk leaves the list.
        for disk in (0..self.domains[at].live.len()).rev() {
            match self.domains[at].live[disk].unplug {
                Unplug::Pending { .. } => self.remove_live(host, at, disk),
                // The new system knows nothing of the old one's button.
                Unplug::Aborted => self.domains[at].live[disk].unplug = Unplug::Idle,
                Unplug::Idle => {}
            }
        }
    }

    fn hold(&mut self, at: usize, now: SimTime) {
        if self.domains[at].power == PowerState::Running {
            self.domains[at].power = PowerState::Paused;
            self.domains[at].held = true;
            self.answer_anew(at, now);
        }
    }

    fn release(&mut self, at: usize, now: SimTime) {
        let domain = &mut self.domains[at];
        if std::mem::take(&mut domain.held) && domain.power == PowerState::Paused {
            domain.power = PowerState::Running;
            self.answer_anew(at, now);
            self.arm_writes(now);
        }
    }
}
