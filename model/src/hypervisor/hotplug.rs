//! Attaching and detaching disks: what libvirt answers, and what a second request does.
//!
//! Both calls take the domain's job lock. A detach keeps it while it waits for the guest, at
//! most [`Release::detach_blocks`](crate::Release::detach_blocks), and then succeeds whether the
//! disk is gone or not; so parallel calls end 5 s and 10 s later (measured). The persistent
//! config changes at once, but in a combined call only after the live part has succeeded.

use castoff_ports::libvirt::{
    AttachDeviceFlags, DetachDeviceFlags, DeviceEvent, GuestDisk, Reply, error,
};
use castoff_ports::{Alias, CallCx, Failure, InstanceId, Process, Refusal, SimTime};

use super::{
    Domain, Host, Hypervisor, Io, Job, JobCall, LiveDisk, Unplug, Unplugging, done, transient,
};
use crate::fact::{Fact, Facts};
use crate::world::{Outcome, Step, Ticket};

/// How a call that got the job lock begins.
enum Begun {
    /// It is over.
    Done(Result<(), Refusal>),
    /// It waits for the guest to let go of this disk.
    Waits { target: String, config: bool, until: SimTime },
}

impl JobCall {
    fn instance(&self) -> &InstanceId {
        match self {
            JobCall::Attach(c) => &c.instance,
            JobCall::Detach(c) => &c.instance,
            JobCall::Stats(c) => &c.instance,
        }
    }
    fn reply(&self) -> Reply {
        match self {
            JobCall::Attach(_) => Reply::AttachDeviceFlags(()),
            JobCall::Detach(_) => Reply::DetachDeviceFlags(()),
            JobCall::Stats(_) => Reply::BlockStats(()),
        }
    }
}

impl Hypervisor {
    /// Runs a call under the domain's job lock, or queues it behind the one that holds it.
    pub(super) fn job(&mut self, host: &mut Host<'_, '_>, cx: &CallCx, call: JobCall) -> Outcome {
        let at = match self.position(call.instance()) {
            Ok(at) => at,
            Err(refusal) => return done(Err(refusal)),
        };
        let caller = Some((cx.process, cx.incarnation));
        if self.domains[at].job.is_some() {
            let ticket = host.step.ticket();
            self.domains[at].queue.push_back(Job { ticket, caller, call });
            return Outcome::Blocked(ticket);
        }
        match self.begin(host, at, &call) {
            Begun::Done(result) => done(result.map(|()| call.reply())),
            Begun::Waits { target, config, until } => {
                let ticket = host.step.ticket();
                self.domains[at].job = Some(Unplugging { ticket, caller, target, config, until });
                Outcome::Blocked(ticket)
            }
        }
    }

    fn begin(&mut self, host: &mut Host<'_, '_>, at: usize, call: &JobCall) -> Begun {
        match call {
            JobCall::Attach(c) => Begun::Done(self.attach(host, at, c)),
            JobCall::Detach(c) => match self.detach(host, at, c) {
                Ok(begun) => begun,
                Err(refusal) => Begun::Done(Err(refusal)),
            },
            JobCall::Stats(c) => Begun::Done(self.block_stats(at, &c.target_dev)),
        }
    }

    fn attach(
        &mut self,
        host: &mut Host<'_, '_>,
        at: usize,
        call: &AttachDeviceFlags,
    ) -> Result<(), Refusal> {
        let domain = &self.domains[at];
        let (config, live) = affected(domain, call.config, call.live)?;
        let target = &call.disk.target_dev;
        let taken = |source: &str| {
            let message = format!(
                "XML error: target '{target}' duplicated for disk sources '{source}' and '{}'",
                call.disk.source_dev
            );
            Refusal::libvirt(error::XML_ERROR, message)
        };
        if config && let Some(d) = domain.config.iter().find(|d| d.target_dev == *target) {
            return Err(taken(&d.source_dev));
        }
        if live && let Some(d) = domain.live.iter().find(|d| d.target == *target) {
            return Err(taken(&d.source_dev));
        }
        if live {
            self.plug(&mut host.io(), at, &call.disk)?;
        }
        if config {
            self.domains[at].config.push(call.disk.clone());
            host.step.facts.push(Fact::DiskConfigured {
                instance: call.instance.clone(),
                target: target.clone(),
                present: true,
            });
        }
        Ok(())
    }

