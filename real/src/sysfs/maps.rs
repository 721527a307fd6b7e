//! Device-mapper maps and WWIDs in sysfs.

use castoff_ports::{DeviceName, Hctl, Iqn};

use super::{Sysfs, names, value};

/// The type of a WWID in sysfs, and udev's number for it (designator types of SPC, page 0x83).
const WWN_TYPES: [(&str, char); 3] = [("t10.", '1'), ("eui.", '2'), ("naa.", '3')];

impl Sysfs {
    /// Host, channel and target of the first session to this target.
    pub(crate) fn target_hctl(&self, iqn: &Iqn) -> Option<Hctl> {
        let is_it = |sid| self.target(sid).is_some_and(|(_, target)| target == *iqn);
        self.sessions().into_iter().find(|sid| is_it(*sid)).and_then(|sid| self.session_hctl(sid))
    }

    /// Every device-mapper device.
    pub(crate) fn dm_devices(&self) -> Vec<DeviceName> {
        let mut all = names(&self.sys.join("block"));
        all.retain(|n| n.starts_with("dm-"));
        all.into_iter().map(DeviceName::new).collect()
    }

    /// The map's name: `mpatha`.
    pub(crate) fn dm_name(&self, dm: &DeviceName) -> Option<String> {
        value(&self.block(dm).join("dm/name"))
    }

    /// The WWID of a multipath map; other device-mapper devices have none.
    pub(crate) fn dm_wwid(&self, dm: &DeviceName) -> Option<String> {
        value(&self.block(dm).join("dm/uuid"))?.strip_prefix("mpath-").map(str::to_owned)
    }

    /// The device of the map with this name.
    pub(crate) fn dm_named(&self, map: &str) -> Option<DeviceName> {
        self.dm_devices().into_iter().find(|dm| self.dm_name(dm).as_deref() == Some(map))
    }

    /// The WWID of a disk, as udev writes it.
    pub(crate) fn wwid(&self, device: &DeviceName) -> Option<String> {
        let wwid = value(&self.block(device).join("device/wwid"))?;
        let known = WWN_TYPES.iter().find_map(|(t, n)| Some((n, wwid.strip_prefix(t)?)));
        Some(match known {
            Some((number, id)) => format!("{number}{id}"),
            // os-brick drops four characters of a type that it does not know.
            None => format!("8{}", wwid.get(4..).unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::sysfs::fake;

    #[test]
    fn a_map_is_found_by_its_name_and_says_its_wwid() {
        let host = fake::Host::new();
        let dm = host.root().join("sys/block/dm-3/dm");
        fs::create_dir_all(&dm).unwrap();
        fs::write(dm.join("name"), "mpathc\n").unwrap();
        fs::write(dm.join("uuid"), "mpath-3600a\n").unwrap();
        let sysfs = host.sysfs();
        assert_eq!(sysfs.dm_named("mpathc"), Some("dm-3".into()));
        assert_eq!(sysfs.dm_named("mpatha"), None);
        assert_eq!(sysfs.dm_wwid(&"dm-3".into()).as_deref(), Some("3600a"));
    }

    #[test]
    fn the_wwid_of_a_disk_begins_with_udevs_number_of_its_type() {
        let host = fake::Host::new();
        host.session(1, "10.0.0.1", "iqn.t");
        host.disk(1, 1, "sdb");
        let file = host.root().join("sys/block/sdb/device/wwid");
        fs::write(file, "naa.600140500\n").unwrap();
        assert_eq!(host.sysfs().wwid(&"sdb".into()).as_deref(), Some("3600140500"));
    }
}
