//! Pausing a guest: in memory (virDomainSuspend), or with its memory on disk (managed save).
//!
//! A paused guest keeps its disks and answers no unplug request before it runs again. A saved one
//! has no QEMU: libvirt starts it with the disks that it had, whatever its persistent config says now.

use castoff_ports::libvirt::{PowerState, error};
use castoff_ports::{InstanceId, Refusal};

use super::{Host, Hypervisor, LiveDisk};
use crate::world::Step;

impl Hypervisor {
    /// virDomainSuspend.
    pub(super) fn suspend(
        &mut self,
        host: &mut Host<'_, '_>,
        instance: &InstanceId,
    ) -> Result<(), Refusal> {
        self.running(instance)?;
        self.switch(host, instance, PowerState::Paused)
    }

    /// virDomainResume.
    pub(super) fn resume(
        &mut self,
        host: &mut Host<'_, '_>,
        instance: &InstanceId,
    ) -> Result<(), Refusal> {
        self.running(instance)?;
        self.switch(host, instance, PowerState::Running)
    }

    /// virDomainManagedSave.
    pub(super) fn managed_save(
        &mut self,
        step: &mut Step<'_>,
        instance: &InstanceId,
    ) -> Result<(), Refusal> {
        let at = self.running(instance)?;
        if !self.domains[at].persistent {
            let message = "Requested operation is not valid: cannot do managed save for transient \
                           domain";
            return Err(Refusal::libvirt(error::OPERATION_INVALID, message));
        }
        // What is plugged is part of the memory: a resume opens it again.
        let disks = self.domains[at].live.iter().map(LiveDisk::config).collect();
        self.domains[at].saved = Some(disks);
        self.domains[at].power = PowerState::Shutdown;
        self.stop(step.facts, at, step.now);
        Ok(())
    }

    fn switch(
        &mut self,
        host: &mut Host<'_, '_>,
        instance: &InstanceId,
        power: PowerState,
    ) -> Result<(), Refusal> {
        let now = host.step.now;
        let facts = &mut *host.step.facts;
        let (kernel, storage) = (&mut *host.kernel, &mut *host.storage);
        self.set_power(facts, kernel, storage, now, instance, power)
    }
}
