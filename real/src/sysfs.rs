//! What sysfs and udev's links say about iSCSI sessions and their disks. Reads only.
//!
//! Both roots are parameters, so that a directory can stand for the host in tests. Lists are
//! sorted: `read_dir` has the file system's order.

use std::fs;
use std::path::{Component, Path, PathBuf};

use castoff_ports::host::ScsiDevice;
use castoff_ports::{DeviceName, Hctl, Iqn, Lun, Portal, Sid};

/// Where the kernel and udev show what they have.
#[derive(Clone, Debug)]
pub(crate) struct Sysfs {
    /// `/sys`.
    pub(crate) sys: PathBuf,
    /// `/dev`.
    pub(crate) dev: PathBuf,
}

impl Sysfs {
    /// The host's own.
    pub(crate) fn of_this_host() -> Sysfs {
        Sysfs::under(Path::new("/"))
    }

    /// `sys` and `dev` under a directory.
    pub(crate) fn under(root: &Path) -> Sysfs {
        Sysfs { sys: root.join("sys"), dev: root.join("dev") }
    }

    /// `/sys/block/<device>`.
    pub(crate) fn block(&self, device: &DeviceName) -> PathBuf {
        self.sys.join("block").join(device.as_str())
    }

    /// `/dev/<device>`.
    pub(crate) fn node(&self, device: &DeviceName) -> PathBuf {
        self.dev.join(device.as_str())
    }

    /// `/sys/class/scsi_host/host<n>/scan`.
    pub(crate) fn scan_file(&self, host: u32) -> PathBuf {
        self.sys.join(format!("class/scsi_host/host{host}/scan"))
    }

    /// Every iSCSI session, by number.
    pub(crate) fn sessions(&self) -> Vec<Sid> {
        let mut sids: Vec<Sid> = names(&self.sys.join("class/iscsi_session"))
            .iter()
            .filter_map(|n| numbered(n, "session").map(Sid))
            .collect();
        sids.sort_unstable();
        sids
    }

