//! LUKS mappings: what cryptsetup lays between a SCSI disk and a guest (pike's encryptor).
//!
//! The link that QEMU opens is pointed at the mapping afterwards, so a guest's disk still names the
//! disk below. Nothing keeps that disk from being deleted under an open mapping: whoever closes too
//! late leaves a mapping of a disk that has gone.

use castoff_ports::iscsi::CommandOutput;

use super::Kernel;
use crate::fact::Fact;
use crate::hypervisor::Hypervisor;
use crate::world::Step;

/// cryptsetup(8): wrong device specified, or not active.
const WRONG_DEVICE: i32 = 4;
/// cryptsetup(8): the device already exists, or is busy.
const BUSY: i32 = 5;

impl Kernel {
    /// The names of the open mappings, oldest first.
    pub fn crypts(&self) -> impl Iterator<Item = &str> {
        self.crypts.iter().map(|(name, _)| name.as_str())
    }

    /// The open mappings with the disk below each; none when that disk has gone.
    pub fn crypts_over(&self) -> impl Iterator<Item = (&str, Option<&super::ScsiDisk>)> {
        let below = |generation: u32| self.disks.iter().find(|d| d.generation == generation);
        self.crypts.iter().map(move |(name, generation)| (name.as_str(), below(*generation)))
    }

    pub(super) fn luks_open(
        &mut self,
        step: &mut Step<'_>,
        device: &str,
        name: String,
    ) -> CommandOutput {
        if self.crypts().any(|n| n == name) {
            return CommandOutput::failed(BUSY, format!("Device {name} already exists."));
        }
        let Some(disk) = self.open(device) else {
            let text = format!("Device {device} does not exist or access denied.");
            return CommandOutput::failed(WRONG_DEVICE, text);
        };
        step.facts.push(Fact::Crypt { name: name.clone(), open: true });
        self.crypts.push((name, disk.generation));
        CommandOutput::ok()
    }

    pub(super) fn luks_close(
        &mut self,
        step: &mut Step<'_>,
        hypervisor: &Hypervisor,
        name: &str,
    ) -> CommandOutput {
        let Some(at) = self.crypts.iter().position(|(n, _)| n == name) else {
            return CommandOutput::failed(WRONG_DEVICE, format!("Device {name} is not active."));
        };
        // nova bug 1642628: closed under a guest that still has it.
        if hypervisor.has_open(self.crypts[at].1) {
            return CommandOutput::failed(BUSY, format!("Device {name} is still in use."));
        }
        self.crypts.remove(at);
        step.facts.push(Fact::Crypt { name: name.to_owned(), open: false });
        CommandOutput::ok()
    }
}
