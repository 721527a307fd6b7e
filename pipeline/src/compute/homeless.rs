//! Servers that no host has: what nova-api was doing with them, and has left.
//!
//! Whichever nova-compute is first takes back an unshelve that got lost, settles attaches and
//! detaches, and ends deletes.

use std::pin::pin;

use castoff_ports::cinder::VolumeStatus;
use castoff_ports::novadb::{
    Bdm, BdmDestroy, BdmsByInstance, GetInstance, Instance, InstanceDestroy,
};
use castoff_ports::trace::Note;
use castoff_ports::{InstanceId, VolumeId};

use super::manager::synchronized;
use super::settle::{self, Settled};
use super::stale::delete_unnamed;
use super::tell::{is_begun, tell_if_begun, tell_of};
use super::{delete, offload, shelve};
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Intent, Task};
use crate::{roll, volume_api};

/// The event of a detach that is nova-api's alone.
const API_EVENT: &str = "api_detach_volume";

/// One such server.
pub(super) async fn reconcile(cx: &Context<'_>, server: &Instance) -> Result<(), NovaError> {
    let uuid = &server.uuid;
    let lost =
        cx.policy().shelve_resumes && server.task_state.as_deref() == Some(shelve::UNSHELVING);
    let deleted = cx.policy().delete_confirms && delete::is_unfinished(server);
    match (cx.process.seen_deserted(uuid.as_str(), lost || deleted), lost, deleted) {
        (true, true, _) => shelve::give_up_unshelve(cx, uuid).await?,
        (true, false, true) => return synchronized(cx, uuid, pin!(end_delete(cx, uuid))).await,
        (true, false, false) | (false, _, _) => {}
    }
    let (detaches, attaches) = intent::all(cx, uuid).await?;
    for intent in detaches.iter().chain(&attaches).filter(|i| intent::is_old(cx, i.since)) {
        let settled = synchronized(cx, uuid, pin!(settle_if_homeless(cx, uuid, intent))).await;
        if let Err(e) = settled {
            cx.warning(format!("Volume {} is not reconciled: failed to {e}", intent.volume));
        }
    }
    Ok(())
}

/// What nova-api could not bring to an end: cinder's attachments, then the row with its BDMs.
async fn end_delete(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    for bdm in cx.call(BdmsByInstance { instance: instance.clone() }).await? {
        delete_unnamed(cx, instance, &bdm.volume_id, Some(&bdm)).await?;
        if bdm.delete_on_termination
            && let Err(e) = volume_api::delete(cx, &bdm.volume_id).await
        {
            cx.warning(format!("Volume {} is not deleted: failed to {e}", bdm.volume_id));
        }
    }
    Ok(cx.call(InstanceDestroy { uuid: instance.clone() }).await?)
}

/// Attaches and detaches that nova-api could not bring to an end, before the server gets a host: it would have
/// volumes then whose attach is still to be taken back, or lose one whose detach is still to come. The caller
/// holds the server's lock.
///
/// # Errors
/// When one is under way, or cannot be settled now.
pub(super) async fn settle_all(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    // Nobody would ever take up what stands there without a reconciler.
    if cx.policy().reconcile_period_s.is_none() {
        return Ok(());
    }
    let (detaches, attaches) = intent::all(cx, instance).await?;
    let all = || detaches.iter().chain(&attaches);
    if let Some(young) = all().find(|i| !intent::is_old(cx, i.since)) {
        let reason = format!("{} is about to {} it", young.request, young.task.verb());
        return Err(NovaError::InvalidVolume { volume: young.volume.clone(), reason });
    }
    for intent in all() {
        settle_standing(cx, instance, intent).await?;
    }
    Ok(())
}

async fn settle_if_homeless(
    cx: &Context<'_>,
    instance: &InstanceId,
    intent: &Intent,
) -> Result<(), NovaError> {
    // A host may have the server by now, whose reconciler sees to it; a delete ends everything.
    let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
    if server.host.is_some() || delete::is_unfinished(&server) {
        return Ok(());
    }
    let (detaches, attaches) = intent::both_of_volume(cx, instance, &intent.volume).await?;
    let all = || detaches.iter().chain(&attaches);
    let stands = all().any(|i| i.task == intent.task && i.request == intent.request);
    // The row and the attachment may be another request's, which is at work.
    if !stands || all().any(|i| !intent::is_old(cx, i.since)) {
        return Ok(());
    }
    settle_standing(cx, instance, intent).await
}

async fn settle_standing(
    cx: &Context<'_>,
    instance: &InstanceId,
    intent: &Intent,
) -> Result<(), NovaError> {
    let port = cx.in_the_name_of(intent.request);
    let cx = &Context::new(cx.process, &port);
    match intent.task {
        Task::Detach => settle_detach(cx, instance, &intent.volume).await,
        Task::Attach => {
            let settled = settle::settle_offloaded(cx, instance, &intent.volume).await?;
            let ok = settled == Settled::Attached;
            tell_of(cx, instance, "attach_volume", "api_attach_volume", ok).await;
            Ok(())
        }
    }
}

/// A detach has come so far as cinder has: what it has let go of goes, and what it has not stays, under
/// another attachment, so that a DELETE that is still on its way finds nothing.
async fn settle_detach(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<(), NovaError> {
    let bdm = settle::bdm_of(cx, instance, volume).await?;
    let detached = match bdm {
        None => true,
        Some(bdm) => is_begun(cx, instance).await? && settle_begun(cx, instance, &bdm).await?,
    };
    if tell_if_begun(cx, instance, API_EVENT, detached).await {
        intent::clear(cx, Task::Detach, instance, volume, cx.port.cx.request).await;
    }
    Ok(())
}

/// Whether it is detached.
async fn settle_begun(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: &Bdm,
) -> Result<bool, NovaError> {
    let volume = &bdm.volume_id;
    if bdm.attachment_id.is_none() || offload::attachment_of(cx, bdm).await?.is_some() {
        let status = volume_api::get(cx, volume, 0).await?.status;
        if status == VolumeStatus::Detaching {
            roll::roll_detaching(cx, volume).await?;
        }
        // In any other state cinder reserves nothing, and nobody gets the volume before an
        // administrator has helped.
        if bdm.attachment_id.is_some()
            && matches!(status, VolumeStatus::Reserved | VolumeStatus::InUse)
        {
            offload::renew(cx, instance, bdm).await?;
        }
        return Ok(false);
    }
    if bdm.delete_on_termination
        && let Err(e) = volume_api::delete(cx, volume).await
    {
        cx.warning(format!("Volume {volume} is not deleted: failed to {e}"));
    }
    if cx.process.notify_once(bdm.id) {
        cx.port.note(Note::Notification("volume.detach"));
    }
    cx.call(BdmDestroy { id: bdm.id }).await?;
    cx.process.forget_notified(bdm.id);
    Ok(true)
}
