//! Safety: judged on each fact, against the world as it is after the transition.

use castoff_model::{Fact, World};
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::novadb::EventResult;
use castoff_ports::{InstanceId, SimTime, VolumeId};

use super::Checker;

/// Judges one fact.
pub(super) fn judge(checker: &mut Checker, world: &World, now: SimTime, fact: &Fact) {
    match fact {
        Fact::VolumeStatus { volume, to: VolumeStatus::Available, .. } => {
            no_available_while_live(checker, world, now, volume);
            no_false_success(checker, world, now, volume, None);
            super::quiet::clean_when_available(checker, world, now, volume);
        }
        Fact::Attachment { volume, .. } | Fact::DiskPlugged { volume, .. } => {
            no_available_while_live(checker, world, now, volume);
        }
        Fact::GuestWrite { volume, served_by: Some(served), seq, .. } => {
            identity(checker, now, volume, served, *seq);
            no_write_to_available(checker, world, now, served, *seq);
        }
        Fact::Unmapped { volume, .. } => {
            unmap_after_remove(checker, world, now, volume);
            no_lost_ack_at_unmap(checker, world, now, volume);
        }
        Fact::DeviceGone { device, volume, dirty, in_use, .. } => {
            if *in_use {
                checker.broken(
                    "S03",
                    now,
                    format!("{device} of volume {volume} went away while a guest has it open"),
                );
            }
            if *dirty > 0 {
                checker.broken(
                    "S05",
                    now,
                    format!("{device} went away with {dirty} acknowledged writes of volume {volume} not on the backend"),
                );
            }
        }
        Fact::EventFinished { request, event, result: EventResult::Success, .. }
            if event == "compute_detach_volume" =>
        {
            let watched = checker.watched.iter().find(|w| w.request == *request).cloned();
            if let Some(w) = watched {
                no_false_success(checker, world, now, &w.volume, Some(&w.instance));
            }
        }
        _ => {}
    }
}

fn is_live(world: &World, volume: &VolumeId) -> bool {
    world.hypervisor.live_disks().any(|disk| disk.volume == *volume)
}

/// S01. A volume may be a live disk without an attachment while an attach is under way: pike
/// writes the attachment row with os-attach, after the guest has the disk.
fn no_available_while_live(checker: &mut Checker, world: &World, now: SimTime, volume: &VolumeId) {
    let Some(row) = world.cinder.volume(volume) else { return };
    let free = match row.status {
        VolumeStatus::Available => true,
        VolumeStatus::Attaching | VolumeStatus::Reserved | VolumeStatus::Detaching => false,
        _ => !world.cinder.live_attachments().any(|a| a.volume_id == *volume),
    };
    if free && is_live(world, volume) {
        checker.broken(
            "S01",
            now,
            format!("volume {volume} is {} and still a guest's live disk", row.status.as_str()),
        );
    }
}

/// S01, the data side.
fn no_write_to_available(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    served: &VolumeId,
    seq: u32,
) {
    if world.cinder.volume(served).is_some_and(|v| v.status == VolumeStatus::Available) {
        checker.broken(
            "S01",
            now,
            format!("guest write {seq} reached volume {served}, which is available"),
        );
    }
}

/// S04.
fn identity(checker: &mut Checker, now: SimTime, meant: &VolumeId, served: &VolumeId, seq: u32) {
    if meant != served {
        checker.broken(
            "S04",
            now,
            format!("guest write {seq} to volume {meant} reached volume {served}"),
        );
    }
}

/// S02, and S03 where a guest still has the disk.
fn unmap_after_remove(checker: &mut Checker, world: &World, now: SimTime, volume: &VolumeId) {
    if let Some(disk) = world.kernel.devices().find(|d| d.volume == *volume) {
        let device = disk.name.clone();
        checker.broken(
            "S02",
            now,
            format!("volume {volume} was unmapped while the host has {device} of it"),
        );
    }
    if is_live(world, volume) {
        checker.broken(
            "S03",
            now,
            format!("volume {volume} was unmapped while a guest has it as a live disk"),
        );
    }
}

/// S05, at the unmap.
fn no_lost_ack_at_unmap(checker: &mut Checker, world: &World, now: SimTime, volume: &VolumeId) {
    let disks = world.kernel.devices().filter(|d| d.volume == *volume).map(|d| d.dirty.len());
    let maps = world.kernel.maps().iter().filter(|m| m.volume == *volume).map(|m| m.dirty.len());
    let dirty: usize = disks.chain(maps).sum();
    if dirty > 0 {
        checker.broken(
            "S05",
            now,
            format!("volume {volume} was unmapped with {dirty} acknowledged writes not on it"),
        );
    }
}

/// S15: of one server's detach, as the action event calls it, or of the volume, which nobody has.
fn no_false_success(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    volume: &VolumeId,
    detached_from: Option<&InstanceId>,
) {
    let asked = |instance: &InstanceId| detached_from.is_none_or(|one| one == instance);
    let mut disks = world.hypervisor.live_disks();
    let live = disks.any(|d| d.volume == *volume && asked(&d.instance));
    let config = world.novadb.instances().iter().filter(|i| asked(&i.uuid)).any(|i| {
        let disks = world.hypervisor.config_disks(&i.uuid);
        disks.iter().any(|disk| disk.serial.as_ref() == Some(volume))
    });
    let claim = match detached_from {
        Some(_) => "action event is Success",
        None => "volume became available",
    };
    let place = match (live, config) {
        (false, false) => return,
        (true, false) => "the live domain",
        (false, true) => "the persistent domain",
        (true, true) => "the live and the persistent domain",
    };
    checker.broken("S15", now, format!("{claim} while volume {volume} is in {place}"));
}
