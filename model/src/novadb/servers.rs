//! Instances as nova-api writes and shows them: guarded updates, details, actions with events.

use castoff_ports::libvirt::PowerState;
use castoff_ports::nova::{ActionEvent, InstanceAction};
use castoff_ports::novadb::{Instance, InstanceSave, ServerDetails};
use castoff_ports::{InstanceId, ProjectId, Refusal, SimTime};

use super::{ActionRow, NovaDb};
use crate::fact::Facts;

impl NovaDb {
    /// One `UPDATE … WHERE task_state IN (…)`: all of it or nothing.
    pub(super) fn instance_save(&mut self, now: SimTime, c: InstanceSave) -> Result<(), Refusal> {
        let at = self
            .instances
            .iter()
            .position(|i| i.uuid == c.uuid)
            .ok_or_else(|| Refusal::not_found("Instance", &c.uuid))?;
        let (row, details) = (&mut self.instances[at], &mut self.details[at]);
        if !c.expected_task_state.is_empty() && !c.expected_task_state.contains(&row.task_state) {
            return Err(Refusal::Remote {
                exception: "UnexpectedTaskStateError".to_owned(),
                message: format!(
                    "Conflict updating instance {}. Expected: {:?}. Actual: {:?}",
                    c.uuid, c.expected_task_state, row.task_state
                ),
            });
        }
        let update = *c.update;
        if let Some(vm_state) = update.vm_state {
            row.vm_state = vm_state;
        }
        if let Some(task_state) = update.task_state {
            row.task_state = task_state;
        }
        if let Some(host) = update.host {
            row.host = host;
        }
        if let Some(power_state) = update.power_state {
            details.power_state = power_state;
        }
        if let Some(locked_by) = update.locked_by {
            row.locked = locked_by.is_some();
            details.locked_by = locked_by;
            details.locked_reason = update.locked_reason;
        }
        details.updated_at = now;
        Ok(())
    }

    /// One transaction: the server's row and every BDM of it, whoever knows of them.
    pub(super) fn instance_destroy(&mut self, facts: &mut Facts, uuid: &InstanceId) {
        let bdms: Vec<_> =
            self.bdms.iter().filter(|b| b.instance_uuid == *uuid).map(|b| b.id).collect();
        for id in bdms {
            self.bdm_destroy(facts, id);
        }
        self.system_metadata_of_deleted(uuid);
        if let Some(at) = self.instances.iter().position(|i| i.uuid == *uuid) {
            self.instances.remove(at);
            self.details.remove(at);
        }
    }

    /// The power_state that the row of a server shows.
    pub fn power_state(&self, uuid: &InstanceId) -> Option<PowerState> {
        self.details(uuid).ok().and_then(|d| d.power_state)
    }

    pub(super) fn details(&self, uuid: &InstanceId) -> Result<ServerDetails, Refusal> {
        self.instances
            .iter()
            .position(|i| i.uuid == *uuid)
            .map(|at| self.details[at].clone())
            .ok_or_else(|| Refusal::not_found("Instance", uuid))
    }

    pub(super) fn by_project(&self, project: Option<&ProjectId>) -> Vec<Instance> {
        // Rows that are not marked as deleted, whatever their vm_state says.
        let wanted = |i: &&Instance| project.is_none_or(|p| i.project_id == *p);
        self.instances.iter().filter(wanted).cloned().collect()
    }

    /// The actions of a server, newest first.
    pub(super) fn actions_of(&self, instance: &InstanceId) -> Vec<InstanceAction> {
        let of_instance = |a: &&ActionRow| a.instance == *instance;
        self.actions.iter().rev().filter(of_instance).map(|a| self.action_view(a)).collect()
    }

    fn action_view(&self, action: &ActionRow) -> InstanceAction {
        let events: Vec<ActionEvent> = self
            .events
            .iter()
            .filter(|e| e.request == action.request && e.instance == action.instance)
            .map(|e| ActionEvent {
                event: e.event.clone(),
                start_time: e.start_time,
                finish_time: e.finish_time,
                result: e.result,
            })
            .collect();
        let last = events.iter().map(|e| e.finish_time.unwrap_or(e.start_time)).max();
        InstanceAction {
            action: action.action.clone(),
            request_id: action.request,
            message: action.message.clone(),
            start_time: action.start_time,
            updated_at: last.unwrap_or(action.start_time),
            events,
        }
    }
}
