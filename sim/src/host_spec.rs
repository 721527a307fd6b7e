//! A scenario's `[host]`, as far as it is the hypervisor's: QEMU, and what happens by itself.

use std::time::Duration;

use castoff_model::World;
use castoff_model::hypervisor::Happening;
use castoff_ports::SimTime;
use castoff_ports::qemu::Machine;
use castoff_scenarios::{HostEvent, HostSpec};

/// Gives a world the QEMU of `host`, and schedules its events, counted from `start`.
pub fn apply(world: &mut World, host: &HostSpec, start: SimTime) {
    let hypervisor = &mut world.hypervisor;
    if let Some(version) = host.qemu {
        hypervisor.qemu.version = version;
    }
    if let Some(machine) = host.machine {
        hypervisor.qemu.machine = machine;
    }
    schedule(world, &host.events, start);
}

/// Schedules what happens to the host by itself, counted from `start`.
pub fn schedule(world: &mut World, events: &[HostEvent], start: SimTime) {
    let hypervisor = &mut world.hypervisor;
    let millis = Duration::from_millis;
    for event in events {
        let (at, what) = match *event {
            HostEvent::LibvirtdRestarts { at_ms, for_ms } => {
                (at_ms, Happening::LibvirtdRestarts(millis(for_ms)))
            }
            HostEvent::QemuDies { at_ms } => (at_ms, Happening::QemuDies),
            HostEvent::GuestReboots { at_ms, for_ms } => {
                (at_ms, Happening::GuestReboots(millis(for_ms)))
            }
            HostEvent::GuestPauses { at_ms, for_ms } => {
                if let Some(for_ms) = for_ms {
                    let resumes = start + millis(at_ms) + millis(for_ms);
                    hypervisor.schedule(resumes, Happening::GuestResumes);
                }
                (at_ms, Happening::GuestPauses)
            }
        };
        hypervisor.schedule(start + millis(at), what);
    }
}

/// From and to how many milliseconds a guest takes that lets go promptly, as measured (libvirt
/// 9.0, QEMU 7.2); of native PCIe hotplug without the 5 s of the attention button, which are
/// QEMU's model's.
pub(crate) fn promptly(machine: Option<Machine>) -> (u32, u32) {
    match machine {
        // By machine type and load.
        None => (70, 700),
        Some(Machine::Pc) => (198, 707),
        Some(Machine::Q35) => (100, 130),
        Some(Machine::Q35Native) => (1_100, 1_250),
    }
}
