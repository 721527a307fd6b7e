//! `nova.virt.driver.ComputeDriver`: the calls of the driver BDM, dispatched by `compute_driver`.

use castoff_ports::cinder::{ConnectionInfo, Connector, Encryption};
use castoff_ports::libvirt::GuestDisk;
use castoff_ports::novadb::Bdm;
use castoff_ports::{DeviceName, InstanceId, VolumeId};

use super::libvirt;
pub use super::libvirt::lifecycle::Destroy;
use crate::brick;
use crate::conf::ComputeDriver;
use crate::context::Context;
use crate::error::NovaError;

/// Whether the hypervisor knows the server; an error of the hypervisor reads as no.
pub async fn instance_exists(cx: &Context<'_>, instance: &InstanceId) -> bool {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::driver::instance_exists(cx, instance).await,
    }
}

/// What cinder is told of this host.
pub async fn get_volume_connector(cx: &Context<'_>) -> Result<Connector, NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::driver::get_volume_connector(cx).await,
    }
}

/// Takes a volume from the guest and then from the host. `info` is usually the BDM's own.
pub async fn detach_volume(
    cx: &Context<'_>,
    bdm: &Bdm,
    info: Option<&ConnectionInfo>,
    instance: &InstanceId,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    release_volume(cx, bdm, info, instance, encryption).await?;
    disconnect_volume(cx, instance, &bdm.volume_id, info, encryption).await
}

/// The guest's half of [`detach_volume`].
pub async fn release_volume(
    cx: &Context<'_>,
    bdm: &Bdm,
    info: Option<&ConnectionInfo>,
    instance: &InstanceId,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => {
            libvirt::driver::release_volume(cx, bdm, info, instance, encryption).await
        }
    }
}

/// The host's half of [`detach_volume`].
pub async fn disconnect_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
    info: Option<&ConnectionInfo>,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => {
            libvirt::driver::disconnect_released(cx, instance, volume, info, encryption).await
        }
    }
}

/// Whether another server of this host may use the volume.
pub async fn has_other_users(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<bool, NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => {
            libvirt::multiattach::is_exported_to_another(cx, instance, volume).await
        }
    }
}

/// Whether the guest has the disk now; a guest that does not exist has none.
pub async fn disk_of(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &InstanceId,
) -> Result<Option<GuestDisk>, NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::rollback::disk_of(cx, bdm, instance).await,
    }
}

/// Takes the disk out of the guest's persistent config, where an unplug could not.
pub async fn forget_config(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::rollback::forget_config(cx, bdm, instance).await,
    }
}

/// Gives the disk back to the guest's persistent config, if that lost it.
pub async fn restore_config(
    cx: &Context<'_>,
    instance: &InstanceId,
    disk: GuestDisk,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::rollback::restore_config(cx, instance, disk).await,
    }
}

/// Disks of the volume that this host still has.
pub async fn devices_left(
    cx: &Context<'_>,
    info: &ConnectionInfo,
) -> Result<Vec<DeviceName>, NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => Ok(brick::connector::devices_left(cx, &info.data).await?),
    }
}

/// Connects a volume to the host and gives it to the guest.
pub async fn attach_volume(
    cx: &Context<'_>,
    info: &mut ConnectionInfo,
    instance: &InstanceId,
    mountpoint: &str,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => {
            libvirt::driver::attach_volume(cx, info, instance, mountpoint, encryption).await
        }
    }
}

/// Kills a guest and disconnects its volumes; `volumes` are those with a connection_info.
pub async fn destroy(
    cx: &Context<'_>,
    instance: &InstanceId,
    volumes: &[Bdm],
    how: Destroy,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::lifecycle::destroy(cx, instance, volumes, how).await,
    }
}

/// Reboots a guest: `reboot_type` SOFT falls back to HARD.
pub async fn reboot(
    cx: &Context<'_>,
    instance: &InstanceId,
    volumes: Vec<Bdm>,
    hard: bool,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::lifecycle::reboot(cx, instance, volumes, hard).await,
    }
}

/// Powers a guest off: by its power button first, if that is `clean`.
pub async fn power_off(
    cx: &Context<'_>,
    instance: &InstanceId,
    clean: bool,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::lifecycle::power_off(cx, instance, clean).await,
    }
}

/// Powers a guest on, from a config made anew of its BDMs.
pub async fn power_on(
    cx: &Context<'_>,
    instance: &InstanceId,
    volumes: Vec<Bdm>,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::lifecycle::hard_reboot(cx, instance, volumes).await,
    }
}

/// Makes a guest that this host does not have, with its volumes.
pub async fn spawn(
    cx: &Context<'_>,
    instance: &InstanceId,
    volumes: Vec<Bdm>,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::lifecycle::spawn(cx, instance, volumes).await,
    }
}

/// Whether the guest runs; one that the hypervisor does not know does not.
pub async fn is_running(cx: &Context<'_>, instance: &InstanceId) -> Result<bool, NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::lifecycle::is_running(cx, instance).await,
    }
}
