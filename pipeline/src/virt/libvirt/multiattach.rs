//! Other servers of this host that have a multiattach volume: its disk here is theirs too.

use castoff_ports::cinder::ConnectionInfo;
use castoff_ports::novadb::{BdmsByVolume, GetInstance};
use castoff_ports::{Failure, InstanceId, Refusal, VolumeId};

use crate::context::Context;
use crate::error::NovaError;
use crate::policy::MultiattachUsers;
use crate::volume_api;

/// `_should_disconnect_target`: a multiattach volume stays while another server here uses it.
pub(super) async fn should_disconnect_target(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    info: &ConnectionInfo,
) -> Result<bool, NovaError> {
    if !cx.policy().multiattach_count || !info.multiattach {
        return Ok(true);
    }
    match cx.policy().multiattach_users {
        MultiattachUsers::Attached => is_attached_once(cx, volume).await,
        MultiattachUsers::Exported => Ok(!is_exported_to_another(cx, instance, volume).await?),
    }
}

/// nova asks which servers are on this host; here each server of the volume is asked for its host.
async fn is_attached_once(cx: &Context<'_>, volume: &VolumeId) -> Result<bool, NovaError> {
    let volume = volume_api::get(cx, volume, 0).await?;
    if volume.attachments.len() <= 1 {
        return Ok(true);
    }
    let mut servers: Vec<InstanceId> =
        volume.attachments.into_iter().map(|a| a.server_id).collect();
    servers.sort_unstable();
    servers.dedup();
    let mut here = 0;
    for uuid in servers {
        here += usize::from(is_here(cx, uuid).await?);
    }
    Ok(here <= 1)
}

/// Whether cinder exports this volume to this host for another server than this one.
///
/// An attachment that is exported goes after the host has let go, so whoever still has one
/// disconnects when it leaves; one that is reserved alone has never been here.
///
/// # Errors
/// When nova's database or cinder cannot be asked.
pub async fn is_exported_to_another(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<bool, NovaError> {
    for bdm in cx.call(BdmsByVolume { volume_id: volume.clone() }).await? {
        let Some(attachment) = bdm.attachment_id.filter(|_| bdm.instance_uuid != *instance) else {
            continue;
        };
        if !is_here(cx, bdm.instance_uuid).await? {
            continue;
        }
        match volume_api::attachment_get(cx, &attachment).await {
            Ok(row) if row.connection_info.is_some() => return Ok(true),
            Ok(_) | Err(NovaError::VolumeAttachmentNotFound { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

async fn is_here(cx: &Context<'_>, uuid: InstanceId) -> Result<bool, NovaError> {
    match cx.call(GetInstance { uuid }).await {
        Ok(server) => Ok(server.host.as_ref() == Some(&cx.conf().host)),
        Err(Failure::Refused(Refusal::NotFound { .. })) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
