//! What must hold when nothing moves any more: agreement, cleanliness, an end for everything.

use castoff_model::World;
use castoff_model::kernel::ScsiDisk;
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{Bdm, VmState};
use castoff_ports::{SimTime, VolumeId};

use super::Checker;

/// L1: judged at the first quiet, before anyone retries.
pub(super) fn terminates(checker: &mut Checker, world: &World, now: SimTime) {
    let open: Vec<_> = checker
        .watched
        .iter()
        .filter(|w| w.accepted == Some(true))
        .filter(|w| {
            let rows = world.novadb.live_bdms();
            let gone =
                !rows.iter().any(|b| b.volume_id == w.volume && b.instance_uuid == w.instance);
            let rolled_back =
                world.cinder.volume(&w.volume).is_some_and(|v| v.status == VolumeStatus::InUse);
            let told = world.novadb.faults().iter().any(|f| f.request == w.request)
                || world
                    .novadb
                    .actions()
                    .iter()
                    .any(|a| a.request == w.request && a.message.as_deref() == Some("Error"));
            !gone && !rolled_back && !told
        })
        .map(|w| (w.request, w.volume.clone()))
        .collect();
    for (request, volume) in open {
        checker.broken(
            "L1",
            now,
            format!("{request}: volume {volume} is neither detached nor rolled back, and no error is shown"),
        );
    }
}

/// S08: no disk of a volume that is not attached; no session or record that serves no disk; no
/// LUKS mapping that no guest has.
pub(super) fn clean_host(checker: &mut Checker, world: &World, now: SimTime) {
    let mut found = Vec::new();
    for disk in world.kernel.devices() {
        let attached = world
            .novadb
            .live_bdms()
            .iter()
            .any(|b| b.volume_id == disk.volume && b.connection_info.is_some());
        let watched = checker.watched.iter().any(|w| w.volume == disk.volume);
        if !attached && watched {
            found.push(format!("{} of volume {} is left on the host", disk.name, disk.volume));
        }
    }
    for volume in checker.watched.iter().map(|w| &w.volume) {
        found.extend(ciphers(world, volume));
    }
    for (name, _) in world.kernel.crypts_over().filter(|(_, disk)| disk.is_none()) {
        found.push(format!("{name} has no disk below it"));
    }
    for map in world.kernel.maps().iter().filter(|m| m.paths.is_empty()) {
        found.push(format!("map {} of volume {} has no path", map.name, map.volume));
    }
    // A mapping is named after the path that its volume was connected under.
    for name in world.kernel.crypts() {
        let wanted = world.novadb.live_bdms().iter().any(|b| {
            let info = b.connection_info.as_ref();
            let path = info.and_then(|i| i.data.device_path.as_deref()).unwrap_or_default();
            let last = path.rsplit('/').next().unwrap_or(path);
            !last.is_empty() && name == format!("crypt-{last}")
        });
        if !wanted {
            found.push(format!("LUKS mapping {name} is left on the host"));
        }
    }
    for session in world.kernel.sessions() {
        if !world.kernel.devices().any(|d| d.sid == session.sid) {
            found.push(format!("session {} to {} has no disk", session.sid, session.iqn));
        }
    }
    for node in world.kernel.nodes() {
        let used = world.kernel.session(&node.portal, &node.iqn).is_some();
        if !used {
            found.push(format!("node record {} at {} has no session", node.iqn, node.portal));
        }
    }
    for facts in found {
        checker.broken("S08", now, facts);
    }
}

/// The LUKS mapping and the secret of a volume that no server has connected any more.
fn ciphers(world: &World, volume: &VolumeId) -> Vec<String> {
    let mut bdms = world.novadb.live_bdms().iter();
    if bdms.any(|b| b.volume_id == *volume && b.connection_info.is_some()) {
        return Vec::new();
    }
    let over = |disk: Option<&ScsiDisk>| disk.is_some_and(|d| d.volume == *volume);
    let mut found: Vec<String> = world
        .kernel
        .crypts_over()
        .filter(|(_, disk)| over(*disk))
        .map(|(name, _)| format!("{name} of volume {volume} is left on the host"))
        .collect();
    if world.hypervisor.secrets().contains(volume) {
        found.push(format!("the secret of volume {volume} is left in libvirt"));
    }
    found
}

