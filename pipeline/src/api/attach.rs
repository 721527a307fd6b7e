//! `nova.compute.api.API.attach_volume`: reserve a device name and the volume, then cast (A1, A2).
//!
//! In 2026.1 the steps from the device name on belong to the conductor, called by RPC (cast from
//! microversion 2.101 on). They run within nova-api's process here, so a request at 2.101 is
//! answered after them; their errors are hidden from it all the same.

use castoff_ports::cinder::Volume;
use castoff_ports::nova::{AttachOptions, Microversion};
use castoff_ports::novadb::{
    Bdm, BdmByVolumeAndInstance, BdmDestroy, BdmSave, BdmUpdate, BdmsByVolume, Instance, VmState,
};
use castoff_ports::rpc::{CallMethod, Cast, Method, Returned};
use castoff_ports::{AttachmentId, Failure, HostName, InstanceId, Refusal, VolumeId};

use super::compute_api::{
    check_instance_lock, check_instance_state, instance_host, record_action_start,
};
use super::{reserve, shelved};
use crate::context::Context;
use crate::error::NovaError;
use crate::middleware::auth_token::Caller;
use crate::policy::VolumeApi;
use crate::volume_api;

/// `API.attach_volume`: the device name, where one was reserved.
pub async fn attach_volume(
    cx: &Context<'_>,
    caller: &Caller,
    instance: &Instance,
    volume_id: &VolumeId,
    options: &AttachOptions,
    microversion: Microversion,
) -> Result<Option<String>, NovaError> {
    cx.station("nova.compute.api.API.attach_volume");
    check_instance_lock(caller, instance)?;
    check_instance_state(cx, instance, "attach_volume")?;
    let offloaded = instance.vm_state == VmState::ShelvedOffloaded;
    if cx.policy().volume_api == VolumeApi::Legacy && !offloaded {
        return legacy(cx, instance, volume_id).await;
    }
    let volume = volume_api::get(cx, volume_id, 0).await?;
    if cx.policy().duplicate_attach_check {
        check_volume_already_attached(cx, instance, &volume).await?;
    }
    if offloaded {
        return shelved::attach_volume(cx, instance, &volume, options, microversion).await;
    }
    match conductor_attach_volume(cx, instance, &volume, options, microversion).await {
        Err(e) if microversion >= Microversion::ASYNC_ATTACH => {
            cx.error(format!("conductor failed to {e}"));
            Ok(None)
        }
        other => other,
    }
}

/// `_attach_volume` of pike: device name, GET, os-reserve, cast. os-reserve is never undone here.
async fn legacy(
    cx: &Context<'_>,
    instance: &Instance,
    volume_id: &VolumeId,
) -> Result<Option<String>, NovaError> {
    let host = instance_host(instance)?;
    let bdm = create_volume_bdm(cx, &host, &instance.uuid, volume_id).await?;
    let (id, device) = (bdm.id, bdm.device_name.clone());
    let body = async {
        volume_api::get(cx, volume_id, 0).await?;
        volume_api::reserve_volume(cx, volume_id).await?;
        cast_attach(cx, host, &instance.uuid, bdm).await
    };
    match body.await {
        Ok(()) => Ok(device),
        Err(e) => {
            cx.call(BdmDestroy { id }).await?;
            Err(e)
        }
    }
}

/// `ComputeTaskManager.attach_volume` of the conductor.
async fn conductor_attach_volume(
    cx: &Context<'_>,
    instance: &Instance,
    volume: &Volume,
    options: &AttachOptions,
    microversion: Microversion,
) -> Result<Option<String>, NovaError> {
    cx.station("nova.conductor.manager.ComputeTaskManager.attach_volume");
    let host = instance_host(instance)?;
    let uuid = &instance.uuid;
    if cx.policy().attach_intent {
        return reserve::attach_volume(cx, host, uuid, volume, options, microversion).await;
    }
    let mut bdm = match create_volume_bdm(cx, &host, uuid, &volume.id).await {
        // A reply that is lost is known by the timeout alone.
        Err(
            e @ NovaError::Failure(
                Failure::Refused(Refusal::MessagingTimeout { .. }) | Failure::NoReply { .. },
            ),
        ) if cx.policy().destroy_bdm_on_reserve_timeout => {
            destroy_unanswered_bdm(cx, uuid, &volume.id).await?;
            return Err(e);
        }
        other => other?,
    };
    let (id, device) = (bdm.id, bdm.device_name.clone());
    // An attachment made here is not deleted when a later step fails: 'reserved' leaks (A2).
    let body = async {
        let attachment = attachment_create(cx, uuid, volume, microversion).await?;
        let update = attach_update(&attachment, options);
        cx.call(BdmSave { id, update }).await?;
        bdm.attachment_id = Some(attachment);
        record_action_start(cx, uuid, "attach_volume").await?;
        cast_attach(cx, host, uuid, bdm).await
    };
    match body.await {
        Ok(()) => Ok(device),
        Err(e) => {
            cx.call(BdmDestroy { id }).await?;
            Err(e)
        }
    }
}

