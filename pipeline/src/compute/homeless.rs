//! Servers that no host has: what nova-api was doing with them, and has left.
//!
//! Whichever nova-compute is first takes back an unshelve that got lost, and settles attaches.

use std::pin::pin;
use std::time::Duration;

use castoff_ports::InstanceId;
use castoff_ports::novadb::{GetInstance, Instance};

use super::manager::synchronized;
use super::settle::{self, Settled};
use super::shelve;
use super::tell::tell_of;
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Intent, Task};

/// One such server; `grace` is the age from which an intent has nobody who works on it.
pub(super) async fn reconcile(
    cx: &Context<'_>,
    server: &Instance,
    grace: Duration,
) -> Result<(), NovaError> {
    let uuid = &server.uuid;
    let lost =
        cx.policy().shelve_resumes && server.task_state.as_deref() == Some(shelve::UNSHELVING);
    if cx.process.seen_deserted(uuid.as_str(), lost) && lost {
        shelve::give_up_unshelve(cx, uuid).await?;
    }
    let (_, mut attaches) = intent::all(cx, uuid).await?;
    attaches.retain(|i| cx.port.now().since(i.since) >= grace);
    for attach in attaches {
        settle_attach(cx, uuid, attach).await?;
    }
    Ok(())
}

async fn settle_attach(
    cx: &Context<'_>,
    instance: &InstanceId,
    attach: Intent,
) -> Result<(), NovaError> {
    let mut port = cx.port.clone();
    port.cx.request = attach.request;
    let cx = &Context::new(cx.process, &port);
    let volume = &attach.volume;
    let body = pin!(async {
        // A host may have the server by now, whose reconciler sees to it.
        let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
        if server.host.is_some() || !intent::stands(cx, Task::Attach, instance, volume).await? {
            return Ok(());
        }
        let settled = settle::settle_offloaded(cx, instance, volume).await?;
        let ok = settled == Settled::Attached;
        tell_of(cx, instance, "attach_volume", "api_attach_volume", ok).await;
        Ok(())
    });
    synchronized(cx, instance, body).await
}
