//! Device-mapper maps over the paths of one volume, and multipathd, which makes and unmakes them.
//!
//! With `find_multipaths yes` a map appears with the second path of a WWID, or with the first when
//! the WWID has been added. A map belongs to the kernel: it outlives multipathd, and a guest that
//! has it open keeps it. Its I/O goes to any path that works; when none does it queues
//! (`queue_if_no_path`, what the arrays of OpenStack's users are told to set), so that a guest hangs
//! instead of seeing an error. `multipath -f` removes only a map that nobody has open. A real one
//! waits for a queueing map's writes without end; here it fails at once (os-brick's limit is 300 s).

use std::fmt::Write as _;

use castoff_ports::iscsi::CommandOutput;
use castoff_ports::{DeviceName, VolumeId};

use super::{DeviceHandle, DiskState, Kernel, ScsiDisk};
use crate::fact::Fact;
use crate::hypervisor::Hypervisor;
use crate::storage::{Stamp, Storage};
use crate::world::Step;

/// A map of device-mapper multipath.
#[derive(Clone, Debug)]
pub struct DmMap {
    /// `dm-0`.
    pub dm: DeviceName,
    /// `mpatha`: `user_friendly_names yes`, Debian's default.
    pub name: String,
    /// As udev writes it.
    pub wwid: String,
    /// The volume that its first path showed.
    pub volume: VolumeId,
    /// Number of the map, counted with the disks.
    pub generation: u32,
    /// Numbers of the disks that are its paths, oldest first.
    pub paths: Vec<u32>,
    /// Acknowledged writes in the page cache that have not reached the LUN.
    pub dirty: Vec<Stamp>,
}

impl DmMap {
    pub(super) fn handle(&self) -> DeviceHandle {
        DeviceHandle { name: self.dm.clone(), generation: self.generation }
    }

    /// `/dev/dm-0`, `/dev/mapper/mpatha` or udev's link.
    pub(super) fn is_at(&self, path: &str) -> bool {
        let Some(name) = path.strip_prefix("/dev/") else { return false };
        name == self.dm.as_str()
            || name.strip_prefix("mapper/") == Some(&self.name)
            || name.strip_prefix("disk/by-id/dm-uuid-mpath-") == Some(&self.wwid)
    }
}

impl Kernel {
    /// The maps, oldest first.
    pub fn maps(&self) -> &[DmMap] {
        &self.maps
    }

    /// The map over a disk.
    pub fn map_over(&self, name: &DeviceName) -> Option<&DmMap> {
        let disk = self.device(name)?;
        self.maps.iter().find(|m| m.paths.contains(&disk.generation))
    }

    pub(super) fn disks_of<'k>(&'k self, map: &'k DmMap) -> impl Iterator<Item = &'k ScsiDisk> {
        map.paths.iter().filter_map(|p| self.disks.iter().find(|d| d.generation == *p))
    }

    /// Whether the loss of this disk takes away what somebody has open.
    pub(super) fn in_use(&self, hypervisor: &Hypervisor, disk: &ScsiDisk) -> bool {
        let last_path = |m: &DmMap| m.paths == [disk.generation];
        hypervisor.has_open(disk.generation)
            || self.maps.iter().any(|m| last_path(m) && hypervisor.has_open(m.generation))
    }

    /// multipathd hears of a new disk from udev, or is asked to look at it.
    pub(super) fn consider(&mut self, generation: u32) {
        let Some(disk) = self.disks.iter().find(|d| d.generation == generation) else { return };
        if !self.multipathd || self.maps.iter().any(|m| m.paths.contains(&generation)) {
            return;
        }
        let (volume, wwid) = (disk.volume.clone(), self.wwid_of(disk));
        if let Some(map) = self.maps.iter_mut().find(|m| m.wwid == wwid) {
            map.paths.push(generation);
            return;
        }
        let same = self.disks.iter().filter(|d| self.wwid_of(d) == wwid);
        let paths: Vec<u32> =
            same.filter(|d| d.state == DiskState::Running).map(|d| d.generation).collect();
        if paths.len() < 2 && !self.wwids.contains(&wwid) {
            return;
        }
        let number = (0..).find(|n| !self.maps.iter().any(|m| m.dm.as_str() == format!("dm-{n}")));
        let number = number.unwrap_or_default();
        let letter = char::from(b'a' + (number % 26) as u8);
        let generation = self.next_generation;
        self.next_generation += 1;
        self.maps.push(DmMap {
            dm: DeviceName::new(format!("dm-{number}")),
            name: format!("mpath{letter}"),
            wwid: wwid.clone(),
            volume,
            generation,
            paths,
            dirty: Vec::new(),
        });
        if !self.wwids.contains(&wwid) {
            self.wwids.push(wwid);
        }
    }

