//! os-begin_detaching whose outcome is not known (F06).
//!
//! cinderclient asks again when a connection broke, and is refused by what it has done itself: the
//! user sees 400, and the volume stays `detaching`. Looking at the volume tells what happened; the
//! intents tell by whom.

use castoff_ports::cinder::{Volume, VolumeStatus};
use castoff_ports::nova::InstanceAction;
use castoff_ports::novadb::{ActionsByInstance, BdmByVolumeAndInstance};
use castoff_ports::{Failure, InstanceId, Refusal, VolumeId};

use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Task};
use crate::policy::LostReply;
use crate::volume_api;

/// Begins, and is certain of it when it says so.
pub(super) async fn begin_detaching(
    cx: &Context<'_>,
    volume: &Volume,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    match cx.policy().begin_lost_reply {
        LostReply::Repeat => volume_api::begin_detaching(cx, &volume.id).await,
        LostReply::LookUp => {
            let refused = match another_ends(cx, volume, instance).await {
                Ok(false) => None,
                Ok(true) => {
                    let reason = "its detach from this server is under way".to_owned();
                    Some(NovaError::InvalidVolume { volume: volume.id.clone(), reason })
                }
                Err(e) => Some(e),
            };
            if let Some(error) = refused {
                intent::clear(cx, Task::Detach, instance, &volume.id, cx.port.cx.request).await;
                return Err(error);
            }
            let Err(failure) = volume_api::begin_detaching_once(cx, &volume.id).await else {
                return Ok(());
            };
            look(cx, &volume.id, instance, failure).await
        }
    }
}

/// A multiattach volume is `in-use` as soon as cinder has let go of one server's attachment, and
/// that server's detach is not over: cinder would let another begin, for the BDM that is left. An
/// intent beside this request's own tells of it, unless the volume is `in-use` by this very BDM's
/// attachment: then nobody has begun, or what was begun is rolled back, or cinder has forgotten that
/// it was, as another server's attachment went. A detach that has an action and no end is begun.
async fn another_ends(
    cx: &Context<'_>,
    volume: &Volume,
    instance: &InstanceId,
) -> Result<bool, NovaError> {
    if !volume.multiattach {
        return Ok(false);
    }
    let intents = intent::of_volume(cx, Task::Detach, instance, &volume.id).await?;
    if intents.iter().all(|i| i.request == cx.port.cx.request) {
        return Ok(false);
    }
    let lookup =
        BdmByVolumeAndInstance { volume_id: volume.id.clone(), instance: instance.clone() };
    let bdm = match cx.call(lookup).await {
        Ok(bdm) => bdm,
        Err(Failure::Refused(Refusal::NotFound { .. })) => return Ok(true),
        Err(e) => return Err(e.into()),
    };
    // The controller's view may be older than the end of the other's detach.
    let now = volume_api::get(cx, &volume.id, 0).await?;
    let attached =
        now.attachments.iter().any(|a| Some(&a.attachment_id) == bdm.attachment_id.as_ref());
    if now.status != VolumeStatus::InUse || !attached {
        return Ok(true);
    }
    let actions = cx.call(ActionsByInstance { instance: instance.clone() }).await?;
    let others = |a: &&InstanceAction| {
        a.request_id != cx.port.cx.request && intents.iter().any(|i| i.request == a.request_id)
    };
    Ok(actions.iter().filter(others).any(is_under_way))
}

/// Neither its end nor an error is recorded.
fn is_under_way(action: &InstanceAction) -> bool {
    action.message.is_none() && action.events.iter().all(|e| e.finish_time.is_none())
}

async fn look(
    cx: &Context<'_>,
    volume: &VolumeId,
    instance: &InstanceId,
    failure: Failure,
) -> Result<(), NovaError> {
    let unknown = matches!(failure, Failure::NoReply { .. })
        || failure.http_status().is_some_and(|s| s >= 500);
    let error = volume_api::volume_error(volume, failure);
    // Where nobody can tell, the intent stays, and the reconciler finds out.
    let Ok(now) = volume_api::get(cx, volume, 0).await else { return Err(error) };
    let Ok(intents) = intent::of_volume(cx, Task::Detach, instance, volume).await else {
        return Err(error);
    };
    let only_mine = intents.iter().all(|i| i.request == cx.port.cx.request);
    match (now.status == VolumeStatus::Detaching, only_mine, unknown) {
        (true, true, true) => {
            cx.warning(format!("os-begin_detaching of volume {volume} was not answered, but done"));
            Ok(())
        }
        // An earlier copy of this very request has begun: the intent is its own.
        (true, true, false) => Err(error),
        // Either may have begun. One that was refused takes its intent back, never one that was
        // not answered: else the other would end what this one has begun (property S13).
        (true, false, true) => Err(error),
        (true, false, false) | (false, _, _) => {
            intent::clear(cx, Task::Detach, instance, volume, cx.port.cx.request).await;
            Err(error)
        }
    }
}
