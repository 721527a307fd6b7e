//! What the host does, in sentences.

use std::time::Duration;

use castoff_ports::iscsi::{self, NodeValue, exit};
use castoff_ports::{DeviceName, Hctl, Iqn, Lun, Portal, Sid, host};

use super::bed::{Bed, guest, volume};
use super::{Discovery, Linger, sysfs};
use crate::Release;
use crate::fact::Fact;
use crate::storage::IscsiAddress;

fn bed() -> Bed {
    Bed::new(Duration::ZERO)
}

fn login(to: &IscsiAddress) -> iscsi::Login {
    iscsi::Login { iqn: to.iqn.clone(), portal: to.portal.clone() }
}

fn logout(to: &IscsiAddress) -> iscsi::Logout {
    iscsi::Logout { iqn: to.iqn.clone(), portal: to.portal.clone() }
}

fn delete_node(to: &IscsiAddress) -> iscsi::NodeDelete {
    iscsi::NodeDelete { iqn: to.iqn.clone(), portal: to.portal.clone() }
}

fn update(to: &IscsiAddress, name: &str, value: &str) -> iscsi::NodeUpdate {
    let value = NodeValue::Plain(value.to_owned());
    iscsi::NodeUpdate {
        iqn: to.iqn.clone(),
        portal: to.portal.clone(),
        name: name.to_owned(),
        value,
    }
}

fn by_path(to: &IscsiAddress) -> String {
    host::by_path_name(&to.portal, &to.iqn, to.lun)
}

fn delete_device(name: &str) -> host::DeleteDevice {
    host::DeleteDevice { device: name.into() }
}

fn flush(name: &str) -> host::FlushBufs {
    host::FlushBufs { device: name.into() }
}

#[test]
fn a_host_without_sessions_and_records_answers_exit_21_to_everything() {
    let mut b = bed();
    let to = b.map(1);
    let sessions = b.ask(iscsi::Sessions {}).unwrap();
    assert_eq!((sessions.exit, sessions.stderr.trim()), (21, "iscsiadm: No active sessions."));
    let exits = [
        b.ask(iscsi::Nodes {}).unwrap().exit,
        b.ask(iscsi::Discoverydb {}).unwrap().exit,
        b.ask(login(&to)).unwrap().exit,
        b.ask(logout(&to)).unwrap().exit,
        b.ask(update(&to, "node.startup", "manual")).unwrap().exit,
        b.ask(delete_node(&to)).unwrap().exit,
    ];
    assert_eq!(exits, [exit::NO_OBJS_FOUND; 6]);
    assert!(b.world.facts.iter().all(|f| matches!(f, Fact::Mapped { .. })));
}

#[test]
fn lists_have_the_form_of_iscsiadm() {
    let mut b = bed();
    b.connect(1);
    let iqn = "iqn.2010-10.org.openstack:volume-v1";
    assert_eq!(
        b.ask(iscsi::Sessions {}).unwrap().stdout,
        format!("tcp: [1] 10.0.0.1:3260,1 {iqn} (non-flash)\n")
    );
    // As measured: the portal group of a record that `--op new` made is not known, -1.
    let list = format!("10.0.0.1:3260,4294967295 {iqn}\n");
    assert_eq!(b.ask(iscsi::Nodes {}).unwrap().stdout, list);
    let db = b.ask(iscsi::Discoverydb {}).unwrap();
    let statics = "STATIC:\nTarget: iqn.2010-10.org.openstack:volume-v1\n\tPortal: 10.0.0.1:3260,-1\n\t\tIface Name: default\nFIRMWARE:\n";
    assert!(db.stdout.contains(statics), "{}", db.stdout);
}

#[test]
fn a_discovery_shows_under_the_address_that_was_asked() {
    let mut b = bed();
    b.world.kernel.add_discovery(Discovery {
        address: "10.0.0.9:3260".into(),
        targets: vec![("iqn.t".into(), "10.0.0.1:3260".into())],
    });
    let shown = b.ask(iscsi::Discoverydb {}).unwrap();
    let begin = "SENDTARGETS:\nDiscoveryAddress: 10.0.0.9,3260\nTarget: iqn.t\n\tPortal: 10.0.0.1:3260,1\n\t\tIface Name: default\niSNS:\n";
    assert!(shown.exit == 0 && shown.stdout.starts_with(begin), "{}", shown.stdout);
}