    /// QEMU opens the host device and the guest sees a new disk, which it writes to at once.
    pub(super) fn plug(
        &mut self,
        io: &mut Io<'_>,
        at: usize,
        disk: &GuestDisk,
    ) -> Result<(), Refusal> {
        let opened = io.kernel.open(&disk.source_dev);
        let Some((device, shown)) = opened
            .and_then(|device| io.kernel.shown(&device).cloned().map(|volume| (device, volume)))
        else {
            return Err(Refusal::libvirt(
                error::OPERATION_FAILED,
                format!(
                    "operation failed: Could not open '{}': No such file or directory",
                    disk.source_dev
                ),
            ));
        };
        let domain = &mut self.domains[at];
        let live = LiveDisk {
            instance: domain.id.clone(),
            target: disk.target_dev.clone(),
            volume: disk.serial.clone().unwrap_or(shown),
            device,
            alias: disk.alias.clone().unwrap_or_else(|| own_alias(&disk.target_dev)),
            source_dev: disk.source_dev.clone(),
            serial: disk.serial.clone(),
            unplug: Unplug::Idle,
        };
        io.facts.push(Fact::DiskPlugged {
            instance: live.instance.clone(),
            target: live.target.clone(),
            volume: live.volume.clone(),
            device: live.device.name.clone(),
        });
        domain.live.push(live);
        let last = domain.live.len() - 1;
        self.arm_writes(io.now);
        self.guest_write(io, at, last);
        Ok(())
    }

    fn detach(
        &mut self,
        host: &mut Host<'_, '_>,
        at: usize,
        call: &DetachDeviceFlags,
    ) -> Result<Begun, Refusal> {
        let domain = &self.domains[at];
        let (config, live) = affected(domain, call.config, call.live)?;
        let target = &call.disk.target_dev;
        // A combined call on a disk that only the live config has left fails here, before the
        // guest is asked (nova bug 1707238: it must then be asked for the live one alone).
        if config && !domain.config.iter().any(|d| d.target_dev == *target) {
            return Err(self.missing(format!("no target device {target}"), error::INVALID_ARG));
        }
        if !live {
            self.remove_config(host.step.facts, at, target);
            return Ok(Begun::Done(Ok(())));
        }
        let Some(disk) = domain.live.iter().position(|d| d.target == *target) else {
            if let Some(not_found) = self.not_in_qemu(at, target) {
                return Err(not_found);
            }
            return Err(self.missing(format!("disk {target} not found"), error::OPERATION_FAILED));
        };
        self.guest_write(&mut host.io(), at, disk);
        self.request_unplug(host.step, at, disk)?;
        if self.detach_blocks.is_zero() {
            if config {
                self.remove_config(host.step.facts, at, target);
            }
            return Ok(Begun::Done(Ok(())));
        }
        let until = host.step.now + self.detach_blocks;
        Ok(Begun::Waits { target: target.clone(), config, until })
    }

    /// Lets guests answer the requests that are due; then the calls that waited for them end.
    pub(super) fn answer_due_requests(&mut self, host: &mut Host<'_, '_>) {
        for at in 0..self.domains.len() {
            // Backwards: an answered disk may leave the list.
            for disk in (0..self.domains[at].live.len()).rev() {
                let Unplug::Pending { answers_at: Some(due), refuses, .. } =
                    self.domains[at].live[disk].unplug
                else {
                    continue;
                };
                if due > host.step.now {
                    continue;
                }
                if refuses {
                    self.refuse_unplug(host, at, disk);
                } else {
                    self.unplug(host, at, disk);
                }
            }
        }
    }

    fn unplug(&mut self, host: &mut Host<'_, '_>, at: usize, disk: usize) {
        self.guest_write(&mut host.io(), at, disk);
        self.remove_live(host, at, disk);
    }

    /// QEMU takes the disk from the guest and says so.
    pub(super) fn remove_live(&mut self, host: &mut Host<'_, '_>, at: usize, disk: usize) {
        let disk = self.domains[at].live.remove(disk);
        host.step.facts.push(Fact::DiskUnplugged {
            instance: disk.instance.clone(),
            target: disk.target.clone(),
            volume: disk.volume.clone(),
        });
        self.removed(host, at, disk);
    }

