//! `nova.compute.manager.ComputeManager`: a message's way to the driver BDM (A7).
//!
//! The message carries the server as nova-api saw it, so nothing of it is read again: the host to
//! which a detach was cast is the server's host, whatever has become of it since (F10).
//!
//! Decorators take a pinned body: by value, each would hold it twice and a message's future would
//! double with every layer.

use std::pin::pin;

use castoff_ports::journal::JournalStep;
use castoff_ports::novadb::{
    Bdm, BdmByVolumeAndInstance, BdmCreate, BdmDestroy, BdmsByInstance, EventFinish, EventResult,
    EventStart, FaultCreate,
};
use castoff_ports::rpc::{Method, Returned};
use castoff_ports::runtime::LockScope;
use castoff_ports::trace::Note;
use castoff_ports::{AttachmentId, Failure, InstanceId, Refusal, VolumeId};

use super::block_device::{DriverVolumeBlockDevice, convert_volume};
use super::pause::Change;
use super::{
    attach, block_device_attach, delete, fence, journal, multiattach, pause, power, shelve, stale,
};
use crate::context::Context;
use crate::error::NovaError;
use crate::intent::{self, Task};
use crate::volume_api;

/// Calls the method that the message names.
pub async fn dispatch(cx: &Context<'_>, method: Method) -> Result<Returned, NovaError> {
    match method {
        Method::DetachVolume { instance, volume_id, attachment_id } => {
            cx.station("nova.compute.manager.ComputeManager.detach_volume");
            if cx.policy().detach_intent {
                fence::detach_volume(cx, &instance, &volume_id, attachment_id.as_ref()).await?;
                return Ok(Returned::None);
            }
            let body = pin!(detach_volume(cx, &instance, &volume_id, attachment_id.as_ref()));
            let body = pin!(wrap_instance_fault(cx, &instance, body));
            wrap_instance_event(cx, &instance, "compute_detach_volume", body).await?;
            Ok(Returned::None)
        }
        Method::AttachVolume { instance, bdm } => {
            cx.station("nova.compute.manager.ComputeManager.attach_volume");
            if cx.policy().attach_intent {
                attach::attach_volume(cx, &instance, *bdm).await?;
                return Ok(Returned::None);
            }
            let body = pin!(attach_volume(cx, &instance, *bdm));
            let body = pin!(wrap_instance_fault(cx, &instance, body));
            wrap_instance_event(cx, &instance, "compute_attach_volume", body).await?;
            Ok(Returned::None)
        }
        Method::ReserveBlockDeviceName { instance, volume_id } => {
            cx.station("nova.compute.manager.ComputeManager.reserve_block_device_name");
            let body = reserve_block_device_name(cx, &instance, &volume_id);
            let bdm = wrap_instance_fault(cx, &instance, pin!(body)).await?;
            Ok(Returned::Bdm(Box::new(bdm)))
        }
        Method::TerminateInstance { instance, bdms } => {
            delete::terminate_instance(cx, &instance, bdms).await.map(|()| Returned::None)
        }
        Method::RebootInstance { instance, hard } => {
            power::reboot_instance(cx, &instance, hard).await.map(|()| Returned::None)
        }
        Method::StopInstance { instance } => {
            power::stop_instance(cx, &instance).await.map(|()| Returned::None)
        }
        Method::PauseInstance { instance } => {
            pause::change_instance(cx, &instance, Change::Pause).await.map(|()| Returned::None)
        }
        Method::UnpauseInstance { instance } => {
            pause::change_instance(cx, &instance, Change::Unpause).await.map(|()| Returned::None)
        }
        Method::SuspendInstance { instance } => {
            pause::change_instance(cx, &instance, Change::Suspend).await.map(|()| Returned::None)
        }
        Method::ResumeInstance { instance } => {
            pause::change_instance(cx, &instance, Change::Resume).await.map(|()| Returned::None)
        }
        Method::StartInstance { instance } => {
            power::start_instance(cx, &instance).await.map(|()| Returned::None)
        }
        Method::ShelveInstance { instance, clean_shutdown } => {
            shelve::shelve_instance(cx, &instance, clean_shutdown).await.map(|()| Returned::None)
        }
        Method::ShelveOffloadInstance { instance, clean_shutdown } => {
            let body = shelve::shelve_offload_instance(cx, &instance, clean_shutdown);
            body.await.map(|()| Returned::None)
        }
        Method::UnshelveInstance { instance } => {
            shelve::unshelve_instance(cx, &instance).await.map(|()| Returned::None)
        }
    }
}

/// The decorator `wrap_instance_event`: the action's event is how a user learns of the end.
pub(crate) async fn wrap_instance_event<T>(
    cx: &Context<'_>,
    instance: &InstanceId,
    event: &'static str,
    body: impl Future<Output = Result<T, NovaError>>,
) -> Result<T, NovaError> {
    if !cx.policy().instance_action_events {
        return body.await;
    }
    instance_event(cx, instance, event, body).await
}

