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
            Call::BlockStats(c) => self.domain(&c.instance),
            Call::AttachDeviceFlags(c) => {
                self.domain(&c.instance)?;
                // Another disk of the host, given to a guest, is the worst that could happen.
                self.source(&c.disk.source_dev, sysfs)
            }
            Call::DetachDeviceFlags(c) => self.domain(&c.instance),
            Call::CreateWaiter(c) => self.domain(&c.instance),
            Call::CleanupWaiters(c) => self.domain(&c.instance),
            // A named domain may gain and lose disks; it is never stopped, made or forgotten, and
            // no secret of the host is touched.
            Call::Suspend(_)
            | Call::Resume(_)
            | Call::ManagedSave(_)
            | Call::Shutdown(_)
            | Call::Destroy(_)
            | Call::Undefine(_)
            | Call::DefineXml(_)
            | Call::Create(_)
            | Call::SecretDefine(_)
            | Call::SecretUndefine(_) => {
                Err(Refusal::Unsupported { operation: call.name().to_owned() }.into())
            }
            // A waiter was checked when it was made; a secret is only looked up.
            Call::WaitForEvent(_) | Call::DeleteWaiter(_) | Call::SecretLookupByUsage(_) => Ok(()),
        }
    }

    /// Whether an iscsiadm command stays with the named targets.
    pub(crate) fn iscsi(&self, call: &iscsi::Call) -> Result<(), Failure> {
        use iscsi::Call;
        match call {
            Call::Discoverydb(_) | Call::Nodes(_) | Call::NodesAtPortal(_) | Call::Sessions(_) => {
                Ok(())
            }
            Call::Discover(c) => Err(refused(
                format!("portal {}", c.portal),
                "a discovery writes the records of all its targets anew",
            )),
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
            | Call::MultipathHolder(_)
            | Call::TargetHctl(_)
            | Call::PathExists(_)
            | Call::DmName(_)
            | Call::SysfsWwn(_)
            | Call::Lsblk(_)
            | Call::MultipathList(_)
            | Call::MultipathTopology(_)
            | Call::MultipathReady(_)
            | Call::MultipathdShowPaths(_)
            // castoff's own files, in a directory of its own.
            | Call::JournalRead(_)
            | Call::JournalWrite(_)
            | Call::JournalRemove(_) => Ok(Presence::Named),
            Call::ScsiIdOfLink(c) => {
                let path = sysfs.real_path(&c.by_path);
                match path.file_name().and_then(|n| n.to_str()).filter(|_| path.exists()) {
                    Some(name) => self.device(&DeviceName::new(name), sysfs),
                    None => Ok(Presence::Gone),
                }
            }
            Call::MultipathFlush(c) => self.map(&c.map, sysfs),
            Call::MultipathdDelMap(c) => self.map(&c.map, sysfs),
            Call::MultipathdAddPath(c) => self.device(&c.device, sysfs),
            Call::MultipathdDelPath(c) => self.device(&c.device, sysfs),
            Call::MultipathAddWwid(c) => self.wwid(&c.wwid, sysfs),
            Call::MultipathReload(_) => self.every_map(sysfs),
            Call::ScanLun(c) => self.scsi_host(c.hctl.host, sysfs),
            Call::CryptsetupOpen(_) | Call::CryptsetupClose(_) => {
                Err(Refusal::Unsupported { operation: call.name().to_owned() }.into())
            }
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

    /// A map by its name: every path of it must have come through a named target.
    fn map(&self, name: &str, sysfs: &Sysfs) -> Result<Presence, Failure> {
        match sysfs.dm_named(name) {
            // Another kind of device-mapper device over our disks too: os-brick takes it for a map,
            // and multipath refuses it by itself.
            Some(dm) if !sysfs.slaves(&dm).is_empty() => self.device(&dm, sysfs),
            Some(dm) => Err(refused(
                format!("map {name} ({dm})"),
                "no path shows through which target the map came",
            )),
            None => Ok(Presence::Gone),
        }
    }

    /// A WWID that a disk of a named target has.
    fn wwid(&self, wwid: &str, sysfs: &Sysfs) -> Result<Presence, Failure> {
        let sessions = sysfs.sessions().into_iter().filter(|s| self.is_named_session(*s, sysfs));
        let mut disks = sessions.flat_map(|s| sysfs.session_devices(s));
        if disks.any(|d| sysfs.wwid(&d.name).as_deref() == Some(wwid)) {
            return Ok(Presence::Named);
        }
        Err(refused(format!("wwid {wwid}"), "no disk of a named target has it"))
    }

    /// What reloads every multipath map may run only where all of them are named.
    fn every_map(&self, sysfs: &Sysfs) -> Result<Presence, Failure> {
        for dm in sysfs.dm_devices().iter().filter(|dm| sysfs.dm_wwid(dm).is_some()) {
            if !self.came_through_a_named_target(dm, sysfs) {
                return Err(refused(format!("map {dm}"), "the host has maps of other targets"));
            }
        }
        Ok(Presence::Named)
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
