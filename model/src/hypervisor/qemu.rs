//! What a second `device_del` does while one is pending: QEMU's version and the machine type.
//!
//! | QEMU | ACPI (`pc`, `q35`) | native PCIe (`q35`) |
//! |---|---|---|
//! | before 4.2 | accepted, changes nothing | a second press of the button: the first is aborted |
//! | 4.2 to 4.9 | the first is aborted, its event never comes (nova bug 1882521) | the same |
//! | 5.0, 5.1, … | error, "already in the process of unplug" | the same |
//! | 6.2 to 7.1 | the same error | the same error for 5 s, then a new press |
//! | 7.2 on | accepted after 1 ms (measured with 7.2.22) | the same as 6.2 |
//!
//! The refusal is QEMU commit cce8944cc9ef (5.0). It expires where a hotplug handler sets
//! `pending_deleted_expires_ms`: `hw/pci/pcie.c` since 6.2, `hw/acpi/pcihp.c` since 8.1 and its
//! stable branches, 7.2.x among them. A press that comes while the guest is at work (the power
//! indicator blinks) is refused in other words, also since 6.2.

use std::time::Duration;

use castoff_ports::libvirt::{PowerState, error};
use castoff_ports::qemu::{Machine, Qemu, Version};
use castoff_ports::{Refusal, SimTime};

use super::{Hypervisor, LetsGo, Unplug};
use crate::fact::Fact;
use crate::world::Step;

/// The time that a guest leaves to whoever has pressed the attention button (PCIe 6.7.1.5).
const ATTENTION: Duration = Duration::from_secs(5);

/// How long ACPI hotplug refuses a second request where it allows one at all.
const ACPI_GRACE: Duration = Duration::from_millis(1);

const ABORTS: Version = Version::new(4, 2);
const REFUSES: Version = Version::new(5, 0);
const PCIE_EXPIRES: Version = Version::new(6, 2);
const ACPI_EXPIRES: Version = Version::new(7, 2);

/// What QEMU makes of a second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// It is passed on; a guest that knows of the first does nothing more.
    Accepted,
    /// It ends the first.
    Aborts,
    /// An error: one is pending.
    Pending,
    /// An error: the guest is at work on the first.
    Busy,
}

/// What comes of a request that is made `after` the pending one; `working`: the guest follows that.
fn again(qemu: Qemu, after: Duration, working: bool) -> Again {
    let native = match qemu.machine {
        Machine::Pc | Machine::Q35 => false,
        Machine::Q35Native => true,
    };
    let (expires, grace) =
        if native { (PCIE_EXPIRES, ATTENTION) } else { (ACPI_EXPIRES, ACPI_GRACE) };
    if qemu.version < REFUSES {
        let aborts = native || qemu.version >= ABORTS;
        return if aborts { Again::Aborts } else { Again::Accepted };
    }
    // libvirt's own wait is as long as the grace: whoever comes right after it was measured to be
    // refused.
    if qemu.version < expires || after <= grace {
        Again::Pending
    } else if native && working {
        Again::Busy
    } else {
        Again::Accepted
    }
}

/// What the machine type adds to the time that a guest takes to let go.
fn attention(machine: Machine) -> Duration {
    match machine {
        Machine::Pc | Machine::Q35 => Duration::ZERO,
        Machine::Q35Native => ATTENTION,
    }
}

impl Hypervisor {
    /// `device_del`: the first starts the unplug; what the second does is QEMU's version.
    pub(super) fn request_unplug(
        &mut self,
        step: &mut Step<'_>,
        at: usize,
        disk: usize,
    ) -> Result<(), Refusal> {
        let fresh = self.pending(at, step.now);
        let qemu = self.qemu;
        let disk = &mut self.domains[at].live[disk];
        disk.unplug = match disk.unplug {
            Unplug::Idle => fresh,
            Unplug::Aborted => Unplug::Aborted,
            Unplug::Pending { asked_at, answers_at, refuses, heard } => {
                let after = Duration::from_micros(step.now.0.saturating_sub(asked_at.0));
                let device_del = |what: &str| {
                    let message = format!(
                        "internal error: unable to execute QEMU command 'device_del': {what}"
                    );
                    Refusal::libvirt(error::INTERNAL_ERROR, message)
                };
                match again(qemu, after, answers_at.is_some()) {
                    Again::Accepted if !heard => fresh,
                    Again::Accepted => {
                        Unplug::Pending { asked_at: step.now, answers_at, refuses, heard }
                    }
                    Again::Aborts => Unplug::Aborted,
                    Again::Pending => {
                        let pending =
                            format!("Device {} is already in the process of unplug", disk.alias);
                        return Err(device_del(&pending));
                    }
                    Again::Busy => {
                        return Err(device_del(
                            "Hot-unplug failed: guest is busy (power indicator blinking)",
                        ));
                    }
                }
            }
        };
        step.facts.push(Fact::UnplugRequested {
            instance: disk.instance.clone(),
            target: disk.target.clone(),
        });
        Ok(())
    }

    /// An unplug that begins now, as the guests answer; a paused guest has no answer yet, and one
    /// that boots never hears of the request.
    pub(super) fn pending(&self, at: usize, now: SimTime) -> Unplug {
        let (delay, refuses) = match self.lets_go {
            LetsGo::After(delay) => (Some(delay), false),
            LetsGo::Refuses(delay) => (Some(delay), true),
            LetsGo::Never => (None, false),
        };
        let domain = &self.domains[at];
        let heard = domain.boots_until.is_none_or(|until| until <= now);
        let runs = domain.power == PowerState::Running;
        let attention = attention(self.qemu.machine);
        let answers_at = delay.filter(|_| runs && heard).map(|delay| now + attention + delay);
        Unplug::Pending { asked_at: now, answers_at, refuses, heard }
    }
}
