//! `POST /servers/{id}/action`: the controllers, and `nova.compute.api.API` behind them.
//!
//! lock, unlock and os-resetState are one write of the row. Everything else checks lock, vm_state
//! and task_state, sets its own task_state by compare and swap, and casts: while a task_state is
//! set, attach and detach are refused, but a detach that is past nova-api goes on beside it.

use castoff_ports::nova::{PostServerAction, ServerAction};
use castoff_ports::novadb::{
    ActionStart, GetServerDetails, Instance, InstanceSave, InstanceUpdate, LockedBy, VmState,
};
use castoff_ports::rpc::{Cast, Method};
use castoff_ports::{Failure, InstanceId, Refusal};

use super::compute_api::{check_instance_lock, instance_host};
use super::request::{Request, Rule};
use crate::error::NovaError;

/// Who may, and under which name policy knows it.
fn rule(action: &ServerAction) -> (Rule, &'static str, &'static str) {
    use ServerAction as A;
    match action {
        A::Lock { .. } => (Rule::Member, "os-lock-server:", "lock"),
        A::Unlock => (Rule::Member, "os-lock-server:", "unlock"),
        A::Pause => (Rule::Member, "os-pause-server:", "pause"),
        A::Unpause => (Rule::Member, "os-pause-server:", "unpause"),
        A::Suspend => (Rule::Member, "os-suspend-server:", "suspend"),
        A::Resume => (Rule::Member, "os-suspend-server:", "resume"),
        A::Stop => (Rule::Member, "servers:", "stop"),
        A::Start => (Rule::Member, "servers:", "start"),
        A::Reboot { .. } => (Rule::Member, "servers:", "reboot"),
        A::Shelve => (Rule::Member, "os-shelve:", "shelve"),
        A::ShelveOffload => (Rule::Admin, "os-shelve:", "shelve_offload"),
        A::Unshelve => (Rule::Member, "os-shelve:", "unshelve"),
        A::ResetState { .. } => (Rule::Admin, "os-admin-actions:", "reset_state"),
    }
}

/// An action that nova-compute carries out.
pub(super) struct Task {
    /// Its name: of the API's method, in the action's row and in messages.
    pub(super) name: &'static str,
    /// The vm_states it is allowed in.
    pub(super) vm_states: &'static [VmState],
    /// The task_state it sets.
    pub(super) task_state: &'static str,
    /// What is cast.
    pub(super) method: fn(InstanceId) -> Method,
}

impl Task {
    fn of(action: &ServerAction) -> Option<Task> {
        use ServerAction as A;
        use VmState as V;
        let task = |name, vm_states, task_state, method| {
            Some(Task { name, vm_states, task_state, method })
        };
        match action {
            A::Pause => task("pause", &[V::Active], "pausing", |instance| Method::PauseInstance {
                instance,
            }),
            A::Unpause => task("unpause", &[V::Paused], "unpausing", |instance| {
                Method::UnpauseInstance { instance }
            }),
            A::Suspend => task("suspend", &[V::Active], "suspending", |instance| {
                Method::SuspendInstance { instance }
            }),
            A::Resume => task("resume", &[V::Suspended], "resuming", |instance| {
                Method::ResumeInstance { instance }
            }),
            A::Stop => task("stop", &[V::Active, V::Error], "powering-off", |instance| {
                Method::StopInstance { instance }
            }),
            A::Start => task("start", &[V::Stopped], "powering-on", |instance| {
                Method::StartInstance { instance }
            }),
            A::Reboot { hard: false } => task("reboot", &[V::Active], "rebooting", |instance| {
                Method::RebootInstance { instance, hard: false }
            }),
            A::Reboot { hard: true } => task(
                "reboot",
                &[V::Active, V::Stopped, V::Paused, V::Suspended, V::Error],
                "rebooting_hard",
                |instance| Method::RebootInstance { instance, hard: true },
            ),
            A::Lock { .. }
            | A::Unlock
            | A::Shelve
            | A::ShelveOffload
            | A::Unshelve
            | A::ResetState { .. } => None,
        }
    }

    /// A hard reboot may interrupt these; anything else waits for no task to be under way.
    fn interrupts(&self) -> &'static [&'static str] {
        match self.task_state {
            "rebooting_hard" => &[
                "rebooting",
                "reboot_pending",
                "reboot_started",
                "rebooting_hard",
                "reboot_pending_hard",
                "reboot_started_hard",
                "resuming",
                "unpausing",
                "pausing",
                "suspending",
            ],
            _ => &[],
        }
    }
}

