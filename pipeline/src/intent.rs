//! Intents: who is detaching or attaching what, as rows of instance_system_metadata.
//!
//! nova-api writes one before its first effect, nova-compute deletes it when the work has ended in
//! either way. While it stands, somebody has to end it: a cast may be lost, a process may die,
//! but the row is found again. Each request has a row of its own, so that two requests for one
//! volume never write over each other; which of them cinder let win is cinder's word.

use std::time::Duration;

use castoff_ports::novadb::{SystemMetadataDelete, SystemMetadataGet, SystemMetadataSet};
use castoff_ports::{InstanceId, RequestId, SimTime, VolumeId};

use crate::context::Context;
use crate::error::NovaError;

/// What a request is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// os-begin_detaching and all that follows.
    Detach,
    /// A BDM, an attachment and all that follows.
    Attach,
}

impl Task {
    /// What its keys begin with.
    fn prefix(self) -> &'static str {
        match self {
            Task::Detach => "castoff_detach_",
            Task::Attach => "castoff_attach_",
        }
    }

    /// What it does, in a sentence.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Task::Detach => "detach",
            Task::Attach => "attach",
        }
    }

    /// Whether the policy writes intents for it.
    fn is_written(self, cx: &Context<'_>) -> bool {
        match self {
            Task::Detach => cx.policy().detach_intent,
            Task::Attach => cx.policy().attach_intent,
        }
    }
}

/// One intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// What is to be done.
    pub task: Task,
    /// What is to be detached or attached.
    pub volume: VolumeId,
    /// Whose request it is.
    pub request: RequestId,
    /// When it was written, by the database's clock.
    pub since: SimTime,
}

fn key(task: Task, volume: &VolumeId, request: RequestId) -> String {
    format!("{}{volume}_{request}", task.prefix())
}

/// The task, the volume and the request that a key names; none of a key that is not ours.
fn parse(key: &str) -> Option<(Task, VolumeId, RequestId)> {
    let named = |task: Task| key.strip_prefix(task.prefix()).map(|rest| (task, rest));
    let (task, rest) = named(Task::Detach).or_else(|| named(Task::Attach))?;
    let (volume, request) = rest.rsplit_once('_')?;
    let number = request.strip_prefix("req-")?.parse().ok()?;
    Some((task, VolumeId::new(volume), RequestId(number)))
}

/// Writes this request's intent.
pub async fn write(
    cx: &Context<'_>,
    task: Task,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<(), NovaError> {
    if !task.is_written(cx) {
        return Ok(());
    }
    let (instance, key) = (instance.clone(), key(task, volume, cx.port.cx.request));
    let value = format!("{} volume {volume}", task.verb());
    Ok(cx.call(SystemMetadataSet { instance, key, value }).await?)
}

/// Whether what began then has nobody who works on it any more: its request gives up at this age, and
/// the reconciler takes it up. Never, where there is no reconciler.
pub fn is_old(cx: &Context<'_>, since: SimTime) -> bool {
    let grace = cx.policy().reconcile_period_s.unwrap_or(u32::MAX);
    cx.port.now().since(since) >= Duration::from_secs(grace.into())
}

/// Every intent of a server, oldest first: to detach, and to attach.
pub async fn all(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<(Vec<Intent>, Vec<Intent>), NovaError> {
    if !cx.policy().detach_intent && !cx.policy().attach_intent {
        return Ok((Vec::new(), Vec::new()));
    }
    let rows = cx.call(SystemMetadataGet { instance: instance.clone() }).await?;
    let ours = rows.into_iter().filter_map(|row| {
        let (task, volume, request) = parse(&row.key)?;
        Some(Intent { task, volume, request, since: row.created_at })
    });
    Ok(ours.partition(|i| i.task == Task::Detach))
}

/// Those of one task with one volume.
pub async fn of_volume(
    cx: &Context<'_>,
    task: Task,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<Vec<Intent>, NovaError> {
    let (detaches, attaches) = both_of_volume(cx, instance, volume).await?;
    Ok(match task {
        Task::Detach => detaches,
        Task::Attach => attaches,
    })
}

/// Those of one volume: to detach, and to attach.
pub async fn both_of_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<(Vec<Intent>, Vec<Intent>), NovaError> {
    let (mut detaches, mut attaches) = all(cx, instance).await?;
    detaches.retain(|i| i.volume == *volume);
    attaches.retain(|i| i.volume == *volume);
    Ok((detaches, attaches))
}

/// Whether this very request's intent stands.
pub async fn stands(
    cx: &Context<'_>,
    task: Task,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<bool, NovaError> {
    let intents = of_volume(cx, task, instance, volume).await?;
    Ok(intents.iter().any(|i| i.request == cx.port.cx.request))
}

/// Deletes one. What cannot be deleted now is found by the reconciler, so this raises nothing.
pub async fn clear(
    cx: &Context<'_>,
    task: Task,
    instance: &InstanceId,
    volume: &VolumeId,
    request: RequestId,
) {
    if !task.is_written(cx) {
        return;
    }
    let key = key(task, volume, request);
    let delete = SystemMetadataDelete { instance: instance.clone(), key };
    if let Err(e) = cx.call(delete).await {
        let verb = task.verb();
        cx.warning(format!("The intent to {verb} volume {volume} stays for now: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_volume_and_request_and_fits_its_column() {
        let volume = VolumeId::new("30d72547-9316-4c2a-84c9-6ebc30912e01");
        for task in [Task::Detach, Task::Attach] {
            let key = key(task, &volume, RequestId(7));
            assert_eq!(parse(&key), Some((task, volume.clone(), RequestId(7))));
            // A real request id is req- and a UUID.
            assert!(key.len() + 36 < 255);
        }
    }

    #[test]
    fn rows_of_others_are_no_intents() {
        for key in
            ["image_min_ram", "castoff_detach_", "castoff_detach_v1_req-x", "castoff_detach_v1"]
        {
            assert_eq!(parse(key), None, "{key}");
        }
    }
}
