//! `nova.compute.api.API.detach_volume`: state checks, os-begin_detaching, the cast (A3 to A5).
//!
//! What fails after os-begin_detaching is not rolled back: the volume stays `detaching` when the
//! action row cannot be written or the cast cannot be sent, in both generations.

use castoff_ports::cinder::Volume;
use castoff_ports::novadb::{ActionStart, Instance, ServiceByHost, VmState};
use castoff_ports::rpc::{Cast, Method};
use castoff_ports::{HostName, InstanceId, Refusal};

use super::{begin, shelved};
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Task};
use crate::middleware::auth_token::Caller;
use crate::{roll, volume_api};

/// `API.detach_volume`.
pub async fn detach_volume(
    cx: &Context<'_>,
    caller: &Caller,
    instance: &Instance,
    volume: &Volume,
) -> Result<(), NovaError> {
    cx.station("nova.compute.api.API.detach_volume");
    check_instance_lock(caller, instance)?;
    check_instance_state(cx, instance, "detach_volume")?;
    if instance.vm_state == VmState::ShelvedOffloaded {
        return shelved::detach_volume(cx, instance, volume).await;
    }
    let host = check_instance_host(cx, instance).await?;
    intent::write(cx, Task::Detach, &instance.uuid, &volume.id).await?;
    check_and_begin_detach(cx, volume, &instance.uuid).await?;
    if let Err(e) = record_action_start(cx, &instance.uuid, "detach_volume").await {
        return Err(take_back(cx, volume, &instance.uuid, e).await);
    }
    let method = Method::DetachVolume {
        instance: instance.uuid.clone(),
        volume_id: volume.id.clone(),
        // nova keys the attachments by server: of two rows of one server the last one is left.
        attachment_id: volume
            .attachments
            .iter()
            .rfind(|a| a.server_id == instance.uuid)
            .map(|a| a.attachment_id.clone()),
    };
    cx.station("nova.compute.rpcapi.ComputeAPI.detach_volume");
    match cx.call(Cast { server: host, method }).await {
        // The intent stands: nova-compute's reconciler finds it.
        Err(e) if cx.policy().detach_intent => {
            cx.warning(format!("The cast to detach volume {} was not sent: {e}", volume.id));
            Ok(())
        }
        other => Ok(other?),
    }
}

/// What nova-api has begun and cannot hand on is undone, where an intent says that it is its own.
/// If that fails too, the intent stays and nova-compute carries the detach out.
async fn take_back(
    cx: &Context<'_>,
    volume: &Volume,
    instance: &InstanceId,
    error: NovaError,
) -> NovaError {
    if !cx.policy().detach_intent {
        return error;
    }
    // What took long to fail may have been taken up meanwhile, and is then another's to roll back.
    let rolled = match intent::stands(cx, Task::Detach, instance, &volume.id).await {
        Ok(true) => roll::roll_detaching(cx, &volume.id).await,
        Ok(false) => return error,
        Err(e) => Err(e),
    };
    match rolled {
        Ok(()) => intent::clear(cx, Task::Detach, instance, &volume.id, cx.port.cx.request).await,
        Err(e) => cx.warning(format!("Volume {} stays detaching: failed to {e}", volume.id)),
    }
    error
}

/// `_check_and_begin_detach`; today only the second half.
pub async fn check_and_begin_detach(
    cx: &Context<'_>,
    volume: &Volume,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    cx.station("nova.compute.api.API._check_and_begin_detach");
    if cx.policy().check_detach {
        volume_api::check_detach(volume, instance)?;
    }
    match begin::begin_detaching(cx, volume, instance).await {
        // nova bug 1515637: cinder's 400 is a volume in the wrong state.
        Err(e @ NovaError::InvalidInput { .. }) if !cx.policy().fixes.begin_refusal_known => {
            Err(NovaError::Cinder(Refusal::http(400, e.format_message())))
        }
        Err(e @ NovaError::InvalidInput { .. }) => {
            Err(NovaError::InvalidVolume { volume: volume.id.clone(), reason: e.format_message() })
        }
        other => other,
    }
}

/// The decorator `check_instance_lock`.
pub(super) fn check_instance_lock(caller: &Caller, instance: &Instance) -> Result<(), NovaError> {
    if instance.locked && !caller.is_admin() {
        return Err(NovaError::InstanceIsLocked { instance: instance.uuid.clone() });
    }
    Ok(())
}

/// The decorator `check_instance_state` of attach and detach: vm_state, task_state, launched_at.
pub(super) fn check_instance_state(
    cx: &Context<'_>,
    instance: &Instance,
    method: &'static str,
) -> Result<(), NovaError> {
    let refuse = |attr, state: &str, needed| {
        Err(NovaError::InstanceInvalidState {
            instance: instance.uuid.clone(),
            attr,
            state: state.to_owned(),
            needed,
            method,
        })
    };
    match instance.vm_state {
        VmState::Active
        | VmState::Paused
        | VmState::Stopped
        | VmState::Resized
        | VmState::SoftDeleted
        | VmState::Shelved
        | VmState::ShelvedOffloaded => {}
        VmState::Suspended if !cx.policy().fixes.suspended_refused => {}
        // nova bugs 1240922 (suspended) and 1126187 (rescued).
        state @ (VmState::Suspended
        | VmState::Rescued
        | VmState::Building
        | VmState::Error
        | VmState::Deleted) => {
            let needed =
                "active, paused, stopped, resized, soft-delete, shelved or shelved_offloaded";
            return refuse("vm_state", state.as_str(), needed);
        }
    }
    // nova bug 1274627.
    if let Some(task_state) = &instance.task_state
        && cx.policy().task_state_check
    {
        return refuse("task_state", task_state, "none");
    }
    if !instance.launched {
        return refuse("launched_at", "None", "a time");
    }
    Ok(())
}

/// The decorator `check_instance_host(check_is_up=True)`: the host to cast to.
async fn check_instance_host(cx: &Context<'_>, instance: &Instance) -> Result<HostName, NovaError> {
    let host = instance_host(instance)?;
    if cx.policy().compute_is_up_check {
        let service = cx.call(ServiceByHost { host: host.clone() }).await?;
        if !service.up {
            return Err(NovaError::ServiceUnavailable { host });
        }
    }
    Ok(host)
}

/// The decorator `check_instance_host`.
pub(super) fn instance_host(instance: &Instance) -> Result<HostName, NovaError> {
    instance
        .host
        .clone()
        .ok_or_else(|| NovaError::InstanceNotReady { instance: instance.uuid.clone() })
}

/// `_record_action_start`, where the policy writes instance actions for volumes.
pub(super) async fn record_action_start(
    cx: &Context<'_>,
    instance: &InstanceId,
    action: &str,
) -> Result<(), NovaError> {
    if cx.policy().instance_action_events {
        cx.call(ActionStart { instance: instance.clone(), action: action.to_owned() }).await?;
    }
    Ok(())
}
