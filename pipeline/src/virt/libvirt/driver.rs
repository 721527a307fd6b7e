//! `nova.virt.libvirt.driver.LibvirtDriver`: volumes of a guest (A10, A13; attach A5).

use castoff_ports::cinder::{ConnectionInfo, Connector, Encryption};
use castoff_ports::libvirt::{GuestDisk, LookupByUuid, error};
use castoff_ports::novadb::Bdm;
use castoff_ports::{Alias, InstanceId, Refusal, VolumeId};

use super::guest::{Guest, get_guest};
use super::multiattach::should_disconnect_target;
use super::volume::{VolumeDriver, get_volume_driver};
use super::{encryptor, unplug};
use crate::brick;
use crate::context::Context;
use crate::error::NovaError;
use crate::policy::{FailedAttach, MissingGuestDevice};

/// `instance_exists`.
pub async fn instance_exists(cx: &Context<'_>, instance: &InstanceId) -> bool {
    cx.call(LookupByUuid { instance: instance.clone() }).await.is_ok()
}

/// `get_volume_connector`.
pub async fn get_volume_connector(cx: &Context<'_>) -> Result<Connector, NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver.get_volume_connector");
    Ok(brick::connector::get_connector_properties(cx).await?)
}

/// `detach_volume`, first half: the guest lets go.
pub async fn release_volume(
    cx: &Context<'_>,
    bdm: &Bdm,
    info: Option<&ConnectionInfo>,
    instance: &InstanceId,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver.detach_volume");
    let disk_dev = disk_dev(bdm.device_name.as_deref().unwrap_or_default());
    // The volume's id is taken from connection_info: without one the alias cannot be looked up.
    let volume_id = info.map(|i| i.serial.as_ref().unwrap_or(&i.data.volume_id));
    let close = async || match info {
        Some(info) => encryptor::detach_volume(cx, info, encryption).await,
        None => Ok(()),
    };
    let unplugged = async {
        let guest = get_guest(cx, instance).await?;
        // nova bug 1642628: not before the guest has let go.
        if !cx.policy().encryptor_after_guest {
            close().await?;
        }
        unplug::detach_device(&guest, disk_dev, volume_id).await?;
        if cx.policy().encryptor_after_guest { close().await } else { Ok(()) }
    };
    match unplugged.await {
        Ok(()) => {}
        Err(NovaError::InstanceNotFound { .. }) => disappeared(cx, instance),
        Err(NovaError::Libvirt(Refusal::Libvirt { code: error::NO_DOMAIN, .. })) => {
            disappeared(cx, instance);
        }
        // nova bug 1727260: a missing guest device must not skip the host disconnect.
        Err(NovaError::DeviceNotFound { device, instance }) => {
            match cx.policy().missing_guest_device {
                MissingGuestDevice::SkipHostDisconnect => {
                    return Err(NovaError::DiskNotFound { location: device, instance });
                }
                MissingGuestDevice::Continue => {}
                MissingGuestDevice::Fail => {
                    return Err(NovaError::DeviceNotFound { device, instance });
                }
            }
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

/// `detach_volume`, second half: the host disconnects.
pub async fn disconnect_released(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    info: Option<&ConnectionInfo>,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    disconnect_volume(cx, instance, volume, info, encryption, How::default()).await
}

/// The last part of `/dev/vdb`.
pub(super) fn disk_dev(mountpoint: &str) -> &str {
    mountpoint.rsplit('/').next().unwrap_or(mountpoint)
}

fn disappeared(cx: &Context<'_>, instance: &InstanceId) {
    cx.warning(format!("During detach_volume, instance {instance} disappeared."));
}

/// How a volume is disconnected from the host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// os-brick goes on past a failing step.
    pub(super) force: bool,
    /// The guest will be back: its secret stays (`destroy_secrets=False`).
    pub(super) keep_secret: bool,
}

/// `_disconnect_volume`: encryptor or secret, other users of a multiattach volume, volume driver.
pub(super) async fn disconnect_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    info: Option<&ConnectionInfo>,
    encryption: Option<&Encryption>,
    how: How,
) -> Result<(), NovaError> {
    let Some(info) = info else {
        return Err(NovaError::VolumeDriverNotFound {
            driver_type: "None".to_owned(),
            volume: volume.clone(),
        });
    };
    cx.station("nova.virt.libvirt.driver.LibvirtDriver._disconnect_volume");
    if cx.policy().secret_lookup {
        encryptor::detach_encryptor(cx, info, encryption, how.keep_secret).await?;
    }
    cx.station("nova.virt.libvirt.driver.LibvirtDriver._get_volume_driver");
    let driver = get_volume_driver(info)?;
    if !should_disconnect_target(cx, instance, volume, info).await? {
        return Ok(());
    }
    match driver {
        VolumeDriver::Iscsi => super::volume::iscsi::disconnect_volume(cx, info, how.force).await,
    }
}

/// `_connect_volume`: the volume driver, then the encryptor, whose failure undoes the first.
pub(super) async fn connect_volume(
    cx: &Context<'_>,
    info: &mut ConnectionInfo,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    match get_volume_driver(info)? {
        VolumeDriver::Iscsi => super::volume::iscsi::connect_volume(cx, info).await?,
    }
    let Err(e) = encryptor::define_secret(cx, info, encryption).await else { return Ok(()) };
    // Another server here may use it: whoever settles the attach counts them.
    if cx.policy().failed_attach == FailedAttach::GuestDecides {
        return Err(e);
    }
    match get_volume_driver(info)? {
        VolumeDriver::Iscsi => super::volume::iscsi::disconnect_volume(cx, info, false).await?,
    }
    Err(e)
}

/// `attach_volume`: the host connects, then the guest gets the disk.
pub async fn attach_volume(
    cx: &Context<'_>,
    info: &mut ConnectionInfo,
    instance: &InstanceId,
    mountpoint: &str,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver.attach_volume");
    let guest = get_guest(cx, instance).await?;
    connect_volume(cx, info, encryption).await?;
    let attached = attach_device(&guest, info, disk_dev(mountpoint), encryption).await;
    let Err(e) = attached else { return Ok(()) };
    cx.error(format!("Failed to attach volume at mountpoint {mountpoint}: failed to {e}"));
    // The guest may have the disk all the same: whoever settles the attach asks it.
    let gives_back = cx.policy().failed_attach == FailedAttach::EachStep;
    if cx.policy().failed_attach_disconnects && gives_back {
        let volume = &info.data.volume_id;
        disconnect_volume(cx, instance, volume, Some(info), encryption, How::default()).await?;
    }
    Err(e)
}

/// Config and live in one call: libvirt does both or neither.
async fn attach_device(
    guest: &Guest<'_>,
    info: &ConnectionInfo,
    target_dev: &str,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    let cx = guest.cx;
    let live = guest.is_live().await?;
    encryptor::attach_volume(cx, info, encryption).await?;
    match guest.attach_device(guest_disk(cx, info, target_dev), live).await {
        Err(NovaError::Libvirt(Refusal::Libvirt { code: error::OPERATION_FAILED, .. }))
            if cx.policy().attach_busy_error =>
        {
            let (device, instance) = (target_dev.to_owned(), guest.instance.clone());
            Err(NovaError::DeviceIsBusy { device, instance })
        }
        other => other,
    }
}

/// `_get_volume_config`: the `<disk>` of a connected volume.
pub(super) fn guest_disk(cx: &Context<'_>, info: &ConnectionInfo, target_dev: &str) -> GuestDisk {
    let alias = || Alias::new(format!("ua-{}", info.data.volume_id));
    GuestDisk {
        target_dev: target_dev.to_owned(),
        source_dev: info.data.device_path.clone().unwrap_or_default(),
        serial: info.serial.clone(),
        alias: cx.policy().alias_lookup.then(alias),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_disk_is_named_by_the_last_part_of_its_mountpoint() {
        assert_eq!(super::disk_dev("/dev/vdb"), "vdb");
        assert_eq!(super::disk_dev("vdb"), "vdb");
    }
}
