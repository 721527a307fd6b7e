//! libvirtd, QEMU and the guests of the compute host.
//!
//! They live on when nova-compute dies. Unplugging a disk is a request that the guest may follow
//! late or never, while libvirt's call says success either way after a few seconds (measured
//! with libvirt 9: 5 s); only the XML and the DEVICE_REMOVED event tell. A guest keeps writing to
//! its disks until it lets go of them, through whatever host device they were opened on.
//!
//! - `domain`: what libvirt knows of a guest.
//! - `hotplug`: attach, detach, what a second request does, the domain's job lock.
//! - `events`: nova's waiters for DEVICE_REMOVED and DEVICE_REMOVAL_FAILED.
//! - `pause`: suspend, resume and managed save.
//! - `lifecycle`: destroy, undefine, define, create; secrets of encrypted volumes.
//! - `guest`: what the guest does: its writes, its letting go, its power.
//! - `happening`: what happens on the host by itself: libvirtd restarts, QEMU dies, a guest reboots.
//! - `qemu`: what a second unplug request does, by QEMU's version and the machine type.

use std::time::Duration;

use castoff_ports::libvirt::{Call, GuestDisk, PowerState, Reply, error};
use castoff_ports::qemu::Qemu;
use castoff_ports::{CallCx, InstanceId, Process, Refusal, SimTime, VolumeId};

use crate::fact::Facts;
use crate::kernel::Kernel;
use crate::release::Release;
use crate::storage::Storage;
use crate::world::{Outcome, Step};

mod domain;
mod events;
mod guest;
mod happening;
mod hotplug;
mod lag;
mod lifecycle;
#[cfg(test)]
mod lifecycle_tests;
mod pause;
#[cfg(test)]
mod properties;
mod qemu;
#[cfg(test)]
mod qemu_tests;
#[cfg(test)]
mod state_machine;
#[cfg(test)]
mod tests;

use domain::{Domain, Job, JobCall, Unplugging, is_live};
pub use domain::{LiveDisk, Unplug};
use events::Waiter;
pub use happening::Happening;
use happening::Libvirtd;

/// Until when guests write by themselves unless a harness says otherwise: it bounds a run.
const WRITES_UNTIL: SimTime = SimTime(30_000_000);

/// What guests do with an unplug request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetsGo {
    /// Let go of the disk after this time.
    After(Duration),
    /// Say no after this time: DEVICE_REMOVAL_FAILED.
    Refuses(Duration),
    /// Never answer (no operating system yet, no hotplug driver).
    Never,
}

/// libvirtd, QEMU and the guests.
#[derive(Clone, Debug)]
pub struct Hypervisor {
    /// How often a guest writes a block to each of its disks; none: only at the moments that
    /// matter (plug, unplug request, letting go).
    pub guest_writes_every: Option<Duration>,
    /// Guests write by themselves up to this time.
    pub guest_writes_until: SimTime,
    /// Device events get lost (libvirtd restarted between request and event, F37).
    pub events_lost: bool,
    /// What runs the guests.
    pub qemu: Qemu,
    libvirtd: Libvirtd,
    /// What happens on the host by itself, in the order in which it was said.
    happenings: Vec<(SimTime, Happening)>,
    /// How much later than QEMU libvirtd hears of a disk that has gone; none: at once.
    pub events_lag: Option<Duration>,
    detach_blocks: Duration,
    device_missing_error: bool,
    lets_go: LetsGo,
    domains: Vec<Domain>,
    waiters: Vec<Waiter>,
    /// Volumes whose passphrase libvirt has.
    secrets: Vec<VolumeId>,
    next_waiter: u32,
    next_seq: u32,
    next_write: SimTime,
}

/// What a transition reaches besides the domains.
struct Host<'a, 'b> {
    step: &'a mut Step<'b>,
    kernel: &'a mut Kernel,
    storage: &'a mut Storage,
}

impl Host<'_, '_> {
    fn io(&mut self) -> Io<'_> {
        Io {
            now: self.step.now,
            facts: self.step.facts,
            kernel: self.kernel,
            storage: self.storage,
        }
    }
}