#[test]
fn a_login_scans_every_lun_unless_the_record_says_manual() {
    let mut b = bed();
    b.world.storage.shared_target = true;
    b.map(1);
    let to = b.connect(2);
    let names: Vec<_> = b.world.kernel.devices().map(|d| d.name.to_string()).collect();
    assert_eq!(names, ["sdb", "sdc"]);
    assert_eq!(b.ask(login(&to)).unwrap().exit, exit::SESS_EXISTS);

    let mut b = bed();
    let to = b.map(1);
    b.ask(iscsi::NodeNew { iqn: to.iqn.clone(), portal: to.portal.clone() }).unwrap();
    let said = b.ask(update(&to, "node.session.scan", "manual")).unwrap();
    assert_eq!((said.exit, said.stderr.as_str()), (0, ""));
    b.ask(login(&to)).unwrap();
    assert_eq!(b.world.kernel.devices().count(), 0);
    let at = b.ask(host::SessionHctl { sid: Sid(1) }).unwrap().unwrap();
    b.ask(host::ScanLun { hctl: Hctl { lun: to.lun, ..at } }).unwrap();
    let found = b.ask(host::SessionDevices { sid: Sid(1) }).unwrap();
    assert_eq!(found[0].name.as_str(), "sdb");
    let link = b.ask(host::RealPath { by_path: by_path(&to) }).unwrap();
    assert_eq!(link, "/dev/sdb");
}

#[test]
fn an_old_iscsiadm_refuses_manual_scan_with_a_text_on_standard_error() {
    let mut b = Bed::of(Release::named("ocata").unwrap());
    let to = b.connect(1);
    let said = b.ask(update(&to, "node.session.scan", "manual")).unwrap();
    assert!(said.exit == 7 && said.stderr.contains("Invalid param name"), "{said:?}");
}

#[test]
fn login_tells_an_unreachable_target_from_one_that_is_gone_or_closed() {
    let mut b = bed();
    let to = b.map(1);
    b.ask(iscsi::NodeNew { iqn: to.iqn.clone(), portal: to.portal.clone() }).unwrap();
    b.world.storage.reachable = false;
    assert_eq!(b.ask(login(&to)).unwrap().exit, exit::TRANS_TIMEOUT);
    b.world.storage.reachable = true;
    b.unmap(1);
    assert_eq!(b.ask(login(&to)).unwrap().exit, 19);
    let other = Iqn::new("iqn.another");
    b.world.storage.map(&mut b.world.facts, &volume(1), &other);
    assert_eq!(b.ask(login(&to)).unwrap().exit, 24);
}

#[test]
fn a_record_cannot_be_deleted_while_a_session_uses_it() {
    let mut b = bed();
    let to = b.connect(1);
    assert_eq!(b.ask(delete_node(&to)).unwrap().exit, exit::SESS_EXISTS);
    assert_eq!(b.world.kernel.nodes().len(), 1);
    assert_eq!(b.ask(logout(&to)).unwrap().exit, 0);
    assert_eq!(b.ask(delete_node(&to)).unwrap().exit, 0);
    assert_eq!(b.world.kernel.nodes().len(), 0);
}

#[test]
fn a_logout_takes_the_disk_from_a_guest_which_keeps_its_vdb_and_gets_io_errors() {
    let mut b = bed();
    b.world.hypervisor.guest_writes_every = Some(Duration::from_secs(1));
    let to = b.attach(1, "vdb", "/dev/sdb");
    assert_eq!(b.ask(logout(&to)).unwrap().exit, 0);
    assert!(b.world.facts.contains(&Fact::DeviceGone {
        device: "sdb".into(),
        volume: volume(1),
        dirty: 0,
        in_use: true,
        running: true,
    }));
    assert_eq!(b.world.kernel.devices().count(), 0);
    assert_eq!(b.world.hypervisor.live_disks().count(), 1);
    b.until(2000);
    let failed = |f: &Fact| matches!(f, Fact::GuestWrite { served_by: None, .. });
    assert!(b.world.facts.iter().any(failed), "{:?}", b.world.facts);
}

