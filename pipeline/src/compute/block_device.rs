//! `DriverVolumeBlockDevice.detach`: the four steps of a detach on the compute host (A8, A9).
//!
//! Only step 2 is rolled back (os-roll_detaching). A failure after it leaves guest and host
//! disconnected, the BDM in place and the volume `detaching`.

use std::pin::pin;

use castoff_ports::cinder::{ConnectionInfo, Connector, Encryption, Volume};
use castoff_ports::journal::JournalStep;
use castoff_ports::novadb::{Bdm, SourceType};
use castoff_ports::runtime::LockScope;
use castoff_ports::trace::Note;
use castoff_ports::{AttachmentId, InstanceId, VolumeId};

use super::pause::check_not_saved;
use super::{journal, rollback};
use crate::brick::BrickError;
use crate::context::Context;
use crate::error::NovaError;
use crate::policy::{MultiattachUsers, Rollback, VolumeApi};
use crate::{virt, volume_api};

/// A BDM with the driver class that its source_type chooses.
pub struct DriverVolumeBlockDevice {
    /// The row.
    pub bdm: Bdm,
}

/// `driver_block_device.convert_volume`.
///
/// The classes for images, snapshots and blank volumes differ in how the volume comes to be, which
/// is over when a BDM is detached; all four share one `detach`.
pub fn convert_volume(bdm: Bdm) -> DriverVolumeBlockDevice {
    DriverVolumeBlockDevice { bdm }
}

impl DriverVolumeBlockDevice {
    /// `detach(destroy_bdm=True)`, from where an earlier attempt has come to.
    pub async fn detach(
        &self,
        cx: &Context<'_>,
        instance: &InstanceId,
        attachment_id: Option<&AttachmentId>,
        reached: JournalStep,
    ) -> Result<(), NovaError> {
        cx.station(match self.bdm.source_type {
            SourceType::Volume => "nova.virt.block_device.DriverVolumeBlockDevice.detach",
            SourceType::Image => "nova.virt.block_device.DriverVolImageBlockDevice.detach",
            SourceType::Snapshot => "nova.virt.block_device.DriverVolSnapshotBlockDevice.detach",
            SourceType::Blank => "nova.virt.block_device.DriverVolBlankBlockDevice.detach",
        });
        let body = pin!(self.do_detach(cx, instance, attachment_id, reached));
        if !cx.policy().guard_connection {
            return body.await;
        }
        // A failure here is outside any rollback (F14).
        let volume = match volume_api::get_with_shared_targets(cx, &self.bdm.volume_id).await {
            // A volume that is gone has no backend to guard.
            Err(NovaError::VolumeNotFound { .. }) if cx.policy().detach_journal => {
                return body.await;
            }
            other => other?,
        };
        guard_connection(cx, &volume, body).await
    }

    async fn do_detach(
        &self,
        cx: &Context<'_>,
        instance: &InstanceId,
        attachment_id: Option<&AttachmentId>,
        reached: JournalStep,
    ) -> Result<(), NovaError> {
        let connector =
            if cx.policy().connector_first { Some(get_volume_connector(cx).await?) } else { None };

        let reached = journal::still_reached(cx, &self.bdm, reached).await?;
        cx.port.note(Note::Step(2, "driver_detach"));
        if reached < JournalStep::Released
            && let Err(e) = check_not_saved(cx, instance, "detach_volume").await
        {
            // Where nobody can tell the reconciler looks again.
            let NovaError::InstanceInvalidState { .. } = e else { return Err(e) };
            return rollback::if_config_keeps_it(cx, &self.bdm, instance, e).await;
        }
        self.driver_detach(cx, instance, reached).await?;

        // The row decides, not what the message said: a volume leaves the way it came.
        if let Some(attachment) = &self.bdm.attachment_id
            && cx.policy().volume_api == VolumeApi::Attachments
        {
            cx.port.note(Note::Step(3, "attachment_delete"));
            return match volume_api::attachment_delete(cx, attachment).await {
                Err(NovaError::VolumeAttachmentNotFound { .. })
                    if cx.policy().ignore_missing_attachment =>
                {
                    Ok(())
                }
                other => other,
            };
        }
        let connector = match connector {
            Some(connector) => connector,
            None => get_volume_connector(cx).await?,
        };
        let volume_id = &self.bdm.volume_id;
        cx.port.note(Note::Step(3, "terminate_connection"));
        volume_api::terminate_connection(cx, volume_id, &connector).await?;
        cx.port.note(Note::Step(4, "detach"));
        volume_api::detach(cx, volume_id, Some(instance), attachment_id).await
    }

    /// `driver_detach`: guest and host, rolled back in cinder when they fail.
    pub async fn driver_detach(
        &self,
        cx: &Context<'_>,
        instance: &InstanceId,
        reached: JournalStep,
    ) -> Result<(), NovaError> {
        let volume_id = &self.bdm.volume_id;
        let (released, e) = match self.detach_from_host(cx, instance, reached).await {
            Ok(()) => return Ok(()),
            // nova bug 1367964: an earlier attempt may have got this far.
            Err((_, e @ NovaError::DiskNotFound { .. })) => {
                cx.warning(format!(
                    "Ignoring DiskNotFound exception while detaching volume {volume_id}: failed \
                     to {e}"
                ));
                return Ok(());
            }
            Err(failed) => failed,
        };
        // nova bug 1750680: a guest's refusal is no crash of ours.
        if matches!(e, NovaError::DeviceDetachFailed { .. }) {
            cx.warning(format!("Guest refused to detach volume {volume_id}"));
        } else {
            cx.error(format!("Failed to detach volume {volume_id}: failed to {e}"));
        }
        match (cx.policy().rollback, released) {
            (Rollback::AnyFailure, _) => {
                // If this fails too its error is the one that is raised, and the volume stays.
                volume_api::roll_detaching(cx, volume_id).await?;
                Err(e)
            }
            (Rollback::DiskInGuest, true) => Err(e),
            (Rollback::DiskInGuest, false) => {
                rollback::if_guest_keeps_it(cx, &self.bdm, instance, e).await?;
                let encryption = self.encryption(cx).await?;
                self.disconnect_from_host(cx, encryption.as_ref()).await
            }
        }
    }

