//! libvirt as nova's driver calls it, and the device events it waits for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Alias, InstanceId, VolumeId};

/// `virErrorNumber` and `virErrorDomain` values that nova looks at (libvirt/virterror.h).
pub mod error {
    /// virErrorDomain of the QEMU driver.
    pub const FROM_QEMU: i32 = 10;
    /// VIR_ERR_INTERNAL_ERROR.
    pub const INTERNAL_ERROR: i32 = 1;
    /// VIR_ERR_INVALID_ARG.
    pub const INVALID_ARG: i32 = 8;
    /// VIR_ERR_OPERATION_FAILED.
    pub const OPERATION_FAILED: i32 = 9;
    /// VIR_ERR_XML_ERROR: what attaching a target that is taken gives.
    pub const XML_ERROR: i32 = 27;
    /// VIR_ERR_NO_DOMAIN.
    pub const NO_DOMAIN: i32 = 42;
    /// VIR_ERR_OPERATION_INVALID.
    pub const OPERATION_INVALID: i32 = 55;
    /// VIR_ERR_NO_SECRET.
    pub const NO_SECRET: i32 = 66;
    /// VIR_ERR_OPERATION_TIMEOUT.
    pub const OPERATION_TIMEOUT: i32 = 68;
    /// VIR_ERR_DEVICE_MISSING (libvirt 4.1 and later).
    pub const DEVICE_MISSING: i32 = 99;
}

/// `virDomainState`, as nova maps it to power_state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerState {
    /// Running.
    Running,
    /// Paused.
    Paused,
    /// Shut off.
    Shutdown,
    /// Crashed.
    Crashed,
}

/// A `<disk>` of a domain, the parts that attach and detach need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuestDisk {
    /// `<target dev>`, for example `vdb`.
    pub target_dev: String,
    /// `<source dev>`, for example `/dev/sdb`.
    pub source_dev: String,
    /// `<serial>`: nova writes the volume id.
    pub serial: Option<VolumeId>,
    /// `<alias name>`: `ua-<volume id>` since nova sets it (2026.1); libvirt's own otherwise.
    pub alias: Option<Alias>,
}

impl GuestDisk {
    /// The disk as libvirt XML, in the form that nova writes for an iSCSI volume.
    pub fn to_xml(&self) -> String {
        let mut xml = String::from(
            "<disk type=\"block\" device=\"disk\">\n  <driver name=\"qemu\" type=\"raw\" cache=\"none\" io=\"native\"/>\n",
        );
        if let Some(alias) = &self.alias {
            xml.push_str(&format!("  <alias name=\"{alias}\"/>\n"));
        }
        xml.push_str(&format!("  <source dev=\"{}\"/>\n", self.source_dev));
        xml.push_str(&format!("  <target dev=\"{}\" bus=\"virtio\"/>\n", self.target_dev));
        if let Some(serial) = &self.serial {
            xml.push_str(&format!("  <serial>{serial}</serial>\n"));
        }
        xml.push_str("</disk>\n");
        xml
    }
}

/// A device event of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceEvent {
    /// VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED.
    Removed,
    /// VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED.
    RemovalFailed,
}

/// A waiter for one device's events, made before the detach is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaiterId(pub u32);

