//! Servers that no host has: what nova-api was doing with them, and has left.
//!
//! Whichever nova-compute is first takes back an unshelve that got lost, settles attaches and ends
//! deletes.

use std::pin::pin;

use castoff_ports::InstanceId;
use castoff_ports::novadb::{BdmsByInstance, GetInstance, Instance, InstanceDestroy};

use super::manager::synchronized;
use super::settle::{self, Settled};
use super::stale::delete_unnamed;
use super::tell::tell_of;
use super::{delete, shelve};
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Intent, Task};
use crate::volume_api;

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
    let (_, mut attaches) = intent::all(cx, uuid).await?;
    attaches.retain(|i| intent::is_old(cx, i.since));
    for attach in attaches {
        settle_attach(cx, uuid, attach).await?;
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

/// Attaches that nova-api could not bring to an end, before the server gets a host: it would have
/// volumes then whose attach is still to be taken back. The caller holds the server's lock.
///
/// # Errors
/// When one is under way, or cannot be settled now.
pub(super) async fn settle_attaches(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    // Nobody would ever take up what stands there without a reconciler.
    if cx.policy().reconcile_period_s.is_none() {
        return Ok(());
    }
    let (_, attaches) = intent::all(cx, instance).await?;
    for attach in attaches {
        if !intent::is_old(cx, attach.since) {
            let reason = format!("{} is attaching it", attach.request);
            return Err(NovaError::InvalidVolume { volume: attach.volume, reason });
        }
        let port = cx.in_the_name_of(attach.request);
        settle_standing(&Context::new(cx.process, &port), instance, &attach).await?;
    }
    Ok(())
}

async fn settle_attach(
    cx: &Context<'_>,
    instance: &InstanceId,
    attach: Intent,
) -> Result<(), NovaError> {
    let port = cx.in_the_name_of(attach.request);
    let cx = &Context::new(cx.process, &port);
    let volume = &attach.volume;
    let body = pin!(async {
        // A host may have the server by now, whose reconciler sees to it.
        let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
        if server.host.is_some() || !intent::stands(cx, Task::Attach, instance, volume).await? {
            return Ok(());
        }
        settle_standing(cx, instance, &attach).await
    });
    synchronized(cx, instance, body).await
}

async fn settle_standing(
    cx: &Context<'_>,
    instance: &InstanceId,
    attach: &Intent,
) -> Result<(), NovaError> {
    let settled = settle::settle_offloaded(cx, instance, &attach.volume).await?;
    let ok = settled == Settled::Attached;
    tell_of(cx, instance, "attach_volume", "api_attach_volume", ok).await;
    Ok(())
}
