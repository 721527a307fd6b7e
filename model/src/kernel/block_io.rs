//! Where a write to an open SCSI disk ends up, now.
//!
//! The way is: open disk, its session, the target's mapping of that LUN number to this initiator.
//! Each is looked up again for every write: that is how the wrong tenant's data gets written.

use castoff_ports::iscsi::CommandOutput;
use castoff_ports::{DeviceName, VolumeId};

use super::{DeviceHandle, DiskState, Kernel, ScsiDisk};
use crate::fact::Fact;
use crate::storage::{Stamp, Storage};
use crate::world::Step;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// On the blocks of this volume.
    Stored(VolumeId),
    /// Acknowledged out of the page cache of a disk that shows this volume at the moment.
    Cached(VolumeId),
    /// Neither acknowledged nor failed: every path of the map is gone, and it queues.
    Queued,
    /// I/O error: the disk is gone or being deleted, or its LUN serves nothing.
    Failed,
}

impl Kernel {
    /// Opens a block device: `/dev/sdb` or a link in `/dev/disk/by-path/`.
    ///
    /// None when there is no such disk, or when it is being deleted (`ENXIO`).
    pub fn open(&self, path: &str) -> Option<DeviceHandle> {
        if let Some(map) = self.maps.iter().find(|m| m.is_at(path)) {
            return Some(map.handle());
        }
        let name = path.strip_prefix("/dev/")?;
        let disk = match name.strip_prefix("disk/by-path/") {
            Some(link) => self.by_path(link)?,
            None => self.disks.iter().find(|d| d.name.as_str() == name)?,
        };
        (disk.state == DiskState::Running).then(|| disk.handle())
    }

    /// The volume that the opened disk or map showed when it was probed, if it is still there.
    pub fn shown(&self, handle: &DeviceHandle) -> Option<&VolumeId> {
        let map = || self.maps.iter().find(|m| m.generation == handle.generation);
        let disk = self.disks.iter().find(|d| d.is(handle));
        disk.map(|d| &d.volume).or_else(|| map().map(|m| &m.volume))
    }

    /// The volume that a read or write of the opened disk reaches now, past any cache.
    pub fn device_serving<'s>(
        &self,
        storage: &'s Storage,
        handle: &DeviceHandle,
    ) -> Option<&'s VolumeId> {
        if let Some(disk) = self.disks.iter().find(|d| d.is(handle)) {
            return self.serving(storage, disk);
        }
        let map = self.maps.iter().find(|m| m.generation == handle.generation)?;
        self.disks_of(map).find_map(|d| self.serving(storage, d))
    }

    /// Writes one block through the opened disk; the page cache keeps it when there is one.
    pub fn write(&mut self, storage: &mut Storage, handle: &DeviceHandle, stamp: Stamp) -> Written {
        let Some(at) = self.disks.iter().position(|d| d.is(handle)) else {
            return self.write_to_map(storage, handle, stamp);
        };
        let disk = &self.disks[at];
        let serving = self.serving(storage, disk).cloned();
        if self.writeback && disk.state == DiskState::Running {
            let shown = serving.unwrap_or_else(|| disk.volume.clone());
            self.disks[at].dirty.push(stamp);
            return Written::Cached(shown);
        }
        match serving {
            Some(volume) => {
                storage.write(&volume, stamp);
                Written::Stored(volume)
            }
            None => Written::Failed,
        }
    }

    fn write_to_map(
        &mut self,
        storage: &mut Storage,
        handle: &DeviceHandle,
        stamp: Stamp,
    ) -> Written {
        let Some(at) = self.maps.iter().position(|m| m.generation == handle.generation) else {
            return Written::Failed;
        };
        let serving = self.device_serving(storage, handle).cloned();
        match serving {
            serving if self.writeback => {
                let map = &mut self.maps[at];
                map.dirty.push(stamp);
                Written::Cached(serving.unwrap_or_else(|| map.volume.clone()))
            }
            Some(volume) => {
                storage.write(&volume, stamp);
                Written::Stored(volume)
            }
            None => Written::Queued,
        }
    }

    /// `blockdev --flushbufs`: brings what is dirty to whatever the LUN serves now.
    ///
    /// Without dirty data nothing needs the LUN, and a lost link does not fail it. Each write
    /// that reaches a volume here is a [`Fact::GuestWrite`] again, no longer cached.
    pub(super) fn flush(
        &mut self,
        step: &mut Step<'_>,
        storage: &mut Storage,
        name: &DeviceName,
    ) -> CommandOutput {
        let Some(at) = self.disks.iter().position(|d| d.name == *name) else {
            return CommandOutput::failed(
                1,
                format!("blockdev: cannot open /dev/{name}: No such file or directory\n"),
            );
        };
        let disk = &self.disks[at];
        let serving = self.serving(storage, disk).cloned();
        let error = if self.flush_fails {
            Some(format!("blockdev: ioctl error on BLKFLSBUF: Input/output error (/dev/{name})\n"))
        } else if disk.state != DiskState::Running {
            Some(format!("blockdev: cannot open /dev/{name}: No such device or address\n"))
        } else if serving.is_none() && !disk.dirty.is_empty() {
            Some(format!("blockdev: ioctl error on BLKFLSBUF: Input/output error (/dev/{name})\n"))
        } else {
            None
        };
        if let Some(error) = error {
            step.facts.push(Fact::Flushed { device: name.clone(), ok: false });
            return CommandOutput::failed(1, error);
        }
        if let Some(volume) = serving {
            for stamp in self.disks[at].dirty.drain(..) {
                step.facts.push(Fact::GuestWrite {
                    instance: stamp.instance.clone(),
                    volume: stamp.volume.clone(),
                    served_by: Some(volume.clone()),
                    cached: false,
                    seq: stamp.seq,
                });
                storage.write(&volume, stamp);
            }
        }
        step.facts.push(Fact::Flushed { device: name.clone(), ok: true });
        CommandOutput::ok()
    }

    pub(super) fn serving<'s>(
        &self,
        storage: &'s Storage,
        disk: &ScsiDisk,
    ) -> Option<&'s VolumeId> {
        if disk.state != DiskState::Running {
            return None;
        }
        let session = self.sessions.iter().find(|s| s.sid == disk.sid)?;
        if !storage.answers(&session.portal) {
            return None;
        }
        storage.lun(&session.iqn, &self.initiator, disk.lun)
    }
}
