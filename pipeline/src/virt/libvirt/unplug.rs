//! How a guest is made to let go of a disk (A11, A12).
//!
//! libvirt answers an unplug of a running guest before the guest has done it, and says success
//! even if it never will. pike asks again and looks at the XML (`detach_device_with_retry`);
//! 2026.1 waits for libvirt's event before it asks again (`_detach_with_retry`), because QEMU 4.2
//! aborts an unplug that is asked for twice (nova bug 1882521).

use std::time::Duration;

use castoff_ports::libvirt::{
    CreateWaiter, DeleteWaiter, DeviceEvent, GuestDisk, WaitForEvent, error,
};
use castoff_ports::{Refusal, VolumeId};

use super::guest::{Guest, libvirt_error};
use crate::error::NovaError;
use crate::policy::Unplug;

/// One unplug: the guest, the disk, and which configs it may be in.
struct Device<'a> {
    guest: &'a Guest<'a>,
    name: &'a str,
    volume_id: Option<&'a VolumeId>,
    live: bool,
    persistent: bool,
}

/// Takes the disk out of the guest, by the policy's way.
///
/// # Errors
/// DeviceNotFound when the guest does not have it; DeviceDetachFailed when it does not let go.
pub async fn detach_device(
    guest: &Guest<'_>,
    name: &str,
    volume_id: Option<&VolumeId>,
) -> Result<(), NovaError> {
    let policy = guest.cx.policy();
    let live = guest.is_live().await?;
    // nova bug 1669857: a transient domain has no config to change.
    let persistent = !policy.check_is_persistent || guest.is_persistent().await?;
    let device = Device { guest, name, volume_id, live, persistent };
    match policy.unplug {
        Unplug::Poll { max_retry_count, inc_sleep_time, max_sleep_time } => {
            let sleeps = (1..=max_retry_count)
                .map(|n| n.saturating_mul(inc_sleep_time).min(max_sleep_time))
                .map(|s| Duration::from_secs(s.into()));
            guest.cx.station("nova.virt.libvirt.guest.Guest.detach_device_with_retry");
            device.detach_device_with_retry(sleeps).await
        }
        Unplug::Once => {
            guest.cx.station("nova.virt.libvirt.guest.Guest.detach_device");
            match device.get_disk(false).await? {
                Some(disk) => device.first_request(disk).await,
                None => Err(device.not_found()),
            }
        }
        Unplug::AwaitEvents { attempts, timeout_s } => {
            guest.cx.station("nova.virt.libvirt.driver.LibvirtDriver._detach_with_retry");
            device.detach_with_retry(attempts, Duration::from_secs(timeout_s.into())).await
        }
    }
}