crate::operations!(Libvirt, "libvirt", {
    /// virDomainLookupByUUIDString: refused with NO_DOMAIN.
    LookupByUuid {
        /// The domain's UUID is the instance's.
        instance: InstanceId,
    } -> ();
    /// virDomainGetInfo: the state.
    GetInfo {
        /// The domain.
        instance: InstanceId,
    } -> PowerState;
    /// virDomainIsPersistent.
    IsPersistent {
        /// The domain.
        instance: InstanceId,
    } -> bool;
    /// virDomainGetXMLDesc: the disks in it.
    XmlDesc {
        /// The domain.
        instance: InstanceId,
        /// VIR_DOMAIN_XML_INACTIVE: the persistent config instead of the live one.
        inactive: bool,
    } -> Vec<GuestDisk>;
    /// virDomainBlockStats: asks QEMU itself. INTERNAL_ERROR "cannot find statistics for device" of a
    /// disk that libvirt lists and QEMU does not have.
    BlockStats {
        /// The domain.
        instance: InstanceId,
        /// `<target dev>`.
        target_dev: String,
    } -> ();
    /// virDomainAttachDeviceFlags.
    AttachDeviceFlags {
        /// The domain.
        instance: InstanceId,
        /// The disk.
        disk: GuestDisk,
        /// VIR_DOMAIN_AFFECT_CONFIG.
        config: bool,
        /// VIR_DOMAIN_AFFECT_LIVE.
        live: bool,
    } -> ();
    /// virDomainDetachDeviceFlags: may block (measured: up to 5 s) and returns success either way.
    DetachDeviceFlags {
        /// The domain.
        instance: InstanceId,
        /// The disk, found in the XML before.
        disk: GuestDisk,
        /// VIR_DOMAIN_AFFECT_CONFIG.
        config: bool,
        /// VIR_DOMAIN_AFFECT_LIVE.
        live: bool,
    } -> ();
    /// Nova's AsyncDeviceEventsHandler.create_waiter: must come before the detach.
    CreateWaiter {
        /// The domain.
        instance: InstanceId,
        /// The device.
        alias: Alias,
    } -> WaiterId;
    /// AsyncDeviceEventsHandler.wait: the event, or none after the timeout. The waiter is used up.
    WaitForEvent {
        /// The waiter.
        waiter: WaiterId,
        /// How long to wait.
        timeout: Duration,
    } -> Option<DeviceEvent>;
    /// AsyncDeviceEventsHandler.delete_waiter.
    DeleteWaiter {
        /// The waiter.
        waiter: WaiterId,
    } -> ();
    /// AsyncDeviceEventsHandler.cleanup_waiters: whoever waits for a device of a guest that was
    /// destroyed waits no longer.
    CleanupWaiters {
        /// The domain.
        instance: InstanceId,
    } -> ();
    /// virDomainSuspend: pauses a running guest.
    Suspend {
        /// The domain.
        instance: InstanceId,
    } -> ();
    /// virDomainResume: lets a paused guest run again.
    Resume {
        /// The domain.
        instance: InstanceId,
    } -> ();
    /// virDomainManagedSave: writes the guest's memory to disk and stops QEMU; the next
    /// virDomainCreate goes on from there.
    ManagedSave {
        /// The domain.
        instance: InstanceId,
    } -> ();
    /// virDomainShutdown: asks the guest by ACPI; it follows when it can.
    Shutdown {
        /// The domain.
        instance: InstanceId,
    } -> ();
    /// virDomainDestroy: kills QEMU; OPERATION_INVALID when it does not run.
    Destroy {
        /// The domain.
        instance: InstanceId,
    } -> ();
    /// virDomainUndefineFlags, with managed save and NVRAM.
    Undefine {
        /// The domain.
        instance: InstanceId,
    } -> ();
    /// virDomainDefineXML: the persistent config of a domain, new or over the old one.
    DefineXml {
        /// The domain.
        instance: InstanceId,
        /// The volumes in it.
        disks: Vec<GuestDisk>,
    } -> ();
    /// virDomainCreate: starts a defined domain; it opens its disks.
    Create {
        /// The domain.
        instance: InstanceId,
    } -> ();
    /// virSecretDefineXML and virSecretSetValue: the passphrase of a LUKS volume for QEMU.
    SecretDefine {
        /// Usage id of the secret, usage type volume.
        volume_id: VolumeId,
    } -> ();
    /// virSecretUndefine: refused with NO_SECRET when there is none.
    SecretUndefine {
        /// Usage id of the secret.
        volume_id: VolumeId,
    } -> ();
    /// virSecretLookupByUsage: refused with NO_SECRET when there is none.
    SecretLookupByUsage {
        /// Usage id of a volume's secret.
        volume_id: VolumeId,
    } -> ();
});

fn flags(config: bool, live: bool) -> &'static str {
    match (config, live) {
        (true, true) => "CONFIG|LIVE",
        (true, false) => "CONFIG",
        (false, true) => "LIVE",
        (false, false) => "CURRENT",
    }
}

impl Call {
    /// The call as libvirt's API log would show it.
    pub fn describe(&self) -> String {
        match self {
            Call::LookupByUuid(c) => format!("virDomainLookupByUUIDString {}", c.instance),
            Call::GetInfo(_) => "virDomainGetInfo".to_owned(),
            Call::IsPersistent(_) => "virDomainIsPersistent".to_owned(),
            Call::XmlDesc(c) if c.inactive => "virDomainGetXMLDesc INACTIVE".to_owned(),
            Call::XmlDesc(_) => "virDomainGetXMLDesc".to_owned(),
            Call::BlockStats(c) => format!("virDomainBlockStats {}", c.target_dev),
            Call::AttachDeviceFlags(c) => format!(
                "virDomainAttachDeviceFlags {} source={} {}",
                c.disk.target_dev,
                c.disk.source_dev,
                flags(c.config, c.live)
            ),
            Call::DetachDeviceFlags(c) => format!(
                "virDomainDetachDeviceFlags {} {}",
                c.disk.target_dev,
                flags(c.config, c.live)
            ),
            Call::CreateWaiter(c) => format!("create_waiter {}", c.alias),
            Call::WaitForEvent(c) => {
                format!("wait for DEVICE_REMOVED up to {} s", c.timeout.as_secs())
            }
            Call::DeleteWaiter(_) => "delete_waiter".to_owned(),
            Call::CleanupWaiters(_) => "cleanup_waiters".to_owned(),
            Call::Suspend(_) => "virDomainSuspend".to_owned(),
            Call::Resume(_) => "virDomainResume".to_owned(),
            Call::ManagedSave(_) => "virDomainManagedSave".to_owned(),
            Call::Shutdown(_) => "virDomainShutdown".to_owned(),
            Call::Destroy(_) => "virDomainDestroy".to_owned(),
            Call::Undefine(_) => "virDomainUndefineFlags".to_owned(),
            Call::DefineXml(c) => {
                let disks: Vec<&str> = c.disks.iter().map(|d| d.target_dev.as_str()).collect();
                format!("virDomainDefineXML disks {}", disks.join(" "))
            }
            Call::Create(_) => "virDomainCreate".to_owned(),
            Call::SecretDefine(c) => format!("virSecretDefineXML volume {}", c.volume_id),
            Call::SecretUndefine(c) => format!("virSecretUndefine volume {}", c.volume_id),
            Call::SecretLookupByUsage(c) => {
                format!("virSecretLookupByUsage volume {}", c.volume_id)
            }
        }
    }
}
