//! A cast counts only while its intent stands.
//!
//! A broker may deliver late, twice, or after an administrator has put the volume's state right
//! and the user has attached it again (F08, F09). Whoever ends a detach deletes its intent, so a
//! cast without one has nothing to do, and says nothing: an event of it would overwrite how the
//! first one ended.

use std::pin::pin;

use castoff_ports::journal::JournalStep;
use castoff_ports::novadb::{BdmByVolumeAndInstance, GetInstance};
use castoff_ports::{AttachmentId, Failure, InstanceId, Refusal, RequestId, VolumeId};

use super::journal;
use super::manager::{
    do_detach_volume, instance_event, synchronized, wrap_instance_event, wrap_instance_fault,
};
use super::tell::tell;
use crate::context::{Context, NovaProcess};
use crate::error::NovaError;
use crate::intent::{self, Task};

/// `ComputeManager.detach_volume`, fenced.
pub(super) async fn detach_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    attachment_id: Option<&AttachmentId>,
) -> Result<(), NovaError> {
    let body = pin!(async {
        if !intent::stands(cx, Task::Detach, instance, volume).await? {
            cx.warning(format!("Dropping a late or repeated detach of volume {volume}"));
            return Ok(());
        }
        // The reconciler was faster, and could not delete the row yet; its next pass does.
        let lookup =
            BdmByVolumeAndInstance { volume_id: volume.clone(), instance: instance.clone() };
        if let Err(Failure::Refused(Refusal::NotFound { .. })) = cx.call(lookup).await {
            cx.warning(format!("Dropping a late detach of volume {volume}: it is detached"));
            return Ok(());
        }
        let body = pin!(do_detach_volume(cx, instance, volume, attachment_id));
        let body = pin!(wrap_instance_fault(cx, instance, body));
        let result = wrap_instance_event(cx, instance, "compute_detach_volume", body).await;
        match &result {
            Ok(()) => journal::forget(cx, Task::Detach, instance, volume).await,
            Err(_) => rolled_back(cx, instance, volume).await,
        }
        result
    });
    // A second copy of a message that is being worked on need not wait to be dropped.
    let Some(_working) = Working::begin(cx, volume.as_str()) else { return Ok(()) };
    if cx.policy().instance_lock { synchronized(cx, instance, body).await } else { body.await }
}

/// When the user has been told the intent goes; where anything else failed it stays.
pub(super) async fn rolled_back(cx: &Context<'_>, instance: &InstanceId, volume: &VolumeId) {
    match journal::entry(cx, volume, instance).await {
        // An entry of an earlier request tells of its own rollback, not of this one.
        Ok(Some(entry))
            if entry.step == JournalStep::RolledBack && entry.request == cx.port.cx.request =>
        {
            // The event may be what could not be written.
            if tell(cx, instance, false).await {
                intent::clear(cx, Task::Detach, instance, volume, cx.port.cx.request).await;
            }
        }
        Ok(_) => {}
        Err(e) => cx.warning(format!("The intent to detach volume {volume} stays: failed to {e}")),
    }
}

/// A task of a server: its task_state is its intent, and stands until it is carried out, by
/// whomever.
pub(super) async fn task(
    cx: &Context<'_>,
    instance: &InstanceId,
    event: &'static str,
    task_states: &[&str],
    body: impl Future<Output = Result<(), NovaError>>,
) -> Result<(), NovaError> {
    let body = pin!(async {
        let server = cx.call(GetInstance { uuid: instance.clone() }).await?;
        let stands = server.task_state.is_some_and(|s| task_states.contains(&s.as_str()));
        if !stands {
            cx.warning(format!("Dropping a late or repeated message: {event} of {instance}"));
            return Ok(());
        }
        let body = pin!(body);
        let body = pin!(wrap_instance_fault(cx, instance, body));
        instance_event(cx, instance, event, body).await
    });
    let Some(_working) = Working::begin(cx, instance.as_str()) else { return Ok(()) };
    synchronized(cx, instance, body).await
}

/// A message that this process works on, until it is dropped.
pub(super) struct Working<'a> {
    process: &'a NovaProcess,
    message: (String, RequestId),
}

impl<'a> Working<'a> {
    /// None when it is worked on already.
    pub(super) fn begin(cx: &Context<'a>, what: &str) -> Option<Working<'a>> {
        let message = (what.to_owned(), cx.port.cx.request);
        let process = cx.process;
        process.start_working(message.clone()).then_some(Working { process, message })
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.process.stop_working(&self.message);
    }
}