impl Request<'_> {
    /// The controllers' `_action` methods: 202.
    pub async fn server_action(&self, c: PostServerAction) -> Result<(), Refusal> {
        self.cx.station("ServersController._action");
        let instance = self.get_instance(&c.server_id).await?;
        let (rule, group, name) = rule(&c.action);
        self.check(rule, group, name)?;
        let task = Task::of(&c.action);
        let result = match c.action {
            ServerAction::Lock { reason } => self.lock(&instance, reason).await,
            ServerAction::Unlock => {
                self.check_unlock(&instance).await?;
                self.unlock(&instance).await
            }
            ServerAction::ResetState { active } => self.reset_state(&instance, active).await,
            ServerAction::Shelve => self.shelve(&instance).await,
            ServerAction::ShelveOffload => self.shelve_offload(&instance).await,
            ServerAction::Unshelve => self.unshelve(&instance).await,
            ServerAction::Pause
            | ServerAction::Unpause
            | ServerAction::Suspend
            | ServerAction::Resume
            | ServerAction::Stop
            | ServerAction::Start
            | ServerAction::Reboot { .. } => {
                let task = task.expect("every action that is cast has a task");
                self.cast_action(&instance, &task).await
            }
        };
        // Policy and messages know this one by two names.
        let name = if name == "shelve_offload" { "shelveOffload" } else { name };
        result.map_err(|e| self.fault(e, name, status))
    }

    /// `API.lock`: an owner who locks a locked server again changes nothing.
    async fn lock(&self, instance: &Instance, reason: Option<String>) -> Result<(), NovaError> {
        self.cx.station("nova.compute.api.API.lock");
        let by = self.locks_as(instance);
        if instance.locked && by == LockedBy::Owner {
            return Ok(());
        }
        self.record(instance, "lock").await?;
        let update = InstanceUpdate {
            locked_by: Some(Some(by)),
            locked_reason: reason,
            ..InstanceUpdate::default()
        };
        self.save(instance, update, Vec::new()).await
    }

    /// `API.unlock`.
    async fn unlock(&self, instance: &Instance) -> Result<(), NovaError> {
        self.cx.station("nova.compute.api.API.unlock");
        self.record(instance, "unlock").await?;
        let update = InstanceUpdate { locked_by: Some(None), ..InstanceUpdate::default() };
        self.save(instance, update, Vec::new()).await
    }

    /// An owner cannot undo an administrator's lock, and the other way round only by policy.
    async fn check_unlock(&self, instance: &Instance) -> Result<(), Refusal> {
        let details = GetServerDetails { uuid: instance.uuid.clone() };
        let details = self.cx.call(details).await.map_err(|e| self.unexpected(&e.into()))?;
        match details.locked_by {
            Some(by) if by != self.locks_as(instance) => {
                self.check(Rule::Admin, "os-lock-server:", "unlock:unlock_override")
            }
            _ => Ok(()),
        }
    }

    /// Whoever acts in the server's own project is its owner, an administrator too.
    fn locks_as(&self, instance: &Instance) -> LockedBy {
        if self.caller.token().project_id == instance.project_id {
            LockedBy::Owner
        } else {
            LockedBy::Admin
        }
    }

    /// os-resetState: vm_state as told, and whatever task was under way is forgotten.
    async fn reset_state(&self, instance: &Instance, active: bool) -> Result<(), NovaError> {
        let vm_state = if active { VmState::Active } else { VmState::Error };
        self.save(instance, InstanceUpdate::vm_state(vm_state), Vec::new()).await
    }

    async fn cast_action(&self, instance: &Instance, task: &Task) -> Result<(), NovaError> {
        check_instance_lock(&self.caller, instance)?;
        let server = instance_host(instance)?;
        self.begin(instance, task).await?;
        let method = (task.method)(instance.uuid.clone());
        Ok(self.cx.call(Cast { server, method }).await?)
    }

    /// The state that the task needs, the state that it sets, and the action's row.
    pub(super) async fn begin(&self, instance: &Instance, task: &Task) -> Result<(), NovaError> {
        check_state(instance, task)?;
        let mut expected = vec![None];
        expected.extend(task.interrupts().iter().map(|s| Some((*s).to_owned())));
        let update = InstanceUpdate::task_state(Some(task.task_state));
        self.save(instance, update, expected).await?;
        self.record(instance, task.name).await
    }

    /// `_record_action_start`: both generations write these, unlike those of volumes.
    async fn record(&self, instance: &Instance, action: &str) -> Result<(), NovaError> {
        let (instance, action) = (instance.uuid.clone(), action.to_owned());
        Ok(self.cx.call(ActionStart { instance, action }).await?)
    }

    pub(super) async fn save(
        &self,
        instance: &Instance,
        update: InstanceUpdate,
        expected_task_state: Vec<Option<String>>,
    ) -> Result<(), NovaError> {
        let (uuid, update) = (instance.uuid.clone(), Box::new(update));
        Ok(self.cx.call(InstanceSave { uuid, update, expected_task_state }).await?)
    }
}

/// The decorator `check_instance_state` of a server action.
fn check_state(instance: &Instance, task: &Task) -> Result<(), NovaError> {
    let refuse = |attr, state: &str, needed| {
        Err(NovaError::InstanceInvalidState {
            instance: instance.uuid.clone(),
            attr,
            state: state.to_owned(),
            needed,
            method: task.name,
        })
    };
    if !task.vm_states.contains(&instance.vm_state) {
        let needed = task.vm_states.first().map_or("none", |state| state.as_str());
        return refuse("vm_state", instance.vm_state.as_str(), needed);
    }
    match instance.task_state.as_deref() {
        Some(state) if !task.interrupts().contains(&state) => refuse("task_state", state, "none"),
        _ => Ok(()),
    }
}

fn status(e: &NovaError) -> Option<u16> {
    match e {
        NovaError::InstanceIsLocked { .. } | NovaError::InstanceNotReady { .. } => Some(409),
        NovaError::Failure(Failure::Refused(Refusal::NotFound { .. })) => Some(404),
        _ => None,
    }
}