/// What a guest's I/O reaches.
struct Io<'a> {
    now: SimTime,
    facts: &'a mut Facts,
    kernel: &'a mut Kernel,
    storage: &'a mut Storage,
}

impl Hypervisor {
    /// libvirtd without domains; guests let go after 400 ms, as measured with ACPI hotplug.
    pub fn new(release: &Release) -> Hypervisor {
        Hypervisor {
            guest_writes_every: Some(Duration::from_secs(1)),
            guest_writes_until: WRITES_UNTIL,
            events_lost: false,
            qemu: release.qemu,
            libvirtd: Libvirtd::Up,
            happenings: Vec::new(),
            events_lag: None,
            detach_blocks: release.detach_blocks,
            device_missing_error: release.device_missing_error,
            lets_go: LetsGo::After(Duration::from_millis(400)),
            domains: Vec::new(),
            waiters: Vec::new(),
            secrets: Vec::new(),
            next_waiter: 1,
            next_seq: 1,
            next_write: SimTime::ZERO,
        }
    }

    /// Carries out one call.
    pub fn call(
        &mut self,
        step: &mut Step<'_>,
        cx: &CallCx,
        kernel: &mut Kernel,
        storage: &mut Storage,
        call: Call,
    ) -> Outcome {
        let mut host = Host { step, kernel, storage };
        if let Err(failure) = self.reach_libvirtd(&call) {
            return Outcome::Done(Err(failure));
        }
        let result = match call {
            Call::LookupByUuid(c) => self.domain(&c.instance).map(|_| Reply::LookupByUuid(())),
            Call::GetInfo(c) => self.domain(&c.instance).map(|d| Reply::GetInfo(d.power)),
            Call::IsPersistent(c) => {
                self.domain(&c.instance).map(|d| Reply::IsPersistent(d.persistent))
            }
            Call::XmlDesc(c) => self.xml_desc(&c.instance, c.inactive).map(Reply::XmlDesc),
            Call::BlockStats(c) => return self.job(&mut host, cx, JobCall::Stats(c)),
            Call::AttachDeviceFlags(c) => return self.job(&mut host, cx, JobCall::Attach(c)),
            Call::DetachDeviceFlags(c) => return self.job(&mut host, cx, JobCall::Detach(c)),
            Call::CreateWaiter(c) => {
                Ok(Reply::CreateWaiter(self.create_waiter(cx, c.instance, c.alias)))
            }
            Call::WaitForEvent(c) => return self.wait_for_event(host.step, c.waiter, c.timeout),
            Call::DeleteWaiter(c) => {
                self.delete_waiter(c.waiter);
                Ok(Reply::DeleteWaiter(()))
            }
            Call::CleanupWaiters(c) => {
                self.cleanup_waiters(host.step, &c.instance);
                Ok(Reply::CleanupWaiters(()))
            }
            Call::Suspend(c) => self.suspend(&mut host, &c.instance).map(Reply::Suspend),
            Call::Resume(c) => self.resume(&mut host, &c.instance).map(Reply::Resume),
            Call::ManagedSave(c) => {
                self.managed_save(host.step, &c.instance).map(Reply::ManagedSave)
            }
            Call::Shutdown(c) => self.shutdown(host.step, &c.instance).map(Reply::Shutdown),
            Call::Destroy(c) => self.destroy(host.step, &c.instance).map(Reply::Destroy),
            Call::Undefine(c) => self.undefine(host.step.facts, &c.instance).map(Reply::Undefine),
            Call::DefineXml(c) => {
                self.define(host.step.facts, c.instance, c.disks);
                Ok(Reply::DefineXml(()))
            }
            Call::Create(c) => self.create(&mut host, &c.instance).map(Reply::Create),
            Call::SecretDefine(c) => {
                self.secret_define(host.step.facts, c.volume_id);
                Ok(Reply::SecretDefine(()))
            }
            Call::SecretUndefine(c) => {
                self.secret_undefine(host.step.facts, &c.volume_id).map(Reply::SecretUndefine)
            }
            Call::SecretLookupByUsage(c) => {
                self.secret(&c.volume_id).map(|_| Reply::SecretLookupByUsage(()))
            }
        };
        done(result)
    }