    /// The target that a session is logged in to: as `iscsiadm -m session` shows it, so with the
    /// persistent address (the portal of the node record, not one that a login was redirected to).
    pub(crate) fn target(&self, sid: Sid) -> Option<(Portal, Iqn)> {
        let session = self.sys.join(format!("class/iscsi_session/session{sid}"));
        let connection = self.sys.join(format!("class/iscsi_connection/connection{sid}:0"));
        let iqn = value(&session.join("targetname"))?;
        let address = value(&connection.join("persistent_address"))?;
        let port = value(&connection.join("persistent_port"))?;
        let portal = if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        };
        Some((Portal::new(portal), Iqn::new(iqn)))
    }

    /// Whether the kernel is done with making this disk: a session's directory lists it a moment before
    /// it is linked in `/sys/block` and has its node (`device_add_disk` in block/genhd.c).
    pub(crate) fn is_made(&self, source: &Path) -> bool {
        let real = fs::canonicalize(source).ok();
        let name = real.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
        name.is_some_and(|n| self.block(&DeviceName::new(n)).exists())
    }

    /// The session that a disk came through: `session<sid>` in the path of its device.
    pub(crate) fn session_of(&self, device: &DeviceName) -> Option<Sid> {
        let path = fs::canonicalize(self.block(device).join("device")).ok()?;
        path.components().find_map(|c| numbered(c.as_os_str().to_str()?, "session").map(Sid))
    }

    /// The sessions of a SCSI host: one for software iSCSI, more for an adapter.
    pub(crate) fn sessions_of_host(&self, host: u32) -> Vec<Sid> {
        names(&self.sys.join(format!("class/scsi_host/host{host}/device")))
            .iter()
            .filter_map(|n| numbered(n, "session").map(Sid))
            .collect()
    }

    /// The disks of a session, by address.
    pub(crate) fn session_devices(&self, sid: Sid) -> Vec<ScsiDevice> {
        let mut devices = Vec::new();
        for (_, session) in self.session_directories(sid) {
            for target in names(&session).iter().filter(|n| n.starts_with("target")) {
                let target = session.join(target);
                for address in names(&target) {
                    let Some(hctl) = parse_hctl(&address) else {
                        continue;
                    };
                    for name in names(&target.join(&address).join("block")) {
                        devices.push(ScsiDevice { name: DeviceName::new(name), hctl });
                    }
                }
            }
        }
        devices.sort_unstable_by(|a, b| (a.hctl, &a.name).cmp(&(b.hctl, &b.name)));
        devices
    }

    /// Host, channel and target of a session. A session without a `target` directory has not been
    /// scanned yet (`node.session.scan` manual); os-brick then scans channel and target `-`, which
    /// [`Hctl`] cannot say. The software initiator's only ones are 0 and 0 (iscsi_tcp.c asks for
    /// target id 0, scsi_transport_iscsi.c scans channel 0 alone).
    pub(crate) fn session_hctl(&self, sid: Sid) -> Option<Hctl> {
        let (host, session) = self.session_directories(sid).into_iter().next()?;
        let scanned = names(&session).iter().find_map(|n| {
            let mut numbers = n.strip_prefix("target")?.split(':').map(str::parse);
            match (numbers.next(), numbers.next(), numbers.next()) {
                (Some(Ok(_)), Some(Ok(channel)), Some(Ok(target))) => Some((channel, target)),
                _ => None,
            }
        });
        let (channel, target) = scanned.unwrap_or((0, 0));
        Some(Hctl { host, channel, target, lun: Lun(0) })
    }

    /// The device-mapper device that holds a disk.
    pub(crate) fn holder(&self, device: &DeviceName) -> Option<String> {
        names(&self.block(device).join("holders")).into_iter().find(|n| n.starts_with("dm-"))
    }

    /// The disks under a device-mapper device.
    pub(crate) fn slaves(&self, device: &DeviceName) -> Vec<DeviceName> {
        names(&self.block(device).join("slaves")).into_iter().map(DeviceName::new).collect()
    }

    /// os.path.realpath of a by-path link: a link whose device is gone resolves all the same,
    /// what is no link stays as it is.
    pub(crate) fn real_path(&self, by_path: &str) -> PathBuf {
        real_path(&self.dev.join("disk/by-path").join(by_path))
    }

    /// Names in `/dev/disk/by-path/` that begin with this.
    pub(crate) fn by_path_links(&self, prefix: &str) -> Vec<String> {
        let mut links = names(&self.dev.join("disk/by-path"));
        links.retain(|n| n.starts_with(prefix));
        links
    }

    /// `/dev/disk/by-id/scsi-*` links to any of these devices.
    pub(crate) fn by_id_links(&self, devices: &[DeviceName]) -> Vec<PathBuf> {
        let directory = self.dev.join("disk/by-id");
        names(&directory)
            .into_iter()
            .filter(|n| n.starts_with("scsi-"))
            .map(|n| directory.join(n))
            .filter(|link| {
                let path = real_path(link);
                devices.iter().any(|d| path == self.node(d))
            })
            .collect()
    }

    /// `/sys/class/scsi_host/host*/device/session<sid>`, with the host's number.
    fn session_directories(&self, sid: Sid) -> Vec<(u32, PathBuf)> {
        let hosts = self.sys.join("class/scsi_host");
        let mut found: Vec<(u32, PathBuf)> = names(&hosts)
            .iter()
            .filter_map(|n| {
                let session = hosts.join(n).join(format!("device/session{sid}"));
                Some((numbered(n, "host")?, session)).filter(|(_, s)| s.is_dir())
            })
            .collect();
        found.sort_unstable();
        found
    }
}

