//! A domain's beginning and end as nova drives them, and the secrets of encrypted volumes.
//!
//! Destroying kills QEMU at once: no disk is unplugged, each is closed with it, and a detach that
//! waits for the guest ends. Undefining a running domain leaves it transient. A domain that is
//! defined again (a hard reboot) has exactly the disks of its new XML, whatever it had before.

use castoff_ports::libvirt::{GuestDisk, PowerState, error};
use castoff_ports::{InstanceId, Refusal, VolumeId};

use super::{Domain, Host, Hypervisor, LetsGo};
use crate::fact::{Fact, Facts};
use crate::world::Step;

/// virErrorDomain of libvirt's secret driver (VIR_FROM_SECRET).
const FROM_SECRET: i32 = 30;

impl Hypervisor {
    /// virDomainDestroy.
    pub(super) fn destroy(
        &mut self,
        step: &mut Step<'_>,
        instance: &InstanceId,
    ) -> Result<(), Refusal> {
        let at = self.running(instance)?;
        self.domains[at].power = PowerState::Shutdown;
        self.stop(step.facts, at, step.now);
        Ok(())
    }

    /// virDomainShutdown: a guest that answers unplug requests also follows its power button;
    /// another (no operating system yet, paused) ignores both.
    pub(super) fn shutdown(
        &mut self,
        step: &mut Step<'_>,
        instance: &InstanceId,
    ) -> Result<(), Refusal> {
        let at = self.running(instance)?;
        let follows = match self.lets_go {
            LetsGo::After(_) => self.domains[at].power == PowerState::Running,
            LetsGo::Refuses(_) | LetsGo::Never => false,
        };
        if follows {
            self.domains[at].power = PowerState::Shutdown;
            self.stop(step.facts, at, step.now);
        }
        Ok(())
    }

    pub(super) fn running(&self, instance: &InstanceId) -> Result<usize, Refusal> {
        let at = self.position(instance)?;
        if self.domains[at].is_live() {
            return Ok(at);
        }
        let message = "Requested operation is not valid: domain is not running";
        Err(Refusal::libvirt(error::OPERATION_INVALID, message))
    }

    /// virDomainUndefineFlags.
    pub(super) fn undefine(
        &mut self,
        facts: &mut Facts,
        instance: &InstanceId,
    ) -> Result<(), Refusal> {
        let at = self.position(instance)?;
        if !self.domains[at].persistent {
            return Err(super::transient());
        }
        self.configure(facts, at, Vec::new());
        let domain = &mut self.domains[at];
        // VIR_DOMAIN_UNDEFINE_MANAGED_SAVE.
        domain.saved = None;
        domain.persistent = false;
        domain.defined = domain.is_live();
        Ok(())
    }

    /// virDomainDefineXML.
    pub(super) fn define(
        &mut self,
        facts: &mut Facts,
        instance: InstanceId,
        disks: Vec<GuestDisk>,
    ) {
        self.domains.retain(|d| d.defined || d.id != instance || d.job.is_some());
        let at = match self.position(&instance) {
            Ok(at) => at,
            Err(_) => {
                self.domains.push(Domain::new(instance, true, PowerState::Shutdown));
                self.domains.len() - 1
            }
        };
        self.domains[at].persistent = true;
        self.configure(facts, at, disks);
    }

    /// Replaces a persistent config; what stays in it is no change.
    fn configure(&mut self, facts: &mut Facts, at: usize, disks: Vec<GuestDisk>) {
        let domain = &mut self.domains[at];
        let before = std::mem::replace(&mut domain.config, disks);
        let has = |list: &[GuestDisk], disk: &GuestDisk| {
            list.iter().any(|d| d.target_dev == disk.target_dev)
        };
        let lost = before.iter().filter(|d| !has(&domain.config, d)).map(|d| (d, false));
        let won = domain.config.iter().filter(|d| !has(&before, d)).map(|d| (d, true));
        facts.extend(lost.chain(won).map(|(disk, present)| Fact::DiskConfigured {
            instance: domain.id.clone(),
            target: disk.target_dev.clone(),
            present,
        }));
    }

    /// virDomainCreate: QEMU opens every disk of the config, or the guest does not start.
    pub(super) fn create(
        &mut self,
        host: &mut Host<'_, '_>,
        instance: &InstanceId,
    ) -> Result<(), Refusal> {
        let at = self.position(instance)?;
        if self.domains[at].is_live() {
            let message = "Requested operation is not valid: domain is already running";
            return Err(Refusal::libvirt(error::OPERATION_INVALID, message));
        }
        let now = host.step.now;
        let facts = &mut *host.step.facts;
        let (kernel, storage) = (&mut *host.kernel, &mut *host.storage);
        self.set_power(facts, kernel, storage, now, instance, PowerState::Running)
    }

    /// The disks in the saved memory of a suspended guest.
    pub fn saved_disks(&self, instance: &InstanceId) -> &[GuestDisk] {
        self.find(instance).and_then(|d| d.saved.as_deref()).unwrap_or_default()
    }

    /// virSecretDefineXML: one secret a volume.
    pub(super) fn secret_define(&mut self, facts: &mut Facts, volume: VolumeId) {
        if self.secret(&volume).is_err() {
            facts.push(Fact::Secret { volume: volume.clone(), present: true });
            self.secrets.push(volume);
        }
    }

    /// virSecretUndefine.
    pub(super) fn secret_undefine(
        &mut self,
        facts: &mut Facts,
        volume: &VolumeId,
    ) -> Result<(), Refusal> {
        let at = self.secret(volume)?;
        self.secrets.remove(at);
        facts.push(Fact::Secret { volume: volume.clone(), present: false });
        Ok(())
    }

    /// The volumes whose passphrase libvirt has.
    pub fn secrets(&self) -> &[VolumeId] {
        &self.secrets
    }

    /// Whether libvirt keeps a persistent config of this guest.
    pub fn is_persistent(&self, instance: &InstanceId) -> bool {
        self.find(instance).is_some_and(|d| d.persistent)
    }

    /// virSecretLookupByUsage.
    pub(super) fn secret(&self, volume: &VolumeId) -> Result<usize, Refusal> {
        self.secrets.iter().position(|v| v == volume).ok_or_else(|| Refusal::Libvirt {
            code: error::NO_SECRET,
            domain: FROM_SECRET,
            message: format!("Secret not found: no secret with matching usage '{volume}'"),
        })
    }
}
