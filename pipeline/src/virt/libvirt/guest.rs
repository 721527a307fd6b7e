//! `nova.virt.libvirt.guest.Guest`: one domain.

use castoff_ports::libvirt::{
    AttachDeviceFlags, BlockStats, DetachDeviceFlags, GetInfo, GuestDisk, IsPersistent,
    LookupByUuid, PowerState, XmlDesc, error,
};
use castoff_ports::{Failure, InstanceId, Refusal, VolumeId};

use crate::context::Context;
use crate::error::NovaError;
use crate::policy::FailedLook;

/// A domain that libvirt knew when it was looked up.
pub struct Guest<'a> {
    /// Process and caller.
    pub cx: &'a Context<'a>,
    /// The server.
    pub instance: &'a InstanceId,
}

/// `Host.get_guest`: InstanceNotFound when libvirt does not know the domain.
pub async fn get_guest<'a>(
    cx: &'a Context<'a>,
    instance: &'a InstanceId,
) -> Result<Guest<'a>, NovaError> {
    match cx.call(LookupByUuid { instance: instance.clone() }).await {
        Ok(()) => Ok(Guest { cx, instance }),
        Err(Failure::Refused(Refusal::Libvirt { code: error::NO_DOMAIN, .. })) => {
            Err(NovaError::InstanceNotFound { instance: instance.clone() })
        }
        Err(e) => Err(libvirt_error(e)),
    }
}

/// A refusal of libvirt under its own name.
pub(super) fn libvirt_error(failure: Failure) -> NovaError {
    match failure {
        Failure::Refused(refusal @ Refusal::Libvirt { .. }) => NovaError::Libvirt(refusal),
        other => NovaError::Failure(other),
    }
}

impl Guest<'_> {
    /// Whether the live config counts: running, or paused (nova bug 1242366).
    pub async fn is_live(&self) -> Result<bool, NovaError> {
        let state = self.cx.call(GetInfo { instance: self.instance.clone() }).await;
        Ok(match state.map_err(libvirt_error)? {
            PowerState::Running => true,
            PowerState::Paused => self.cx.policy().fixes.paused_is_live,
            PowerState::Shutdown | PowerState::Crashed => false,
        })
    }

    /// `has_persistent_configuration`.
    pub async fn is_persistent(&self) -> Result<bool, NovaError> {
        let call = IsPersistent { instance: self.instance.clone() };
        self.cx.call(call).await.map_err(libvirt_error)
    }

    /// The disk in the live or in the persistent config; nova takes *any* error of libvirt for none
    /// (A11).
    ///
    /// The alias is looked for first, each lookup with an XMLDesc of its own, as nova does it.
    pub async fn get_disk(
        &self,
        target_dev: &str,
        volume_id: Option<&VolumeId>,
        inactive: bool,
    ) -> Result<Option<GuestDisk>, NovaError> {
        if self.cx.policy().alias_lookup
            && let Some(volume_id) = volume_id
        {
            let has_alias = |disk: &GuestDisk| {
                let alias = disk.alias.as_ref().map(|a| a.as_str());
                alias.and_then(|a| a.strip_prefix("ua-")) == Some(volume_id.as_str())
            };
            // nova bug 2140347.
            let inactive = inactive && self.cx.policy().fixes.inactive_alias_lookup;
            if let Some(disk) = self.find_disk(inactive, has_alias).await? {
                return Ok(Some(disk));
            }
        }
        self.find_disk(inactive, |disk| disk.target_dev == target_dev).await
    }

    async fn find_disk(
        &self,
        inactive: bool,
        is_it: impl Fn(&GuestDisk) -> bool,
    ) -> Result<Option<GuestDisk>, NovaError> {
        let xml_desc = XmlDesc { instance: self.instance.clone(), inactive };
        match (self.cx.call(xml_desc).await, self.cx.policy().unreadable_xml) {
            (Ok(mut disks), _) => Ok(disks.iter().position(is_it).map(|at| disks.swap_remove(at))),
            (Err(_), FailedLook::NotThere) => Ok(None),
            (Err(e), FailedLook::Error) => Err(libvirt_error(e)),
        }
    }

    /// Whether QEMU has a disk that libvirt lists: libvirtd may hear late that it has gone. Of a
    /// guest that is off its config is the word.
    pub async fn is_in_qemu(&self, disk: &GuestDisk) -> Result<bool, NovaError> {
        let (instance, target_dev) = (self.instance.clone(), disk.target_dev.clone());
        let Err(e) = self.cx.call(BlockStats { instance, target_dev }).await else {
            return Ok(true);
        };
        match e.libvirt() {
            Some((error::INTERNAL_ERROR, m)) if m.contains("cannot find statistics") => Ok(false),
            // libvirt has heard of it since.
            Some((error::INVALID_ARG, _)) => Ok(false),
            Some((error::OPERATION_INVALID, _)) => Ok(true),
            Some(_) | None => Err(libvirt_error(e)),
        }
    }

    /// `attach_device(persistent=True)`.
    pub async fn attach_device(&self, disk: GuestDisk, live: bool) -> Result<(), NovaError> {
        let instance = self.instance.clone();
        let call = AttachDeviceFlags { instance, disk, config: true, live };
        self.cx.call(call).await.map_err(libvirt_error)
    }

    /// `detach_device`: one call to libvirt.
    pub async fn detach_device(
        &self,
        disk: GuestDisk,
        config: bool,
        live: bool,
    ) -> Result<(), NovaError> {
        let instance = self.instance.clone();
        let call = DetachDeviceFlags { instance, disk, config, live };
        self.cx.call(call).await.map_err(libvirt_error)
    }
}