    /// The error, and whether the guest had let go when it came.
    async fn detach_from_host(
        &self,
        cx: &Context<'_>,
        instance: &InstanceId,
        reached: JournalStep,
    ) -> Result<(), (bool, NovaError)> {
        let encryption = match reached {
            JournalStep::Disconnected | JournalStep::Unmapped => return Ok(()),
            JournalStep::Released => self.encryption(cx).await.map_err(|e| (true, e))?,
            JournalStep::Attaching
            | JournalStep::Unplugging
            | JournalStep::GivenUp
            | JournalStep::RolledBack => {
                self.detach_from_guest(cx, instance).await.map_err(|e| (false, e))?
            }
        };
        self.disconnect_from_host(cx, encryption.as_ref()).await.map_err(|e| (true, e))
    }

    async fn detach_from_guest(
        &self,
        cx: &Context<'_>,
        instance: &InstanceId,
    ) -> Result<Option<Encryption>, NovaError> {
        if !virt::driver::instance_exists(cx, instance).await {
            cx.warning(format!("Detaching volume from unknown instance {instance}"));
        }
        let info = self.bdm.connection_info.as_ref();
        let encryption = self.encryption(cx).await?;
        virt::driver::release_volume(cx, &self.bdm, info, instance, encryption.as_ref()).await?;
        journal::write(cx, &self.bdm, JournalStep::Released).await?;
        Ok(encryption)
    }

    async fn encryption(&self, cx: &Context<'_>) -> Result<Option<Encryption>, NovaError> {
        let Some(info) = &self.bdm.connection_info else { return Ok(None) };
        match volume_api::get_encryption_metadata(cx, info).await {
            // Nothing of a volume that is gone can be decrypted any more.
            Err(NovaError::VolumeNotFound { .. }) if cx.policy().detach_journal => Ok(None),
            other => other,
        }
    }

    /// The host's half. Cinder unmaps the volume after this: not before nothing of it is left.
    pub(super) async fn disconnect_from_host(
        &self,
        cx: &Context<'_>,
        encryption: Option<&Encryption>,
    ) -> Result<(), NovaError> {
        let info = self.bdm.connection_info.as_ref();
        let (volume, instance) = (&self.bdm.volume_id, &self.bdm.instance_uuid);
        virt::driver::disconnect_volume(cx, instance, volume, info, encryption).await?;
        if let Some(info) = info
            && cx.policy().confirm_disconnect
        {
            confirm_disconnect(cx, instance, info).await?;
        }
        journal::write(cx, &self.bdm, JournalStep::Disconnected).await
    }
}

/// A disconnect that saw nothing to do says success too (os-brick bug 1732199).
pub(super) async fn confirm_disconnect(
    cx: &Context<'_>,
    instance: &InstanceId,
    info: &ConnectionInfo,
) -> Result<(), NovaError> {
    let counted = cx.policy().multiattach_users == MultiattachUsers::Exported;
    if info.multiattach && !counted {
        return Ok(());
    }
    match virt::driver::devices_left(cx, info).await?.first() {
        None => Ok(()),
        // Another server here uses the multiattach volume.
        Some(_)
            if info.multiattach
                && virt::driver::has_other_users(cx, instance, &info.data.volume_id).await? =>
        {
            Ok(())
        }
        Some(device) => {
            Err(BrickError::VolumePathNotRemoved { path: format!("/dev/{device}") }.into())
        }
    }
}

/// Step 1: what cinder is told of this host.
async fn get_volume_connector(cx: &Context<'_>) -> Result<Connector, NovaError> {
    cx.port.note(Note::Step(1, "get_volume_connector"));
    virt::driver::get_volume_connector(cx).await
}

/// os-brick's `guard_connection`: one volume of a shared target at a time.
///
/// Always when cinder cannot tell (os-brick bug 1961102), never when the target is the volume's
/// own, and otherwise only where iscsid scans by itself (os-brick f67d46c).
pub(super) async fn guard_connection<T>(
    cx: &Context<'_>,
    volume: &Volume,
    body: impl Future<Output = Result<T, NovaError>>,
) -> Result<T, NovaError> {
    let locks = match volume.shared_targets {
        None => true,
        Some(false) => false,
        Some(true) => !cx.process.manual_scan(),
    };
    if !locks {
        return body.await;
    }
    let name = lock_name(&volume.id, volume.service_uuid.as_deref());
    cx.port.locked(&name, LockScope::External, body).await
}

/// One lock a backend; a volume whose backend cinder does not name shares no lock that fits.
fn lock_name(volume: &VolumeId, service_uuid: Option<&str>) -> String {
    format!("os-brick-{}", service_uuid.unwrap_or(volume.as_str()))
}