    /// The guest said no (ACPI _OST, DEVICE_UNPLUG_GUEST_ERROR): a waiting call fails with it.
    fn refuse_unplug(&mut self, host: &mut Host<'_, '_>, at: usize, disk: usize) {
        let disk = &mut self.domains[at].live[disk];
        disk.unplug = Unplug::Idle;
        let (instance, alias) = (disk.instance.clone(), disk.alias.clone());
        let target = disk.target.clone();
        self.emit(host.step, &instance, &alias, DeviceEvent::RemovalFailed);
        let message = "operation failed: unplug of device was rejected by the guest";
        let refusal = Refusal::libvirt(error::OPERATION_FAILED, message);
        self.end_job_on(host, at, &target, Err(refusal));
    }

    pub(super) fn end_job_on(
        &mut self,
        host: &mut Host<'_, '_>,
        at: usize,
        target: &str,
        result: Result<(), Refusal>,
    ) {
        if self.domains[at].job.as_ref().is_some_and(|j| j.target == target) {
            self.end_job(host, at, result);
        }
    }

    /// Ends the calls that have waited long enough: with success, the disk gone or not.
    pub(super) fn end_due_jobs(&mut self, host: &mut Host<'_, '_>) {
        for at in 0..self.domains.len() {
            if self.domains[at].job.as_ref().is_some_and(|j| j.until <= host.step.now) {
                self.end_job(host, at, Ok(()));
            }
        }
    }

    /// Ends the call that holds the job lock, and begins those that wait for the lock.
    fn end_job(&mut self, host: &mut Host<'_, '_>, at: usize, result: Result<(), Refusal>) {
        let Some(job) = self.domains[at].job.take() else { return };
        if job.config && result.is_ok() {
            self.remove_config(host.step.facts, at, &job.target);
        }
        let result = result.map(|()| Reply::DetachDeviceFlags(()));
        answer(host.step, job.ticket, job.caller, result);
        while let Some(Job { ticket, caller, call }) = self.domains[at].queue.pop_front() {
            let begun = if self.domains[at].defined {
                self.begin(host, at, &call)
            } else {
                Begun::Done(Err(super::no_domain(call.instance())))
            };
            match begun {
                Begun::Done(result) => {
                    answer(host.step, ticket, caller, result.map(|()| call.reply()));
                }
                Begun::Waits { target, config, until } => {
                    self.domains[at].job =
                        Some(Unplugging { ticket, caller, target, config, until });
                    return;
                }
            }
        }
    }

    fn remove_config(&mut self, facts: &mut Facts, at: usize, target: &str) {
        let domain = &mut self.domains[at];
        let before = domain.config.len();
        domain.config.retain(|d| d.target_dev != target);
        if domain.config.len() < before {
            facts.push(Fact::DiskConfigured {
                instance: domain.id.clone(),
                target: target.to_owned(),
                present: false,
            });
        }
    }

    /// libvirt's word for a device that is not there; it got an error code of its own in 4.1.
    fn missing(&self, what: String, code_before: i32) -> Refusal {
        let (code, prefix) = if self.device_missing_error {
            (error::DEVICE_MISSING, "device not found")
        } else if code_before == error::INVALID_ARG {
            (code_before, "invalid argument")
        } else {
            (code_before, "operation failed")
        };
        Refusal::libvirt(code, format!("{prefix}: {what}"))
    }
}

/// Which configs a call changes: virDomainObjUpdateModificationImpact.
fn affected(domain: &Domain, config: bool, live: bool) -> Result<(bool, bool), Refusal> {
    let running = domain.is_live();
    let (config, live) = if config || live { (config, live) } else { (!running, running) };
    if live && !running {
        let message = "Requested operation is not valid: domain is not running";
        return Err(Refusal::libvirt(error::OPERATION_INVALID, message));
    }
    // nova bug 1669857: asking for the config of a transient domain is an error.
    if config && !domain.persistent {
        return Err(transient());
    }
    Ok((config, live))
}

/// libvirt's own alias: `virtio-disk<n>` of the n-th name, counted from `vda`.
fn own_alias(target: &str) -> Alias {
    let letters = target.get(2..).unwrap_or_default();
    let nth = letters.bytes().fold(0_u32, |n, b| {
        n.saturating_mul(26).saturating_add(u32::from(b.saturating_sub(b'a')) + 1)
    });
    Alias::new(format!("virtio-disk{}", nth.saturating_sub(1)))
}

fn answer(
    step: &mut Step<'_>,
    ticket: Ticket,
    caller: Option<(Process, u32)>,
    result: Result<Reply, Refusal>,
) {
    if caller.is_some() {
        let result = result.map(castoff_ports::Reply::Libvirt).map_err(Failure::from);
        step.completed.push((ticket, result));
    }
}