/// The same where both generations write it: delete, reboot, stop and start have always had theirs.
pub(crate) async fn instance_event<T>(
    cx: &Context<'_>,
    instance: &InstanceId,
    event: &'static str,
    body: impl Future<Output = Result<T, NovaError>>,
) -> Result<T, NovaError> {
    cx.call(EventStart { instance: instance.clone(), event: event.to_owned() }).await?;
    let outcome = body.await;
    if matches!(outcome, Err(NovaError::LeftToReconciler { .. })) {
        return outcome;
    }
    let result = if outcome.is_ok() { EventResult::Success } else { EventResult::Error };
    cx.call(EventFinish { instance: instance.clone(), event: event.to_owned(), result }).await?;
    outcome
}

/// The decorator `wrap_instance_fault`: a row for every exception but InstanceNotFound.
pub(super) async fn wrap_instance_fault<T>(
    cx: &Context<'_>,
    instance: &InstanceId,
    body: impl Future<Output = Result<T, NovaError>>,
) -> Result<T, NovaError> {
    let outcome = body.await;
    if let Err(e) = &outcome
        && !matches!(e, NovaError::InstanceNotFound { .. } | NovaError::LeftToReconciler { .. })
    {
        cx.error(format!("failed to {e}"));
        let fault = FaultCreate { instance: instance.clone(), message: e.format_message() };
        // The fault row is best effort: the exception itself goes on.
        if let Err(e) = cx.call(fault).await {
            cx.warning(format!("failed to record the fault: {e}"));
        }
    }
    outcome
}

/// `utils.synchronized(instance.uuid)`.
pub(super) async fn synchronized<T>(
    cx: &Context<'_>,
    instance: &InstanceId,
    body: impl Future<Output = Result<T, NovaError>>,
) -> Result<T, NovaError> {
    cx.port.locked(instance.as_str(), LockScope::InProcess, body).await
}

/// `ComputeManager.detach_volume`; without the lock a delete or a reboot may run beside it.
async fn detach_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    attachment_id: Option<&AttachmentId>,
) -> Result<(), NovaError> {
    let body = pin!(do_detach_volume(cx, instance, volume, attachment_id));
    // nova bug 1662483.
    if cx.policy().instance_lock { synchronized(cx, instance, body).await } else { body.await }
}

pub(super) async fn do_detach_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    attachment_id: Option<&AttachmentId>,
) -> Result<(), NovaError> {
    let lookup = BdmByVolumeAndInstance { volume_id: volume.clone(), instance: instance.clone() };
    let bdm = match cx.call(lookup).await {
        Ok(bdm) => bdm,
        // Nothing rolls os-begin_detaching back from here (F11).
        Err(Failure::Refused(Refusal::NotFound { .. })) => {
            let (volume, instance) = (volume.clone(), instance.clone());
            return Err(NovaError::VolumeBDMNotFound { volume, instance });
        }
        Err(e) => return Err(e.into()),
    };
    cx.station("nova.virt.block_device.convert_volume");
    let driver_bdm = convert_volume(bdm);
    let is_shared = driver_bdm.bdm.connection_info.as_ref().is_some_and(|i| i.multiattach);
    let body = pin!(detach_row(cx, instance, &driver_bdm, attachment_id));
    multiattach::in_turn(cx, volume, is_shared, body).await
}

async fn detach_row(
    cx: &Context<'_>,
    instance: &InstanceId,
    driver_bdm: &DriverVolumeBlockDevice,
    attachment_id: Option<&AttachmentId>,
) -> Result<(), NovaError> {
    let bdm = &driver_bdm.bdm;
    let volume = &bdm.volume_id;
    // nova 94a3b83f9f destroyed it first, bea6ff62af last of all.
    let last = cx.policy().bdm_destroyed_last;
    if !last {
        cx.call(BdmDestroy { id: bdm.id }).await?;
    }
    let reached = journal::begin(cx, bdm).await?;
    if reached != JournalStep::Unmapped {
        driver_bdm.detach(cx, instance, attachment_id, reached).await?;
        if cx.policy().delete_stale_attachments {
            stale::delete_stale_attachments(cx, bdm).await?;
        }
        // Whatever becomes of the entry, this process sends no second notification.
        if !cx.policy().detach_journal || cx.process.notify_once(bdm.id) {
            cx.port.note(Note::Notification("volume.detach"));
        }
        // Without this entry a restarted process would send one; no more than that.
        if let Err(e) = journal::write(cx, bdm, JournalStep::Unmapped).await {
            cx.warning(format!("Failed to {e}"));
        }
    }
    if !last {
        return Ok(());
    }
    let destroyed = cx.call(BdmDestroy { id: bdm.id }).await;
    if !cx.policy().detach_journal {
        return Ok(destroyed?);
    }
    if let Err(e) = destroyed {
        let lookup =
            BdmByVolumeAndInstance { volume_id: volume.clone(), instance: instance.clone() };
        let again = cx.call(lookup).await;
        if !matches!(again, Err(Failure::Refused(Refusal::NotFound { .. }))) {
            cx.warning(format!("The BDM of volume {volume} stays for now: failed to {e}"));
            // The volume is detached, so an error would be a lie, and success not yet true.
            return Err(NovaError::LeftToReconciler { volume: volume.clone() });
        }
    }
    cx.process.forget_notified(bdm.id);
    Ok(())
}