/// S08, when cinder calls a volume available: the host has no disk, cipher or secret of it.
pub(super) fn clean_when_available(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    volume: &VolumeId,
) {
    let disk = world.kernel.devices().find(|d| d.volume == *volume).map(|d| &d.name);
    let crypt = world
        .kernel
        .crypts_over()
        .find(|(_, disk)| disk.is_some_and(|d| d.volume == *volume))
        .map(|(name, _)| name);
    let secret = world.hypervisor.secrets().contains(volume);
    if let Some(disk) = disk {
        let text = format!("volume {volume} became available while {disk} of it is on the host");
        checker.broken("S08", now, text);
    }
    if let Some(crypt) = crypt {
        let text = format!("volume {volume} became available while {crypt} is open");
        checker.broken("S08", now, text);
    }
    if secret {
        let text = format!("volume {volume} became available while libvirt has its secret");
        checker.broken("S08", now, text);
    }
}

/// S16: of every running guest.
pub(super) fn configs_agree(checker: &mut Checker, world: &World, now: SimTime) {
    let mut found = Vec::new();
    for server in world.novadb.instances() {
        let id = &server.uuid;
        for disk in world.hypervisor.saved_disks(id) {
            let volume = |b: &&Bdm| Some(&b.volume_id) == disk.serial.as_ref();
            let mut bdms = world.novadb.live_bdms().iter().filter(|b| b.instance_uuid == *id);
            if !bdms.any(|b| volume(&b)) {
                found.push(format!("{} is in the saved memory alone", disk.target_dev));
            }
        }
        if world.hypervisor.power(id) != Some(PowerState::Running) {
            continue;
        }
        let idle = server.vm_state == VmState::Active && server.task_state.is_none();
        let shown = world.novadb.power_state(id).filter(|s| idle && *s != PowerState::Running);
        if let Some(shown) = shown {
            found.push(format!("the guest of {id} runs, and its active server shows {shown:?}"));
        }
        let live = || world.hypervisor.live_disks().filter(|d| d.instance == *id);
        let config = world.hypervisor.config_disks(id);
        let bdms = || world.novadb.live_bdms().iter().filter(|b| b.instance_uuid == *id);
        for disk in live() {
            if world.hypervisor.is_persistent(id)
                && !config.iter().any(|c| c.target_dev == disk.target)
            {
                found.push(format!(
                    "{} of volume {} is in the live domain alone",
                    disk.target, disk.volume
                ));
            }
            if !bdms().any(|b| b.volume_id == disk.volume) {
                found.push(format!(
                    "{} of volume {} is in the live domain, and has no BDM",
                    disk.target, disk.volume
                ));
            }
        }
        for disk in config.iter().filter(|c| !live().any(|d| d.target == c.target_dev)) {
            found.push(format!("{} is in the persistent domain alone", disk.target_dev));
        }
        for bdm in bdms().filter(|b| !live().any(|d| d.volume == b.volume_id)) {
            found.push(format!(
                "BDM {} of volume {} has no disk in the live domain",
                bdm.id, bdm.volume_id
            ));
        }
    }
    for facts in found {
        checker.broken("S16", now, facts);
    }
}

/// S09.
pub(super) fn databases_agree(checker: &mut Checker, world: &World, now: SimTime) {
    let mut found = Vec::new();
    for bdm in world.novadb.live_bdms() {
        let rows: Vec<_> = world
            .cinder
            .live_attachments()
            .filter(|a| a.volume_id == bdm.volume_id && a.instance == bdm.instance_uuid)
            .collect();
        if rows.is_empty() {
            found.push(format!(
                "nova has BDM {} of volume {}, cinder has no attachment",
                bdm.id, bdm.volume_id
            ));
        } else if let Some(id) = &bdm.attachment_id
            && !rows.iter().any(|a| a.id == *id)
        {
            found.push(format!("BDM {} names attachment {id}, which cinder does not have", bdm.id));
        }
    }
    for row in world.cinder.live_attachments() {
        let named = world.novadb.live_bdms().iter().any(|b| {
            b.volume_id == row.volume_id
                && b.instance_uuid == row.instance
                && b.attachment_id.as_ref().is_none_or(|id| *id == row.id)
        });
        if !named {
            found.push(format!(
                "cinder has attachment {} of volume {}, no BDM names it",
                row.id, row.volume_id
            ));
        }
    }
    for facts in found {
        checker.broken("S09", now, facts);
    }
}

/// L2.
pub(super) fn no_orphan_detaching(checker: &mut Checker, world: &World, now: SimTime) {
    let stuck: Vec<_> = world
        .cinder
        .volumes()
        .iter()
        .filter(|v| v.status == VolumeStatus::Detaching)
        .map(|v| v.id.clone())
        .collect();
    for volume in stuck {
        checker.broken("L2", now, format!("volume {volume} is detaching and nobody works on it"));
    }
}
