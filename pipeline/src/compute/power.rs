//! `ComputeManager.reboot_instance`, `stop_instance`, `start_instance`, as far as volumes go (C).
//!
//! nova-api sets a task_state for each, which refuses every attach and detach that comes after;
//! one that is past the API goes on. Which of them wait for it is a matter of the server's lock:
//! reboot has it since 2026.1 alone, stop in both generations, start in neither.

use std::pin::pin;

use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{Bdm, BdmsByInstance, InstanceUpdate, VmState};
use castoff_ports::{Failure, InstanceId, Refusal};

use super::dangling::delete_dangling_bdms;
use super::delete::save;
use super::manager::{instance_event, synchronized, wrap_instance_fault};
use super::shelve::save_expecting;
use super::{fence, journal};
use crate::context::Context;
use crate::error::NovaError;
use crate::virt;

/// `reboot_instance(instance, block_device_info, reboot_type)`.
pub(super) async fn reboot_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    hard: bool,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.reboot_instance");
    let body = pin!(do_reboot_instance(cx, instance, hard));
    if cx.policy().power_resumes {
        return fence::task(cx, instance, "compute_reboot_instance", reboot_tasks(hard), body)
            .await;
    }
    let body = pin!(async {
        if cx.policy().reboot_lock { synchronized(cx, instance, body).await } else { body.await }
    });
    let body = pin!(wrap_instance_fault(cx, instance, body));
    let body = pin!(instance_event(cx, instance, "compute_reboot_instance", body));
    reverts_task_state(cx, instance, body).await
}

/// The reboot itself, for the message and for init_host.
pub(super) async fn do_reboot_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    hard: bool,
) -> Result<(), NovaError> {
    let mut bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
    if cx.policy().reboot_deletes_dangling {
        bdms = delete_dangling_bdms(cx, instance, bdms).await?;
    }
    let started = if hard { "reboot_started_hard" } else { "reboot_started" };
    let tasks = reboot_tasks(hard);
    save_task(cx, instance, InstanceUpdate::task_state(Some(started)), tasks).await?;
    let volumes = connectable(journal::without_released(cx, bdms).await);
    match virt::driver::reboot(cx, instance, volumes, hard).await {
        Ok(()) => active(cx, instance, tasks).await,
        Err(e) => {
            // A guest that runs after all is active; the error is a fault all the same.
            if virt::driver::is_running(cx, instance).await.unwrap_or(false) {
                active(cx, instance, tasks).await?;
            } else if !cx.policy().power_resumes {
                save(cx, instance, InstanceUpdate::vm_state(VmState::Error)).await?;
            }
            Err(e)
        }
    }
}

/// `_get_instance_block_device_info`: rows without a connection_info are left out.
async fn block_device_info(cx: &Context<'_>, instance: &InstanceId) -> Result<Vec<Bdm>, NovaError> {
    let bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
    Ok(connectable(journal::without_released(cx, bdms).await))
}

fn connectable(mut bdms: Vec<Bdm>) -> Vec<Bdm> {
    bdms.retain(|b| b.connection_info.is_some());
    bdms
}

async fn active(cx: &Context<'_>, instance: &InstanceId, tasks: &[&str]) -> Result<(), NovaError> {
    let power_state = Some(Some(PowerState::Running));
    let update = InstanceUpdate { power_state, ..InstanceUpdate::vm_state(VmState::Active) };
    save_task(cx, instance, update, tasks).await
}

/// The write of a task that another one may have taken the server from (a hard reboot may).
async fn save_task(
    cx: &Context<'_>,
    instance: &InstanceId,
    update: InstanceUpdate,
    tasks: &[&str],
) -> Result<(), NovaError> {
    if cx.policy().power_resumes {
        return save_expecting(cx, instance, update, tasks).await;
    }
    save(cx, instance, update).await
}

/// The task_states of a reboot, from nova-api's to the last.
fn reboot_tasks(hard: bool) -> &'static [&'static str] {
    match hard {
        false => &["rebooting", "reboot_pending", "reboot_started"],
        true => &["rebooting_hard", "reboot_pending_hard", "reboot_started_hard"],
    }
}

/// The task of a stop, and of a start.
const POWERING_OFF: &[&str] = &["powering-off"];
const POWERING_ON: &[&str] = &["powering-on"];

