//! `LibvirtDriver.destroy`, `reboot`, `power_off` and `power_on`: what each does to volumes (B4, C).
//!
//! Destroying kills the guest first, so nothing is unplugged: the host alone is disconnected. A
//! hard reboot makes the domain anew from the server's BDMs: a disk without one disappears, and
//! one whose unplug was half done comes back. Nothing here looks at volume.status.

use std::time::Duration;

use castoff_ports::libvirt::{
    CleanupWaiters, Create, DefineXml, Destroy as VirDomainDestroy, GetInfo, GuestDisk, PowerState,
    Shutdown, Undefine, error,
};
use castoff_ports::novadb::{Bdm, BdmSave, BdmUpdate};
use castoff_ports::{Failure, InstanceId, Refusal};

use super::driver::{How, connect_volume, disconnect_volume, disk_dev, guest_disk};
use super::encryptor;
use super::guest::libvirt_error;
use crate::context::Context;
use crate::error::NovaError;
use crate::volume_api::get_encryption_metadata;

/// How often nova looks whether a destroyed domain has gone.
const DESTROY_POLL: Duration = Duration::from_millis(500);
/// `[libvirt]wait_soft_reboot_seconds`.
const SOFT_REBOOT_SECONDS: u32 = 120;
/// `shutdown_timeout`, and how often the power button is pressed again within it.
const SHUTDOWN_SECONDS: u32 = 60;
const SHUTDOWN_RETRY_SECONDS: u32 = 10;

/// How a guest is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroy {
    /// `destroy_disks=True`, for good: an error of a volume is logged.
    ForGood,
    /// `destroy_disks=False, destroy_secrets=False`: it comes back; an error of a volume is raised.
    ToComeBack,
    /// For good, and for certain: no step is forced, and an error of a volume is raised.
    Confirmed,
}

/// `destroy`: the guest, then its volumes on this host, then its config.
pub async fn destroy(
    cx: &Context<'_>,
    instance: &InstanceId,
    volumes: &[Bdm],
    how: Destroy,
) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver.destroy");
    kill(cx, instance).await?;
    cleanup(cx, instance, volumes, how).await
}

/// `_destroy`: virDomainDestroy, until the domain is off or gone.
async fn kill(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    match cx.call(VirDomainDestroy { instance: instance.clone() }).await {
        Ok(()) => {}
        Err(Failure::Refused(Refusal::Libvirt { code: error::NO_DOMAIN, .. })) => {}
        Err(Failure::Refused(Refusal::Libvirt { code: error::OPERATION_INVALID, .. }))
            if !is_running(cx, instance).await? => {}
        Err(Failure::Refused(Refusal::Libvirt { code: error::OPERATION_TIMEOUT, .. })) => {
            return Err(NovaError::InstancePowerOffFailure { instance: instance.clone() });
        }
        Err(e) => return Err(libvirt_error(e)),
    }
    // nova has no bound here either: libvirt has killed QEMU, so it ends.
    while is_running(cx, instance).await? {
        cx.port.sleep(DESTROY_POLL).await?;
    }
    // Whoever waits for an event of this guest is woken (nova e56cc4f439).
    if matches!(cx.policy().unplug, crate::policy::Unplug::AwaitEvents { .. }) {
        cx.call(CleanupWaiters { instance: instance.clone() }).await.map_err(libvirt_error)?;
    }
    Ok(())
}

/// Whether libvirt knows the domain and it is not off.
pub async fn is_running(cx: &Context<'_>, instance: &InstanceId) -> Result<bool, NovaError> {
    match cx.call(GetInfo { instance: instance.clone() }).await {
        Ok(PowerState::Running | PowerState::Paused) => Ok(true),
        Ok(PowerState::Shutdown | PowerState::Crashed) => Ok(false),
        Err(Failure::Refused(Refusal::Libvirt { code: error::NO_DOMAIN, .. })) => Ok(false),
        Err(e) => Err(libvirt_error(e)),
    }
}

/// `cleanup`: every volume, then the config.
async fn cleanup(
    cx: &Context<'_>,
    instance: &InstanceId,
    volumes: &[Bdm],
    how: Destroy,
) -> Result<(), NovaError> {
    let disconnect = How {
        force: cx.policy().destroy_forces_disconnect && how != Destroy::Confirmed,
        // nova bug 1905701.
        keep_secret: how == Destroy::ToComeBack && cx.policy().fixes.reboot_keeps_secret,
    };
    for bdm in volumes {
        let info = bdm.connection_info.as_ref();
        // Outside of what is ignored below (B4).
        if let Some(info) = info
            && !cx.policy().secret_lookup
        {
            let encryption = get_encryption_metadata(cx, info).await?;
            encryptor::detach_volume(cx, info, encryption.as_ref()).await?;
        }
        match (disconnect_volume(cx, instance, &bdm.volume_id, info, None, disconnect).await, how) {
            (Ok(()), _) => {}
            (Err(e), Destroy::ForGood) => cx.warning(format!(
                "Ignoring Volume Error on vol {} during delete: failed to {e}",
                bdm.volume_id
            )),
            (Err(e), Destroy::ToComeBack | Destroy::Confirmed) => return Err(e),
        }
    }
    undefine(cx, instance).await
}

/// `_undefine_domain`: a domain that is gone needs none.
async fn undefine(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    match cx.call(Undefine { instance: instance.clone() }).await {
        Ok(()) => Ok(()),
        Err(Failure::Refused(Refusal::Libvirt { code: error::NO_DOMAIN, .. })) => Ok(()),
        Err(e) => Err(libvirt_error(e)),
    }
}

