//! `DELETE /servers/{id}`: a cast to the server's host, or all of it here when that is down (B1, B2).
//!
//! It asks for no state: a server is deleted while it attaches, detaches or reboots, and its BDMs
//! go to the compute host as they were read here. A local delete leaves the guest running and the
//! host connected while cinder unmaps its volumes.

use castoff_ports::Refusal;
use castoff_ports::nova::DeleteServer;
use castoff_ports::novadb::{
    ActionStart, Bdm, BdmsByInstance, GetInstance, Instance, InstanceDestroy, InstanceSave,
    InstanceUpdate, ServiceByHost, VmState,
};
use castoff_ports::rpc::{Cast, Method};

use super::compute_api::check_instance_lock;
use super::request::{Request, Rule};
use super::shelved::{local_cleanup_bdm_volume, release_volume};
use crate::context::Context;
use crate::error::NovaError;

/// The task_state of a server that is being deleted.
const DELETING: &str = "deleting";

impl Request<'_> {
    /// `ServersController.delete`: 204.
    pub async fn delete_server(&self, c: DeleteServer) -> Result<(), Refusal> {
        self.cx.station("ServersController.delete");
        let instance = self.get_instance(&c.server_id).await?;
        self.check(Rule::Member, "servers:", "delete")?;
        check_instance_lock(&self.caller, &instance)
            .map_err(|e| self.fault(e, "delete", delete_status))?;
        delete(&self.cx, &instance).await.map_err(|e| self.fault(e, "delete", delete_status))
    }
}

fn delete_status(e: &NovaError) -> Option<u16> {
    matches!(e, NovaError::InstanceIsLocked { .. }).then_some(409)
}

/// `API._delete`.
async fn delete(cx: &Context<'_>, instance: &Instance) -> Result<(), NovaError> {
    cx.station("nova.compute.api.API._delete");
    let uuid = &instance.uuid;
    let bdms = cx.call(BdmsByInstance { instance: uuid.clone() }).await?;
    // No expected state: whatever was under way has lost its task_state.
    save(cx, instance, InstanceUpdate::task_state(Some(DELETING))).await?;
    // A host may have taken the server since it was read; none does any more.
    let host = match &instance.host {
        None if cx.policy().delete_confirms => {
            cx.call(GetInstance { uuid: uuid.clone() }).await?.host
        }
        host => host.clone(),
    };
    let Some(host) = host else {
        // The reconciler may have given them other attachments, and leaves them alone from now on.
        let bdms = match cx.policy().delete_confirms {
            true => cx.call(BdmsByInstance { instance: uuid.clone() }).await?,
            false => bdms,
        };
        return local_delete(cx, instance, bdms).await;
    };
    let service = cx.call(ServiceByHost { host: host.clone() }).await?;
    if !service.up {
        if cx.policy().delete_confirms {
            // The guest may run and the host be connected: the task_state waits for them.
            cx.warning(format!(
                "The host of instance {uuid} is down, and deletes it when it is up"
            ));
            return Ok(());
        }
        return local_delete(cx, instance, bdms).await;
    }
    if instance.task_state.as_deref() == Some(DELETING) {
        cx.warning(format!("Instance {uuid} is already in deleting state, ignoring this request"));
        return Ok(());
    }
    let action = "delete".to_owned();
    cx.call(ActionStart { instance: uuid.clone(), action }).await?;
    cx.station("nova.compute.rpcapi.ComputeAPI.terminate_instance");
    let method = Method::TerminateInstance { instance: uuid.clone(), bdms };
    Ok(cx.call(Cast { server: host, method }).await?)
}

/// `_local_delete`: cinder and the rows; nobody tells the host.
async fn local_delete(
    cx: &Context<'_>,
    instance: &Instance,
    bdms: Vec<Bdm>,
) -> Result<(), NovaError> {
    cx.station("nova.compute.api.API._local_delete");
    cx.warning(format!(
        "instance's host {} is down, deleting from database",
        instance.host.as_ref().map_or("None", |h| h.as_str())
    ));
    for bdm in &bdms {
        // With an error the server stays `deleting`, for whoever asks again.
        if cx.policy().delete_confirms {
            release_volume(cx, bdm, instance).await?;
        } else {
            local_cleanup_bdm_volume(cx, bdm, instance).await?;
        }
    }
    let update = match cx.policy().delete_confirms {
        // The task stands until the row is gone, with its BDMs.
        true => InstanceUpdate { vm_state: Some(VmState::Deleted), ..InstanceUpdate::default() },
        false => InstanceUpdate::vm_state(VmState::Deleted),
    };
    save(cx, instance, update).await?;
    Ok(cx.call(InstanceDestroy { uuid: instance.uuid.clone() }).await?)
}

async fn save(
    cx: &Context<'_>,
    instance: &Instance,
    update: InstanceUpdate,
) -> Result<(), NovaError> {
    let (uuid, update) = (instance.uuid.clone(), Box::new(update));
    Ok(cx.call(InstanceSave { uuid, update, expected_task_state: Vec::new() }).await?)
}
