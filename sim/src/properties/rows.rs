//! What cinder and nova write: S10, S11, S13, S14, S18 (the export), S20 (attachments), S21.

use castoff_model::release::CinderRelease;
use castoff_model::{Cause, Fact, World};
use castoff_ports::cinder::{AttachStatus, VolumeStatus};
use castoff_ports::libvirt::PowerState;
use castoff_ports::{AttachmentId, InstanceId, Iqn, Process, SimTime, VolumeId};

use super::Checker;

/// Judges one fact.
pub(super) fn judge(checker: &mut Checker, world: &World, now: SimTime, fact: &Fact) {
    match fact {
        Fact::AdminReset { volume } => checker.history.admin.push(volume.clone()),
        Fact::VolumeStatus { volume, from, to } => {
            status_function(checker, world, now, volume);
            let reserves =
                |c: &Cause| matches!(c.operation, "cinder::AttachmentCreate" | "cinder::Reserve");
            if *from == VolumeStatus::Error && checker.cause.as_ref().is_some_and(reserves) {
                let text = format!("volume {volume} is in error and was reserved");
                checker.broken("S11", now, text);
            }
            if *from == VolumeStatus::Detaching && *to == VolumeStatus::InUse {
                roll_own(checker, now, volume);
                rollback_means_intact(checker, world, now, volume);
            }
            if *to == VolumeStatus::Deleting {
                no_delete_under_detach(checker, world, now, volume, *from);
            }
            if *to != VolumeStatus::InUse && !checker.history.not_in_use.contains(volume) {
                checker.history.not_in_use.push(volume.clone());
            }
        }
        Fact::Attachment { attachment, volume, instance, to } => {
            status_function(checker, world, now, volume);
            if *to == AttachStatus::Detached {
                deleted_by_nova(checker, world, now, attachment, volume, instance);
                let released = &mut checker.history.released;
                if !released.iter().any(|(v, i)| v == volume && i == instance) {
                    released.push((volume.clone(), instance.clone()));
                }
            }
        }
        Fact::Unmapped { volume, initiator, .. } => {
            last_attachment(checker, world, now, volume, initiator);
        }
        Fact::BdmDestroyed { id, volume, instance, attachment } => {
            let left = match attachment {
                Some(id) => world.cinder.attachment(id).is_some(),
                None => {
                    let released = &checker.history.released;
                    has_row(world, volume, instance)
                        && world.novadb.bdm(volume, instance).is_none()
                        && !released.iter().any(|(v, i)| v == volume && i == instance)
                }
            };
            if left {
                checker.broken(
                    "S10",
                    now,
                    format!(
                        "BDM {id} of volume {volume} was destroyed while cinder has its attachment"
                    ),
                );
            }
        }
        _ => {}
    }
}

fn has_row(world: &World, volume: &VolumeId, instance: &InstanceId) -> bool {
    world.cinder.live_attachments().any(|a| a.volume_id == *volume && a.instance == *instance)
}

/// S11.
fn status_function(checker: &mut Checker, world: &World, now: SimTime, volume: &VolumeId) {
    let Some(row) = world.cinder.volume(volume) else { return };
    let has = |wanted: AttachStatus| {
        world.cinder.live_attachments().any(|a| a.volume_id == *volume && a.attach_status == wanted)
    };
    let fits = match row.status {
        VolumeStatus::Available => !world.cinder.live_attachments().any(|a| a.volume_id == *volume),
        VolumeStatus::InUse | VolumeStatus::Detaching => has(AttachStatus::Attached),
        VolumeStatus::Reserved => has(AttachStatus::Reserved),
        _ => true,
    };
    if !fits && !checker.history.is_admins(volume) {
        let rows: Vec<&str> = world
            .cinder
            .live_attachments()
            .filter(|a| a.volume_id == *volume)
            .map(|a| a.attach_status.as_str())
            .collect();
        let rows = if rows.is_empty() { "none".to_owned() } else { rows.join(", ") };
        checker.broken(
            "S11",
            now,
            format!("volume {volume} is {}, its attachments are: {rows}", row.status.as_str()),
        );
    }
}

fn is_roll(checker: &Checker) -> bool {
    checker.cause.is_some_and(|c| c.operation == "cinder::RollDetaching")
}

/// S13.
fn roll_own(checker: &mut Checker, now: SimTime, volume: &VolumeId) {
    let (Some(cause), Some(owner)) = (checker.cause, checker.history.owner(volume)) else { return };
    if is_roll(checker) && cause.request != owner {
        checker.broken(
            "S13",
            now,
            format!(
                "{} rolled back the detach of volume {volume} that {owner} began",
                cause.request
            ),
        );
    }
}

/// A server that is shelved or deleted has nothing whole on its host until it is gone.
fn is_leaving(world: &World, instance: &InstanceId) -> bool {
    let server = world.novadb.instances().iter().find(|s| s.uuid == *instance);
    let task = server.and_then(|s| s.task_state.as_deref());
    matches!(task, Some("shelving" | "shelving_offloading" | "deleting"))
}