/// `reboot`: a soft one that the guest does not follow becomes a hard one.
pub async fn reboot(
    cx: &Context<'_>,
    instance: &InstanceId,
    volumes: Vec<Bdm>,
    hard: bool,
) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver.reboot");
    if !hard && soft_reboot(cx, instance).await? {
        return Ok(());
    }
    hard_reboot(cx, instance, volumes).await
}

/// `_soft_reboot`: off by the power button and on again, with the config that it has.
async fn soft_reboot(cx: &Context<'_>, instance: &InstanceId) -> Result<bool, NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver._soft_reboot");
    if !is_running(cx, instance).await? {
        return Ok(false);
    }
    press_power_button(cx, instance).await?;
    for _ in 0..SOFT_REBOOT_SECONDS {
        if !is_running(cx, instance).await? {
            let create = Create { instance: instance.clone() };
            return cx.call(create).await.map(|()| true).map_err(libvirt_error);
        }
        cx.port.sleep(Duration::from_secs(1)).await?;
    }
    cx.warning("Failed to soft reboot instance. Trying hard reboot.".to_owned());
    Ok(false)
}

/// A guest that goes off by itself in between needs no button.
async fn press_power_button(cx: &Context<'_>, instance: &InstanceId) -> Result<(), NovaError> {
    match cx.call(Shutdown { instance: instance.clone() }).await {
        Ok(()) => Ok(()),
        Err(Failure::Refused(Refusal::Libvirt { code: error::OPERATION_INVALID, .. })) => Ok(()),
        Err(e) => Err(libvirt_error(e)),
    }
}

/// `power_off`: clean if that is asked for and the guest follows; its volumes stay connected.
pub async fn power_off(
    cx: &Context<'_>,
    instance: &InstanceId,
    clean: bool,
) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver.power_off");
    let patience = if clean { SHUTDOWN_SECONDS } else { 0 };
    for second in 0..patience {
        if !is_running(cx, instance).await? {
            return Ok(());
        }
        if second % SHUTDOWN_RETRY_SECONDS == 0 {
            press_power_button(cx, instance).await?;
        }
        cx.port.sleep(Duration::from_secs(1)).await?;
    }
    kill(cx, instance).await
}

/// `_hard_reboot`, and `power_on`: the domain is made anew from the BDMs.
///
/// The BDM's connection_info is trusted: cinder is not asked whether the volume is still exported.
pub async fn hard_reboot(
    cx: &Context<'_>,
    instance: &InstanceId,
    mut volumes: Vec<Bdm>,
) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver._hard_reboot");
    kill(cx, instance).await?;
    if cx.policy().reboot_disconnects {
        cleanup(cx, instance, &volumes, Destroy::ToComeBack).await?;
    } else {
        undefine(cx, instance).await?;
    }
    let disks = connect_volumes(cx, &mut volumes).await?;
    launch(cx, instance, disks).await
}

/// `spawn`: a guest that this host has never had, or has no more.
///
/// A guest that does not start is cleaned up after, volumes and all; what fails before leaves the
/// volumes connected that are (C).
pub async fn spawn(
    cx: &Context<'_>,
    instance: &InstanceId,
    mut volumes: Vec<Bdm>,
) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.driver.LibvirtDriver.spawn");
    let disks = connect_volumes(cx, &mut volumes).await?;
    let body = async {
        if !cx.policy().secret_lookup {
            for info in volumes.iter().filter_map(|b| b.connection_info.as_ref()) {
                let encryption = get_encryption_metadata(cx, info).await?;
                encryptor::attach_volume(cx, info, encryption.as_ref()).await?;
            }
        }
        launch(cx, instance, disks).await
    };
    let Err(e) = body.await else { return Ok(()) };
    cx.error(format!("Failed to start libvirt guest: failed to {e}"));
    if cx.policy().offload_confirms {
        // Whoever takes the server from the host again does so for certain.
        return Err(e);
    }
    destroy(cx, instance, &volumes, Destroy::ForGood).await?;
    Err(e)
}

/// `_get_guest_storage_config`: each volume connected, its connection_info saved.
async fn connect_volumes(
    cx: &Context<'_>,
    volumes: &mut [Bdm],
) -> Result<Vec<GuestDisk>, NovaError> {
    let mut disks = Vec::with_capacity(volumes.len());
    for bdm in volumes {
        // The first failure is raised; what is connected by then stays connected (C).
        let Some(info) = &mut bdm.connection_info else { continue };
        connect_volume(cx, info, None).await?;
        let target = disk_dev(bdm.device_name.as_deref().unwrap_or_default());
        disks.push(guest_disk(cx, info, target));
        let connection_info = Some(Box::new(info.clone()));
        let update = BdmUpdate { connection_info, ..BdmUpdate::default() };
        cx.call(BdmSave { id: bdm.id, update }).await?;
    }
    Ok(disks)
}

/// `_create_guest`: defined, then started.
async fn launch(
    cx: &Context<'_>,
    instance: &InstanceId,
    disks: Vec<GuestDisk>,
) -> Result<(), NovaError> {
    cx.call(DefineXml { instance: instance.clone(), disks }).await.map_err(libvirt_error)?;
    cx.call(Create { instance: instance.clone() }).await.map_err(libvirt_error)
}
