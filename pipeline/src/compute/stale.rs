//! Attachments of cinder that no BDM names.
//!
//! An attach whose rollback failed leaves one (nova bug 1960401). It keeps the volume `in-use`, and
//! nova knows nothing of it. Nova 2023.2 compares the two when a server is rebooted (bug 2019078).

use castoff_ports::novadb::{Bdm, BdmsByInstance, BdmsByVolume};
use castoff_ports::{AttachmentId, InstanceId, VolumeId};

use crate::context::Context;
use crate::error::NovaError;
use crate::volume_api;

/// Deletes this server's attachments of a volume that has just been detached.
///
/// An attach makes its BDM first, under the server's lock, which is held here: what has none is
/// nobody's.
pub(super) async fn delete_stale_attachments(
    cx: &Context<'_>,
    detached: &Bdm,
) -> Result<(), NovaError> {
    let volume_id = &detached.volume_id;
    let volume = match volume_api::get(cx, volume_id, 0).await {
        Err(NovaError::VolumeNotFound { .. }) => return Ok(()),
        other => other?,
    };
    let here: Vec<_> =
        volume.attachments.iter().filter(|a| a.server_id == detached.instance_uuid).collect();
    if here.is_empty() {
        return Ok(());
    }
    let bdms = cx.call(BdmsByVolume { volume_id: volume_id.clone() }).await?;
    for row in here {
        let id = &row.attachment_id;
        // A row of the legacy API names no attachment: then all of its server's may be its.
        let named = |b: &Bdm| {
            b.id != detached.id
                && b.instance_uuid == detached.instance_uuid
                && b.attachment_id.as_ref().is_none_or(|a| a == id)
        };
        if !bdms.iter().any(named) {
            cx.warning(format!("Deleting attachment {id} of volume {volume_id}: no BDM names it"));
            volume_api::attachment_delete(cx, id).await?;
        }
    }
    Ok(())
}

/// Cinder's attachments of this volume to this server that no other BDM names.
pub(super) async fn unnamed_attachments(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    but: Option<&Bdm>,
) -> Result<Vec<AttachmentId>, NovaError> {
    let mut rows = volume_api::attachments_of_server(cx, instance).await?;
    rows.retain(|a| a.volume_id == *volume);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
    bdms.retain(|b| Some(b.id) != but.map(|b| b.id));
    let named = |id: &AttachmentId| bdms.iter().any(|b| b.attachment_id.as_ref() == Some(id));
    Ok(rows.into_iter().map(|a| a.id).filter(|id| !named(id)).collect())
}

/// Deletes them all.
pub(super) async fn delete_unnamed(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    but: Option<&Bdm>,
) -> Result<(), NovaError> {
    for id in unnamed_attachments(cx, instance, volume, but).await? {
        volume_api::attachment_delete(cx, &id).await?;
    }
    Ok(())
}