/// os.path.realpath, which does not mind that the end of a link does not exist.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    let Ok(end) = fs::read_link(path) else {
        return path.to_owned();
    };
    let mut real = path.parent().map(Path::to_owned).unwrap_or_default();
    for part in end.components() {
        match part {
            Component::RootDir => real = PathBuf::from("/"),
            Component::ParentDir => {
                real.pop();
            }
            Component::Normal(name) => real.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    real
}

/// The entries of a directory, sorted; none when there is no such directory.
fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    // Names in sysfs and udev's escaped link names are ASCII.
    let mut names: Vec<String> =
        entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The value of a sysfs attribute; none when it is absent or holds nothing.
fn value(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    // scsi_transport_iscsi.c prints a string it does not have as `(null)`, printf's way.
    (!text.is_empty() && text != "(null)").then(|| text.to_owned())
}

fn numbered(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.parse().ok()
}

fn parse_hctl(text: &str) -> Option<Hctl> {
    let mut numbers = text.split(':').map(|n| n.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let hctl = Hctl { host: next()?, channel: next()?, target: next()?, lun: Lun(next()?) };
    numbers.next().is_none().then_some(hctl)
}

#[cfg(test)]
pub(crate) mod fake;
mod maps;

#[cfg(test)]
mod tests {
    use super::*;

    const IQN: &str = "iqn.2010-10.org.openstack:volume-1";

    fn device(name: &str, hctl: (u32, u32, u32, u32)) -> ScsiDevice {
        let (host, channel, target, lun) = hctl;
        ScsiDevice { name: name.into(), hctl: Hctl { host, channel, target, lun: Lun(lun) } }
    }

    #[test]
    fn a_sessions_disks_are_listed_by_lun_number_and_no_other_sessions() {
        let host = fake::Host::new();
        host.session(3, "10.0.0.1", IQN);
        host.disk(3, 10, "sdb");
        host.disk(3, 2, "sdc");
        host.session(4, "10.0.0.2", IQN);
        host.disk(4, 1, "sdd");
        let sysfs = host.sysfs();
        let want = [device("sdc", (3, 0, 0, 2)), device("sdb", (3, 0, 0, 10))];
        assert_eq!(sysfs.session_devices(Sid(3)), want);
        assert_eq!(sysfs.sessions(), [Sid(3), Sid(4)]);
    }

    #[test]
    fn a_session_shows_its_target_with_brackets_around_an_ipv6_address() {
        let host = fake::Host::new();
        host.session(1, "10.0.0.1", IQN);
        host.session(2, "fd00::1", IQN);
        host.session(3, "(null)", IQN);
        let sysfs = host.sysfs();
        assert_eq!(sysfs.target(Sid(1)), Some(("10.0.0.1:3260".into(), IQN.into())));
        assert_eq!(sysfs.target(Sid(2)), Some(("[fd00::1]:3260".into(), IQN.into())));
        assert_eq!(sysfs.target(Sid(3)), None);
    }

    #[test]
    fn a_disk_is_made_when_it_has_its_node_and_its_link() {
        let host = fake::Host::new();
        host.session(7, "10.0.0.1", IQN);
        host.disk(7, 1, "sdb");
        let sysfs = host.sysfs();
        let is_made = |name: &str| sysfs.is_made(&sysfs.dev.join(name));
        assert!(is_made("sdb"));
        assert!(!is_made("sdc"), "it is not there");
        host.write("dev/sdc", "");
        assert!(!is_made("sdc"), "the kernel has not linked it");
    }

    #[test]
    fn a_disk_knows_its_session_and_a_disk_of_another_bus_has_none() {
        let host = fake::Host::new();
        host.session(7, "10.0.0.1", IQN);
        host.disk(7, 1, "sdb");
        host.write("sys/devices/pci0000:00/ata1/0:0:0:0/model", "SSD");
        host.link("sys/block/sda/device", "../../devices/pci0000:00/ata1/0:0:0:0");
        assert_eq!(host.sysfs().session_of(&"sdb".into()), Some(Sid(7)));
        assert_eq!(host.sysfs().session_of(&"sda".into()), None);
    }

    #[test]
    fn a_session_that_was_not_scanned_yet_has_an_address_all_the_same() {
        let host = fake::Host::new();
        host.session(5, "10.0.0.1", IQN);
        let unscanned = host.sysfs().session_hctl(Sid(5));
        assert_eq!(unscanned, Some(Hctl { host: 5, channel: 0, target: 0, lun: Lun(0) }));
        assert_eq!(host.sysfs().session_hctl(Sid(6)), None);
    }

    #[test]
    fn a_link_to_a_device_that_is_gone_resolves_as_pythons_realpath_does() {
        let host = fake::Host::new();
        host.write("dev/sdb", "");
        let link = |name: &str| format!("dev/disk/by-path/ip-10.0.0.1:3260-iscsi-{name}");
        host.link(&link("here"), "../../sdb");
        host.link(&link("gone"), "../../sdc");
        let sysfs = host.sysfs();
        let real = |name: &str| sysfs.real_path(&format!("ip-10.0.0.1:3260-iscsi-{name}"));
        assert_eq!(real("here"), sysfs.node(&"sdb".into()));
        assert_eq!(real("gone"), sysfs.node(&"sdc".into()));
        let none = sysfs.dev.join("disk/by-path/ip-10.0.0.1:3260-iscsi-none");
        assert_eq!(real("none"), none);
        assert_eq!(sysfs.by_path_links("ip-10.0.0.1:3260-iscsi-h").len(), 1);
    }

    #[test]
    fn leftover_by_id_links_are_those_of_the_removed_devices_alone() {
        let host = fake::Host::new();
        host.link("dev/disk/by-id/scsi-3600a", "../../sdb");
        host.link("dev/disk/by-id/scsi-3600b", "../../sdc");
        host.link("dev/disk/by-id/wwn-0x600a", "../../sdb");
        let links = host.sysfs().by_id_links(&["sdb".into()]);
        assert_eq!(links, [host.sysfs().dev.join("disk/by-id/scsi-3600a")]);
    }

    #[test]
    fn an_address_has_four_numbers() {
        assert!(parse_hctl("2:0:0:1").is_some());
        for bad in ["2:0:0", "2:0:0:1:0", "a:0:0:1", "block", ""] {
            assert_eq!(parse_hctl(bad), None, "{bad}");
        }
    }
}
