//! `ComputeManager`'s pause, unpause, suspend and resume: the guest stands still, its volumes stay.
//!
//! None of them takes the server's lock but suspend's neighbours in 2026.1 (nova-neighbours C):
//! a detach may run beside each, and a guest that is paused lets go of nothing before it resumes.

use castoff_ports::libvirt::{Create, ManagedSave, PowerState, Resume, Suspend};
use castoff_ports::novadb::{InstanceSave, InstanceUpdate, VmState};
use castoff_ports::{Failure, InstanceId, Operation};

use crate::context::Context;
use crate::error::NovaError;

/// `pause_instance`.
pub(super) async fn pause_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.pause_instance");
    let op = Suspend { instance: instance.clone() };
    change(cx, instance, op, "pausing", VmState::Paused, PowerState::Paused).await
}

/// `unpause_instance`.
pub(super) async fn unpause_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.unpause_instance");
    let op = Resume { instance: instance.clone() };
    change(cx, instance, op, "unpausing", VmState::Active, PowerState::Running).await
}

/// `suspend_instance`: the guest's memory goes to disk; host connections are kept.
pub(super) async fn suspend_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.suspend_instance");
    let op = ManagedSave { instance: instance.clone() };
    change(cx, instance, op, "suspending", VmState::Suspended, PowerState::Shutdown).await
}

/// `resume_instance`: libvirt still has the domain, so no volume is connected again.
pub(super) async fn resume_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.resume_instance");
    let op = Create { instance: instance.clone() };
    change(cx, instance, op, "resuming", VmState::Active, PowerState::Running).await
}

/// One call to libvirt between two writes of the row; `reverts_task_state` when it fails.
async fn change<O: Operation<Reply = ()>>(
    cx: &Context<'_>,
    instance: &InstanceId,
    op: O,
    task_state: &str,
    vm_state: VmState,
    power_state: PowerState,
) -> Result<(), NovaError> {
    let save = |update, expected_task_state| InstanceSave {
        uuid: instance.clone(),
        update: Box::new(update),
        expected_task_state,
    };
    if let Err(failure) = cx.call(op).await {
        // Another task may have taken over: this one's end is no news then.
        let revert = save(InstanceUpdate::task_state(None), Vec::new());
        if let Err(e) = cx.call(revert).await {
            cx.warning(format!("failed to revert task_state of {instance}: {e}"));
        }
        return Err(match failure {
            Failure::Refused(refusal) => NovaError::Libvirt(refusal),
            other => other.into(),
        });
    }
    let update = InstanceUpdate {
        power_state: Some(Some(power_state)),
        ..InstanceUpdate::vm_state(vm_state)
    };
    Ok(cx.call(save(update, vec![Some(task_state.to_owned())])).await?)
}
