//! `ComputeManager.shelve_instance`, `shelve_offload_instance`, `unshelve_instance` (C).
//!
//! Shelving powers the guest off and keeps its volumes connected. Offloading takes them from the
//! host. In pike that is all: cinder keeps the volume `in-use` and exported to a host that has let
//! go of it (nova bug 1547142). 2026.1 makes a new attachment without a connector before it deletes
//! the old one, so that nobody else gets the volume: it is `reserved` until the server comes back.
//! The snapshot of the root disk goes to the image service, which is not modelled.

use std::pin::pin;

use castoff_ports::InstanceId;
use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{
    Bdm, BdmSave, BdmUpdate, BdmsByInstance, GetInstance, Instance, InstanceSave, InstanceUpdate,
    VmState,
};

use super::block_device::convert_volume;
use super::block_device_attach;
use super::delete::save;
use super::manager::{instance_event, next_device_name, synchronized, wrap_instance_fault};
use super::power::reverts_task_state;
use super::{fence, homeless, offload};
use crate::context::Context;
use crate::error::NovaError;
use crate::policy::VolumeApi;
use crate::virt::driver::Destroy;
use crate::{virt, volume_api};

/// task_state of a server that leaves its host after it was shelved.
pub(crate) const SHELVING_OFFLOADING: &str = "shelving_offloading";
/// task_state of a server that is being shelved.
pub(crate) const SHELVING: &str = "shelving";
/// task_state of a server that is coming back, until a host has it.
pub(crate) const UNSHELVING: &str = "unshelving";
const SPAWNING: &str = "spawning";

/// The manager's decorators and its lock around one of the three.
async fn guarded(
    cx: &Context<'_>,
    instance: &InstanceId,
    event: &'static str,
    task_states: &[&str],
    body: impl Future<Output = Result<(), NovaError>>,
) -> Result<(), NovaError> {
    if cx.policy().shelve_resumes {
        return fence::task(cx, instance, event, task_states, body).await;
    }
    let body = pin!(synchronized(cx, instance, body));
    let body = pin!(wrap_instance_fault(cx, instance, body));
    let body = pin!(instance_event(cx, instance, event, body));
    reverts_task_state(cx, instance, body).await
}

/// Carries out the task that this server's state names; the caller has seen that nobody does.
pub(super) async fn resume(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    let body = pin!(async {
        let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
        let clean = server.vm_state != VmState::Paused;
        match server.task_state.as_deref() {
            Some(SHELVING) => do_shelve_instance(cx, instance, clean).await,
            Some(SHELVING_OFFLOADING) => do_shelve_offload_instance(cx, instance, clean).await,
            Some(SPAWNING) => take_up_unshelve(cx, instance).await.map(drop),
            Some(_) | None => Ok(()),
        }
    });
    synchronized(cx, instance, body).await
}

/// Whether a server of this host has a task that [`resume`] carries out.
pub(super) fn is_unfinished(server: &Instance) -> bool {
    let task = server.task_state.as_deref();
    matches!(task, Some(SHELVING | SHELVING_OFFLOADING))
        || task == Some(SPAWNING) && server.vm_state == VmState::ShelvedOffloaded
}

/// An unshelve that has reached no host is taken back: the user may ask again.
pub(super) async fn give_up_unshelve(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    save_expecting(cx, instance, InstanceUpdate::task_state(None), &[UNSHELVING]).await
}

/// `shelve_instance(instance, image_id, clean_shutdown)`: off, and with `shelved_offload_time` of 0
/// off its host too.
pub(super) async fn shelve_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    clean_shutdown: bool,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.shelve_instance");
    let body = pin!(do_shelve_instance(cx, instance, clean_shutdown));
    guarded(cx, instance, "compute_shelve_instance", &[SHELVING], body).await
}

