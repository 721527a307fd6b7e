//! `ComputeManager.terminate_instance`: the guest, its volumes on the host, then cinder (B3).
//!
//! It asks neither for os-begin_detaching nor for os-roll_detaching, and swallows every error of
//! cinder: it works whatever a volume's status is, and so mends a detach that got stuck. The BDMs
//! are those that nova-api read: what was attached since is not disconnected, and its row goes with
//! the server (B5).

use std::pin::pin;

use castoff_ports::journal::JournalStep;
use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{
    Bdm, BdmsByInstance, Instance, InstanceDestroy, InstanceSave, InstanceUpdate, VmState,
};
use castoff_ports::{InstanceId, VolumeId};

use super::manager::{instance_event, synchronized, wrap_instance_fault};
use super::{journal, multiattach, offload};
use crate::context::Context;
use crate::error::NovaError;
use crate::policy::VolumeApi;
use crate::virt::driver::Destroy;
use crate::{virt, volume_api};

/// `terminate_instance(instance, bdms)`.
pub(super) async fn terminate_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdms: Vec<Bdm>,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.terminate_instance");
    let body = pin!(async {
        // nova-api read them before it asked; an attach may have been under way, which this has
        // waited for, and the volume that it brought may be shared.
        let bdms = match cx.policy().delete_confirms {
            true => cx.call(BdmsByInstance { instance: instance.clone() }).await?,
            false => bdms,
        };
        let deleted = match delete_instance(cx, instance, bdms).await {
            // Somebody else has deleted it meanwhile.
            Err(NovaError::InstanceNotFound { .. }) => Ok(()),
            other => other,
        };
        if cx.policy().delete_confirms {
            // The task_state stands: the reconciler takes it up.
            return deleted;
        }
        if let Err(e) = &deleted {
            cx.error(format!("Setting instance vm_state to ERROR: failed to {e}"));
            save(cx, instance, InstanceUpdate::vm_state(VmState::Error)).await?;
        }
        deleted
    });
    let body = pin!(synchronized(cx, instance, body));
    let body = pin!(wrap_instance_fault(cx, instance, body));
    instance_event(cx, instance, "compute_terminate_instance", body).await
}

/// Deletes a server whose delete was cut short; the caller has seen that nobody does.
pub(super) async fn resume(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    let body = pin!(async {
        let bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
        delete_instance(cx, instance, bdms).await
    });
    synchronized(cx, instance, body).await
}

/// Whether this server's delete is not at its end.
pub(super) fn is_unfinished(server: &Instance) -> bool {
    server.task_state.as_deref() == Some("deleting")
}

/// `_delete_instance`; the row of the server goes last, and every BDM with it.
pub(super) async fn delete_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdms: Vec<Bdm>,
) -> Result<(), NovaError> {
    let locks = cx.policy().multiattach_count && cx.policy().fixes.multiattach_lock;
    let shared = if locks { multiattach::shared(cx, &bdms) } else { Vec::new() };
    let doomed: Vec<VolumeId> =
        bdms.iter().filter(|b| b.delete_on_termination).map(|b| b.volume_id.clone()).collect();
    let body = pin!(async {
        if cx.policy().delete_confirms {
            offload::release(cx, instance).await?;
        } else {
            shutdown_instance(cx, instance, bdms).await?;
        }
        cleanup_volumes(cx, &doomed).await;
        let power_state = Some(None::<PowerState>);
        let update = match cx.policy().delete_confirms {
            // The task stands until the row is gone.
            true => {
                let vm_state = Some(VmState::Deleted);
                InstanceUpdate { vm_state, power_state, ..InstanceUpdate::default() }
            }
            false => InstanceUpdate { power_state, ..InstanceUpdate::vm_state(VmState::Deleted) },
        };
        save(cx, instance, update).await?;
        Ok(cx.call(InstanceDestroy { uuid: instance.clone() }).await?)
    });
    multiattach::with_locks(cx, &shared, body).await
}

/// `_cleanup_volumes(detach=False, raise_exc=False)`: a volume that cinder does not let go of (its
/// attachment is still there) is left behind, and nobody tries again.
async fn cleanup_volumes(cx: &Context<'_>, doomed: &[VolumeId]) {
    for volume in doomed {
        if let Err(e) = volume_api::delete(cx, volume).await {
            cx.warning(format!("Failed to delete volume: {volume} due to: failed to {e}"));
        }
    }
}

/// `_shutdown_instance`: the driver's errors end it, cinder's never do.
async fn shutdown_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdms: Vec<Bdm>,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager._shutdown_instance");
    // An attach that has not saved its connection_info is not disconnected (B3).
    let (connected, waiting): (Vec<Bdm>, Vec<Bdm>) =
        bdms.into_iter().partition(|b| b.connection_info.is_some());
    virt::driver::destroy(cx, instance, &connected, Destroy::ForGood).await?;
    for bdm in connected.iter().chain(&waiting) {
        if let Err(e) = release_volume(cx, instance, bdm).await {
            cx.warning(format!(
                "Ignoring unknown exception for volume {}: failed to {e}",
                bdm.volume_id
            ));
            // The row goes with the server: the journal alone still knows of the attachment.
            if let Err(e) = journal::write(cx, bdm, JournalStep::Released).await {
                cx.warning(format!("Volume {} is forgotten: failed to {e}", bdm.volume_id));
            }
        }
    }
    Ok(())
}

async fn release_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: &Bdm,
) -> Result<(), NovaError> {
    if let Some(attachment) = &bdm.attachment_id
        && cx.policy().volume_api == VolumeApi::Attachments
    {
        return volume_api::attachment_delete(cx, attachment).await;
    }
    let connector = virt::driver::get_volume_connector(cx).await?;
    volume_api::terminate_connection(cx, &bdm.volume_id, &connector).await?;
    volume_api::detach(cx, &bdm.volume_id, Some(instance), None).await
}

/// `instance.save()`, whatever its task_state is.
pub(super) async fn save(
    cx: &Context<'_>,
    instance: &InstanceId,
    update: InstanceUpdate,
) -> Result<(), NovaError> {
    let expected_task_state = Vec::new();
    let update = Box::new(update);
    Ok(cx.call(InstanceSave { uuid: instance.clone(), update, expected_task_state }).await?)
}
