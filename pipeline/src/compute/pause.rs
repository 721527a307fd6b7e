//! `ComputeManager`'s pause, unpause, suspend and resume: the guest stands still, its volumes stay.
//!
//! None of them takes the server's lock in nova (nova-neighbours C): a detach may run beside each,
//! and a guest that is paused lets go of nothing before it resumes.

use std::pin::pin;

use castoff_ports::libvirt::{Create, GetInfo, ManagedSave, PowerState, Resume, Suspend, error};
use castoff_ports::novadb::{GetInstance, InstanceUpdate, VmState};
use castoff_ports::{Failure, InstanceId, Refusal};

use super::delete::save;
use super::fence;
use super::manager::{instance_event, wrap_instance_fault};
use super::shelve::save_expecting;
use crate::context::Context;
use crate::error::NovaError;

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// `pause_instance`.
    Pause,
    /// `unpause_instance`.
    Unpause,
    /// `suspend_instance`: the guest's memory goes to disk; host connections are kept.
    Suspend,
    /// `resume_instance`: libvirt still has the domain, so no volume is connected again.
    Resume,
}

impl Change {
    /// The one that this task_state names.
    pub(super) fn of_task(task_state: &str) -> Option<Change> {
        let all = [Change::Pause, Change::Unpause, Change::Suspend, Change::Resume];
        all.into_iter().find(|c| c.task_state() == task_state)
    }

    fn station(self) -> &'static str {
        match self {
            Change::Pause => "nova.compute.manager.ComputeManager.pause_instance",
            Change::Unpause => "nova.compute.manager.ComputeManager.unpause_instance",
            Change::Suspend => "nova.compute.manager.ComputeManager.suspend_instance",
            Change::Resume => "nova.compute.manager.ComputeManager.resume_instance",
        }
    }

    fn event(self) -> &'static str {
        match self {
            Change::Pause => "compute_pause_instance",
            Change::Unpause => "compute_unpause_instance",
            Change::Suspend => "compute_suspend_instance",
            Change::Resume => "compute_resume_instance",
        }
    }

    fn task_state(self) -> &'static str {
        match self {
            Change::Pause => "pausing",
            Change::Unpause => "unpausing",
            Change::Suspend => "suspending",
            Change::Resume => "resuming",
        }
    }

    /// What the row says afterwards.
    fn states(self) -> (VmState, PowerState) {
        match self {
            Change::Pause => (VmState::Paused, PowerState::Paused),
            Change::Unpause | Change::Resume => (VmState::Active, PowerState::Running),
            Change::Suspend => (VmState::Suspended, PowerState::Shutdown),
        }
    }

    async fn ask(self, cx: &Context<'_>, instance: &InstanceId) -> Result<(), Failure> {
        let instance = instance.clone();
        match self {
            Change::Pause => cx.call(Suspend { instance }).await,
            Change::Unpause => cx.call(Resume { instance }).await,
            Change::Suspend => cx.call(ManagedSave { instance }).await,
            Change::Resume => cx.call(Create { instance }).await,
        }
    }

    /// What is left of it, by what the guest does.
    fn left(self, power: PowerState) -> Left {
        match (self, power) {
            (Change::Pause, PowerState::Paused)
            | (Change::Unpause, PowerState::Running)
            | (Change::Suspend, PowerState::Shutdown | PowerState::Crashed)
            | (Change::Resume, PowerState::Running | PowerState::Paused) => Left::Nothing,
            (Change::Pause, PowerState::Running)
            | (Change::Unpause, PowerState::Paused)
            | (Change::Suspend, PowerState::Running | PowerState::Paused)
            | (Change::Resume, PowerState::Shutdown | PowerState::Crashed) => Left::All,
            (Change::Pause | Change::Unpause, PowerState::Shutdown | PowerState::Crashed) => {
                Left::Hopeless
            }
        }
    }
}

/// What is left of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    All,
    /// The guest has gone off meanwhile.
    Hopeless,
}

/// The message of one of the four.
pub(super) async fn change_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    change: Change,
) -> Result<(), NovaError> {
    let body = pin!(do_change(cx, instance, change));
    if cx.policy().power_resumes {
        return fence::task(cx, instance, change.event(), &[change.task_state()], body).await;
    }
    let body = pin!(wrap_instance_fault(cx, instance, body));
    instance_event(cx, instance, change.event(), body).await
}

