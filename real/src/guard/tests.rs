//! What is refused and what passes, on a host of three targets.

use castoff_ports::host::{DeleteDevice, FlushBufs, ScanLun, ScsiId, UnlinkByIdLinks};
use castoff_ports::iscsi::{Login, Logout, NodeDelete, Sessions};
use castoff_ports::libvirt::{
    AttachDeviceFlags, CreateWaiter, DetachDeviceFlags, GetInfo, GuestDisk,
};
use castoff_ports::{Hctl, Lun};

use super::*;
use crate::sysfs::fake;

const OURS: &str = "iqn.2010-10.org.openstack:volume-ours";
const THEIRS: &str = "iqn.2010-10.org.openstack:volume-theirs";

fn guard() -> Guard {
    Guard { domains: vec!["ours".into()], targets: vec![("10.0.0.1:3260".into(), OURS.into())] }
}

/// sdb is ours; sdc is another target's, sdd our target's through a portal that was not named.
fn machine() -> fake::Host {
    let host = fake::Host::new();
    host.session(1, "10.0.0.1", OURS);
    host.disk(1, 1, "sdb");
    host.session(2, "10.0.0.1", THEIRS);
    host.disk(2, 1, "sdc");
    host.session(3, "10.0.0.2", OURS);
    host.disk(3, 1, "sdd");
    host.write("sys/devices/pci0000:00/ata1/0:0:0:0/model", "SSD");
    host.link("sys/block/sda/device", "../../devices/pci0000:00/ata1/0:0:0:0");
    host
}

fn delete(name: &str) -> host::Call {
    host::Call::DeleteDevice(DeleteDevice { device: name.into() })
}

fn disk(source: &Path) -> GuestDisk {
    let source_dev = source.display().to_string();
    GuestDisk { target_dev: "vdb".to_owned(), source_dev, serial: None, alias: None }
}

#[test]
fn a_call_on_a_domain_that_was_not_named_is_refused() {
    let (guard, machine) = (guard(), machine());
    let sysfs = machine.sysfs();
    let sdb = disk(&sysfs.node(&"sdb".into()));
    let calls = |id: &str| {
        [
            libvirt::Call::GetInfo(GetInfo { instance: id.into() }),
            libvirt::Call::AttachDeviceFlags(AttachDeviceFlags {
                instance: id.into(),
                disk: sdb.clone(),
                config: true,
                live: true,
            }),
            libvirt::Call::DetachDeviceFlags(DetachDeviceFlags {
                instance: id.into(),
                disk: sdb.clone(),
                config: true,
                live: true,
            }),
            libvirt::Call::CreateWaiter(CreateWaiter { instance: id.into(), alias: "a".into() }),
        ]
    };
    for call in calls("theirs") {
        let error = guard.libvirt(&call, &sysfs).unwrap_err();
        assert!(error.to_string().contains("domain theirs: the domain was not named"), "{error}");
    }
    for call in calls("ours") {
        assert_eq!(guard.libvirt(&call, &sysfs), Ok(()));
    }
}

#[test]
fn only_a_disk_of_a_named_target_is_given_to_a_guest() {
    let (guard, machine) = (guard(), machine());
    machine.link("dev/disk/by-path/ours", "../../sdb");
    machine.link("dev/disk/by-path/theirs", "../../sdc");
    machine.write("etc/shadow", "");
    let sysfs = machine.sysfs();
    let attach = |source: &Path| {
        let disk = disk(source);
        let call = AttachDeviceFlags { instance: "ours".into(), disk, config: false, live: true };
        guard.libvirt(&libvirt::Call::AttachDeviceFlags(call), &sysfs)
    };
    assert_eq!(attach(&sysfs.dev.join("sdb")), Ok(()));
    assert_eq!(attach(&sysfs.dev.join("disk/by-path/ours")), Ok(()));
    for other in ["sdc", "sda", "sdz", "disk/by-path/theirs", "../etc/shadow", "", "."] {
        assert!(attach(&sysfs.dev.join(other)).is_err(), "{other}");
    }
}

#[test]
fn a_command_on_a_target_or_portal_that_was_not_named_is_refused() {
    let guard = guard();
    let calls = |portal: &str, iqn: &str| {
        let (iqn, portal) = (Iqn::new(iqn), Portal::new(portal));
        [
            iscsi::Call::Login(Login { iqn: iqn.clone(), portal: portal.clone() }),
            iscsi::Call::Logout(Logout { iqn: iqn.clone(), portal: portal.clone() }),
            iscsi::Call::NodeDelete(NodeDelete { iqn, portal }),
        ]
    };
    for (portal, iqn) in [("10.0.0.1:3260", THEIRS), ("10.0.0.2:3260", OURS)] {
        for call in calls(portal, iqn) {
            assert!(guard.iscsi(&call).is_err(), "{}", call.describe());
        }
    }
    for call in calls("10.0.0.1:3260", OURS) {
        assert_eq!(guard.iscsi(&call), Ok(()));
    }
    assert_eq!(guard.iscsi(&iscsi::Call::Sessions(Sessions {})), Ok(()));
}