/// A reboot, a stop or a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// nova-compute may not have begun.
    Reboot {
        /// The user's reboot_type.
        hard: bool,
    },
    /// Begun: a guest that runs has come through it.
    Rebooting {
        /// The user's reboot_type.
        hard: bool,
    },
    /// stop_instance.
    Stop,
    /// start_instance.
    Start,
}

impl Power {
    /// The one that this task_state names.
    pub(super) fn of_task(task_state: &str) -> Option<Power> {
        match task_state {
            "rebooting" => Some(Power::Reboot { hard: false }),
            "rebooting_hard" => Some(Power::Reboot { hard: true }),
            "reboot_pending" | "reboot_started" => Some(Power::Rebooting { hard: false }),
            "reboot_pending_hard" | "reboot_started_hard" => Some(Power::Rebooting { hard: true }),
            "powering-off" => Some(Power::Stop),
            "powering-on" => Some(Power::Start),
            _ => None,
        }
    }
}

/// Goes on with one that was cut short; the caller holds the server's lock.
pub(super) async fn take_up(
    cx: &Context<'_>,
    instance: &InstanceId,
    power: Power,
) -> Result<(), NovaError> {
    let came_up = match power {
        Power::Rebooting { hard } => Some(reboot_tasks(hard)),
        Power::Start => Some(POWERING_ON),
        Power::Reboot { .. } | Power::Stop => None,
    };
    if let Some(tasks) = came_up
        && virt::driver::is_running(cx, instance).await?
    {
        return active(cx, instance, tasks).await;
    }
    match power {
        Power::Reboot { hard } | Power::Rebooting { hard } => {
            do_reboot_instance(cx, instance, hard).await
        }
        Power::Stop => do_stop_instance(cx, instance).await,
        Power::Start => do_start_instance(cx, instance).await,
    }
}

/// `stop_instance(instance, clean_shutdown=True)`: volumes stay connected.
pub(super) async fn stop_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.stop_instance");
    let body = pin!(do_stop_instance(cx, instance));
    if cx.policy().power_resumes {
        return fence::task(cx, instance, "compute_stop_instance", POWERING_OFF, body).await;
    }
    let body = pin!(reverts_task_state(cx, instance, body));
    let body = pin!(synchronized(cx, instance, body));
    let body = pin!(wrap_instance_fault(cx, instance, body));
    instance_event(cx, instance, "compute_stop_instance", body).await
}

/// The stop itself, for the message and for init_host.
pub(super) async fn do_stop_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    virt::driver::power_off(cx, instance, true).await?;
    let power_state = Some(Some(PowerState::Shutdown));
    let update = InstanceUpdate { power_state, ..InstanceUpdate::vm_state(VmState::Stopped) };
    save_task(cx, instance, update, POWERING_OFF).await
}

/// `start_instance(instance)`: libvirt's power_on is a hard reboot.
pub(super) async fn start_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.start_instance");
    let body = pin!(do_start_instance(cx, instance));
    if cx.policy().power_resumes {
        return fence::task(cx, instance, "compute_start_instance", POWERING_ON, body).await;
    }
    let body = pin!(reverts_task_state(cx, instance, body));
    let body = pin!(wrap_instance_fault(cx, instance, body));
    instance_event(cx, instance, "compute_start_instance", body).await
}

/// The start itself, for the message and for init_host.
pub(super) async fn do_start_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    let volumes = block_device_info(cx, instance).await?;
    virt::driver::power_on(cx, instance, volumes).await?;
    active(cx, instance, POWERING_ON).await
}

/// The decorator `reverts_task_state`: the server is free for the next request, unless another one
/// has taken it over.
pub(super) async fn reverts_task_state<T>(
    cx: &Context<'_>,
    instance: &InstanceId,
    body: impl Future<Output = Result<T, NovaError>>,
) -> Result<T, NovaError> {
    let outcome = body.await;
    if let Err(e) = &outcome
        && !is_preempted(e)
        && let Err(e) = save(cx, instance, InstanceUpdate::task_state(None)).await
    {
        cx.warning(format!("Failed to revert task state for instance: failed to {e}"));
    }
    outcome
}

fn is_preempted(e: &NovaError) -> bool {
    matches!(e, NovaError::Failure(Failure::Refused(Refusal::Remote { exception, .. }))
        if exception == "UnexpectedTaskStateError")
}
