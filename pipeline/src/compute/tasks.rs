//! Tasks of servers that nobody carries out: a message was lost, or its worker has died.
//!
//! A task_state refuses every attach and detach with 409, and nova's init_host knows few of them.
//! One that is seen in two passes running is taken up under the server's lock, which its worker
//! would hold.

use std::pin::pin;

use castoff_ports::InstanceId;
use castoff_ports::novadb::{GetInstance, Instance, VmState};

use super::manager::synchronized;
use super::pause::{self, Change};
use super::power::{self, Power};
use super::{delete, shelve};
use crate::context::Context;
use crate::error::NovaError;

/// What a task_state asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Shelve,
    Delete,
    Change(Change),
    Power(Power),
}

fn asked(cx: &Context<'_>, server: &Instance) -> Option<Asked> {
    if cx.policy().shelve_resumes && shelve::is_unfinished(server) {
        return Some(Asked::Shelve);
    }
    if cx.policy().delete_confirms && delete::is_unfinished(server) {
        return Some(Asked::Delete);
    }
    if !cx.policy().power_resumes || server.vm_state == VmState::Deleted {
        return None;
    }
    let task = server.task_state.as_deref()?;
    Change::of_task(task).map(Asked::Change).or_else(|| Power::of_task(task).map(Asked::Power))
}

/// Takes up what this server's row says, if the last pass saw it too.
pub(super) async fn resume(cx: &Context<'_>, server: &Instance) -> Result<(), NovaError> {
    let uuid = &server.uuid;
    let found = asked(cx, server);
    // A message of it may be on its way.
    if !cx.process.seen_deserted(uuid.as_str(), found.is_some()) {
        return Ok(());
    }
    match found {
        None => Ok(()),
        Some(Asked::Shelve) => shelve::resume(cx, uuid).await,
        Some(Asked::Delete) => delete::resume(cx, uuid).await,
        Some(Asked::Change(_) | Asked::Power(_)) => {
            synchronized(cx, uuid, pin!(locked(cx, uuid))).await
        }
    }
}

/// Looks again, now that nobody else works on the server.
async fn locked(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
    match asked(cx, &server) {
        Some(Asked::Change(change)) => pause::take_up(cx, instance, change).await,
        Some(Asked::Power(power)) => power::take_up(cx, instance, power).await,
        Some(Asked::Shelve | Asked::Delete) | None => Ok(()),
    }
}
