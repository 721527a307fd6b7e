//! Maps and multipathd, in sentences.

use std::time::Duration;

use castoff_ports::host::{
    DmName, Lsblk, MultipathAddWwid, MultipathFlush, MultipathHolder, MultipathList,
    MultipathReady, MultipathdAddPath, MultipathdShowPaths, PathExists, SysfsWwn,
};
use castoff_ports::{Portal, host, iscsi, libvirt};

use crate::fact::Fact;
use crate::kernel::bed::{Bed, disk, guest, volume};
use crate::kernel::sysfs;
use crate::storage::IscsiAddress;

/// A host with multipathd and a backend with two portals.
fn bed() -> Bed {
    let mut b = Bed::new(Duration::ZERO);
    b.world.storage.set_portals(2);
    b.world.kernel.multipathd = true;
    b
}

fn second() -> Portal {
    Portal::new("10.0.0.2:3260")
}

/// Logs in at the second portal too.
fn second_path(b: &mut Bed, to: &IscsiAddress) {
    let iqn = to.iqn.clone();
    b.ask(iscsi::NodeNew { iqn: iqn.clone(), portal: second() }).unwrap();
    assert_eq!(b.ask(iscsi::Login { iqn, portal: second() }).unwrap().exit, 0);
}

/// A guest with volume 1 over two paths.
fn attached() -> (Bed, IscsiAddress) {
    let mut b = bed();
    let to = b.connect(1);
    second_path(&mut b, &to);
    let disk = disk("vdb", "/dev/dm-0", &volume(1));
    let attach = libvirt::AttachDeviceFlags { instance: guest(), disk, config: true, live: true };
    b.ask(attach).unwrap();
    b.world.facts.clear();
    b.world.hypervisor.guest_writes_every = Some(Duration::from_secs(1));
    (b, to)
}

fn flush_map(b: &mut Bed) -> iscsi::CommandOutput {
    b.ask(MultipathFlush { map: "mpatha".to_owned() }).unwrap()
}

fn delete(b: &mut Bed, device: &str) {
    assert_eq!(b.ask(host::DeleteDevice { device: device.into() }).unwrap().exit, 0);
}

fn writes(b: &Bed) -> Vec<bool> {
    let write = |f: &Fact| match f {
        Fact::GuestWrite { served_by, .. } => Some(served_by.is_some()),
        _ => None,
    };
    b.world.facts.iter().filter_map(write).collect()
}

#[test]
fn the_second_path_of_a_volume_makes_a_map() {
    let mut b = bed();
    let to = b.connect(1);
    assert!(b.world.kernel.maps().is_empty());
    second_path(&mut b, &to);
    let holders = ["sdb", "sdc"].map(|d| b.ask(MultipathHolder { device: d.into() }).unwrap());
    assert_eq!(holders, [Some("dm-0".to_owned()), Some("dm-0".to_owned())]);
    assert_eq!(b.ask(DmName { dm: "dm-0".to_owned() }).unwrap().as_deref(), Some("mpatha"));
    assert_eq!(b.ask(DmName { dm: "mpatha".to_owned() }).unwrap(), None);
    let wwid = sysfs::wwid(&volume(1));
    for path in [format!("/dev/disk/by-id/dm-uuid-mpath-{wwid}"), "/dev/mapper/mpatha".to_owned()] {
        assert!(b.ask(PathExists { path }).unwrap());
    }
    let listed = b.ask(MultipathList { device: "sdc".into() }).unwrap().stdout;
    assert!(listed.starts_with(&format!("mpatha ({wwid}) dm-0 ")), "{listed}");
    assert!(listed.contains("2:0:0:1 sdb ") && listed.contains("3:0:0:1 sdc "), "{listed}");
    assert_eq!(b.ask(MultipathdShowPaths {}).unwrap().stdout, "sdb\nsdc\n");
    assert!(b.ask(Lsblk {}).unwrap().stdout.contains("mpatha  0\n"));
}

#[test]
fn without_multipathd_two_paths_stay_two_disks() {
    let mut b = bed();
    b.world.kernel.multipathd = false;
    let to = b.connect(1);
    second_path(&mut b, &to);
    assert!(b.world.kernel.maps().is_empty());
    assert_eq!(b.ask(MultipathHolder { device: "sdb".into() }).unwrap(), None);
}

#[test]
fn one_path_becomes_a_map_once_its_wwid_is_added_and_the_path_is_offered_again() {
    let mut b = bed();
    b.connect(1);
    let devices = vec!["sdb".into()];
    let wwid = b.ask(SysfsWwn { devices, dm: None }).unwrap().unwrap();
    let said = b.ask(MultipathAddWwid { wwid: wwid.clone() }).unwrap().stdout;
    assert_eq!(said, format!("wwid '{wwid}' added\n"));
    assert!(b.world.kernel.maps().is_empty(), "multipathd looked at the disk when it came");
    b.ask(MultipathdAddPath { device: "sdb".into() }).unwrap();
    assert_eq!(b.world.kernel.maps()[0].wwid, wwid);
    assert_eq!(b.ask(MultipathReady { dm: "dm-0".to_owned() }).unwrap().exit, 0);
}