/// S14.
fn rollback_means_intact(checker: &mut Checker, world: &World, now: SimTime, volume: &VolumeId) {
    if !is_roll(checker) || checker.history.is_admins(volume) {
        return;
    }
    let watched = checker.by_cause().map(|i| checker.watched[i].instance.clone());
    let bdms = world.novadb.live_bdms().iter();
    let Some(instance) = watched.or_else(|| {
        bdms.filter(|b| b.volume_id == *volume).map(|b| b.instance_uuid.clone()).next()
    }) else {
        return;
    };
    if is_leaving(world, &instance) {
        return;
    }
    let mut lost = missing(world, volume, &instance);
    let roll = checker.cause.map(|c| (c.request, c.operation));
    let history = &checker.history;
    let of = (&instance, volume);
    if roll.is_some_and(|(r, o)| history.since(&history.let_go, of, r, o)) {
        // Nobody can look and roll back in one step; L4 judges what comes of it.
        lost.retain(|what| *what != LIVE);
    }
    if !lost.is_empty() {
        checker.broken(
            "S14",
            now,
            format!("volume {volume} was rolled back to in-use without {}", lost.join(", ")),
        );
    }
}

/// The part of [`missing`] that a guest can take away by itself.
const LIVE: &str = "the guest's live disk";

/// What a volume that is in use ought to have and has not.
fn missing(world: &World, volume: &VolumeId, instance: &InstanceId) -> Vec<&'static str> {
    let mut lost = Vec::new();
    let mut need = |there: bool, what| {
        if !there {
            lost.push(what);
        }
    };
    need(world.novadb.bdm(volume, instance).is_some(), "its BDM");
    need(has_row(world, volume, instance), "its attachment");
    need(world.storage.mappings().iter().any(|m| m.volume == *volume), "its export");
    let works = |d: &castoff_model::kernel::ScsiDisk| {
        world.kernel.device_serving(&world.storage, &d.handle()) == Some(volume)
    };
    let disk = world.kernel.devices().any(works);
    need(disk, "a host disk that works");
    match world.hypervisor.power(instance) {
        Some(PowerState::Running | PowerState::Paused) => {
            let mut live = world.hypervisor.live_disks();
            let live = live.any(|d| d.instance == *instance && d.volume == *volume);
            need(live, LIVE);
        }
        Some(PowerState::Shutdown | PowerState::Crashed) | None => {}
    }
    if world.hypervisor.is_persistent(instance) {
        let disks = world.hypervisor.config_disks(instance);
        need(disks.iter().any(|d| d.serial.as_ref() == Some(volume)), "its persistent config");
    }
    lost
}

/// S18, the export: judged on the rows as they are after the call that unmapped.
fn last_attachment(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    volume: &VolumeId,
    initiator: &Iqn,
) {
    let Some(cause) = checker.cause.filter(|_| !checker.history.is_admins(volume)) else { return };
    let rows = || {
        let mine = world.cinder.live_attachments().filter(|a| a.volume_id == *volume);
        mine.filter(|a| a.attach_status == AttachStatus::Attached)
    };
    let same_host = rows().find(|a| a.initiator() == Some(initiator)).map(|a| a.instance.clone());
    // The legacy calls know no connector of a row: a server stands for its users. The row of the
    // one that leaves goes with os-detach, after os-terminate_connection.
    let first = rows().next().map(|a| a.instance.clone());
    let legacy = match cause.operation {
        "cinder::TerminateConnection" => {
            rows().find(|a| Some(&a.instance) != first.as_ref()).map(|a| a.instance.clone())
        }
        "cinder::Detach" => first,
        _ => None,
    };
    if let Some(other) = same_host.or(legacy) {
        checker.broken(
            "S18",
            now,
            format!(
                "volume {volume} was unmapped from {initiator} while server {other} has it attached"
            ),
        );
    }
}

/// S20, the attachments (CVE-2023-2088).
fn deleted_by_nova(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    attachment: &AttachmentId,
    volume: &VolumeId,
    instance: &InstanceId,
) {
    let Some(cause) = checker.cause else { return };
    let in_use = world.novadb.bdm(volume, instance).is_some_and(|b| {
        b.connection_info.is_some() && b.attachment_id.as_ref().is_none_or(|id| id == attachment)
    });
    let allowed = match world.release.cinder {
        CinderRelease::Ocata => cause.process != Process::Client,
        CinderRelease::V28 => cause.service_token,
    };
    if in_use && !allowed {
        checker.broken(
            "S20",
            now,
            format!("{} deleted attachment {attachment} of volume {volume}, which nova uses, without showing that it is nova", cause.process),
        );
    }
}

/// S21.
fn no_delete_under_detach(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    volume: &VolumeId,
    from: VolumeStatus,
) {
    let mapped = world.storage.mappings().iter().any(|m| m.volume == *volume);
    let rows = world.cinder.live_attachments().any(|a| a.volume_id == *volume);
    let busy = matches!(
        from,
        VolumeStatus::InUse
            | VolumeStatus::Detaching
            | VolumeStatus::Attaching
            | VolumeStatus::Reserved
    );
    if busy || mapped || rows {
        let what = if mapped { ", mapped" } else { "" };
        checker.broken(
            "S21",
            now,
            format!(
                "the deletion of volume {volume} was accepted while it was {}{what}",
                from.as_str()
            ),
        );
    }
}