#[test]
fn a_disk_is_deleted_flushed_or_asked_only_when_it_came_through_a_named_target() {
    let (guard, machine) = (guard(), machine());
    let sysfs = machine.sysfs();
    assert_eq!(guard.host(&delete("sdb"), &sysfs), Ok(Presence::Named));
    for device in ["sda", "sdc", "sdd"] {
        let device = DeviceName::new(device);
        let calls = [
            delete(device.as_str()),
            host::Call::FlushBufs(FlushBufs { device: device.clone() }),
            host::Call::ScsiId(ScsiId { device: device.clone() }),
            host::Call::UnlinkByIdLinks(UnlinkByIdLinks { devices: vec![device] }),
        ];
        for call in calls {
            assert!(guard.host(&call, &sysfs).is_err(), "{}", call.describe());
        }
    }
}

#[test]
fn a_device_that_is_gone_is_told_from_one_that_is_someone_elses() {
    let (guard, machine) = (guard(), machine());
    assert_eq!(guard.host(&delete("sdx"), &machine.sysfs()), Ok(Presence::Gone));
}

#[test]
fn a_device_name_cannot_lead_out_of_its_directory() {
    let (guard, machine) = (guard(), machine());
    for name in ["", ".", "..", "../block/sdb", "sdb/../sdc"] {
        assert!(guard.host(&delete(name), &machine.sysfs()).is_err(), "{name:?}");
    }
}

#[test]
fn a_multipath_map_is_ours_only_when_all_its_paths_are() {
    let (guard, machine) = (guard(), machine());
    machine.write("sys/block/dm-0/slaves/sdb/x", "");
    machine.write("sys/block/dm-1/slaves/sdb/x", "");
    machine.write("sys/block/dm-1/slaves/sdc/x", "");
    let flush = |d: &str| host::Call::FlushBufs(FlushBufs { device: d.into() });
    assert_eq!(guard.host(&flush("dm-0"), &machine.sysfs()), Ok(Presence::Named));
    assert!(guard.host(&flush("dm-1"), &machine.sysfs()).is_err());
}

#[test]
fn a_scsi_host_is_scanned_only_for_a_named_target() {
    let (guard, machine) = (guard(), machine());
    machine.write("sys/class/scsi_host/host0/scan", "");
    let scan = |host: u32| {
        let hctl = Hctl { host, channel: 0, target: 0, lun: Lun(1) };
        guard.host(&host::Call::ScanLun(ScanLun { hctl }), &machine.sysfs())
    };
    assert_eq!(scan(1), Ok(Presence::Named));
    assert_eq!(scan(9), Ok(Presence::Gone));
    for other in [0, 2, 3] {
        assert!(scan(other).is_err(), "host{other}");
    }
}

fn map(machine: &fake::Host, number: u32, wwid: &str, paths: &[&str]) {
    let dm = format!("sys/block/dm-{number}");
    machine.write(&format!("{dm}/dm/name"), &format!("mpath{number}\n"));
    machine.write(&format!("{dm}/dm/uuid"), &format!("mpath-{wwid}\n"));
    for path in paths {
        machine.write(&format!("{dm}/slaves/{path}"), "");
    }
}

#[test]
fn a_map_is_removed_or_reloaded_only_when_every_path_of_it_is_ours() {
    let (guard, machine) = (guard(), machine());
    let flush = |name: &str| {
        let call = host::Call::MultipathFlush(host::MultipathFlush { map: name.to_owned() });
        guard.host(&call, &machine.sysfs())
    };
    let reload =
        || guard.host(&host::Call::MultipathReload(host::MultipathReload {}), &machine.sysfs());
    map(&machine, 0, "3600a", &["sdb"]);
    assert_eq!((flush("mpath0"), reload()), (Ok(Presence::Named), Ok(Presence::Named)));
    map(&machine, 1, "3600b", &["sdb", "sdc"]);
    map(&machine, 2, "3600c", &[]);
    assert!(flush("mpath1").is_err() && flush("mpath2").is_err() && reload().is_err());
    assert_eq!(flush("mpath9"), Ok(Presence::Gone));
    machine.write("sys/block/dm-3/dm/name", "vg-root\n");
    machine.write("sys/block/dm-3/dm/uuid", "LVM-x\n");
    machine.write("sys/block/dm-3/slaves/sdb", "");
    assert_eq!(flush("vg-root"), Ok(Presence::Named), "multipath itself says that it is no map");
    machine.write("sys/block/dm-3/slaves/sdc", "");
    assert!(flush("vg-root").is_err(), "a logical volume of another's disk");
}

#[test]
fn a_wwid_is_added_only_when_a_disk_of_ours_has_it() {
    let (guard, machine) = (guard(), machine());
    machine.write("sys/block/sdb/device/wwid", "naa.600a\n");
    machine.write("sys/block/sdc/device/wwid", "naa.600b\n");
    let add = |wwid: &str| {
        let call = host::Call::MultipathAddWwid(host::MultipathAddWwid { wwid: wwid.to_owned() });
        guard.host(&call, &machine.sysfs())
    };
    assert_eq!(add("3600a"), Ok(Presence::Named));
    assert!(add("3600b").is_err());
}

#[test]
fn a_discovery_is_refused_because_it_writes_other_targets_records() {
    let call = iscsi::Call::Discover(iscsi::Discover { portal: "10.0.0.1:3260".into() });
    assert!(guard().iscsi(&call).is_err());
}
