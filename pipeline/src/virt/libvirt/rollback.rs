//! What a rollback needs of the guest: whether it still has the disk, and its config as it was.
//!
//! The first request of an unplug takes the disk out of the persistent config, and neither
//! generation puts it back when the guest keeps it: after the next power cycle the volume is
//! `in-use` and the guest does not have it (property S14).

use castoff_ports::InstanceId;
use castoff_ports::libvirt::{AttachDeviceFlags, GuestDisk};
use castoff_ports::novadb::Bdm;

use super::driver::disk_dev;
use super::guest::{Guest, get_guest, libvirt_error};
use crate::context::Context;
use crate::error::NovaError;

/// The disk in the live config; none where the domain is gone.
///
/// # Errors
/// When libvirt cannot tell, whatever the policy makes of that elsewhere.
pub async fn disk_of(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &InstanceId,
) -> Result<Option<GuestDisk>, NovaError> {
    let guest = match get_guest(cx, instance).await {
        Err(NovaError::InstanceNotFound { .. }) => return Ok(None),
        other => other?,
    };
    let Some(disk) = find(&guest, bdm, false).await? else { return Ok(None) };
    let has_it = !cx.policy().asks_qemu || guest.is_in_qemu(&disk).await?;
    Ok(has_it.then_some(disk))
}

async fn find(
    guest: &Guest<'_>,
    bdm: &Bdm,
    inactive: bool,
) -> Result<Option<GuestDisk>, NovaError> {
    let target = disk_dev(bdm.device_name.as_deref().unwrap_or_default());
    guest.get_disk(target, Some(&bdm.volume_id), inactive).await
}

/// Takes the disk out of the persistent config, if it is there.
pub async fn forget_config(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    let guest = match get_guest(cx, instance).await {
        Err(NovaError::InstanceNotFound { .. }) => return Ok(()),
        other => other?,
    };
    if !guest.is_persistent().await? {
        return Ok(());
    }
    match find(&guest, bdm, true).await? {
        Some(disk) => guest.detach_device(disk, true, false).await,
        None => Ok(()),
    }
}

/// Adds the disk to the persistent config, unless it is there.
pub async fn restore_config(
    cx: &Context<'_>,
    instance: &InstanceId,
    disk: GuestDisk,
) -> Result<(), NovaError> {
    let guest = get_guest(cx, instance).await?;
    if !guest.is_persistent().await? {
        return Ok(());
    }
    if guest.get_disk(&disk.target_dev, disk.serial.as_ref(), true).await?.is_some() {
        return Ok(());
    }
    let instance = instance.clone();
    let attach = AttachDeviceFlags { instance, disk, config: true, live: false };
    cx.call(attach).await.map_err(libvirt_error)
}