#[test]
fn a_disk_that_is_there_is_never_probed_again() {
    let mut b = bed();
    b.world.storage.shared_target = true;
    let to = b.attach(1, "vdb", "/dev/sdb");
    b.unmap(1);
    assert_eq!(b.map(3).lun, to.lun);
    b.ask(iscsi::Rescan { iqn: to.iqn.clone(), portal: to.portal.clone() }).unwrap();
    let known: Vec<_> = b.world.kernel.devices().map(|d| d.volume.clone()).collect();
    assert_eq!(known, [volume(1)]);
    // The LUN itself says who it is: scsi_id asks it.
    let id = b.ask(host::ScsiId { device: "sdb".into() }).unwrap();
    assert_eq!(id.stdout.trim(), sysfs::wwid(&volume(3)));
    assert_ne!(sysfs::wwid(&volume(1)), sysfs::wwid(&volume(3)));
}

#[test]
fn a_leftover_disk_writes_into_the_volume_that_got_its_lun_number() {
    let mut b = bed();
    b.world.storage.shared_target = true;
    b.world.hypervisor.guest_writes_every = Some(Duration::from_secs(1));
    b.attach(1, "vdb", "/dev/sdb");
    b.unmap(1);
    b.map(3);
    b.until(1500);
    let wrong = &b.world.storage.blocks(&volume(3))[0];
    assert_eq!((&wrong.volume, &wrong.instance), (&volume(1), &guest()));
}

#[test]
fn a_stale_device_brings_its_session_and_record_and_serves_nothing() {
    let mut b = bed();
    let (portal, iqn) = (Portal::new("10.0.0.1:3260"), Iqn::new("iqn.left"));
    let w = &mut b.world;
    let name =
        w.kernel.add_stale_device(&mut w.facts, &w.storage, &portal, &iqn, Lun(1), &volume(9));
    assert_eq!(name.as_str(), "sdb");
    assert!(w.kernel.session(&portal, &iqn).is_some() && w.kernel.nodes().len() == 1);
    let handle = w.kernel.device(&name).unwrap().handle();
    assert_eq!(w.kernel.device_serving(&w.storage, &handle), None);
    assert_eq!(b.ask(host::ScsiId { device: name }).unwrap().exit, 1);
}

#[test]
fn a_deleted_disk_that_lingers_keeps_its_link_and_takes_no_io() {
    let mut b = bed();
    b.world.kernel.linger = Some(Linger::For(Duration::from_secs(5)));
    let to = b.attach(1, "vdb", "/dev/sdb");
    assert_eq!(b.ask(delete_device("sdb")).unwrap().exit, 0);
    assert_eq!(b.ask(host::ListByPath { prefix: "ip-".into() }).unwrap(), [by_path(&to)]);
    assert!(b.world.kernel.open("/dev/sdb").is_none());
    assert_eq!(b.ask(flush("sdb")).unwrap().exit, 1);
    b.ask(iscsi::Rescan { iqn: to.iqn.clone(), portal: to.portal.clone() }).unwrap();
    assert_eq!(b.world.kernel.devices().count(), 1);
    b.until(4999);
    assert!(b.ask(host::DeviceExists { device: "sdb".into() }).unwrap());
    b.until(5000);
    assert!(!b.ask(host::DeviceExists { device: "sdb".into() }).unwrap());
    let link = b.ask(host::RealPath { by_path: by_path(&to) }).unwrap();
    assert_eq!(link, format!("/dev/disk/by-path/{}", by_path(&to)));
}

