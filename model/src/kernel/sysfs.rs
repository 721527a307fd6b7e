//! What os-brick reads and writes on the host besides `iscsiadm`: sysfs, udev's links, commands.
//!
//! `/dev/disk/by-id` links are udev's and go with their disk here, so removing leftovers of them
//! changes nothing.

use castoff_ports::host::{Call, Reply, ScsiDevice};
use castoff_ports::iscsi::CommandOutput;
use castoff_ports::{DeviceName, Hctl, Lun, Sid, VolumeId};

use super::{DiskState, DmMap, Kernel, Linger, Session};
use crate::hypervisor::Hypervisor;
use crate::storage::Storage;
use crate::world::Step;

impl Kernel {
    /// Carries out one operation on the host.
    pub fn host(
        &mut self,
        step: &mut Step<'_>,
        hypervisor: &Hypervisor,
        storage: &mut Storage,
        call: Call,
    ) -> Reply {
        match call {
            Call::InitiatorName(_) => Reply::InitiatorName(CommandOutput::with_stdout(format!(
                "InitiatorName={}\n",
                self.initiator
            ))),
            Call::MultipathdShowStatus(_) => Reply::MultipathdShowStatus(self.multipathd_status()),
            Call::SessionDevices(c) => Reply::SessionDevices(self.session_devices(c.sid)),
            Call::SessionHctl(c) => Reply::SessionHctl(self.session_hctl(c.sid)),
            Call::ScanLun(c) => Reply::ScanLun(self.scan_lun(step, storage, c.hctl)),
            Call::DeviceExists(c) => Reply::DeviceExists(self.device(&c.device).is_some()),
            Call::RealPath(c) => Reply::RealPath(match self.by_path(&c.by_path) {
                Some(d) => format!("/dev/{}", d.name),
                None => format!("/dev/disk/by-path/{}", c.by_path),
            }),
            Call::ListByPath(c) => Reply::ListByPath(self.list_by_path(&c.prefix)),
            Call::FlushBufs(c) => Reply::FlushBufs(self.flush(step, storage, &c.device)),
            Call::DeleteDevice(c) => {
                Reply::DeleteDevice(self.delete_device(step, hypervisor, &c.device))
            }
            Call::ScsiId(c) => Reply::ScsiId(self.scsi_id(storage, &c.device)),
            Call::CryptsetupOpen(c) => {
                Reply::CryptsetupOpen(self.luks_open(step, &c.device, c.name))
            }
            Call::CryptsetupClose(c) => {
                Reply::CryptsetupClose(self.luks_close(step, hypervisor, &c.name))
            }
            Call::MultipathHolder(c) => {
                Reply::MultipathHolder(self.map_over(&c.device).map(|m| m.dm.to_string()))
            }
            Call::UnlinkByIdLinks(_) => Reply::UnlinkByIdLinks(()),
            Call::JournalRead(_) => Reply::JournalRead(self.journal.entries().to_vec()),
            Call::JournalWrite(c) => {
                self.journal.write(step.facts, *c.entry);
                Reply::JournalWrite(())
            }
            Call::JournalRemove(c) => {
                self.journal.remove(step.facts, &c.volume_id, &c.instance);
                Reply::JournalRemove(())
            }
            Call::TargetHctl(c) => Reply::TargetHctl({
                let sid = self.sessions.iter().find(|s| s.iqn == c.iqn).map(|s| s.sid);
                sid.and_then(|sid| self.session_hctl(sid))
            }),
            Call::ScsiIdOfLink(c) => Reply::ScsiIdOfLink(match self.by_path(&c.by_path) {
                Some(disk) => self.scsi_id(storage, &disk.name),
                None => CommandOutput::failed(1, ""),
            }),
            Call::PathExists(c) => Reply::PathExists(
                self.maps.iter().any(|m| m.is_at(&c.path)) || self.open(&c.path).is_some(),
            ),
            Call::DmName(c) => Reply::DmName(self.map_of(&c.dm).map(|m| m.name.clone())),
            Call::SysfsWwn(c) => Reply::SysfsWwn(match c.dm.and_then(|dm| self.map_of(&dm)) {
                Some(map) => Some(map.wwid.clone()),
                None => c.devices.iter().find_map(|d| self.device(d)).map(|d| self.wwid_of(d)),
            }),
            Call::Lsblk(_) => Reply::Lsblk(self.lsblk()),
            Call::MultipathList(c) => {
                Reply::MultipathList(self.list_maps(self.map_over(&c.device).into_iter()))
            }
            Call::MultipathTopology(_) => {
                Reply::MultipathTopology(self.list_maps(self.maps.iter()))
            }
            Call::MultipathFlush(c) => {
                Reply::MultipathFlush(self.flush_map(step, hypervisor, storage, &c.map))
            }
            Call::MultipathReady(c) => Reply::MultipathReady({
                let serving = |d| self.serving(storage, d).is_some();
                let ready = self.map_of(&c.dm).is_some_and(|m| self.disks_of(m).any(serving));
                CommandOutput { exit: i32::from(!ready), ..CommandOutput::ok() }
            }),
            Call::MultipathAddWwid(c) => {
                let said = format!("wwid '{}' added\n", c.wwid);
                if !self.wwids.contains(&c.wwid) {
                    self.wwids.push(c.wwid);
                }
                Reply::MultipathAddWwid(CommandOutput::with_stdout(said))
            }
            Call::MultipathReload(_) => Reply::MultipathReload(CommandOutput::ok()),
            Call::MultipathdShowPaths(_) => Reply::MultipathdShowPaths(self.show_paths()),
            Call::MultipathdAddPath(c) => Reply::MultipathdAddPath({
                match self.device(&c.device).map(|d| d.generation).filter(|_| self.multipathd) {
                    Some(generation) => {
                        self.consider(generation);
                        CommandOutput::with_stdout("ok\n")
                    }
                    None => CommandOutput::failed(1, "fail\n"),
                }
            }),
            // It has let go of the path with the remove event; asking again is no error.
            Call::MultipathdDelPath(_) => {
                Reply::MultipathdDelPath(CommandOutput::with_stdout("ok\n"))
            }
            Call::MultipathdDelMap(c) => Reply::MultipathdDelMap(self.del_map(hypervisor, &c.map)),
        }
    }