async fn do_shelve_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    clean_shutdown: bool,
) -> Result<(), NovaError> {
    virt::driver::power_off(cx, instance, clean_shutdown).await?;
    let offload = cx.conf().shelved_offload_time == 0;
    let update = InstanceUpdate {
        vm_state: Some(VmState::Shelved),
        power_state: Some(Some(PowerState::Shutdown)),
        ..InstanceUpdate::task_state(offload.then_some(SHELVING_OFFLOADING))
    };
    save_expecting(cx, instance, update, &[SHELVING]).await?;
    if offload {
        do_shelve_offload_instance(cx, instance, false).await?;
    }
    Ok(())
}

/// `shelve_offload_instance(instance, clean_shutdown)`.
pub(super) async fn shelve_offload_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    clean_shutdown: bool,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.shelve_offload_instance");
    let body = pin!(do_shelve_offload_instance(cx, instance, clean_shutdown));
    let task_states = &[SHELVING, SHELVING_OFFLOADING];
    guarded(cx, instance, "compute_shelve_offload_instance", task_states, body).await
}

/// `_shelve_offload_instance`: guest, host, cinder, and the row without a host last of all.
async fn do_shelve_offload_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
    clean_shutdown: bool,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager._shelve_offload_instance");
    if cx.policy().offload_confirms {
        let task_states = &[SHELVING, SHELVING_OFFLOADING];
        return offload::offload(cx, instance, clean_shutdown, task_states).await;
    }
    let bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
    virt::driver::power_off(cx, instance, clean_shutdown).await?;
    let connected: Vec<Bdm> =
        bdms.iter().filter(|b| b.connection_info.is_some()).cloned().collect();
    virt::driver::destroy(cx, instance, &connected, Destroy::ForGood).await?;
    if cx.policy().offload_terminates {
        terminate_volume_connections(cx, instance, &bdms).await?;
    }
    let update = InstanceUpdate {
        power_state: Some(Some(PowerState::Shutdown)),
        ..InstanceUpdate::vm_state(VmState::ShelvedOffloaded)
    };
    save_expecting(cx, instance, update, &[SHELVING, SHELVING_OFFLOADING]).await?;
    forget_host(cx, instance).await
}

/// `_terminate_volume_connections`: the first error ends it, with some volumes done and some not.
async fn terminate_volume_connections(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdms: &[Bdm],
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager._terminate_volume_connections");
    for bdm in bdms {
        let volume_id = &bdm.volume_id;
        if let Some(old) = &bdm.attachment_id
            && cx.policy().volume_api == VolumeApi::Attachments
        {
            // The other way round the volume would be free for a moment.
            let new = volume_api::attachment_create(cx, volume_id, instance).await?.id;
            volume_api::attachment_delete(cx, old).await?;
            let update = BdmUpdate { attachment_id: Some(new), ..BdmUpdate::default() };
            cx.call(BdmSave { id: bdm.id, update }).await?;
        } else {
            let connector = virt::driver::get_volume_connector(cx).await?;
            volume_api::terminate_connection(cx, volume_id, &connector).await?;
        }
    }
    Ok(())
}

/// `unshelve_instance(instance, image, …)`, of a server that has no host: it is spawned on this one.
///
/// cinder counts each volume as attached before this host has connected to any (H).
pub(super) async fn unshelve_instance(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    cx.station("nova.compute.manager.ComputeManager.unshelve_instance");
    let body = pin!(async {
        if cx.policy().shelve_resumes {
            return unshelve_for_certain(cx, instance).await;
        }
        save(cx, instance, InstanceUpdate::task_state(Some(SPAWNING))).await?;
        let volumes = prep_block_device(cx, instance).await?;
        let host = Some(Some(cx.conf().host.clone()));
        save(cx, instance, InstanceUpdate { host, ..InstanceUpdate::default() }).await?;
        if let Err(e) = virt::driver::spawn(cx, instance, volumes).await {
            cx.error(format!("Instance failed to spawn: failed to {e}"));
            if cx.policy().offload_terminates {
                let bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
                terminate_volume_connections(cx, instance, &bdms).await?;
            }
            forget_host(cx, instance).await?;
            return Err(e);
        }
        active(cx, instance).await
    });
    guarded(cx, instance, "compute_unshelve_instance", &[UNSHELVING], body).await
}