#[test]
fn a_guest_goes_on_over_the_path_that_is_left_and_hangs_without_any() {
    let (mut b, _) = attached();
    b.world.storage.lost_portals = vec![second()];
    b.until(1500);
    assert_eq!(writes(&b), [true, true]);
    b.world.storage.reachable = false;
    b.until(3500);
    assert_eq!(writes(&b).len(), 2, "neither acknowledged nor failed");
    assert_eq!(b.ask(MultipathReady { dm: "dm-0".to_owned() }).unwrap().exit, 1);
    b.world.storage.reachable = true;
    b.until(4500);
    assert_eq!(writes(&b), [true, true, true]);
}

#[test]
fn a_map_that_a_guest_has_open_is_not_removed() {
    let (mut b, _) = attached();
    let said = flush_map(&mut b);
    assert!(said.exit == 1 && said.stdout.contains("map in use"), "{said:?}");
    assert_eq!(b.world.kernel.maps().len(), 1);
}

#[test]
fn only_the_loss_of_the_last_path_takes_the_disk_from_a_guest() {
    let (mut b, _) = attached();
    delete(&mut b, "sdb");
    delete(&mut b, "sdc");
    let gone = |f: &Fact| match f {
        Fact::DeviceGone { device, in_use, .. } => Some((device.to_string(), *in_use)),
        _ => None,
    };
    let gone: Vec<_> = b.world.facts.iter().filter_map(gone).collect();
    assert_eq!(gone, [("sdb".to_owned(), false), ("sdc".to_owned(), true)]);
    assert_eq!(b.world.kernel.maps().len(), 1, "the guest has it open");
}

#[test]
fn a_map_that_nobody_has_open_goes_with_its_last_path() {
    let mut b = bed();
    let to = b.connect(1);
    second_path(&mut b, &to);
    delete(&mut b, "sdb");
    assert_eq!(b.world.kernel.maps()[0].paths.len(), 1);
    delete(&mut b, "sdc");
    assert!(b.world.kernel.maps().is_empty());
    assert_eq!(b.ask(MultipathdShowPaths {}).unwrap().stdout, "ok\n");
}

#[test]
fn removing_a_map_brings_its_cached_writes_to_the_volume() {
    let mut b = bed();
    b.world.kernel.writeback = true;
    let to = b.connect(1);
    second_path(&mut b, &to);
    let handle = b.world.kernel.open("/dev/mapper/mpatha").unwrap();
    let stamp = crate::storage::Stamp { instance: guest(), volume: volume(1), seq: 1 };
    let world = &mut b.world;
    world.kernel.write(&mut world.storage, &handle, stamp);
    assert!(b.world.storage.blocks(&volume(1)).is_empty());
    b.world.storage.reachable = false;
    assert_eq!(flush_map(&mut b).exit, 1);
    b.world.storage.reachable = true;
    assert_eq!(flush_map(&mut b).exit, 0);
    assert_eq!(b.world.storage.blocks(&volume(1)).len(), 1);
    assert!(b.world.kernel.maps().is_empty());
    assert_eq!(flush_map(&mut b).exit, 1, "there is no such map any more");
}

#[test]
fn a_discovery_finds_every_portal_and_writes_their_records_anew() {
    let mut b = bed();
    let to = b.connect(1);
    let value = iscsi::NodeValue::Plain("automatic".to_owned());
    let (iqn, portal) = (to.iqn.clone(), to.portal.clone());
    let name = "node.startup".to_owned();
    b.ask(iscsi::NodeUpdate { iqn, portal: portal.clone(), name, value }).unwrap();
    let found = b.ask(iscsi::Discover { portal: portal.clone() }).unwrap().stdout;
    assert_eq!(found, format!("10.0.0.1:3260,1 {0}\n10.0.0.2:3260,1 {0}\n", to.iqn));
    let shown = b.ask(iscsi::NodesAtPortal { portal: portal.clone() }).unwrap().stdout;
    assert!(shown.contains("node.startup = manual"), "{shown}");
    let known = b.ask(iscsi::Discoverydb {}).unwrap().stdout;
    assert!(known.contains("DiscoveryAddress: 10.0.0.1,3260\n"), "{known}");
    b.world.storage.lost_portals = vec![portal.clone()];
    assert_eq!(b.ask(iscsi::Discover { portal }).unwrap().exit, iscsi::exit::TRANS);
}
