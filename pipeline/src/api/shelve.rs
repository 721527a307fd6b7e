//! shelve, shelveOffload and unshelve: `nova.compute.api.API`, and the conductor's part (C).
//!
//! A server whose root disk is a volume has nothing to snapshot and leaves its host at once. To
//! come back, one that is still on its host is started; one that is not goes to a host that the
//! scheduler chooses: the first that is up. The conductor's steps run within nova-api's process.

use castoff_ports::novadb::{BdmsByInstance, Instance, InstanceUpdate, ServicesAll, VmState};
use castoff_ports::rpc::{Cast, Method};

use super::compute_api::{check_instance_lock, instance_host};
use super::request::Request;
use super::server_actions::Task;
use crate::compute::manager::instance_event;
use crate::compute::shelve::{SHELVING, SHELVING_OFFLOADING, UNSHELVING};
use crate::error::NovaError;

const POWERING_ON: &str = "powering-on";

const SHELVE: Task = Task {
    name: "shelve",
    vm_states: &[VmState::Active, VmState::Stopped, VmState::Paused, VmState::Suspended],
    task_state: SHELVING,
    method: |instance| Method::ShelveInstance { instance, clean_shutdown: true },
};

const SHELVE_OFFLOAD: Task = Task {
    name: "shelveOffload",
    vm_states: &[VmState::Shelved],
    task_state: SHELVING_OFFLOADING,
    method: |instance| Method::ShelveOffloadInstance { instance, clean_shutdown: true },
};

const UNSHELVE: Task = Task {
    name: "unshelve",
    vm_states: &[VmState::Shelved, VmState::ShelvedOffloaded],
    task_state: UNSHELVING,
    method: |instance| Method::UnshelveInstance { instance },
};

impl Request<'_> {
    /// `API.shelve`.
    pub(super) async fn shelve(&self, instance: &Instance) -> Result<(), NovaError> {
        let cx = &self.cx;
        cx.station("nova.compute.api.API.shelve");
        check_instance_lock(&self.caller, instance)?;
        self.begin(instance, &SHELVE).await?;
        let server = instance_host(instance)?;
        let bdms = cx.call(BdmsByInstance { instance: instance.uuid.clone() }).await?;
        // `is_volume_backed_instance`: rows of local disks are not kept here.
        let method = if bdms.iter().any(|b| b.is_root()) {
            (SHELVE_OFFLOAD.method)(instance.uuid.clone())
        } else {
            // nova-compute asks a guest that is paused for nothing; it reads that off the message.
            let clean_shutdown = instance.vm_state != VmState::Paused;
            Method::ShelveInstance { instance: instance.uuid.clone(), clean_shutdown }
        };
        Ok(cx.call(Cast { server, method }).await?)
    }

    /// `API.shelve_offload`.
    pub(super) async fn shelve_offload(&self, instance: &Instance) -> Result<(), NovaError> {
        self.cx.station("nova.compute.api.API.shelve_offload");
        check_instance_lock(&self.caller, instance)?;
        self.begin(instance, &SHELVE_OFFLOAD).await?;
        let server = instance_host(instance)?;
        let method = (SHELVE_OFFLOAD.method)(instance.uuid.clone());
        Ok(self.cx.call(Cast { server, method }).await?)
    }

    /// `API.unshelve`, then `ComputeTaskManager.unshelve_instance`, whose errors nobody is told of.
    pub(super) async fn unshelve(&self, instance: &Instance) -> Result<(), NovaError> {
        let cx = &self.cx;
        cx.station("nova.compute.api.API.unshelve");
        check_instance_lock(&self.caller, instance)?;
        self.begin(instance, &UNSHELVE).await?;
        let conducted = if instance.vm_state == VmState::Shelved {
            self.start_shelved(instance).await
        } else {
            let body = self.schedule(instance);
            instance_event(cx, &instance.uuid, "schedule_instances", body).await
        };
        if let Err(e) = conducted {
            cx.error(format!("conductor failed to {e}"));
            let none = InstanceUpdate::task_state(None);
            if !cx.policy().shelve_resumes {
                self.save(instance, none, Vec::new()).await?;
            } else if let Err(e) = self.save(instance, none, vec![Some(UNSHELVING.into())]).await {
                // What is `spawning` a host has; what is not, the reconciler takes back.
                cx.warning(format!("Unshelving is not taken back: failed to {e}"));
            }
        }
        Ok(())
    }

    async fn start_shelved(&self, instance: &Instance) -> Result<(), NovaError> {
        let server = instance_host(instance)?;
        let update = InstanceUpdate::task_state(Some(POWERING_ON));
        self.save(instance, update, vec![Some(UNSHELVING.to_owned())]).await?;
        let method = Method::StartInstance { instance: instance.uuid.clone() };
        Ok(self.cx.call(Cast { server, method }).await?)
    }

    /// `_schedule_instances`: NoValidHost when no nova-compute is up.
    async fn schedule(&self, instance: &Instance) -> Result<(), NovaError> {
        let services = self.cx.call(ServicesAll {}).await?;
        let chosen = services.into_iter().find(|s| s.up);
        let server =
            chosen.ok_or_else(|| NovaError::NoValidHost { instance: instance.uuid.clone() })?.host;
        let method = (UNSHELVE.method)(instance.uuid.clone());
        Ok(self.cx.call(Cast { server, method }).await?)
    }
}
