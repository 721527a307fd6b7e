//! The compute host's kernel as os-brick sees it: sysfs, udev links, blockdev, multipathd.

use serde::{Deserialize, Serialize};

use crate::iscsi::CommandOutput;
use crate::journal::JournalEntry;
use crate::{DeviceName, Hctl, InstanceId, Iqn, Lun, Portal, Sid, VolumeId};

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
    /// Host, channel and target of the first session to this target that sysfs lists.
    TargetHctl {
        /// The target.
        iqn: Iqn,
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
    /// `cryptsetup luksOpen --key-file=- <device> <name>`: exit 5 when the name is taken.
    CryptsetupOpen {
        /// The path that os-brick returned.
        device: String,
        /// `crypt-<last part of the path>`.
        name: String,
    } -> CommandOutput;
    /// `cryptsetup luksClose <name>`: exit 4 when it is not open, 5 when somebody has it open.
    CryptsetupClose {
        /// As it was opened.
        name: String,
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
    /// The same as `ScsiId` by a link in `/dev/disk/by-path/`.
    ScsiIdOfLink {
        /// Name in `/dev/disk/by-path/`.
        by_path: String,
    } -> CommandOutput;
    /// os.path.exists on any path in `/dev`: `/dev/mapper/mpatha`.
    PathExists {
        /// The whole path.
        path: String,
    } -> bool;
    /// Name of a device-mapper device, from `/sys/block/<dm>/dm/name`; none when there is no such file.
    DmName {
        /// `dm-0`.
        dm: String,
    } -> Option<String>;
    /// The WWID as udev writes it, from `/sys/block/<dm>/dm/uuid` where a map is known, else from
    /// `/sys/block/<device>/device/wwid`; none when neither says.
    SysfsWwn {
        /// Disks of the volume.
        devices: Vec<DeviceName>,
        /// Their map.
        dm: Option<String>,
    } -> Option<String>;
    /// `lsblk -o NAME,RO -l -n`.
    Lsblk {} -> CommandOutput;
    /// `multipath -l /dev/<device>`: the map over this disk, nothing when there is none.
    MultipathList {
        /// `sdb`.
        device: DeviceName,
    } -> CommandOutput;
    /// `multipath -ll`: every map with its paths.
    MultipathTopology {} -> CommandOutput;
    /// `multipath -f <map>`: removes a map that nobody has open.
    MultipathFlush {
        /// `mpatha`, or the WWID without friendly names.
        map: String,
    } -> CommandOutput;
    /// `multipath -C <dm>`: exit 0 when the map has a usable path.
    MultipathReady {
        /// `dm-0`.
        dm: String,
    } -> CommandOutput;
    /// `multipath -a <wwid>`: this WWID is a multipath even with one path.
    MultipathAddWwid {
        /// As udev writes it.
        wwid: String,
    } -> CommandOutput;
    /// `multipath -r`: reloads every map.
    MultipathReload {} -> CommandOutput;
    /// `multipathd show paths raw format %d`: the disks that multipathd watches, one a line.
    MultipathdShowPaths {} -> CommandOutput;
    /// `multipathd add path /dev/<device>`.
    MultipathdAddPath {
        /// `sdb`.
        device: DeviceName,
    } -> CommandOutput;
    /// `multipathd del path /dev/<device>`.
    MultipathdDelPath {
        /// `sdb`.
        device: DeviceName,
    } -> CommandOutput;
    /// `multipathd del map <map>`.
    MultipathdDelMap {
        /// `mpatha`.
        map: String,
    } -> CommandOutput;
    /// Every entry of castoff's journal on this host, by volume and server.
    JournalRead {} -> Vec<JournalEntry>;
    /// Writes one entry in the place of that volume's and server's, durably before it answers.
    JournalWrite {
        /// The entry.
        entry: Box<JournalEntry>,
    } -> ();
    /// Removes one entry; it need not exist.
    JournalRemove {
        /// Its volume.
        volume_id: VolumeId,
        /// Its server.
        instance: InstanceId,
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
            Call::TargetHctl(c) => {
                format!("glob session*/iscsi_session/session*/targetname {}", c.iqn)
            }
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
            Call::CryptsetupOpen(c) => {
                format!("cryptsetup luksOpen --key-file=- {} {}", c.device, c.name)
            }
            Call::CryptsetupClose(c) => format!("cryptsetup luksClose {}", c.name),
            Call::MultipathHolder(c) => format!("glob /sys/block/{}/holders/dm-*", c.device),
            Call::UnlinkByIdLinks(c) => {
                let names: Vec<&str> = c.devices.iter().map(DeviceName::as_str).collect();
                format!("unlink /dev/disk/by-id/scsi-* of {}", names.join(" "))
            }
            Call::ScsiIdOfLink(c) => format!(
                "/lib/udev/scsi_id --page 0x83 --whitelisted /dev/disk/by-path/{}",
                c.by_path
            ),
            Call::PathExists(c) => format!("exists {}", c.path),
            Call::DmName(c) => format!("cat /sys/block/{}/dm/name", c.dm),
            Call::SysfsWwn(c) => match &c.dm {
                Some(dm) => format!("cat /sys/block/{dm}/dm/uuid"),
                None => {
                    let names: Vec<&str> = c.devices.iter().map(DeviceName::as_str).collect();
                    format!("cat /sys/block/{{{}}}/device/wwid", names.join(","))
                }
            },
            Call::Lsblk(_) => "lsblk -o NAME,RO -l -n".to_owned(),
            Call::MultipathList(c) => format!("multipath -l /dev/{}", c.device),
            Call::MultipathTopology(_) => "multipath -ll".to_owned(),
            Call::MultipathFlush(c) => format!("multipath -f {}", c.map),
            Call::MultipathReady(c) => format!("multipath -C {}", c.dm),
            Call::MultipathAddWwid(c) => format!("multipath -a {}", c.wwid),
            Call::MultipathReload(_) => "multipath -r".to_owned(),
            Call::MultipathdShowPaths(_) => "multipathd show paths raw format %d".to_owned(),
            Call::MultipathdAddPath(c) => format!("multipathd add path /dev/{}", c.device),
            Call::MultipathdDelPath(c) => format!("multipathd del path /dev/{}", c.device),
            Call::MultipathdDelMap(c) => format!("multipathd del map {}", c.map),
            Call::JournalRead(_) => "read the journal".to_owned(),
            Call::JournalWrite(c) => {
                format!("journal volume {} {}", c.entry.volume_id, c.entry.step.as_str())
            }
            Call::JournalRemove(c) => format!("journal volume {} done", c.volume_id),
        }
    }
}