    /// The map of this device, as sysfs names it: not by the map's own name.
    fn map_of(&self, dm: &str) -> Option<&DmMap> {
        self.maps.iter().find(|m| m.dm.as_str() == dm)
    }

    fn multipathd_status(&self) -> CommandOutput {
        if self.multipathd {
            CommandOutput::with_stdout("path checker states:\n\npaths: 0\nbusy: False\n")
        } else {
            // As measured with 0.9.4: without a word. Older ones print `error receiving packet`,
            // some of them with exit 0 (os-brick bug 1789699).
            CommandOutput::failed(1, "")
        }
    }

    fn session_devices(&self, sid: Sid) -> Vec<ScsiDevice> {
        self.disks
            .iter()
            .filter(|d| d.sid == sid)
            .map(|d| ScsiDevice { name: d.name.clone(), hctl: d.hctl })
            .collect()
    }

    fn session_hctl(&self, sid: Sid) -> Option<Hctl> {
        let session = self.sessions.iter().find(|s| s.sid == sid)?;
        Some(Hctl { host: session.host, channel: 0, target: 0, lun: Lun(0) })
    }

    fn scan_lun(&mut self, step: &mut Step<'_>, storage: &Storage, hctl: Hctl) -> CommandOutput {
        let session: Option<Session> = self.sessions.iter().find(|s| s.host == hctl.host).cloned();
        match session {
            Some(session) => {
                self.scan(step.facts, storage, &session, Some(hctl.lun));
                CommandOutput::with_stdout(format!("{} {} {}", hctl.channel, hctl.target, hctl.lun))
            }
            None => CommandOutput::failed(
                1,
                format!(
                    "tee: /sys/class/scsi_host/host{}/scan: No such file or directory\n",
                    hctl.host
                ),
            ),
        }
    }

    fn list_by_path(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .disks
            .iter()
            .filter(|d| d.by_path.starts_with(prefix))
            .map(|d| d.by_path.clone())
            .collect();
        names.sort_unstable();
        names
    }

    /// `1` into `device/delete`: the disk takes no I/O from now on, and goes now or later.
    fn delete_device(
        &mut self,
        step: &mut Step<'_>,
        hypervisor: &Hypervisor,
        name: &DeviceName,
    ) -> CommandOutput {
        let Some(disk) = self.disks.iter_mut().find(|d| d.name == *name) else {
            return CommandOutput::failed(
                1,
                format!("tee: /sys/block/{name}/device/delete: No such file or directory\n"),
            );
        };
        match (disk.state, self.linger) {
            (DiskState::Deleting { .. }, _) => {}
            (DiskState::Running, Some(Linger::Never)) => {
                disk.state = DiskState::Deleting { gone_at: None };
            }
            (DiskState::Running, Some(Linger::For(time))) => {
                disk.state = DiskState::Deleting { gone_at: Some(step.now + time) };
            }
            (DiskState::Running, None) => {
                let generation = disk.generation;
                self.remove_disks(step.facts, hypervisor, true, |d| d.generation == generation);
            }
        }
        // tee says what it was told.
        CommandOutput::with_stdout("1")
    }

    /// `scsi_id` asks the LUN (INQUIRY page 0x83) and not the kernel's memory of the probe: it
    /// names the volume that answers now, or fails when none does.
    fn scsi_id(&self, storage: &Storage, name: &DeviceName) -> CommandOutput {
        let serving =
            self.device(name).and_then(|disk| self.device_serving(storage, &disk.handle()));
        match serving {
            Some(volume) => CommandOutput::with_stdout(format!("{}\n", wwid(volume))),
            None => CommandOutput::failed(1, ""),
        }
    }
}

/// The WWID of a volume: NAA type 6 with LIO's company id, then a hash (FNV-1a) of the volume's
/// id, so that no two LUNs share one: multipathd would merge them.
pub(super) fn wwid(volume: &VolumeId) -> String {
    let hash = volume.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("36001405{hash:025x}")
}
