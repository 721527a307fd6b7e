//! The compute host: guests, sessions, ciphers (S06, S07, S17, S18, S24, S27).

use castoff_model::locks::{HeldLock, LockKind};
use castoff_model::{Fact, World};
use castoff_ports::{DeviceName, InstanceId, Iqn, Process, SimTime, VolumeId};

use super::Checker;
use super::track::{Connecting, Plugged};

/// At most so many connects are remembered: the last ones are those that are under way.
const MAX_CONNECTING: usize = 512;

/// Judges one fact of a transition.
pub(super) fn judge(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    facts: &[Fact],
    fact: &Fact,
) {
    match fact {
        Fact::DiskPlugged { instance, volume, .. } => {
            single_writer(checker, world, now, instance, volume);
            deciphered(checker, world, now, volume);
            plugged(checker, instance, volume).asked = false;
        }
        Fact::UnplugRequested { instance, target } => {
            let mut disks = world.hypervisor.live_disks();
            if let Some(disk) = disks.find(|d| d.instance == *instance && d.target == *target) {
                plugged(checker, instance, &disk.volume).asked = true;
            }
            right_host(checker, world, now, instance);
        }
        Fact::DiskUnplugged { instance, volume, target } => {
            let asked = std::mem::take(&mut plugged(checker, instance, volume).asked);
            if !asked {
                checker.broken(
                    "S27",
                    now,
                    format!("{target} of volume {volume} left the guest, and nobody has asked for it since it was plugged"),
                );
            }
        }
        Fact::SessionUp { target, .. } | Fact::NodeNew { target, .. } => {
            if let Some(cause) = checker.cause.filter(|c| c.process == Process::NovaCompute) {
                let target = target.clone();
                let connecting = &mut checker.history.connecting;
                if connecting.len() == MAX_CONNECTING {
                    connecting.drain(..MAX_CONNECTING / 2);
                }
                connecting.push(Connecting { owner: cause.owner(), target });
            }
        }
        Fact::SessionDown { sid, target } => {
            session_ownership(checker, world, now, target, "logged out of");
            let gone = |f: &&Fact| matches!(f, Fact::DeviceGone { running: true, .. });
            let by_call = checker.cause.is_some_and(|c| c.operation == "iscsi::Logout");
            if let Some(Fact::DeviceGone { device, volume, .. }) = facts.iter().find(gone)
                && by_call
            {
                checker.broken(
                    "S07",
                    now,
                    format!("session {sid} was logged out with {device} of volume {volume} on it"),
                );
            }
        }
        Fact::NodeDeleted { target, .. } => {
            session_ownership(checker, world, now, target, "the node record was deleted of");
        }
        Fact::DeviceUp { device, .. } => {
            // A name that is used again has lost its old maker, whoever makes it now.
            checker.history.created.retain(|(d, ..)| d != device);
            if let Some(cause) = checker.cause.filter(|_| !checker.is_announced(fact)) {
                checker.history.created.push((device.clone(), cause.request, now));
            }
        }
        Fact::DeviceGone { device, volume, .. } => {
            created_before(checker, now, device, volume);
            last_user(checker, world, now, device, volume);
            cipher_is_gone(checker, world, now, device, volume);
        }
        Fact::Terminated { volume, initiator, mapped: false } => {
            let other = world.storage.mappings().iter().find(|m| m.volume == *volume);
            if let Some(mapping) = other {
                let by = initiator.as_ref().map_or("none", |i| i.as_str());
                checker.broken(
                    "S17",
                    now,
                    format!(
                        "volume {volume} is mapped to {}, its connection was terminated for {by}",
                        mapping.initiator
                    ),
                );
            }
        }
        Fact::Secret { volume, present: false } if rebooted(checker, world, volume) => {
            let text =
                format!("the secret of volume {volume} was deleted by a reboot of its server");
            checker.broken("S24", now, text);
        }
        Fact::Secret { volume, present: false }
            if world.hypervisor.live_disks().any(|d| d.volume == *volume) =>
        {
            let text = format!("the secret of volume {volume} was deleted under its guest");
            checker.broken("S24", now, text);
        }
        Fact::Crypt { name, open: false } => {
            let device = name.strip_prefix("crypt-").unwrap_or(name);
            let under = |source: &str| source.rsplit('/').next() == Some(device);
            if world.hypervisor.live_disks().any(|d| under(&d.source_dev)) {
                checker.broken("S24", now, format!("{name} was closed under its guest"));
            }
        }
        _ => {}
    }
}

/// Whether a server that has the volume is being made anew, and no detach asked for what happened.
fn rebooted(checker: &Checker, world: &World, volume: &VolumeId) -> bool {
    let mut bdms = world.novadb.live_bdms().iter().filter(|b| b.volume_id == *volume);
    checker.by_cause().is_none()
        && bdms.any(|b| {
            let mut servers = world.novadb.instances().iter();
            let server = servers.find(|i| i.uuid == b.instance_uuid);
            server.and_then(|i| i.task_state.as_deref()) == Some("reboot_started_hard")
        })
}

fn plugged<'a>(
    checker: &'a mut Checker,
    instance: &InstanceId,
    volume: &VolumeId,
) -> &'a mut Plugged {
    let list = &mut checker.history.plugged;
    let at = match list.iter().position(|p| p.volume == *volume && p.instance == *instance) {
        Some(at) => at,
        None => {
            let (instance, volume) = (instance.clone(), volume.clone());
            list.push(Plugged { instance, volume, asked: false });
            list.len() - 1
        }
    };
    &mut list[at]
}

