//! The conductor's part of an attach with an intent: device name, attachment, cast (A2).
//!
//! nova destroys the BDM when a later step fails and leaves the attachment, whether cinder was seen
//! to have made one or not. Here what this request has made is taken back in the other order, and
//! what it cannot know or cannot take back stays with its intent, for the reconciler of the
//! server's host.

use std::pin::pin;

use castoff_ports::cinder::Volume;
use castoff_ports::nova::{AttachOptions, Microversion};
use castoff_ports::novadb::{Bdm, BdmCreate, BdmDestroy, BdmSave};
use castoff_ports::{AttachmentId, Failure, HostName, InstanceId, Refusal, SimTime, VolumeId};

use super::attach::{attach_update, cast_attach, check_multiattach, create_volume_bdm};
use super::compute_api::record_action_start;
use super::shelved::check_still_offloaded;
use crate::compute::manager::wrap_instance_event;
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Task};
use crate::policy::LostReply;
use crate::volume_api;

/// The device name that the compute host has reserved.
pub(super) async fn attach_volume(
    cx: &Context<'_>,
    host: HostName,
    instance: &InstanceId,
    volume: &Volume,
    options: &AttachOptions,
    microversion: Microversion,
) -> Result<Option<String>, NovaError> {
    check_multiattach(volume, microversion)?;
    let begun = cx.port.now();
    intent::write(cx, Task::Attach, instance, &volume.id).await?;
    let mut bdm = match create_volume_bdm(cx, &host, instance, &volume.id).await {
        Ok(bdm) => bdm,
        Err(e) => {
            // Any other answer leaves it open whether there is a row.
            if is_refused(&e) {
                intent::clear(cx, Task::Attach, instance, &volume.id, cx.port.cx.request).await;
            }
            return Err(e);
        }
    };
    let (mut made, mut handed_on) = (Made::Nothing, false);
    let body = async {
        let attachment = create(cx, instance, &volume.id, begun, &mut made).await?;
        let update = attach_update(&attachment, options);
        cx.call(BdmSave { id: bdm.id, update }).await?;
        bdm.attachment_id = Some(attachment);
        record_action_start(cx, instance, "attach_volume").await?;
        handed_on = true;
        cast_attach(cx, host, instance, bdm.clone()).await
    };
    let Err(e) = body.await else { return Ok(bdm.device_name) };
    // What is old the reconciler of the host has settled or will settle, and it may have finished
    // what was handed on.
    if !(handed_on && intent::is_old(cx, begun)) {
        take_back(cx, instance, &bdm, made).await;
    }
    Err(e)
}

/// The same for a server that has no host: nothing is exported to anybody, and the attachment is
/// complete at once. nova takes nothing of it back but the BDM, and that first of all: cinder keeps
/// an attachment that nobody names (A6).
pub(super) async fn attach_offloaded(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &Volume,
    options: &AttachOptions,
) -> Result<Option<String>, NovaError> {
    let begun = cx.port.now();
    let (uuid, volume_id) = (instance.clone(), volume.id.clone());
    intent::write(cx, Task::Attach, instance, &volume.id).await?;
    if let Err(e) = check_still_offloaded(cx, instance, &volume.id, "attach_volume").await {
        intent::clear(cx, Task::Attach, instance, &volume.id, cx.port.cx.request).await;
        return Err(e);
    }
    // Where this is not answered there may be a row: the intent stands.
    let row = BdmCreate { instance: uuid, volume_id: volume_id.clone(), device_name: None };
    let bdm = cx.call(row).await?;
    let (mut made, mut completed) = (Made::Nothing, false);
    let body = async {
        let attachment = create(cx, instance, &volume_id, begun, &mut made).await?;
        let update = attach_update(&attachment, options);
        cx.call(BdmSave { id: bdm.id, update }).await?;
        record_action_start(cx, instance, "attach_volume").await?;
        if intent::is_old(cx, begun) {
            return Err(given_up(&volume_id));
        }
        completed = true;
        let body = pin!(volume_api::attachment_complete(cx, &attachment));
        wrap_instance_event(cx, instance, "api_attach_volume", body).await
    };
    let Err(e) = body.await else {
        intent::clear(cx, Task::Attach, instance, &volume_id, cx.port.cx.request).await;
        return Ok(bdm.device_name);
    };
    // A reconciler, or a host that has the server now, has settled or will settle what is old, and
    // keeps what is complete.
    if !(completed && intent::is_old(cx, begun)) {
        take_back(cx, instance, &bdm, made).await;
    }
    Err(e)
}

/// What cinder has made for this request.
enum Made {
    Nothing,
    Attachment(AttachmentId),
    /// Nobody can tell.
    Unknown,
}

fn is_refused(e: &NovaError) -> bool {
    matches!(e, NovaError::Failure(Failure::Refused(Refusal::Remote { exception, .. }))
        if exception == "InvalidVolume")
}

async fn create(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    begun: SimTime,
    made: &mut Made,
) -> Result<AttachmentId, NovaError> {
    // The reconciler takes an old intent for a dead request's.
    if intent::is_old(cx, begun) {
        *made = Made::Unknown;
        return Err(given_up(volume));
    }
    if cx.policy().create_lost_reply == LostReply::Repeat {
        let id = volume_api::attachment_create(cx, volume, instance).await?.id;
        *made = Made::Attachment(id.clone());
        return Ok(id);
    }
    let failure = match volume_api::attachment_create_once(cx, volume, instance).await {
        Ok(attachment) => {
            *made = Made::Attachment(attachment.id.clone());
            return Ok(attachment.id);
        }
        Err(failure) => failure,
    };
    let unknown = matches!(failure, Failure::NoReply { .. })
        || failure.http_status().is_some_and(|s| s >= 500);
    let error = volume_api::volume_error(volume, failure);
    if !unknown {
        return Err(error);
    }
    *made = Made::Unknown;
    if intent::is_old(cx, begun) {
        return Err(error);
    }
    // The server has one BDM of this volume, and it is this request's: so is what has no BDM.
    let Ok(rows) = volume_api::attachments_of_server(cx, instance).await else {
        return Err(error);
    };
    let mut mine = rows.into_iter().filter(|a| a.volume_id == *volume).map(|a| a.id);
    match (mine.next(), mine.next()) {
        (Some(id), None) => {
            cx.warning(format!("Attachment {id} was not answered, but made"));
            *made = Made::Attachment(id.clone());
            Ok(id)
        }
        (None, _) => {
            *made = Made::Nothing;
            Err(error)
        }
        (Some(_), Some(_)) => Err(error),
    }
}

pub(super) fn given_up(volume: &VolumeId) -> NovaError {
    let reason = "the request has taken too long and was given up".to_owned();
    NovaError::InvalidVolume { volume: volume.clone(), reason }
}

/// Attachment, BDM, intent; what fails leaves the rest to the reconciler.
async fn take_back(cx: &Context<'_>, instance: &InstanceId, bdm: &Bdm, made: Made) {
    let cinders = match &made {
        Made::Nothing => Ok(()),
        Made::Attachment(id) => volume_api::attachment_delete(cx, id).await,
        Made::Unknown => return,
    };
    let taken_back = match cinders {
        Ok(()) => cx.call(BdmDestroy { id: bdm.id }).await.map_err(NovaError::from),
        Err(e) => Err(e),
    };
    match taken_back {
        Ok(()) => {
            let request = cx.port.cx.request;
            intent::clear(cx, Task::Attach, instance, &bdm.volume_id, request).await;
        }
        Err(e) => {
            cx.warning(format!("Volume {} stays reserved for now: failed to {e}", bdm.volume_id));
        }
    }
}