#[test]
fn a_deleted_disk_that_never_goes_leaves_with_its_session() {
    let mut b = bed();
    b.world.kernel.linger = Some(Linger::Never);
    let to = b.connect(1);
    b.ask(delete_device("sdb")).unwrap();
    b.until(1_000_000);
    assert_eq!(b.world.kernel.devices().count(), 1);
    b.ask(logout(&to)).unwrap();
    assert_eq!(b.world.kernel.devices().count(), 0);
}

#[test]
fn deleting_a_disk_that_is_gone_fails_with_enoent() {
    let mut b = bed();
    let said = b.ask(delete_device("sdq")).unwrap();
    assert!(said.exit == 1 && said.stderr.contains("No such file or directory"), "{said:?}");
}

#[test]
fn the_lowest_free_name_is_given_again_but_an_old_open_does_not_reach_the_new_disk() {
    let mut b = bed();
    b.world.storage.shared_target = true;
    let to = b.attach(1, "vdb", "/dev/sdb");
    let old = b.world.kernel.device(&"sdb".into()).unwrap().handle();
    b.ask(delete_device("sdb")).unwrap();
    b.ask(iscsi::Rescan { iqn: to.iqn.clone(), portal: to.portal.clone() }).unwrap();
    let new = b.world.kernel.device(&DeviceName::new("sdb")).unwrap().handle();
    assert_ne!(old, new);
    let serving = |h| b.world.kernel.device_serving(&b.world.storage, h).cloned();
    assert_eq!((serving(&old), serving(&new)), (None, Some(volume(1))));
}

#[test]
fn disk_names_go_on_after_sdz() {
    let name = |index| {
        let mut name = String::new();
        super::disk_name::write_disk_name(&mut name, index);
        name
    };
    let names = [0, 1, 25, 26, 27, 701, 702, 703, 702 + 676].map(name);
    assert_eq!(names, ["sda", "sdb", "sdz", "sdaa", "sdab", "sdzz", "sdaaa", "sdaab", "sdbaa"]);
}

#[test]
fn cached_writes_reach_the_lun_with_a_flush_and_are_lost_without() {
    let mut b = bed();
    b.world.kernel.writeback = true;
    b.attach(1, "vdb", "/dev/sdb");
    assert_eq!(b.world.storage.blocks(&volume(1)).len(), 0);
    b.world.kernel.flush_fails = true;
    assert_eq!(b.ask(flush("sdb")).unwrap().exit, 1);
    assert_eq!(b.world.kernel.devices().next().unwrap().dirty.len(), 1);
    b.world.kernel.flush_fails = false;
    assert_eq!(b.ask(flush("sdb")).unwrap().exit, 0);
    assert_eq!(b.world.storage.blocks(&volume(1)).len(), 1);

    let to = b.attach(2, "vdc", "/dev/sdc");
    b.ask(logout(&to)).unwrap();
    let lost = |f: &Fact| matches!(f, Fact::DeviceGone { dirty: 1, .. });
    assert!(b.world.facts.iter().any(lost));
}

#[test]
fn a_disk_being_deleted_takes_no_write_not_even_into_the_cache() {
    let mut b = bed();
    b.world.kernel.writeback = true;
    b.world.kernel.linger = Some(Linger::Never);
    b.world.hypervisor.guest_writes_every = Some(Duration::from_secs(1));
    b.attach(1, "vdb", "/dev/sdb");
    b.ask(delete_device("sdb")).unwrap();
    b.world.facts.clear();
    b.until(1000);
    let facts = &b.world.facts;
    assert!(matches!(facts[..], [Fact::GuestWrite { served_by: None, .. }]), "{facts:?}");
    assert_eq!(b.world.kernel.devices().next().unwrap().dirty.len(), 1);
}

#[test]
fn a_flush_fails_when_there_is_dirty_data_and_no_lun_to_take_it() {
    let mut b = bed();
    b.attach(1, "vdb", "/dev/sdb");
    b.unmap(1);
    assert_eq!(b.ask(flush("sdb")).unwrap().exit, 0, "nothing is dirty");
    b.world.kernel.writeback = true;
    b.attach(2, "vdc", "/dev/sdc");
    b.unmap(2);
    assert_eq!(b.ask(flush("sdc")).unwrap().exit, 1);
}
