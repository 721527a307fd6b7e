//! `ComputeManager.attach_volume`, fenced and owned.
//!
//! nova's is a cast that anybody may repeat, and its rollback undoes what it believes to have done:
//! an attach that the guest has carried out, and whose answer was lost, ends with the LUN unmapped
//! under the guest (nova-neighbours A4). Here a cast counts while its intent stands, and a failure
//! is settled as the reconciler would settle it.

use std::pin::pin;

use castoff_ports::InstanceId;
use castoff_ports::novadb::{Bdm, GetInstance};

use super::block_device::convert_volume;
use super::block_device_attach;
use super::fence::Working;
use super::journal;
use super::manager::{synchronized, wrap_instance_event, wrap_instance_fault};
use super::pause::check_not_saved;
use super::settle::{self, Settled};
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Task};

/// `ComputeManager.attach_volume`, where the policy writes intents.
pub(super) async fn attach_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: Bdm,
) -> Result<(), NovaError> {
    let volume = bdm.volume_id.clone();
    let body = pin!(async {
        if !intent::stands(cx, Task::Attach, instance, &volume).await? {
            cx.warning(format!("Dropping a late or repeated attach of volume {volume}"));
            return Ok(());
        }
        let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
        if server.host.as_ref() != Some(&cx.conf().host) {
            // The intent stands: whoever has the server now, or gets it, settles the attach.
            cx.warning(format!("Server {instance} has left before volume {volume} was attached"));
            return Ok(());
        }
        let body = pin!(attach_or_settle(cx, instance, bdm));
        let body = pin!(wrap_instance_fault(cx, instance, body));
        wrap_instance_event(cx, instance, "compute_attach_volume", body).await
    });
    // A second copy of a message that is being worked on need not wait to be dropped.
    let Some(_working) = Working::begin(cx, volume.as_str()) else { return Ok(()) };
    synchronized(cx, instance, body).await
}

async fn attach_or_settle(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: Bdm,
) -> Result<(), NovaError> {
    let device = convert_volume(bdm);
    let volume = &device.bdm.volume_id;
    let attached = async {
        check_not_saved(cx, instance, "attach_volume").await?;
        block_device_attach::attach(cx, &device, instance, true).await
    };
    let Err(e) = attached.await else {
        journal::forget(cx, Task::Attach, instance, volume).await;
        return Ok(());
    };
    cx.error(format!("Failed to attach {volume} of server {instance}: failed to {e}"));
    match settle::settle(cx, instance, volume).await {
        Ok(Settled::Attached) => Ok(()),
        Ok(Settled::Undone) => Err(e),
        // Intent and journal stand: the reconciler asks again.
        Err(again) => {
            cx.error(format!("Volume {volume} is left as it is: failed to {again}"));
            Err(e)
        }
    }
}
