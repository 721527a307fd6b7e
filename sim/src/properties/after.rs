//! What comes after the first attempt: S23, L3, L4, L5.

use castoff_model::World;
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::libvirt::PowerState;
use castoff_ports::{InstanceId, SimTime, VolumeId};
use castoff_scenarios::{End, Standing};

use super::track::Retry;
use super::{Checker, Watched};
use crate::run::end_of;

/// L4: the guest has let go of a disk when nobody worked on it any more, and nobody has noticed.
pub(super) fn late_unplug_reconciled(checker: &mut Checker, world: &World, now: SimTime) {
    for i in 0..checker.watched.len() {
        let w = &checker.watched[i];
        let live = || {
            let mut disks = world.hypervisor.live_disks();
            disks.any(|d| d.volume == w.volume && d.instance == w.instance)
        };
        let bdm = || world.novadb.bdm(&w.volume, &w.instance).is_some();
        // A guest that is off has what its config says: it gets the disk back when it starts.
        let off = || {
            let power = world.hypervisor.power(&w.instance);
            !matches!(power, Some(PowerState::Running | PowerState::Paused))
        };
        let config = || {
            let mut disks = world.hypervisor.config_disks(&w.instance).iter();
            disks.any(|d| d.serial.as_ref() == Some(&w.volume))
        };
        if checker.progress[i].late && bdm() && !live() && !(off() && config()) {
            let text = format!(
                "the guest let go of volume {} after {} had given up, and the BDM is still there",
                w.volume, w.request
            );
            checker.broken("L4", now, text);
        }
    }
}

/// Remembers how the first attempt has left things.
pub(super) fn retry_begins(checker: &mut Checker, world: &World, first: &Watched) {
    let before = end_of(world, Some((&first.volume, &first.instance)));
    let (volume, instance) = (first.volume.clone(), first.instance.clone());
    let (by, step) = (first.by, checker.step);
    checker.history.retry = Some(Retry { volume, instance, by, before, step });
}

/// Whether nova never detaches this for this user: a root disk, for one who may not, or from a
/// locked server.
fn never(world: &World, retry: &Retry) -> bool {
    let mut rows = world.novadb.live_bdms().iter();
    let root = rows.any(|b| b.volume_id == retry.volume && b.is_root());
    let mut servers = world.novadb.instances().iter();
    let server = servers.find(|i| i.uuid == retry.instance);
    let locked = server.is_some_and(|i| i.locked);
    match retry.by {
        Standing::Member => root || locked,
        Standing::Admin => root,
        Standing::Reader | Standing::Stranger => true,
    }
}

/// The volume was detached from this server, and another one has it by now.
fn has_gone_on(world: &World, volume: &VolumeId, instance: &InstanceId) -> bool {
    let rows = || world.novadb.live_bdms().iter().filter(|b| b.volume_id == *volume);
    let attached =
        world.cinder.live_attachments().any(|a| a.volume_id == *volume && a.instance == *instance);
    let live =
        world.hypervisor.live_disks().any(|d| d.volume == *volume && d.instance == *instance);
    rows().next().is_some() && rows().all(|b| b.instance_uuid != *instance) && !attached && !live
}

/// S23 and L3.
pub(super) fn retry_ended(checker: &mut Checker, world: &World, now: SimTime) {
    let Some(retry) = checker.history.retry.take() else { return };
    let never = never(world, &retry);
    let Retry { volume, instance, before, step, .. } = retry;
    let end = end_of(world, Some((&volume, &instance)));
    let harm: Vec<&str> = checker
        .violations
        .iter()
        .filter(|v| v.step > step && ("S01"..="S07").contains(&v.property.name))
        .map(|v| v.property.name)
        .collect();
    if let Some(name) = harm.first() {
        checker.broken("S23", now, format!("the second attempt at volume {volume} broke {name}"));
    }
    if end == End::Detached || has_gone_on(world, &volume, &instance) {
        return;
    }
    if end != before {
        let text = format!(
            "volume {volume} was {} after the first attempt and is {} after the second",
            before.as_str(),
            end.as_str()
        );
        checker.broken("S23", now, text);
    }
    if never {
        return;
    }
    checker.broken(
        "L3",
        now,
        format!(
            "volume {volume} is {}: the user's second DELETE has not detached it",
            end.as_str()
        ),
    );
}

/// L5, after S08 and S09 were judged at the same time.
pub(super) fn no_leftover(checker: &mut Checker, world: &World, now: SimTime) {
    let mut found: Vec<String> = checker
        .violations
        .iter()
        .filter(|v| v.at == now && v.by.is_none() && ["S08", "S09"].contains(&v.property.name))
        .map(|v| v.facts.clone())
        .collect();
    for w in &checker.watched {
        let stuck =
            world.cinder.volume(&w.volume).is_some_and(|v| v.status == VolumeStatus::Detaching);
        let live = world.hypervisor.live_disks().any(|d| d.volume == w.volume);
        let device = world.kernel.devices().find(|d| d.volume == w.volume);
        if let Some(device) = device.filter(|_| stuck && !live) {
            found.push(format!(
                "{} of volume {} is on the host, its guest has let go, and nobody works on it",
                device.name, w.volume
            ));
        }
    }
    for facts in found {
        checker.broken("L5", now, facts);
    }
}