    /// Disks have gone: their maps lose a path, and multipathd removes a map without any that
    /// nobody has open.
    pub(super) fn forget_paths(&mut self, hypervisor: &Hypervisor) {
        if self.maps.is_empty() {
            return;
        }
        let (disks, multipathd) = (&self.disks, self.multipathd);
        for map in &mut self.maps {
            map.paths.retain(|p| disks.iter().any(|d| d.generation == *p));
        }
        self.maps.retain(|m| {
            !m.paths.is_empty()
                || !multipathd
                || hypervisor.has_open(m.generation)
                || !m.dirty.is_empty()
        });
    }

    /// `multipath -f`: what is dirty goes to the LUN, then the map is gone.
    pub(super) fn flush_map(
        &mut self,
        step: &mut Step<'_>,
        hypervisor: &Hypervisor,
        storage: &mut Storage,
        name: &str,
    ) -> CommandOutput {
        // With user_friendly_names a WWID is no map's name, and that is no error (os-brick bug
        // 1663925).
        if self.maps.iter().any(|m| m.wwid == name) {
            return CommandOutput::ok();
        }
        let Some(at) = self.maps.iter().position(|m| m.name == name || m.dm.as_str() == name)
        else {
            return CommandOutput::failed(1, format!("{name}: not a multipath map\n"));
        };
        let map = &self.maps[at];
        let device = map.dm.clone();
        if hypervisor.has_open(map.generation) {
            // 1.12 looks for this text on standard output.
            let text = format!("{name}: map in use\n");
            return CommandOutput { exit: 1, stdout: text.clone(), stderr: text };
        }
        let serving = self.disks_of(map).find_map(|d| self.serving(storage, d)).cloned();
        if self.flush_fails || (serving.is_none() && !map.dirty.is_empty()) {
            step.facts.push(Fact::Flushed { device, ok: false });
            return CommandOutput::failed(1, format!("{name}: failed to flush queued writes\n"));
        }
        let map = self.maps.remove(at);
        if let Some(volume) = serving {
            for stamp in map.dirty {
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
        step.facts.push(Fact::Flushed { device, ok: true });
        CommandOutput::ok()
    }

    /// `multipathd del map`: forgets the map, and removes it when nobody has it open.
    pub(super) fn del_map(&mut self, hypervisor: &Hypervisor, name: &str) -> CommandOutput {
        let Some(at) = self.maps.iter().position(|m| m.name == name).filter(|_| self.multipathd)
        else {
            return CommandOutput::failed(1, "fail\n");
        };
        if hypervisor.has_open(self.maps[at].generation) {
            return CommandOutput::failed(1, "fail\n");
        }
        self.maps.remove(at);
        CommandOutput::with_stdout("ok\n")
    }

    /// `multipathd show paths raw format %d`.
    pub(super) fn show_paths(&self) -> CommandOutput {
        if !self.multipathd {
            // As measured with 0.9.4: without a word.
            return CommandOutput::failed(1, "");
        }
        let mut out = String::with_capacity(8 * self.disks.len().max(1));
        // What is being deleted has had its remove event.
        for d in self.disks.iter().filter(|d| d.state == DiskState::Running) {
            let _ = writeln!(out, "{}", d.name);
        }
        if out.is_empty() {
            // As measured with 0.9.4: multipathd's word for an answer without text.
            out.push_str("ok\n");
        }
        CommandOutput::with_stdout(out)
    }

    /// `multipath -l`, `multipath -ll`: the maps.
    pub(super) fn list_maps<'m>(&self, maps: impl Iterator<Item = &'m DmMap>) -> CommandOutput {
        let mut out = String::new();
        for map in maps {
            let DmMap { name, wwid, dm, .. } = map;
            let _ = writeln!(out, "{name} ({wwid}) {dm} LIO-ORG,volume");
            out.push_str("size=1.0G features='1 queue_if_no_path' hwhandler='1 alua' wp=rw\n");
            for d in self.disks_of(map) {
                let _ = writeln!(
                    out,
                    "`-+- policy='service-time 0' prio=0 status=active\n  `- {} {} 8:16 active undef running",
                    d.hctl, d.name
                );
            }
        }
        CommandOutput::with_stdout(out)
    }

    /// `lsblk -o NAME,RO -l -n`: every path is followed by its map.
    pub(super) fn lsblk(&self) -> CommandOutput {
        let mut out = String::new();
        for disk in &self.disks {
            let _ = writeln!(out, "{}  0", disk.name);
            if let Some(map) = self.map_over(&disk.name) {
                let _ = writeln!(out, "{}  0", map.name);
            }
        }
        CommandOutput::with_stdout(out)
    }
}

#[cfg(test)]
mod tests;
