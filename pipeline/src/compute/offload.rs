//! A server leaves its host, or goes for good, and nothing of its volumes stays there: begun again as often as it
//! takes.
//!
//! nova ignores what the host answers and unmaps the volumes all the same; what is cut short leaves
//! the server with a task that nobody carries out and an attachment that no BDM names. Here cinder
//! says what this host may have connected (a BDM's connection_info may be an earlier export's, whose
//! LUN is another volume's by now), the host has to have let go before cinder unmaps, and the row
//! loses its host last of all.

use std::pin::pin;

use castoff_ports::InstanceId;
use castoff_ports::cinder::{AttachStatus, Attachment, ConnectionInfo};
use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{Bdm, BdmSave, BdmUpdate, BdmsByInstance, InstanceUpdate, VmState};

use super::block_device::confirm_disconnect;
use super::multiattach;
use super::shelve::save_expecting;
use super::stale::delete_unnamed;
use crate::context::Context;
use crate::error::NovaError;
use crate::intent;
use crate::policy::MultiattachUsers;
use crate::virt::driver::Destroy;
use crate::{virt, volume_api};

/// Guest, host, cinder, row; the task must be one of these until the end.
pub(super) async fn offload(
    cx: &Context<'_>,
    instance: &InstanceId,
    clean_shutdown: bool,
    task_states: &[&str],
) -> Result<(), NovaError> {
    // Looked for before the rows: who destroys a row does so before its intent goes.
    let (detaches, attaches) = intent::all(cx, instance).await?;
    let under_way = |b: &Bdm| detaches.iter().chain(&attaches).any(|i| i.volume == b.volume_id);
    let bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
    virt::driver::power_off(cx, instance, clean_shutdown).await?;
    let shared = match cx.policy().multiattach_users {
        MultiattachUsers::Attached => Vec::new(),
        MultiattachUsers::Exported => multiattach::shared(cx, &bdms),
    };
    let body = pin!(async {
        let rows = leave_host(cx, instance, &bdms).await?;
        for (bdm, row) in bdms.iter().zip(rows) {
            // What cinder has nothing of is for an attach to bring or to take back, or is detached
            // but for its row.
            if row.is_none() && under_way(bdm) {
                continue;
            }
            reserve(cx, instance, bdm, row).await?;
        }
        Ok(())
    });
    multiattach::with_locks(cx, &shared, body).await?;
    let update = InstanceUpdate {
        power_state: Some(Some(PowerState::Shutdown)),
        host: Some(None),
        ..InstanceUpdate::vm_state(VmState::ShelvedOffloaded)
    };
    save_expecting(cx, instance, update, task_states).await
}

/// The volumes of a server that is deleted: nobody has anything of them any more.
pub(super) async fn release(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    let bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
    leave_host(cx, instance, &bdms).await?;
    for bdm in &bdms {
        delete_unnamed(cx, instance, &bdm.volume_id, Some(bdm)).await?;
    }
    Ok(())
}

/// The guest is killed and the host lets go; answers with cinder's attachments, in the BDMs' order.
async fn leave_host(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdms: &[Bdm],
) -> Result<Vec<Option<Attachment>>, NovaError> {
    let mut rows = Vec::with_capacity(bdms.len());
    let mut connected = Vec::with_capacity(bdms.len());
    for bdm in bdms {
        let row = attachment_of(cx, bdm).await?;
        if let Some(exported) = row.as_ref().and_then(|r| r.connection_info.as_ref()) {
            let connection_info = Some(connection(cx, bdm, exported).await?);
            connected.push(Bdm { connection_info, ..bdm.clone() });
        }
        rows.push(row);
    }
    virt::driver::destroy(cx, instance, &connected, Destroy::Confirmed).await?;
    for info in connected.iter().filter_map(|b| b.connection_info.as_ref()) {
        confirm_disconnect(cx, instance, info).await?;
    }
    Ok(rows)
}

/// Cinder's attachment of this row, if there is one.
///
/// # Errors
/// When cinder cannot be asked.
pub(super) async fn attachment_of(
    cx: &Context<'_>,
    bdm: &Bdm,
) -> Result<Option<Attachment>, NovaError> {
    let Some(id) = &bdm.attachment_id else { return Ok(None) };
    match volume_api::attachment_get(cx, id).await {
        Ok(row) => Ok(Some(row)),
        Err(NovaError::VolumeAttachmentNotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// How this host may have the volume: as cinder exports it now, and where the BDM tells of that
/// export, by the device that nova was given.
async fn connection(
    cx: &Context<'_>,
    bdm: &Bdm,
    exported: &ConnectionInfo,
) -> Result<ConnectionInfo, NovaError> {
    let same = |saved: &&ConnectionInfo| {
        saved.data.target_iqn == exported.data.target_iqn
            && saved.data.target_lun == exported.data.target_lun
    };
    if let Some(saved) = bdm.connection_info.as_ref().filter(same) {
        return Ok(saved.clone());
    }
    let multiattach = volume_api::get(cx, &bdm.volume_id, 0).await?.multiattach;
    Ok(ConnectionInfo { serial: Some(bdm.volume_id.clone()), multiattach, ..exported.clone() })
}

/// An attachment that holds the volume for the server, without its export. Whatever an earlier attempt has left goes too.
async fn reserve(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: &Bdm,
    row: Option<Attachment>,
) -> Result<(), NovaError> {
    let volume_id = &bdm.volume_id;
    let status = row.as_ref().map(|r| r.status);
    if row.is_none_or(|r| r.connection_info.is_some()) {
        // cinder reserves beside an attachment that is complete, and not beside one under way.
        if let (Some(AttachStatus::Attaching), Some(id)) = (status, &bdm.attachment_id) {
            volume_api::attachment_complete(cx, id).await?;
        }
        return renew(cx, instance, bdm).await;
    }
    delete_unnamed(cx, instance, volume_id, None).await
}

/// A new attachment for the old one. The other way round the volume would be free for a moment.
pub(super) async fn renew(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: &Bdm,
) -> Result<(), NovaError> {
    let new = volume_api::attachment_create(cx, &bdm.volume_id, instance).await?.id;
    let update = BdmUpdate { attachment_id: Some(new), ..BdmUpdate::default() };
    cx.call(BdmSave { id: bdm.id, update }).await?;
    delete_unnamed(cx, instance, &bdm.volume_id, None).await
}
