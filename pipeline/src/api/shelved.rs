//! Servers that are shelved_offloaded have no host: nova-api attaches and detaches alone (A6).

use std::pin::pin;

use castoff_ports::cinder::Volume;
use castoff_ports::nova::{AttachOptions, Microversion};
use castoff_ports::novadb::{
    Bdm, BdmByVolumeAndInstance, BdmCreate, BdmDestroy, BdmSave, Instance,
};
use castoff_ports::trace::Note;
use castoff_ports::{AttachmentId, Failure, Refusal};

use super::attach::{attach_update, attachment_create};
use super::compute_api::{check_and_begin_detach, record_action_start};
use super::reserve;
use crate::compute::manager::wrap_instance_event;
use crate::context::Context;
use crate::error::NovaError;
use crate::policy::VolumeApi;
use crate::volume_api;

/// `_detach_volume_shelved_offloaded`.
pub(super) async fn detach_volume(
    cx: &Context<'_>,
    instance: &Instance,
    volume: &Volume,
) -> Result<(), NovaError> {
    cx.station("nova.compute.api.API._detach_volume_shelved_offloaded");
    let (volume_id, uuid) = (volume.id.clone(), instance.uuid.clone());
    let bdm = match cx.call(BdmByVolumeAndInstance { volume_id, instance: uuid }).await {
        Ok(bdm) => bdm,
        Err(Failure::Refused(Refusal::NotFound { .. })) => {
            let (volume, instance) = (volume.id.clone(), instance.uuid.clone());
            return Err(NovaError::VolumeBDMNotFound { volume, instance });
        }
        Err(e) => return Err(e.into()),
    };
    // nova bug 1808089: a volume of the attachments API is 'reserved', which begin refuses.
    let reserved = bdm.attachment_id.is_some() && cx.policy().volume_api == VolumeApi::Attachments;
    if !(reserved && cx.policy().offloaded_skips_begin) {
        check_and_begin_detach(cx, volume, &instance.uuid).await?;
    }
    record_action_start(cx, &instance.uuid, "detach_volume").await?;
    let body = pin!(async {
        if cx.policy().offload_confirms {
            release_volume(cx, &bdm, instance).await?;
            cx.port.note(Note::Notification("volume.detach"));
            return Ok(cx.call(BdmDestroy { id: bdm.id }).await?);
        }
        local_cleanup_bdm_volume(cx, &bdm, instance).await
    });
    wrap_instance_event(cx, &instance.uuid, "api_detach_volume", body).await
}

/// `_local_cleanup_bdm_volumes`: every error is logged, and the BDM is destroyed all the same.
pub(super) async fn local_cleanup_bdm_volume(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &Instance,
) -> Result<(), NovaError> {
    if let Err(e) = release_volume(cx, bdm, instance).await {
        cx.warning(format!("Ignoring volume cleanup failure due to: failed to {e}"));
    }
    Ok(cx.call(BdmDestroy { id: bdm.id }).await?)
}

/// What cinder has of the volume, and the volume itself where it goes with the server.
pub(super) async fn release_volume(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &Instance,
) -> Result<(), NovaError> {
    unbind_volume(cx, bdm, instance).await?;
    if bdm.delete_on_termination {
        volume_api::delete(cx, &bdm.volume_id).await?;
    }
    Ok(())
}

async fn unbind_volume(cx: &Context<'_>, bdm: &Bdm, instance: &Instance) -> Result<(), NovaError> {
    if let Some(attachment) = &bdm.attachment_id {
        return volume_api::attachment_delete(cx, attachment).await;
    }
    // The stashed connector is used only for the server's own host; an offloaded one has none.
    let stashed = bdm.connection_info.as_ref().and_then(|c| c.connector.as_ref());
    match stashed.filter(|c| Some(&c.host) == instance.host.as_ref()) {
        Some(connector) => {
            volume_api::terminate_connection(cx, &bdm.volume_id, connector).await?;
        }
        None => cx.warning(format!(
            "Unable to find connector for volume {}, not attempting terminate_connection.",
            bdm.volume_id
        )),
    }
    volume_api::detach(cx, &bdm.volume_id, Some(&instance.uuid), None).await
}

/// `_attach_volume_shelved_offloaded`: nothing is connected before the server is unshelved.
pub(super) async fn attach_volume(
    cx: &Context<'_>,
    instance: &Instance,
    volume: &Volume,
    options: &AttachOptions,
    microversion: Microversion,
) -> Result<Option<String>, NovaError> {
    cx.station("nova.compute.api.API._attach_volume_shelved_offloaded");
    if volume.multiattach && cx.policy().volume_api == VolumeApi::Attachments {
        return Err(NovaError::MultiattachToShelvedNotSupported { volume: volume.id.clone() });
    }
    if cx.policy().attach_intent {
        return reserve::attach_offloaded(cx, &instance.uuid, volume, options).await;
    }
    let create = BdmCreate {
        instance: instance.uuid.clone(),
        volume_id: volume.id.clone(),
        device_name: None,
    };
    let bdm = cx.call(create).await?;
    match reserve_and_complete(cx, instance, volume, &bdm, options, microversion).await {
        Ok(()) => Ok(bdm.device_name),
        Err(e) => {
            cx.call(BdmDestroy { id: bdm.id }).await?;
            Err(e)
        }
    }
}

async fn reserve_and_complete(
    cx: &Context<'_>,
    instance: &Instance,
    volume: &Volume,
    bdm: &Bdm,
    options: &AttachOptions,
    microversion: Microversion,
) -> Result<(), NovaError> {
    let uuid = &instance.uuid;
    match cx.policy().volume_api {
        VolumeApi::Legacy => {
            volume_api::reserve_volume(cx, &volume.id).await?;
            // os-attach without a host: in-use, so that nobody else takes the volume.
            volume_api::attach(cx, &volume.id, uuid, "").await
        }
        VolumeApi::Attachments => {
            let attachment: AttachmentId =
                attachment_create(cx, uuid, volume, microversion).await?;
            let update = attach_update(&attachment, options);
            cx.call(BdmSave { id: bdm.id, update }).await?;
            record_action_start(cx, uuid, "attach_volume").await?;
            let body = pin!(volume_api::attachment_complete(cx, &attachment));
            wrap_instance_event(cx, uuid, "api_attach_volume", body).await
        }
    }
}