/// `ComputeManager.attach_volume`: locked in both generations; the BDM goes with any failure.
async fn attach_volume(cx: &Context<'_>, instance: &InstanceId, bdm: Bdm) -> Result<(), NovaError> {
    let id = bdm.id;
    let body = pin!(async {
        match do_attach_volume(cx, instance, bdm).await {
            Ok(()) => Ok(()),
            Err(e) => {
                cx.call(BdmDestroy { id }).await?;
                Err(e)
            }
        }
    });
    synchronized(cx, instance, body).await
}

/// `_attach_volume`: what cinder has reserved is given back; if that fails too, its error wins.
async fn do_attach_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdm: Bdm,
) -> Result<(), NovaError> {
    let driver_bdm = convert_volume(bdm);
    let bdm = &driver_bdm.bdm;
    let Err(e) = block_device_attach::attach(cx, &driver_bdm, instance, true).await else {
        return Ok(());
    };
    cx.error(format!("Failed to attach {} of server {instance}: failed to {e}", bdm.volume_id));
    match &bdm.attachment_id {
        None => volume_api::unreserve_volume(cx, &bdm.volume_id).await?,
        Some(attachment) => match volume_api::attachment_delete(cx, attachment).await {
            // The driver BDM may have deleted it already.
            Ok(()) | Err(NovaError::VolumeAttachmentNotFound { .. }) => {}
            Err(e) => return Err(e),
        },
    }
    Err(e)
}

/// `ComputeManager.reserve_block_device_name`: the next free name, and the row that holds it.
async fn reserve_block_device_name(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<Bdm, NovaError> {
    let body = pin!(async {
        let bdms = cx.call(BdmsByInstance { instance: instance.clone() }).await?;
        if cx.policy().duplicate_attach_check && bdms.iter().any(|b| b.volume_id == *volume) {
            return Err(NovaError::InvalidVolume {
                volume: volume.clone(),
                reason: format!("volume {volume} already attached"),
            });
        }
        // Its request may have been given up, and undone, while it waited.
        if cx.policy().attach_intent && !intent::stands(cx, Task::Attach, instance, volume).await? {
            return Err(NovaError::InvalidVolume {
                volume: volume.clone(),
                reason: "the request to attach it was given up".to_owned(),
            });
        }
        Ok(cx
            .call(BdmCreate {
                instance: instance.clone(),
                volume_id: volume.clone(),
                device_name: Some(next_device_name(&bdms)),
            })
            .await?)
    });
    synchronized(cx, instance, body).await
}

/// libvirt takes the next letter of the virtio bus, whatever the user asked for; vda is the root.
pub(super) fn next_device_name(bdms: &[Bdm]) -> String {
    let taken = |name: &str| {
        bdms.iter().filter_map(|b| b.device_name.as_deref()).any(|taken| taken == name)
    };
    let single = ('b'..='z').map(|c| format!("/dev/vd{c}"));
    let double = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("/dev/vd{a}{b}")));
    single
        .chain(double)
        .find(|name| !taken(name))
        .expect("a server with 702 disks is beyond what libvirt attaches")
}

#[cfg(test)]
mod tests {
    use super::*;
    use castoff_ports::BdmId;
    use castoff_ports::novadb::SourceType;

    fn bdm(device_name: Option<&str>) -> Bdm {
        Bdm {
            id: BdmId(1),
            instance_uuid: "i1".into(),
            volume_id: "v1".into(),
            source_type: SourceType::Volume,
            device_name: device_name.map(str::to_owned),
            boot_index: None,
            attachment_id: None,
            connection_info: None,
            delete_on_termination: false,
            tag: None,
        }
    }

    #[test]
    fn the_first_letter_that_no_disk_has_is_taken_and_vda_never_is() {
        assert_eq!(next_device_name(&[]), "/dev/vdb");
        assert_eq!(next_device_name(&[bdm(Some("/dev/vda")), bdm(Some("/dev/vdb"))]), "/dev/vdc");
        assert_eq!(next_device_name(&[bdm(Some("/dev/vdc")), bdm(None)]), "/dev/vdb");
        let all: Vec<Bdm> = ('a'..='z').map(|c| bdm(Some(&format!("/dev/vd{c}")))).collect();
        assert_eq!(next_device_name(&all), "/dev/vdaa");
    }
}