/// The columns of a BDM that an attach fills. In nova tag and delete_on_termination travel with
/// reserve_block_device_name; nothing reads them in between.
pub(super) fn attach_update(attachment: &AttachmentId, options: &AttachOptions) -> BdmUpdate {
    BdmUpdate {
        attachment_id: Some(attachment.clone()),
        connection_info: None,
        device_name: None,
        delete_on_termination: options.delete_on_termination.then_some(true),
        tag: options.tag.clone(),
    }
}

/// nova bug 1960401: the compute host may have made the row, and nobody will ever use it.
async fn destroy_unanswered_bdm(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<(), NovaError> {
    let lookup = BdmByVolumeAndInstance { volume_id: volume.clone(), instance: instance.clone() };
    match cx.call(lookup).await {
        Ok(bdm) => Ok(cx.call(BdmDestroy { id: bdm.id }).await?),
        Err(Failure::Refused(Refusal::NotFound { .. })) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// `check_attach_and_reserve_volume`: the multiattach check, then the attachment that reserves.
pub(super) async fn attachment_create(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &Volume,
    microversion: Microversion,
) -> Result<AttachmentId, NovaError> {
    check_multiattach(volume, microversion)?;
    Ok(volume_api::attachment_create(cx, &volume.id, instance).await?.id)
}

/// A volume of several servers is attached from microversion 2.60 on.
pub(super) fn check_multiattach(
    volume: &Volume,
    microversion: Microversion,
) -> Result<(), NovaError> {
    if volume.multiattach && microversion < Microversion::MULTIATTACH {
        return Err(NovaError::MultiattachNotSupportedOldMicroversion {
            volume: volume.id.clone(),
            found: microversion.0,
        });
    }
    Ok(())
}

/// `_check_volume_already_attached` (nova bug 1937375).
async fn check_volume_already_attached(
    cx: &Context<'_>,
    instance: &Instance,
    volume: &Volume,
) -> Result<(), NovaError> {
    let bdms = match cx.call(BdmsByVolume { volume_id: volume.id.clone() }).await {
        Ok(bdms) => bdms,
        Err(Failure::Refused(Refusal::NotFound { .. })) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let reason = if bdms.is_empty() {
        return Ok(());
    } else if !volume.multiattach {
        let servers: Vec<&str> = bdms.iter().map(|b| b.instance_uuid.as_str()).collect();
        format!("volume {} is already attached to instances: {}", volume.id, servers.join(" "))
    } else if bdms.iter().any(|b| b.instance_uuid == instance.uuid) {
        format!("volume {} already attached", volume.id)
    } else {
        return Ok(());
    };
    Err(NovaError::InvalidVolume { volume: volume.id.clone(), reason })
}

/// `_create_volume_bdm`: the compute host reserves the device name and makes the row.
pub(super) async fn create_volume_bdm(
    cx: &Context<'_>,
    host: &HostName,
    instance: &InstanceId,
    volume_id: &VolumeId,
) -> Result<Bdm, NovaError> {
    let (instance, volume_id) = (instance.clone(), volume_id.clone());
    let method =
        Method::ReserveBlockDeviceName { instance: instance.clone(), volume_id: volume_id.clone() };
    match cx.call(CallMethod { server: host.clone(), method }).await? {
        Returned::Bdm(bdm) => Ok(*bdm),
        Returned::None => Err(NovaError::VolumeBDMNotFound { volume: volume_id, instance }),
    }
}

pub(super) async fn cast_attach(
    cx: &Context<'_>,
    server: HostName,
    instance: &InstanceId,
    bdm: Bdm,
) -> Result<(), NovaError> {
    cx.station("nova.compute.rpcapi.ComputeAPI.attach_volume");
    let method = Method::AttachVolume { instance: instance.clone(), bdm: Box::new(bdm) };
    Ok(cx.call(Cast { server, method }).await?)
}
