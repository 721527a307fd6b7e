//! Servers that are shelved_offloaded have no host: nova-api attaches and detaches alone (A6).

use std::pin::pin;

use castoff_ports::cinder::Volume;
use castoff_ports::nova::{AttachOptions, Microversion};
use castoff_ports::novadb::{
    Bdm, BdmByVolumeAndInstance, BdmCreate, BdmDestroy, BdmSave, GetInstance, Instance, VmState,
};
use castoff_ports::trace::Note;
use castoff_ports::{AttachmentId, Failure, InstanceId, Refusal, SimTime, VolumeId};

use super::attach::{attach_update, attachment_create};
use super::compute_api::{check_and_begin_detach, check_instance_state, record_action_start};
use super::reserve;
use crate::compute::manager::wrap_instance_event;
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Task};
use crate::policy::VolumeApi;
use crate::volume_api;

/// `_detach_volume_shelved_offloaded`.
pub(super) async fn detach_volume(
    cx: &Context<'_>,
    instance: &Instance,
    volume: &Volume,
) -> Result<(), NovaError> {
    cx.station("nova.compute.api.API._detach_volume_shelved_offloaded");
    let (uuid, begun) = (&instance.uuid, cx.port.now());
    intent::write(cx, Task::Detach, uuid, &volume.id).await?;
    let request = cx.port.cx.request;
    let bdm = match bdm_to_detach(cx, uuid, volume).await {
        Ok(bdm) => bdm,
        Err(e) => {
            intent::clear(cx, Task::Detach, uuid, &volume.id, request).await;
            return Err(e);
        }
    };
    // nova bug 1808089: a volume of the attachments API is 'reserved', which begin refuses.
    let reserved = bdm.attachment_id.is_some() && cx.policy().volume_api == VolumeApi::Attachments;
    if !(reserved && cx.policy().offloaded_skips_begin) {
        check_and_begin_detach(cx, volume, uuid).await?;
    }
    record_action_start(cx, uuid, "detach_volume").await?;
    let body = pin!(end_detach(cx, instance, &bdm, begun));
    match wrap_instance_event(cx, uuid, "api_detach_volume", body).await {
        // The intent stands: the reconciler ends it, before any host gets the server.
        Err(NovaError::LeftToReconciler { .. }) => Ok(()),
        Err(e) => Err(e),
        Ok(()) => {
            intent::clear(cx, Task::Detach, uuid, &volume.id, request).await;
            Ok(())
        }
    }
}

async fn bdm_to_detach(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &Volume,
) -> Result<Bdm, NovaError> {
    if cx.policy().detach_intent {
        check_still_offloaded(cx, instance, &volume.id, "detach_volume").await?;
    }
    let (volume_id, uuid) = (volume.id.clone(), instance.clone());
    match cx.call(BdmByVolumeAndInstance { volume_id, instance: uuid }).await {
        Ok(bdm) => Ok(bdm),
        Err(Failure::Refused(Refusal::NotFound { .. })) => {
            let (volume, instance) = (volume.id.clone(), instance.clone());
            Err(NovaError::VolumeBDMNotFound { volume, instance })
        }
        Err(e) => Err(e.into()),
    }
}

async fn end_detach(
    cx: &Context<'_>,
    instance: &Instance,
    bdm: &Bdm,
    begun: SimTime,
) -> Result<(), NovaError> {
    if !cx.policy().offload_confirms {
        return local_cleanup_bdm_volume(cx, bdm, instance).await;
    }
    let left = || NovaError::LeftToReconciler { volume: bdm.volume_id.clone() };
    let is_old = || cx.policy().detach_intent && intent::is_old(cx, begun);
    if is_old() {
        return Err(reserve::given_up(&bdm.volume_id));
    }
    if let Err(e) = release_volume(cx, bdm, instance).await {
        match released_all_the_same(cx, bdm).await {
            Some(true) => cx.warning(format!("Detached all the same: failed to {e}")),
            Some(false) => return Err(e),
            None => return Err(left()),
        }
    }
    if is_old() {
        // The reconciler has taken it up, and the row may be a server's on a host by now.
        return Err(left());
    }
    cx.port.note(Note::Notification("volume.detach"));
    match cx.call(BdmDestroy { id: bdm.id }).await {
        // The volume is detached: an error would be a lie.
        Err(_) if cx.policy().detach_intent => Err(left()),
        other => Ok(other?),
    }
}

/// Whether cinder has let go of what it was asked to, whatever it answered; none where nobody can tell.
async fn released_all_the_same(cx: &Context<'_>, bdm: &Bdm) -> Option<bool> {
    let id = bdm.attachment_id.as_ref().filter(|_| cx.policy().detach_intent);
    let Some(id) = id else { return Some(false) };
    match volume_api::attachment_get(cx, id).await {
        Ok(_) => Some(false),
        Err(NovaError::VolumeAttachmentNotFound { .. }) => Some(true),
        Err(_) => None,
    }
}

/// Whoever unshelves says so in the server's task_state before the host asks for intents. One that
/// was written while nobody unshelved is met there; any other meets the unshelve here. Of two requests
/// for one volume the one whose intent was written first goes on.
pub(super) async fn check_still_offloaded(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    method: &'static str,
) -> Result<(), NovaError> {
    let me = cx.port.cx.request;
    let (detaches, attaches) = intent::both_of_volume(cx, instance, volume).await?;
    let all = || detaches.iter().chain(&attaches);
    let mine = all().find(|i| i.request == me).map(|i| (i.since, me));
    if let Some(first) = all().find(|i| mine.is_none_or(|mine| (i.since, i.request) < mine)) {
        let reason = format!("{} is about to {} it", first.request, first.task.verb());
        return Err(NovaError::InvalidVolume { volume: volume.clone(), reason });
    }
    let server = match cx.call(GetInstance { uuid: instance.clone() }).await {
        Err(Failure::Refused(Refusal::NotFound { .. })) => {
            return Err(NovaError::InstanceNotFound { instance: instance.clone() });
        }
        other => other?,
    };
    check_instance_state(cx, &server, method)?;
    if server.vm_state == VmState::ShelvedOffloaded {
        return Ok(());
    }
    Err(NovaError::InstanceInvalidState {
        instance: instance.clone(),
        attr: "vm_state",
        state: server.vm_state.as_str().to_owned(),
        needed: VmState::ShelvedOffloaded.as_str(),
        method,
    })
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
