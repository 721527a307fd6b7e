//! A scenario's `[host]`: QEMU, what is odd, what happens by itself, what was left behind.

use std::rc::Rc;
use std::time::Duration;

use castoff_model::World;
use castoff_model::hypervisor::Happening;
use castoff_pipeline::conf::Conf;
use castoff_ports::qemu::Machine;
use castoff_ports::{Lun, SimTime, VolumeId};
use castoff_scenarios::scenario::FIRST_SERVER;
use castoff_scenarios::{HostEvent, HostSpec, Leftover, OpenIscsi, Scenario};

use crate::prepare::{compute_host, server_id, volume_id};

/// Gives a world the QEMU of `host`, and schedules its events, counted from `start`.
pub fn apply(world: &mut World, host: &HostSpec, start: SimTime) {
    let hypervisor = &mut world.hypervisor;
    if let Some(version) = host.qemu {
        hypervisor.qemu.version = version;
    }
    if let Some(machine) = host.machine {
        hypervisor.qemu.machine = machine;
    }
    hypervisor.events_lag = host.libvirtd_lags_ms.map(Duration::from_millis);
    if host.open_iscsi == Some(OpenIscsi::Downgraded) {
        world.kernel.install_old_open_iscsi();
    }
    world.kernel.quirks.iscsiadm_warns = host.iscsiadm_warns;
    schedule(world, &host.events, start);
}

/// A LUN number that no volume of a scenario gets.
const STALE_LUN: Lun = Lun(200);

/// Puts what an earlier failure has left behind into a world whose volumes are attached, and marks
/// root disks as the building of a server would have.
pub fn leave_behind(world: &mut World, scenario: &Scenario) {
    let server = |name: &str| {
        let spec = scenario.volumes.iter().find(|v| v.name == name);
        server_id(scenario, spec.and_then(|v| v.server.as_deref()).unwrap_or(FIRST_SERVER))
    };
    for spec in scenario.volumes.iter().filter(|v| v.root) {
        world.novadb.set_root(&volume_id(scenario, &spec.name), &server(&spec.name));
    }
    for leftover in &scenario.leftovers {
        match leftover {
            Leftover::StaleAttachment { volume } => {
                world.cinder.add_stale_attachment(
                    &mut world.facts,
                    &volume_id(scenario, volume),
                    &server(volume),
                    compute_host(),
                );
            }
            Leftover::StaleScsiDevice { volume } => {
                let id = volume_id(scenario, volume);
                let initiator = world.kernel.initiator.clone();
                let address = world.storage.map(&mut world.facts, &id, &initiator);
                let stale = VolumeId::new("deadbeef-9316-4c2a-84c9-000000000000");
                world.kernel.add_stale_device(
                    &mut world.facts,
                    &world.storage,
                    &address.portal,
                    &address.iqn,
                    STALE_LUN,
                    &stale,
                );
            }
            Leftover::CorruptNodeRecord => world.kernel.quirks.corrupt_record = true,
        }
    }
    world.facts.clear();
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

/// nova.conf as a process finds it that starts now: os-brick looks into the installed iscsiadm.
pub(crate) fn conf_at_start(conf: &Rc<Conf>, world: &World) -> Rc<Conf> {
    let iscsiadm_manual_scan = world.kernel.knows_manual_scan();
    match conf.iscsiadm_manual_scan == iscsiadm_manual_scan {
        true => conf.clone(),
        false => Rc::new(Conf { iscsiadm_manual_scan, ..(**conf).clone() }),
    }
}

#[cfg(test)]
mod tests {
    use castoff_model::Release;
    use castoff_pipeline::policy::Policy;

    use super::*;

    #[test]
    fn a_process_that_starts_looks_into_the_iscsiadm_that_is_installed_by_then() {
        let release = Release::named("2026.1").expect("a release");
        let mut world = World::new(release);
        let policy = Policy::named("2026.1").expect("a policy");
        let conf = Rc::new(Conf::new(policy, compute_host()));
        assert!(Rc::ptr_eq(&conf_at_start(&conf, &world), &conf), "nothing has changed");
        world.kernel.install_old_open_iscsi();
        assert!(conf.iscsiadm_manual_scan && !conf_at_start(&conf, &world).iscsiadm_manual_scan);
    }
}
