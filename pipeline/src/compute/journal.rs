//! The journal of this host, as the stations of an attach and a detach write and read it.
//!
//! An entry says what is certain: it is written after a step and before the next one begins.

use castoff_ports::cinder::ConnectionInfo;
use castoff_ports::host::{JournalRead, JournalRemove, JournalWrite};
use castoff_ports::journal::{JournalEntry, JournalStep};
use castoff_ports::novadb::Bdm;
use castoff_ports::{InstanceId, VolumeId};

use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Task};
use crate::{virt, volume_api};

/// Every entry of this host.
pub(super) async fn all(cx: &Context<'_>) -> Result<Vec<JournalEntry>, NovaError> {
    if !cx.policy().detach_journal && !cx.policy().attach_journal {
        return Ok(Vec::new());
    }
    Ok(cx.call(JournalRead {}).await?)
}

/// The entry of a volume of a server.
pub(super) async fn entry(
    cx: &Context<'_>,
    volume: &VolumeId,
    instance: &InstanceId,
) -> Result<Option<JournalEntry>, NovaError> {
    let entries = all(cx).await?;
    Ok(entries.into_iter().find(|e| e.volume_id == *volume && e.instance == *instance))
}

/// A detach of this row begins, or goes on from where an earlier attempt has come to.
///
/// What the journal says was true when it was written. A reboot since then has connected the host
/// and given the guest its disk again, so the guest is asked here, and the host by
/// [`still_reached`].
pub(super) async fn begin(cx: &Context<'_>, bdm: &Bdm) -> Result<JournalStep, NovaError> {
    if !cx.policy().detach_journal {
        return Ok(JournalStep::Unplugging);
    }
    let (volume, instance) = (&bdm.volume_id, &bdm.instance_uuid);
    let entry = entry(cx, volume, instance).await?.filter(|e| e.bdm == bdm.id);
    if let Some(step) = entry.map(|e| e.step).filter(|step| *step >= JournalStep::Released)
        && virt::driver::disk_of(cx, bdm, instance).await?.is_none()
    {
        return Ok(step);
    }
    write(cx, bdm, JournalStep::Unplugging).await?;
    Ok(JournalStep::Unplugging)
}

/// The same once nobody else connects or disconnects a volume of the backend: where iscsid scans by
/// itself, another volume's login brings back the disk of one that cinder still exports.
pub(super) async fn still_reached(
    cx: &Context<'_>,
    bdm: &Bdm,
    reached: JournalStep,
) -> Result<JournalStep, NovaError> {
    match reached {
        JournalStep::Disconnected if is_connected_again(cx, bdm).await? => {
            // Whoever resumes this one must not take the earlier disconnect for its end.
            write(cx, bdm, JournalStep::Released).await?;
            Ok(JournalStep::Released)
        }
        JournalStep::Disconnected
        | JournalStep::Attaching
        | JournalStep::Unplugging
        | JournalStep::GivenUp
        | JournalStep::RolledBack
        | JournalStep::Released
        | JournalStep::Unmapped => Ok(reached),
    }
}

/// Without the rows whose disk a detach has taken from the guest: there is only the way forward.
///
/// nova connects whatever has a BDM, so a reboot logs in to a target whose volume cinder may have
/// unmapped, and leaves what it finds there on the host (S08, L5).
pub(super) async fn without_released(cx: &Context<'_>, mut bdms: Vec<Bdm>) -> Vec<Bdm> {
    if !cx.policy().detach_journal {
        return bdms;
    }
    match all(cx).await {
        Ok(entries) => {
            let released = |b: &Bdm| {
                let mut mine = entries.iter().filter(|e| e.bdm == b.id);
                mine.any(|e| e.step >= JournalStep::Released)
            };
            bdms.retain(|b| !released(b));
        }
        // begin() finds what this gives back.
        Err(e) => cx.warning(format!("Every volume is connected: failed to {e}")),
    }
    bdms
}

/// While cinder has the attachment its LUN is this volume's. Afterwards the host may have another
/// one's there, which is none of ours.
async fn is_connected_again(cx: &Context<'_>, bdm: &Bdm) -> Result<bool, NovaError> {
    let (Some(info), Some(attachment)) = (&bdm.connection_info, &bdm.attachment_id) else {
        return Ok(false);
    };
    if virt::driver::devices_left(cx, info).await?.is_empty() {
        return Ok(false);
    }
    let volume = volume_api::get(cx, &bdm.volume_id, 0).await?;
    Ok(volume.attachments.iter().any(|a| a.attachment_id == *attachment))
}

/// A step is done.
pub(super) async fn write(cx: &Context<'_>, bdm: &Bdm, step: JournalStep) -> Result<(), NovaError> {
    if !cx.policy().detach_journal {
        return Ok(());
    }
    note(cx, bdm, step, bdm.connection_info.as_ref()).await
}

/// Cinder has exported the volume of this row; the host begins to connect it.
pub(super) async fn attaching(
    cx: &Context<'_>,
    bdm: &Bdm,
    info: &ConnectionInfo,
) -> Result<(), NovaError> {
    if !cx.policy().attach_journal {
        return Ok(());
    }
    note(cx, bdm, JournalStep::Attaching, Some(info)).await
}

async fn note(
    cx: &Context<'_>,
    bdm: &Bdm,
    step: JournalStep,
    info: Option<&ConnectionInfo>,
) -> Result<(), NovaError> {
    let mut info = info.cloned();
    if let Some(info) = &mut info {
        info.data.auth = None;
    }
    let entry = JournalEntry {
        volume_id: bdm.volume_id.clone(),
        instance: bdm.instance_uuid.clone(),
        bdm: bdm.id,
        attachment_id: bdm.attachment_id.clone(),
        request: cx.port.cx.request,
        step,
        connection_info: info.map(Box::new),
    };
    Ok(cx.call(JournalWrite { entry: Box::new(entry) }).await?)
}

/// The work has ended. An entry that stays is found by the reconciler.
pub(super) async fn remove(cx: &Context<'_>, volume: &VolumeId, instance: &InstanceId) {
    if !cx.policy().detach_journal && !cx.policy().attach_journal {
        return;
    }
    let remove = JournalRemove { volume_id: volume.clone(), instance: instance.clone() };
    if let Err(e) = cx.call(remove).await {
        cx.warning(format!("The journal entry of volume {volume} stays for now: {e}"));
    }
}

/// The task has ended, and nobody need come back to it: whoever wanted it has got it.
///
/// Without the rows nobody would look; the journal goes last, so that somebody does.
pub(super) async fn forget(cx: &Context<'_>, task: Task, instance: &InstanceId, volume: &VolumeId) {
    match intent::of_volume(cx, task, instance, volume).await {
        Ok(intents) => {
            for intent in intents {
                intent::clear(cx, task, instance, volume, intent.request).await;
            }
        }
        Err(e) => {
            let verb = task.verb();
            cx.warning(format!("Intents to {verb} volume {volume} stay: failed to {e}"));
        }
    }
    remove(cx, volume, instance).await;
}