    /// When something happens by itself: a guest answers or writes, a call or a wait times out.
    pub fn next_timer(&self) -> Option<SimTime> {
        let jobs = self.domains.iter().filter_map(|d| d.job.as_ref().map(|j| j.until));
        let answers = self.live_disks().filter_map(|d| match d.unplug {
            Unplug::Pending { answers_at, .. } => answers_at,
            Unplug::Idle | Unplug::Aborted => None,
        });
        let waits = self.waiters.iter().filter_map(Waiter::deadline);
        let happenings = self.happenings.iter().map(|(at, _)| *at);
        let here = jobs.chain(answers).chain(waits).chain(happenings);
        here.chain(self.libvirtd.up_at()).chain(self.next_write()).chain(self.next_heard()).min()
    }

    /// Lets happen what is due: guests write, answer, then calls and waits run out.
    pub fn advance(&mut self, step: &mut Step<'_>, kernel: &mut Kernel, storage: &mut Storage) {
        let mut host = Host { step, kernel, storage };
        self.happen(&mut host);
        self.write_if_due(&mut host);
        self.answer_due_requests(&mut host);
        self.hear_due(&mut host);
        self.end_due_jobs(&mut host);
        self.end_due_waits(host.step);
    }

    /// A process died: its waiters are forgotten, its calls go on without anybody to answer.
    pub fn kill(&mut self, _step: &mut Step<'_>, process: Process, incarnation: u32) {
        let dead = Some((process, incarnation));
        self.waiters.retain(|w| w.owner != (process, incarnation));
        for domain in &mut self.domains {
            for caller in domain
                .job
                .iter_mut()
                .map(|j| &mut j.caller)
                .chain(domain.queue.iter_mut().map(|j| &mut j.caller))
            {
                if *caller == dead {
                    *caller = None;
                }
            }
        }
    }

    /// Every disk of every running guest.
    pub fn live_disks(&self) -> impl Iterator<Item = &LiveDisk> {
        self.domains.iter().flat_map(|d| &d.live)
    }

    /// The disks in a guest's persistent config.
    pub fn config_disks(&self, instance: &InstanceId) -> &[GuestDisk] {
        self.find(instance).map_or(&[], |d| &d.config)
    }

    /// The power state of a guest that libvirt knows.
    pub fn power(&self, instance: &InstanceId) -> Option<PowerState> {
        self.find(instance).map(|d| d.power)
    }

    /// Whether QEMU has this SCSI disk open; `generation` tells a disk from the next of its name.
    pub fn has_open(&self, generation: u32) -> bool {
        self.live_disks().any(|d| d.device.generation == generation)
    }

    fn find(&self, instance: &InstanceId) -> Option<&Domain> {
        self.domains.iter().find(|d| d.id == *instance && d.defined)
    }

    fn position(&self, instance: &InstanceId) -> Result<usize, Refusal> {
        self.domains
            .iter()
            .position(|d| d.id == *instance && d.defined)
            .ok_or_else(|| no_domain(instance))
    }

    fn domain(&self, instance: &InstanceId) -> Result<&Domain, Refusal> {
        self.find(instance).ok_or_else(|| no_domain(instance))
    }

    fn xml_desc(&self, instance: &InstanceId, inactive: bool) -> Result<Vec<GuestDisk>, Refusal> {
        let domain = self.domain(instance)?;
        if inactive && !domain.persistent {
            return Err(transient());
        }
        // The XML of a domain that is shut off is its persistent config.
        if inactive || !domain.is_live() {
            return Ok(domain.config.clone());
        }
        let listed = domain.live.iter().chain(domain.lagging.iter().map(|l| &l.disk));
        Ok(listed.map(LiveDisk::config).collect())
    }
}

fn done(result: Result<Reply, Refusal>) -> Outcome {
    Outcome::Done(result.map(castoff_ports::Reply::Libvirt).map_err(Into::into))
}

fn no_domain(instance: &InstanceId) -> Refusal {
    let message = format!("Domain not found: no domain with matching uuid '{instance}'");
    Refusal::libvirt(error::NO_DOMAIN, message)
}

fn transient() -> Refusal {
    let message =
        "Requested operation is not valid: transient domains do not have any persistent config";
    Refusal::libvirt(error::OPERATION_INVALID, message)
}
