//! What os-brick reads and writes on the host besides `iscsiadm`: sysfs, udev's links, commands.
//!
//! `/dev/disk/by-id` links are udev's and go with their disk here, so removing leftovers of them
//! changes nothing; and multipathd, when it runs, has no maps.

use castoff_ports::host::{Call, Reply, ScsiDevice};
use castoff_ports::iscsi::CommandOutput;
use castoff_ports::{DeviceName, Hctl, Lun, Sid, VolumeId};

use super::{DiskState, Kernel, Linger, Session};
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
            Call::MultipathHolder(_) => Reply::MultipathHolder(None),
            Call::UnlinkByIdLinks(_) => Reply::UnlinkByIdLinks(()),
        }
    }

    fn multipathd_status(&self) -> CommandOutput {
        if self.multipathd {
            CommandOutput::with_stdout("path checker states:\n\npaths: 0\nbusy: False\n")
        } else {
            // os-brick bug 1789699: some versions print the text and exit 0.
            CommandOutput::failed(1, "error receiving packet\n")
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
                CommandOutput::ok()
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
                self.remove_disks(step.facts, hypervisor, |d| d.generation == generation);
            }
        }
        CommandOutput::ok()
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
