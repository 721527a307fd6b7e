//! The end of an attach that could not go on: finished or undone, and nothing in between.
//!
//! The guest decides. If it has the disk, the host is connected and cinder exports the volume, so
//! what is left are two rows: the way forward is the short one, and no unplug can be refused. If it
//! does not, everything is taken back in the order in which a detach would: host, cinder, BDM. Both
//! may be cut short and begun again. The caller holds the server's lock.

use std::pin::pin;

use castoff_ports::cinder::ConnectionInfo;
use castoff_ports::journal::{JournalEntry, JournalStep};
use castoff_ports::libvirt::GuestDisk;
use castoff_ports::novadb::{Bdm, BdmByVolumeAndInstance, BdmDestroy, BdmSave, BdmUpdate};
use castoff_ports::{AttachmentId, Failure, InstanceId, Refusal, VolumeId};

use super::block_device::{confirm_disconnect, guard_connection};
use super::manager::do_detach_volume;
use super::offload::attachment_of;
use super::pause::check_not_saved;
use super::stale::unnamed_attachments;
use super::{journal, multiattach};
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::Task;
use crate::{virt, volume_api};

/// How an attach was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The guest has the disk, cinder and nova say so.
    Attached,
    /// Nobody has anything of it.
    Undone,
}

/// Finishes or undoes the attach of this volume, and forgets it.
///
/// # Errors
/// When it can be neither known nor done now; intent and journal still stand then.
pub(super) async fn settle(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<Settled, NovaError> {
    let entry = journal::entry(cx, volume, instance).await?;
    let entry = entry.filter(|e| e.step == JournalStep::Attaching);
    let settled = match bdm_of(cx, instance, volume).await? {
        Some(bdm) => settle_row(cx, instance, &bdm, entry.as_ref()).await?,
        None => {
            undo(cx, instance, volume, None, entry.as_ref()).await?;
            Settled::Undone
        }
    };
    journal::forget(cx, Task::Attach, instance, volume).await;
    Ok(settled)
}

/// The same for a server that no host has: neither guest nor host has anything of the volume, and
/// an attachment that is complete is all there is to it.
pub(super) async fn settle_offloaded(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<Settled, NovaError> {
    let settled = match bdm_of(cx, instance, volume).await? {
        Some(bdm) if is_attached(cx, &bdm).await? => Settled::Attached,
        bdm => {
            undo(cx, instance, volume, bdm.as_ref(), None).await?;
            Settled::Undone
        }
    };
    journal::forget(cx, Task::Attach, instance, volume).await;
    Ok(settled)
}

/// The row of this volume and server.
pub(super) async fn bdm_of(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<Option<Bdm>, NovaError> {
    let (volume_id, instance) = (volume.clone(), instance.clone());
    match cx.call(BdmByVolumeAndInstance { volume_id, instance }).await {
        Ok(bdm) => Ok(Some(bdm)),
        Err(Failure::Refused(Refusal::NotFound { .. })) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

async fn settle_row(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: &Bdm,
    entry: Option<&JournalEntry>,
) -> Result<Settled, NovaError> {
    let attached = is_attached(cx, bdm).await?;
    if attached && bdm.connection_info.is_some() {
        return Ok(Settled::Attached);
    }
    let disk = virt::driver::disk_of(cx, bdm, instance).await?;
    // What was never connected no guest has.
    if disk.is_none() && entry.is_some() {
        check_not_saved(cx, instance, "attach_volume").await?;
    }
    match (disk, &bdm.attachment_id) {
        (Some(disk), Some(attachment)) => {
            finish(cx, instance, bdm, attachment, entry, disk, attached).await
        }
        (Some(_), None) | (None, _) => {
            undo(cx, instance, &bdm.volume_id, Some(bdm), entry).await?;
            Ok(Settled::Undone)
        }
    }
}

/// Cinder shows an attachment with its volume when it is complete.
async fn is_attached(cx: &Context<'_>, bdm: &Bdm) -> Result<bool, NovaError> {
    match volume_api::get(cx, &bdm.volume_id, 0).await {
        Ok(volume) => Ok(volume
            .attachments
            .iter()
            .any(|a| Some(&a.attachment_id) == bdm.attachment_id.as_ref())),
        Err(NovaError::VolumeNotFound { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The guest has the disk: what nova and cinder do not know yet.
async fn finish(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: &Bdm,
    attachment: &AttachmentId,
    entry: Option<&JournalEntry>,
    disk: GuestDisk,
    attached: bool,
) -> Result<Settled, NovaError> {
    let volume = &bdm.volume_id;
    cx.warning(format!("The guest has volume {volume}: its attach is finished"));
    if bdm.connection_info.is_none() {
        let noted = entry.filter(|e| e.bdm == bdm.id).and_then(|e| e.connection_info.clone());
        let Some(mut info) = noted else {
            // Nobody knows how it was connected: not even a detach could take it back.
            return Err(NovaError::VolumeDriverNotFound {
                driver_type: "None".to_owned(),
                volume: volume.clone(),
            });
        };
        // The journal has no secrets, and nobody would look for them again.
        let row = attachment_of(cx, bdm).await?;
        info.data.auth = row.and_then(|r| r.connection_info).and_then(|i| i.data.auth);
        info.data.device_path = Some(disk.source_dev.clone());
        let update = BdmUpdate { connection_info: Some(info), ..BdmUpdate::default() };
        cx.call(BdmSave { id: bdm.id, update }).await?;
    }
    if !attached {
        match volume_api::attachment_complete(cx, attachment).await {
            Ok(()) => {}
            // Somebody has taken the volume away: the guest has to let go of it.
            Err(NovaError::VolumeAttachmentNotFound { .. }) => {
                do_detach_volume(cx, instance, volume, None).await?;
                return Ok(Settled::Undone);
            }
            Err(e) => return Err(e),
        }
    }
    virt::driver::restore_config(cx, instance, disk).await?;
    Ok(Settled::Attached)
}

/// Host, cinder, BDM. The host is asked while cinder has the attachment: afterwards another volume
/// may have its LUN.
async fn undo(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    bdm: Option<&Bdm>,
    entry: Option<&JournalEntry>,
) -> Result<(), NovaError> {
    cx.warning(format!("The attach of volume {volume} to server {instance} is undone"));
    let unnamed = unnamed_attachments(cx, instance, volume, bdm).await?;
    let info = match connected_by(bdm, entry, &unnamed) {
        Some(info) => Some(info.clone()),
        None => exported(cx, &unnamed).await?,
    };
    match info {
        None => delete_all(cx, &unnamed).await?,
        Some(mut info) => {
            let row = volume_api::get_with_shared_targets(cx, volume).await?;
            info.multiattach = row.multiattach;
            let body = pin!(async {
                virt::driver::disconnect_volume(cx, instance, volume, Some(&info), None).await?;
                confirm_disconnect(cx, instance, &info).await?;
                delete_all(cx, &unnamed).await
            });
            // A session that another attach has its LUN in is not logged out meanwhile.
            let body = pin!(guard_connection(cx, &row, body));
            multiattach::in_turn(cx, volume, row.multiattach, body).await?;
        }
    }
    if let Some(bdm) = bdm {
        cx.call(BdmDestroy { id: bdm.id }).await?;
    }
    Ok(())
}

async fn delete_all(cx: &Context<'_>, attachments: &[AttachmentId]) -> Result<(), NovaError> {
    for attachment in attachments {
        volume_api::attachment_delete(cx, attachment).await?;
    }
    Ok(())
}

/// How cinder exports the volume. An attach that died before it could write that down may be
/// connected all the same: an iscsid that scans by itself looks at a LUN as soon as it is there.
async fn exported(
    cx: &Context<'_>,
    attachments: &[AttachmentId],
) -> Result<Option<ConnectionInfo>, NovaError> {
    for attachment in attachments {
        let info = match volume_api::attachment_get(cx, attachment).await {
            Ok(row) => row.connection_info,
            Err(NovaError::VolumeAttachmentNotFound { .. }) => None,
            Err(e) => return Err(e),
        };
        if info.is_some() {
            return Ok(info);
        }
    }
    Ok(None)
}

/// How the host may have the volume, if its attachment still stands.
fn connected_by<'a>(
    bdm: Option<&'a Bdm>,
    entry: Option<&'a JournalEntry>,
    standing: &[AttachmentId],
) -> Option<&'a ConnectionInfo> {
    let stands = |id: &Option<AttachmentId>| id.as_ref().is_some_and(|id| standing.contains(id));
    let saved = bdm.filter(|b| stands(&b.attachment_id)).and_then(|b| b.connection_info.as_ref());
    let noted = || {
        let entry = entry.filter(|e| stands(&e.attachment_id));
        entry.and_then(|e| e.connection_info.as_deref())
    };
    saved.or_else(noted)
}