async fn active(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    let update = InstanceUpdate {
        power_state: Some(Some(PowerState::Running)),
        ..InstanceUpdate::vm_state(VmState::Active)
    };
    save_expecting(cx, instance, update, &[SPAWNING]).await
}

/// The server is this host's from the first write on: whoever finds it `spawning` here and nobody
/// at it knows what to do.
async fn unshelve_for_certain(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    if let Err(e) = homeless::settle_all(cx, instance).await {
        if let Err(again) = give_up_unshelve(cx, instance).await {
            cx.warning(format!("Server {instance} stays unshelving for now: failed to {again}"));
        }
        return Err(e);
    }
    let host = Some(Some(cx.conf().host.clone()));
    let update = InstanceUpdate { host, ..InstanceUpdate::task_state(Some(SPAWNING)) };
    save_expecting(cx, instance, update, &[UNSHELVING]).await?;
    let spawned = async {
        let volumes = prep_block_device(cx, instance).await?;
        virt::driver::spawn(cx, instance, volumes).await?;
        active(cx, instance).await
    };
    let Err(e) = spawned.await else { return Ok(()) };
    cx.error(format!("Instance failed to spawn: failed to {e}"));
    match take_up_unshelve(cx, instance).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(e),
        // The task_state stands: the reconciler asks again.
        Err(again) => {
            cx.error(format!("Server {instance} is left as it is: failed to {again}"));
            Err(e)
        }
    }
}

/// A guest that runs has all its volumes, and is up; any other leaves the host again.
async fn take_up_unshelve(cx: &Context<'_>, instance: &InstanceId) -> Result<bool, NovaError> {
    if virt::driver::is_running(cx, instance).await? {
        active(cx, instance).await?;
        return Ok(true);
    }
    // That it is active may have been written, and the reply lost: its user knows it as such, and
    // what stopped the guest since is none of the unshelve's.
    let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
    if server.vm_state == VmState::Active && server.task_state.is_none() {
        return Ok(true);
    }
    offload::offload(cx, instance, false, &[SPAWNING]).await?;
    Ok(false)
}

/// `_prep_block_device`: device names for volumes that were attached meanwhile, then every volume
/// exported to this host.
async fn prep_block_device(cx: &Context<'_>, instance: &InstanceId) -> Result<Vec<Bdm>, NovaError> {
    cx.station("nova.compute.manager.ComputeManager._prep_block_device");
    let mut bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
    for at in 0..bdms.len() {
        if bdms[at].device_name.is_none() {
            let device_name = Some(next_device_name(&bdms));
            let update = BdmUpdate { device_name: device_name.clone(), ..BdmUpdate::default() };
            cx.call(BdmSave { id: bdms[at].id, update }).await?;
            bdms[at].device_name = device_name;
        }
    }
    let mut ready = Vec::with_capacity(bdms.len());
    for bdm in bdms {
        let mut device = convert_volume(bdm);
        if let Some(info) = block_device_attach::attach(cx, &device, instance, false).await? {
            device.bdm.connection_info = Some(info);
        }
        ready.push(device.bdm);
    }
    Ok(ready)
}

/// `_nil_out_instance_obj_host_and_node`.
async fn forget_host(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    save(cx, instance, InstanceUpdate { host: Some(None), ..InstanceUpdate::default() }).await
}

pub(super) async fn save_expecting(
    cx: &Context<'_>,
    instance: &InstanceId,
    update: InstanceUpdate,
    task_states: &[&str],
) -> Result<(), NovaError> {
    let expected_task_state = task_states.iter().map(|s| Some((*s).to_owned())).collect();
    let (uuid, update) = (instance.clone(), Box::new(update));
    Ok(cx.call(InstanceSave { uuid, update, expected_task_state }).await?)
}