impl Device<'_> {
    async fn get_disk(&self, inactive: bool) -> Result<Option<GuestDisk>, NovaError> {
        self.guest.get_disk(self.name, self.volume_id, inactive).await
    }

    fn not_found(&self) -> NovaError {
        NovaError::DeviceNotFound {
            device: self.name.to_owned(),
            instance: self.guest.instance.clone(),
        }
    }

    fn failed(&self, reason: &'static str) -> NovaError {
        NovaError::DeviceDetachFailed {
            device: self.name.to_owned(),
            instance: self.guest.instance.clone(),
            reason,
        }
    }

    /// `Guest.detach_device_with_retry`: a look, another request and a sleep, until it is gone.
    async fn detach_device_with_retry(
        &self,
        mut sleeps: impl Iterator<Item = Duration>,
    ) -> Result<(), NovaError> {
        // Of a guest that is not running, the "live" XML is the persistent one.
        let Some(disk) = self.get_disk(false).await? else { return Err(self.not_found()) };
        self.first_request(disk).await?;
        while let Some(disk) = self.get_disk(false).await? {
            self.try_detach_device(disk, false, self.live).await?;
            match sleeps.next() {
                Some(sleep) => self.guest.cx.port.sleep(sleep).await?,
                None => return Err(self.failed("Unable to detach from guest transient domain.")),
            }
        }
        Ok(())
    }

    /// Both configs in one call, or the persistent one first.
    async fn first_request(&self, disk: GuestDisk) -> Result<(), NovaError> {
        if !(self.guest.cx.policy().persistent_first && self.live && self.persistent) {
            return self.try_detach_device(disk, self.persistent, self.live).await;
        }
        match self.try_detach_device(disk.clone(), true, false).await {
            // nova bug 1707238: not in the persistent config says nothing of the live one.
            Ok(()) | Err(NovaError::DeviceNotFound { .. }) => {}
            Err(e) => return Err(e),
        }
        self.try_detach_device(disk, false, true).await
    }

    /// `_try_detach_device`: which errors of libvirt mean that the disk is not there.
    async fn try_detach_device(
        &self,
        disk: GuestDisk,
        config: bool,
        live: bool,
    ) -> Result<(), NovaError> {
        let result = self.guest.detach_device(disk, config, live).await;
        let Err(NovaError::Libvirt(Refusal::Libvirt { code, message, .. })) = &result else {
            return result;
        };
        match *code {
            // nova bug 1891547: AttributeError, whatever libvirt has said.
            _ if !self.guest.cx.policy().fixes.libvirt_errors_handled => result,
            // nova bug 1633236: the persistent config says it so.
            error::INVALID_ARG
                if self.guest.cx.policy().no_target_device_error
                    && message.contains("no target device") =>
            {
                Err(self.not_found())
            }
            code if self.is_missing(code, message) => Err(self.not_found()),
            code if self.is_in_progress(code, message) => Ok(()),
            _ => result,
        }
    }

    fn is_missing(&self, code: i32, message: &str) -> bool {
        match code {
            // nova bug 1887946.
            error::DEVICE_MISSING => self.guest.cx.policy().device_missing_error,
            error::OPERATION_FAILED => message.contains("not found"),
            // nova bug 1815949: libvirt still lists what QEMU has removed.
            error::INTERNAL_ERROR => {
                self.guest.cx.policy().fixes.qemu_not_found_known && message.contains("not found")
            }
            _ => false,
        }
    }

    fn is_in_progress(&self, code: i32, message: &str) -> bool {
        self.guest.cx.policy().ignore_unplug_in_progress
            && code == error::INTERNAL_ERROR
            && message.contains("already in the process of unplug")
    }

    /// `LibvirtDriver._detach_with_retry`: persistent config once, live config until the event.
    async fn detach_with_retry(&self, attempts: u32, timeout: Duration) -> Result<(), NovaError> {
        if !self.live && !self.persistent {
            return Ok(());
        }
        let in_config = if self.persistent { self.get_disk(true).await? } else { None };
        let in_live = if self.live { self.get_disk(false).await? } else { None };
        if in_config.is_none() && in_live.is_none() {
            return Err(self.not_found());
        }
        // Together with the first live request where the policy does not keep the two apart.
        let together = !self.guest.cx.policy().persistent_first && in_live.is_some();
        let with_config = together && in_config.is_some();
        if let Some(disk) = in_config
            && !together
        {
            self.detach_from_persistent(disk, in_live.is_some()).await?;
        }
        match in_live {
            None => Ok(()),
            Some(disk) => self.detach_from_live(disk, with_config, attempts, timeout).await,
        }
    }

    /// `_detach_from_persistent`: synchronous, so asked for once; it is looked after.
    async fn detach_from_persistent(
        &self,
        disk: GuestDisk,
        in_live: bool,
    ) -> Result<(), NovaError> {
        let cx = self.guest.cx;
        match self.detach_sync(disk, true, false).await {
            Err(e @ NovaError::DeviceNotFound { .. }) if !in_live => return Err(e),
            Err(NovaError::DeviceNotFound { .. }) => {
                cx.warning(format!(
                    "Libvirt reported sync error while detaching device {} from the persistent \
                     domain config. Ignoring the error to proceed with live detach.",
                    self.name
                ));
                return Ok(());
            }
            other => other?,
        }
        if self.get_disk(true).await?.is_some() {
            cx.warning(format!(
                "Failed to detach device {} of instance {} from the persistent domain config. \
                 Libvirt did not report any error but the device is still in the config.",
                self.name, self.guest.instance
            ));
        }
        Ok(())
    }

    /// `_detach_from_live_with_retry`.
    async fn detach_from_live(
        &self,
        mut disk: GuestDisk,
        with_config: bool,
        attempts: u32,
        timeout: Duration,
    ) -> Result<(), NovaError> {
        for attempt in 0..attempts {
            self.detach_from_live_and_wait(disk, with_config && attempt == 0, timeout).await?;
            match self.get_disk(false).await? {
                None => return Ok(()),
                Some(still_there) => disk = still_there,
            }
        }
        Err(self.failed("Run out of retry, device is still attached to the guest."))
    }

    /// `_detach_from_live_and_wait_for_event`: the waiter comes before the request.
    async fn detach_from_live_and_wait(
        &self,
        disk: GuestDisk,
        config: bool,
        timeout: Duration,
    ) -> Result<(), NovaError> {
        let cx = self.guest.cx;
        let Some(alias) = disk.alias.clone() else {
            return Err(NovaError::DeviceWithoutAlias { device: self.name.to_owned() });
        };
        let instance = self.guest.instance.clone();
        let waiter = cx.call(CreateWaiter { instance, alias }).await.map_err(libvirt_error)?;
        if let Err(e) = self.detach_sync(disk, config, true).await {
            cx.call(DeleteWaiter { waiter }).await.map_err(libvirt_error)?;
            return Err(e);
        }
        match cx.call(WaitForEvent { waiter, timeout }).await.map_err(libvirt_error)? {
            Some(DeviceEvent::Removed) => Ok(()),
            Some(DeviceEvent::RemovalFailed) => {
                Err(self.failed("DeviceRemovalFailedEvent received from libvirt"))
            }
            None => {
                // nova bug 1972023: a warning, as the next attempt may do.
                cx.warning(format!(
                    "Waiting for libvirt event about the detach of device {} from instance {} is \
                     timed out.",
                    self.name, self.guest.instance
                ));
                Ok(())
            }
        }
    }

    /// `_detach_sync`: what libvirt says at once.
    async fn detach_sync(
        &self,
        disk: GuestDisk,
        config: bool,
        live: bool,
    ) -> Result<(), NovaError> {
        let cx = self.guest.cx;
        let result = self.guest.detach_device(disk, config, live).await;
        let Err(NovaError::Libvirt(Refusal::Libvirt { code, message, .. })) = &result else {
            return result;
        };
        match *code {
            // nova bug 1891547.
            _ if !cx.policy().fixes.libvirt_errors_handled => result,
            code if self.is_missing(code, message) => Err(self.not_found()),
            code if self.is_in_progress(code, message) => Ok(()),
            error::NO_DOMAIN => {
                let instance = self.guest.instance;
                cx.warning(format!("During device detach, instance {instance} disappeared."));
                Ok(())
            }
            _ => {
                let name = self.name;
                cx.warning(format!("Unexpected libvirt error detaching device {name}: {message}"));
                result
            }
        }
    }
}