/// S06.
fn single_writer(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    instance: &InstanceId,
    volume: &VolumeId,
) {
    if world.cinder.volume(volume).is_some_and(|v| v.multiattach) {
        return;
    }
    let mut disks = world.hypervisor.live_disks();
    if let Some(other) = disks.find(|d| d.volume == *volume && d.instance != *instance) {
        let text = format!("guests {} and {instance} both have volume {volume}", other.instance);
        checker.broken("S06", now, text);
    }
}

/// S07: a connect that holds what goes away.
fn session_ownership(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    target: &Iqn,
    what: &'static str,
) {
    let Some(cause) = checker.cause else { return };
    let me = cause.owner();
    let connects = |c: &&Connecting| {
        c.owner != me
            && c.target == *target
            && world
                .locks
                .held()
                .iter()
                .any(|l| l.owner == c.owner && LockKind::of(&l.name) == LockKind::ConnectVolume)
    };
    if let Some(other) = checker.history.connecting.iter().find(connects) {
        let request = other.owner.request;
        checker.broken("S07", now, format!("{what} {target} while {request} is connecting to it"));
    }
}

/// S17: the guest is asked on its server's host.
fn right_host(checker: &mut Checker, world: &World, now: SimTime, instance: &InstanceId) {
    let here = crate::prepare::compute_host();
    let row = world.novadb.instances().iter().find(|i| i.uuid == *instance);
    if let Some(row) = row
        && row.host.as_ref() != Some(&here)
    {
        let host = row.host.as_ref().map_or("none", |h| h.as_str());
        checker.broken(
            "S17",
            now,
            format!("{here} asked the guest of server {instance} to unplug, whose host is {host}"),
        );
    }
}

/// S27: what a detach began before the disk appeared does not remove it.
fn created_before(checker: &mut Checker, now: SimTime, device: &DeviceName, volume: &VolumeId) {
    let Some(i) = checker.by_cause() else { return };
    let (Some(acted), me) = (checker.progress[i].acted, checker.watched[i].request) else { return };
    let created = checker.history.created.iter().find(|(d, ..)| d == device);
    if let Some((_, by, at)) = created
        && *by != me
        && acted < *at
    {
        let text = format!(
            "{me} removed {device} of volume {volume}, which {by} made after {me} had begun"
        );
        checker.broken("S27", now, text);
    }
}

/// S18, the host: its users are BDMs with a connection_info whose guest has the disk, or that cinder
/// has an attachment of. Who leaves has the server's lock, or is a detach; of anybody else it is not
/// known, and the last user may be the one.
fn last_user(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    device: &DeviceName,
    volume: &VolumeId,
) {
    let Some(cause) = checker.cause else { return };
    let locked =
        |l: &&HeldLock| l.owner == cause.owner() && LockKind::of(&l.name) == LockKind::Instance;
    let leaver = match world.locks.held().iter().find(locked) {
        Some(lock) => Some(lock.name.as_str()),
        None => checker.by_cause().map(|i| checker.watched[i].instance.as_str()),
    };
    let uses = |instance: &InstanceId| {
        let mut rows = world.cinder.live_attachments();
        let mut disks = world.hypervisor.live_disks();
        rows.any(|a| a.volume_id == *volume && a.instance == *instance)
            || disks.any(|d| d.volume == *volume && d.instance == *instance)
    };
    let users = world.novadb.live_bdms().iter();
    let users = users.filter(|b| b.volume_id == *volume && b.connection_info.is_some());
    let users =
        users.filter(|b| leaver != Some(b.instance_uuid.as_str()) && uses(&b.instance_uuid));
    let users = users.count() + usize::from(leaver.is_some());
    if users > 1 {
        checker.broken(
            "S18",
            now,
            format!(
                "{device} of volume {volume} was removed while {users} servers of the host use it"
            ),
        );
    }
}

/// S24: a guest reads an encrypted volume through the host's mapping, or QEMU has its secret.
fn deciphered(checker: &mut Checker, world: &World, now: SimTime, volume: &VolumeId) {
    let encrypted = world.cinder.volume(volume).is_some_and(|v| v.encrypted);
    let open = || {
        let mut crypts = world.kernel.crypts_over();
        crypts.any(|(_, disk)| disk.is_some_and(|d| d.volume == *volume))
    };
    if encrypted && !open() && !world.hypervisor.secrets().contains(volume) {
        let text = format!("a guest got volume {volume} without its mapping or secret");
        checker.broken("S24", now, text);
    }
}

/// S24: the cipher goes before the disk.
fn cipher_is_gone(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    device: &DeviceName,
    volume: &VolumeId,
) {
    let orphan = world.kernel.crypts_over().find(|(_, disk)| disk.is_none());
    if let Some((name, _)) = orphan {
        checker.broken("S24", now, format!("{device} went away under {name}"));
    }
    let secret = world.hypervisor.secrets().contains(volume);
    let detach = || checker.by_cause().is_some_and(|i| checker.watched[i].volume == *volume);
    if secret && detach() {
        let text = format!("{device} of volume {volume} went away before the volume's secret");
        checker.broken("S24", now, text);
    }
}
