//! What a finished detach must not leave on the host: a session, a node record, a SCSI device, a
//! link of udev, a disk in the domain's XML.

use std::fmt;
use std::path::Path;

use castoff_ports::host::by_path_name;
use castoff_ports::iscsi::{Call as IscsiCall, Nodes, Reply as IscsiReply};
use castoff_ports::libvirt::{
    Call as LibvirtCall, GuestDisk, Reply as LibvirtReply, XmlDesc, error,
};
use castoff_ports::{
    Auth, Call, CallCx, DeviceName, Failure, InstanceId, Iqn, Lun, Portal, Process, Refusal, Reply,
    RequestId, Sid, VolumeId,
};

use crate::RealHost;
use crate::sysfs::{Sysfs, real_path};

/// What is left of one volume's connection; all empty after a complete detach of the target's
/// only volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leftovers {
    /// Sessions to the target.
    pub sessions: Vec<Sid>,
    /// Node records of the target, as `iscsiadm -m node` shows them.
    pub node_records: Vec<String>,
    /// Disks of those sessions.
    pub devices: Vec<DeviceName>,
    /// Names in `/dev/disk/by-path/`.
    pub by_path_links: Vec<String>,
    /// The volume's disk in the running domain.
    pub disks_in_live_xml: Vec<GuestDisk>,
    /// The volume's disk in the persistent config.
    pub disks_in_persistent_xml: Vec<GuestDisk>,
}

impl Leftovers {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        let Leftovers {
            sessions,
            node_records,
            devices,
            by_path_links,
            disks_in_live_xml,
            disks_in_persistent_xml,
        } = self;
        sessions.is_empty()
            && node_records.is_empty()
            && devices.is_empty()
            && by_path_links.is_empty()
            && disks_in_live_xml.is_empty()
            && disks_in_persistent_xml.is_empty()
    }
}

