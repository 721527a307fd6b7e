//! Which calls touch only what was named on the command line; the rest never run.
//!
//! A call that changes something is checked against the named domains and targets before it is
//! carried out, and a disk is traced through sysfs to the session and target it came through.
//! Calls that only read the host's state (`iscsiadm -m session`, sysfs) pass: os-brick's algorithm
//! needs the whole picture to see who else uses a session.

use castoff_ports::{
    DeviceName, Failure, InstanceId, Iqn, Portal, Refusal, Sid, host, iscsi, libvirt,
};
use std::path::Path;

use crate::sysfs::{Sysfs, real_path};

/// What may be touched.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// Domains by UUID.
    pub(crate) domains: Vec<InstanceId>,
    /// Targets.
    pub(crate) targets: Vec<(Portal, Iqn)>,
}

/// What sysfs says about a device that a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is there and came through a named target.
    Named,
    /// There is no such device or SCSI host. Whatever takes the name next is not what the caller means, so the
    /// call must not run.
    Gone,
}

impl Guard {
    /// Whether a libvirt call stays with the named domains and, for an attach, the named targets.
    pub(crate) fn libvirt(&self, call: &libvirt::Call, sysfs: &Sysfs) -> Result<(), Failure> {
        use libvirt::Call;
        match call {
            Call::LookupByUuid(c) => self.domain(&c.instance),
            Call::GetInfo(c) => self.domain(&c.instance),
            Call::IsPersistent(c) => self.domain(&c.instance),
            Call::XmlDesc(c) => self.domain(&c.instance),
            Call::AttachDeviceFlags(c) => {
                self.domain(&c.instance)?;
                // Another disk of the host, given to a guest, is the worst that could happen.
                self.source(&c.disk.source_dev, sysfs)
            }
            Call::DetachDeviceFlags(c) => self.domain(&c.instance),
            Call::CreateWaiter(c) => self.domain(&c.instance),
            // A waiter was checked when it was made; a secret is only looked up.
            Call::WaitForEvent(_) | Call::DeleteWaiter(_) | Call::SecretLookupByUsage(_) => Ok(()),
        }
    }

    /// Whether an iscsiadm command stays with the named targets.
    pub(crate) fn iscsi(&self, call: &iscsi::Call) -> Result<(), Failure> {
        use iscsi::Call;
        match call {
            Call::Discoverydb(_) | Call::Nodes(_) | Call::Sessions(_) => Ok(()),
            Call::Node(c) => self.target(&c.portal, &c.iqn),
            Call::NodeNew(c) => self.target(&c.portal, &c.iqn),
            Call::NodeUpdate(c) => self.target(&c.portal, &c.iqn),
            Call::Login(c) => self.target(&c.portal, &c.iqn),
            Call::Rescan(c) => self.target(&c.portal, &c.iqn),
            Call::Logout(c) => self.target(&c.portal, &c.iqn),
            Call::NodeDelete(c) => self.target(&c.portal, &c.iqn),
        }
    }

    /// Whether a call on the kernel stays with the named targets' disks, and whether the device
    /// that it names is there.
    pub(crate) fn host(&self, call: &host::Call, sysfs: &Sysfs) -> Result<Presence, Failure> {
        use host::Call;
        match call {
            Call::InitiatorName(_)
            | Call::MultipathdShowStatus(_)
            | Call::SessionDevices(_)
            | Call::SessionHctl(_)
            | Call::DeviceExists(_)
            | Call::RealPath(_)
            | Call::ListByPath(_)
            | Call::MultipathHolder(_) => Ok(Presence::Named),
            Call::ScanLun(c) => self.scsi_host(c.hctl.host, sysfs),
            Call::FlushBufs(c) => self.device(&c.device, sysfs),
            Call::DeleteDevice(c) => self.device(&c.device, sysfs),
            Call::ScsiId(c) => self.device(&c.device, sysfs),
            Call::UnlinkByIdLinks(c) => {
                for device in &c.devices {
                    self.device(device, sysfs)?;
                }
                Ok(Presence::Named)
            }
        }
    }

    /// Whether a session is one to a named target.
    pub(crate) fn is_named_session(&self, sid: Sid, sysfs: &Sysfs) -> bool {
        sysfs.target(sid).is_some_and(|t| self.targets.contains(&t))
    }

    fn domain(&self, instance: &InstanceId) -> Result<(), Failure> {
        if self.domains.contains(instance) {
            return Ok(());
        }
        Err(refused(format!("domain {instance}"), "the domain was not named"))
    }

    fn target(&self, portal: &Portal, iqn: &Iqn) -> Result<(), Failure> {
        if self.targets.iter().any(|(p, i)| p == portal && i == iqn) {
            return Ok(());
        }
        Err(refused(format!("target {iqn} at {portal}"), "the target was not named"))
    }

    fn scsi_host(&self, number: u32, sysfs: &Sysfs) -> Result<Presence, Failure> {
        // The software initiator's host goes with its session.
        if !sysfs.scan_file(number).exists() {
            return Ok(Presence::Gone);
        }
        let sessions = sysfs.sessions_of_host(number);
        // A scan without wildcards still asks every session of an adapter's host.
        if !sessions.is_empty() && sessions.iter().all(|s| self.is_named_session(*s, sysfs)) {
            return Ok(Presence::Named);
        }
        Err(refused(format!("host{number}"), "the SCSI host has a session to no named target"))
    }

    fn device(&self, device: &DeviceName, sysfs: &Sysfs) -> Result<Presence, Failure> {
        let path = sysfs.block(device);
        let name = device.as_str();
        // A name is one component of a path, or it could lead anywhere.
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(refused(format!("device {name:?}"), "it is no block device's name"));
        }
        if !path.exists() {
            return Ok(Presence::Gone);
        }
        if self.came_through_a_named_target(device, sysfs) {
            return Ok(Presence::Named);
        }
        Err(refused(path.display().to_string(), "the device came through no named target"))
    }

    fn source(&self, source_dev: &str, sysfs: &Sysfs) -> Result<(), Failure> {
        let real = real_path(Path::new(source_dev));
        let device = match (real.strip_prefix(&sysfs.dev), real.file_name()) {
            (Ok(name), Some(last)) if name == Path::new(last) => last.to_str().map(DeviceName::new),
            _ => None,
        };
        match device.map(|d| self.device(&d, sysfs)) {
            Some(Ok(Presence::Named)) => Ok(()),
            Some(Err(e)) => Err(e),
            Some(Ok(Presence::Gone)) | None => Err(refused(
                source_dev.to_owned(),
                "the source is no block device of a named target",
            )),
        }
    }

    /// A SCSI disk by its session; a device-mapper device when that is true of all its paths.
    fn came_through_a_named_target(&self, device: &DeviceName, sysfs: &Sysfs) -> bool {
        let named =
            |d: &DeviceName| sysfs.session_of(d).is_some_and(|s| self.is_named_session(s, sysfs));
        let paths = sysfs.slaves(device);
        if paths.is_empty() { named(device) } else { paths.iter().all(named) }
    }
}

fn refused(path: String, why: &str) -> Failure {
    let message = format!("{why}; castoff touches only what is named on its command line");
    Refusal::Os { path, message }.into()
}

#[cfg(test)]
mod tests;
