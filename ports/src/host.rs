//! The compute host's kernel as os-brick sees it: sysfs, udev links, blockdev, multipathd.

use serde::{Deserialize, Serialize};

use crate::iscsi::CommandOutput;
use crate::{DeviceName, Hctl, Iqn, Lun, Portal, Sid};

/// A SCSI disk of an iSCSI session, from sysfs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScsiDevice {
    /// `sdb`.
    pub name: DeviceName,
    /// Its address.
    pub hctl: Hctl,
}

/// The name of a by-path link of udev for an iSCSI disk, without the directory.
pub fn by_path_name(portal: &Portal, iqn: &Iqn, lun: Lun) -> String {
    format!("ip-{portal}-iscsi-{iqn}-lun-{lun}")
}

crate::operations!(Host, "host", {
    /// `cat /etc/iscsi/initiatorname.iscsi`.
    InitiatorName {} -> CommandOutput;
    /// `multipathd show status`.
    MultipathdShowStatus {} -> CommandOutput;
    /// Glob `/sys/class/scsi_host/host*/device/session<sid>/target*/*:*:*:*/block/*`.
    SessionDevices {
        /// The session.
        sid: Sid,
    } -> Vec<ScsiDevice>;
    /// Host, channel and target of a session, from sysfs; the lun is 0 and means nothing.
    SessionHctl {
        /// The session.
        sid: Sid,
    } -> Option<Hctl>;
    /// `tee -a /sys/class/scsi_host/host<h>/scan` with `c t l`.
    ScanLun {
        /// What to scan.
        hctl: Hctl,
    } -> CommandOutput;
    /// os.path.exists on a device node `/dev/<name>`.
    DeviceExists {
        /// `sdb`.
        device: DeviceName,
    } -> bool;
    /// os.path.realpath of a `/dev/disk/by-path/` link; the link's own path when it does not exist.
    RealPath {
        /// Name in `/dev/disk/by-path/`.
        by_path: String,
    } -> String;
    /// Names in `/dev/disk/by-path/` that begin with this, sorted.
    ListByPath {
        /// `ip-<portal>-iscsi-<iqn>-lun-`.
        prefix: String,
    } -> Vec<String>;
    /// `blockdev --flushbufs /dev/<device>`.
    FlushBufs {
        /// `sdb`.
        device: DeviceName,
    } -> CommandOutput;
    /// `tee -a /sys/block/<device>/device/delete` with `1`.
    DeleteDevice {
        /// `sdb`.
        device: DeviceName,
    } -> CommandOutput;
    /// `/lib/udev/scsi_id --page 0x83 --whitelisted /dev/<device>`: the WWID.
    ScsiId {
        /// `sdb`.
        device: DeviceName,
    } -> CommandOutput;
    /// Device-mapper holder of a disk: `/sys/block/<device>/holders/dm-*`.
    MultipathHolder {
        /// `sdb`.
        device: DeviceName,
    } -> Option<String>;
    /// Removes leftover `/dev/disk/by-id/scsi-*` links that point to these devices.
    UnlinkByIdLinks {
        /// The devices that were removed.
        devices: Vec<DeviceName>,
    } -> ();
});

impl Call {
    /// The command or the file access.
    pub fn describe(&self) -> String {
        match self {
            Call::InitiatorName(_) => "cat /etc/iscsi/initiatorname.iscsi".to_owned(),
            Call::MultipathdShowStatus(_) => "multipathd show status".to_owned(),
            Call::SessionDevices(c) => format!("glob session{}/target*/*:*:*:*/block/*", c.sid),
            Call::SessionHctl(c) => format!("glob session{}/target*", c.sid),
            Call::ScanLun(c) => format!(
                "tee -a /sys/class/scsi_host/host{}/scan <<< '{} {} {}'",
                c.hctl.host, c.hctl.channel, c.hctl.target, c.hctl.lun
            ),
            Call::DeviceExists(c) => format!("exists /dev/{}", c.device),
            Call::RealPath(c) => format!("realpath /dev/disk/by-path/{}", c.by_path),
            Call::ListByPath(c) => format!("ls /dev/disk/by-path/{}*", c.prefix),
            Call::FlushBufs(c) => format!("blockdev --flushbufs /dev/{}", c.device),
            Call::DeleteDevice(c) => {
                format!("tee -a /sys/block/{}/device/delete <<< 1", c.device)
            }
            Call::ScsiId(c) => {
                format!("/lib/udev/scsi_id --page 0x83 --whitelisted /dev/{}", c.device)
            }
            Call::MultipathHolder(c) => format!("glob /sys/block/{}/holders/dm-*", c.device),
            Call::UnlinkByIdLinks(c) => {
                let names: Vec<&str> = c.devices.iter().map(DeviceName::as_str).collect();
                format!("unlink /dev/disk/by-id/scsi-* of {}", names.join(" "))
            }
        }
    }
}