/// One call to libvirt between two writes of the row; `reverts_task_state` when it fails.
async fn do_change(
    cx: &Context<'_>,
    instance: &InstanceId,
    change: Change,
) -> Result<(), NovaError> {
    cx.station(change.station());
    let Err(failure) = change.ask(cx, instance).await else {
        return changed(cx, instance, change).await;
    };
    if !cx.policy().power_resumes {
        give_up(cx, instance).await;
    } else if matches!(failure, Failure::Refused(_)) {
        // Another copy of the message may have done it, and not have come to the row.
        match change.left(power(cx, instance).await?) {
            Left::Nothing => return changed(cx, instance, change).await,
            Left::All | Left::Hopeless => give_up(cx, instance).await,
        }
    }
    // What was not answered may have been done: the task_state stands until somebody has looked.
    Err(match failure {
        Failure::Refused(refusal) => NovaError::Libvirt(refusal),
        other => other.into(),
    })
}

/// Goes on with a change that was cut short; the caller holds the server's lock.
pub(super) async fn take_up(
    cx: &Context<'_>,
    instance: &InstanceId,
    change: Change,
) -> Result<(), NovaError> {
    match change.left(power(cx, instance).await?) {
        Left::Nothing => changed(cx, instance, change).await,
        Left::All => do_change(cx, instance, change).await,
        Left::Hopeless => {
            give_up(cx, instance).await;
            Ok(())
        }
    }
}

/// What the guest does; one that libvirt does not know is off.
async fn power(cx: &Context<'_>, instance: &InstanceId) -> Result<PowerState, NovaError> {
    match cx.call(GetInfo { instance: instance.clone() }).await {
        Ok(power) => Ok(power),
        Err(Failure::Refused(Refusal::Libvirt { code: error::NO_DOMAIN, .. })) => {
            Ok(PowerState::Shutdown)
        }
        Err(e) => Err(e.into()),
    }
}

async fn changed(cx: &Context<'_>, instance: &InstanceId, change: Change) -> Result<(), NovaError> {
    let (vm_state, power_state) = change.states();
    let update = InstanceUpdate {
        power_state: Some(Some(power_state)),
        ..InstanceUpdate::vm_state(vm_state)
    };
    save_expecting(cx, instance, update, &[change.task_state()]).await
}

/// Refuses a server whose guest's memory is saved: it comes back with the disks that it had.
pub(super) async fn check_not_saved(
    cx: &Context<'_>,
    instance: &InstanceId,
    method: &'static str,
) -> Result<(), NovaError> {
    if !cx.policy().saved_guest_kept {
        return Ok(());
    }
    let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
    let changes = server.task_state.as_deref().and_then(Change::of_task);
    let (attr, state) = match (server.vm_state, changes) {
        (VmState::Suspended, _) => ("vm_state", VmState::Suspended.as_str()),
        // The row is written last.
        (_, Some(Change::Suspend)) if power(cx, instance).await? == PowerState::Shutdown => {
            ("task_state", Change::Suspend.task_state())
        }
        _ => return Ok(()),
    };
    Err(NovaError::InstanceInvalidState {
        instance: instance.clone(),
        attr,
        state: state.to_owned(),
        needed: "a guest whose memory is not saved",
        method,
    })
}

/// Another task may have taken over: this one's end is no news then.
async fn give_up(cx: &Context<'_>, instance: &InstanceId) {
    if let Err(e) = save(cx, instance, InstanceUpdate::task_state(None)).await {
        cx.warning(format!("failed to revert task_state of {instance}: failed to {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_was_cut_short_is_asked_for_again_only_where_it_has_not_happened() {
        use PowerState::{Crashed, Paused, Running, Shutdown};
        let left = |change: Change| [Running, Paused, Shutdown, Crashed].map(|p| change.left(p));
        let (done, all, no) = (Left::Nothing, Left::All, Left::Hopeless);
        assert_eq!(left(Change::Pause), [all, done, no, no]);
        assert_eq!(left(Change::Unpause), [done, all, no, no]);
        assert_eq!(left(Change::Suspend), [all, all, done, done]);
        assert_eq!(left(Change::Resume), [done, done, all, all]);
    }
}