impl fmt::Display for Leftovers {
    /// A line, for example `session 3, device sdb, disk vdb in the live XML`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.sessions.iter().map(|s| format!("session {s}"));
        let records = self.node_records.iter().map(|r| format!("node record {r}"));
        let devices = self.devices.iter().map(|d| format!("device {d}"));
        let links = self.by_path_links.iter().map(|l| format!("link {l}"));
        let live = self.disks_in_live_xml.iter();
        let live = live.map(|d| format!("disk {} in the live XML", d.target_dev));
        let persistent = self.disks_in_persistent_xml.iter();
        let persistent = persistent.map(|d| format!("disk {} in the persistent XML", d.target_dev));
        let all: Vec<String> = sessions
            .chain(records)
            .chain(devices)
            .chain(links)
            .chain(live)
            .chain(persistent)
            .collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// Looks for what is left of a volume that was attached to a domain from a target. It only reads.
///
/// A disk in the XML is the volume's when its serial or its alias says so (nova writes the volume
/// id into both), or when its source is a disk of the target.
pub async fn inspect(
    host: &RealHost,
    target: &(Portal, Iqn),
    domain: &InstanceId,
    volume: &VolumeId,
) -> Result<Leftovers, Failure> {
    let sysfs = &host.sysfs;
    let mut left = on_the_host(sysfs, target);
    left.node_records = node_records(host, &target.1, std::slice::from_ref(&target.0)).await?;
    for inactive in [false, true] {
        let mut disks = disks(host, domain, inactive).await?;
        disks.retain(|d| is_the_volumes(d, volume, target, &left.devices, sysfs));
        let place =
            if inactive { &mut left.disks_in_persistent_xml } else { &mut left.disks_in_live_xml };
        *place = disks;
    }
    Ok(left)
}

fn on_the_host(sysfs: &Sysfs, target: &(Portal, Iqn)) -> Leftovers {
    let mut sessions = sysfs.sessions();
    sessions.retain(|s| sysfs.target(*s).as_ref() == Some(target));
    let devices = sessions.iter().flat_map(|s| sysfs.session_devices(*s)).map(|d| d.name).collect();
    let by_path_links = sysfs.by_path_links(&by_path_prefix(target));
    Leftovers { sessions, devices, by_path_links, ..Leftovers::default() }
}

/// udev's names of all LUNs of a target.
fn by_path_prefix((portal, iqn): &(Portal, Iqn)) -> String {
    let mut name = by_path_name(portal, iqn, Lun(0));
    // The number is the last character.
    name.pop();
    name
}

pub(crate) async fn node_records(
    host: &RealHost,
    iqn: &Iqn,
    portals: &[Portal],
) -> Result<Vec<String>, Failure> {
    match host.carry_out(&onlooker(), Call::Iscsi(IscsiCall::Nodes(Nodes {}))).await? {
        // Exit 21 without a line is "no records found".
        Reply::Iscsi(IscsiReply::Nodes(output)) => {
            let of = |p: &Portal| records_of(&output.stdout, &(p.clone(), iqn.clone()));
            Ok(portals.iter().flat_map(of).collect())
        }
        other => unreachable!("Nodes was answered {other:?}"),
    }
}

/// The lines `portal,tpgt iqn` of a target.
fn records_of(nodes: &str, (portal, iqn): &(Portal, Iqn)) -> Vec<String> {
    let of_target = |line: &&str| {
        let Some((at, name)) = line.split_once(' ') else {
            return false;
        };
        let address = at.rsplit_once(',').map_or(at, |(address, _tpgt)| address);
        address == portal.as_str() && name.trim() == iqn.as_str()
    };
    nodes.lines().filter(of_target).map(str::to_owned).collect()
}

/// The domain's disks; none of a domain that is not there, or in a config that it has not.
pub(crate) async fn disks(
    host: &RealHost,
    domain: &InstanceId,
    inactive: bool,
) -> Result<Vec<GuestDisk>, Failure> {
    let call = XmlDesc { instance: domain.clone(), inactive };
    match host.carry_out(&onlooker(), Call::Libvirt(LibvirtCall::XmlDesc(call))).await {
        Ok(Reply::Libvirt(LibvirtReply::XmlDesc(disks))) => Ok(disks),
        Ok(other) => unreachable!("XmlDesc was answered {other:?}"),
        Err(Failure::Refused(Refusal::Libvirt { code: error::NO_DOMAIN, .. })) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn is_the_volumes(
    disk: &GuestDisk,
    volume: &VolumeId,
    target: &(Portal, Iqn),
    devices: &[DeviceName],
    sysfs: &Sysfs,
) -> bool {
    let alias = disk.alias.as_ref().and_then(|a| a.as_str().strip_prefix("ua-"));
    let link = Path::new(&disk.source_dev).file_name().and_then(|n| n.to_str());
    let source = real_path(Path::new(&disk.source_dev));
    disk.serial.as_ref() == Some(volume)
        || alias == Some(volume.as_str())
        || link.is_some_and(|l| l.starts_with(&by_path_prefix(target)))
        || devices.iter().any(|d| sysfs.node(d) == source)
}

/// Nobody of the pipeline: the inspection itself asks.
pub(crate) fn onlooker() -> CallCx {
    CallCx {
        process: Process::Client,
        incarnation: 0,
        request: RequestId(0),
        auth: Auth::default(),
        deadline: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysfs::fake;

    const IQN: &str = "iqn.2010-10.org.openstack:volume-1";

    fn target() -> (Portal, Iqn) {
        ("10.0.0.1:3260".into(), IQN.into())
    }

    fn disk(source: &str, serial: Option<&str>, alias: Option<&str>) -> GuestDisk {
        GuestDisk {
            target_dev: "vdb".to_owned(),
            source_dev: source.to_owned(),
            serial: serial.map(VolumeId::new),
            alias: alias.map(castoff_ports::Alias::new),
        }
    }

    #[test]
    fn a_session_its_disks_and_their_links_are_seen_and_another_targets_are_not() {
        let host = fake::Host::new();
        host.session(1, "10.0.0.1", IQN);
        host.disk(1, 1, "sdb");
        host.link(&format!("dev/disk/by-path/ip-10.0.0.1:3260-iscsi-{IQN}-lun-1"), "../../sdb");
        let left = on_the_host(&host.sysfs(), &target());
        assert_eq!((left.sessions.len(), left.devices.len(), left.by_path_links.len()), (1, 1, 1));
        let other = ("10.0.0.1:3260".into(), "iqn.2010-10.org.openstack:volume-10".into());
        assert!(on_the_host(&host.sysfs(), &other).is_empty());
        let prefix = ("10.0.0.1:3260".into(), "iqn.2010-10.org.openstack:volume-".into());
        assert!(on_the_host(&host.sysfs(), &prefix).is_empty());
    }

    #[test]
    fn a_clean_host_has_nothing_left_and_says_so() {
        let left = on_the_host(&fake::Host::new().sysfs(), &target());
        assert!(left.is_empty());
        assert_eq!(left.to_string(), "nothing");
    }

    #[test]
    fn what_is_left_is_named() {
        let left = Leftovers {
            sessions: vec![Sid(3)],
            disks_in_live_xml: vec![disk("/dev/sdb", None, None)],
            ..Leftovers::default()
        };
        assert!(!left.is_empty());
        assert_eq!(left.to_string(), "session 3, disk vdb in the live XML");
    }

    #[test]
    fn the_node_records_of_the_target_are_told_from_others_of_its_portal_or_name() {
        let nodes = format!(
            "10.0.0.1:3260,1 {IQN}\n10.0.0.1:3260,1 {IQN}0\n10.0.0.2:3260,1 {IQN}\n[]:port,-1 x\n"
        );
        assert_eq!(records_of(&nodes, &target()), [format!("10.0.0.1:3260,1 {IQN}")]);
        assert!(records_of("", &target()).is_empty());
    }

    #[test]
    fn a_disk_is_the_volumes_by_serial_alias_link_or_device() {
        let host = fake::Host::new();
        host.write("dev/sdb", "");
        let sysfs = host.sysfs();
        let node = sysfs.dev.join("sdb").display().to_string();
        let is =
            |d: &GuestDisk| is_the_volumes(d, &"v1".into(), &target(), &["sdb".into()], &sysfs);
        let link = format!("/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-{IQN}-lun-1");
        assert!(is(&disk("", Some("v1"), None)));
        assert!(is(&disk("", None, Some("ua-v1"))));
        assert!(is(&disk(&link, None, None)));
        assert!(is(&disk(&node, None, None)));
        assert!(!is(&disk("/var/lib/disk", Some("v2"), Some("virtio-disk0"))));
    }

    #[test]
    fn the_guests_own_disk_is_not_taken_for_the_volumes() {
        use crate::real_host::tests::{on, run};
        let machine = fake::Host::new();
        let host = on(&machine);
        let domain = host.guard.domains[0].clone();
        for inactive in [false, true] {
            let all = run(disks(&host, &domain, inactive)).unwrap();
            let is = |d: &GuestDisk| is_the_volumes(d, &"v1".into(), &target(), &[], &host.sysfs);
            assert!(!all.iter().any(is), "{all:?}");
        }
        let unnamed = InstanceId::new("00000000-0000-0000-0000-000000000001");
        assert!(run(disks(&host, &unnamed, false)).is_err());
    }
}
