//! Properties that it takes two to break: two workers, two servers, a process that dies.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use castoff_model::{Fact, Outcome};
use castoff_ports::cinder;
use castoff_ports::libvirt::{AttachDeviceFlags, GuestDisk};
use castoff_ports::novadb::BdmCreate;
use castoff_ports::rpc::{Cast, Method};
use castoff_ports::{HostName, Process, RequestId, iscsi};
use support::{Bed, DETACH, server, volume};

const OTHER: RequestId = RequestId(2);

#[test]
fn s06_two_guests_write_to_one_volume() {
    let mut bed = Bed::new();
    bed.plug();
    let instance = bed.another_server();
    let disk = GuestDisk {
        target_dev: "vdb".into(),
        source_dev: "/dev/sdb".into(),
        serial: Some(volume()),
        alias: None,
    };
    bed.must(AttachDeviceFlags { instance, disk, config: true, live: true });
    bed.broke("S06");
}

#[test]
fn s07_a_node_record_goes_while_another_connects() {
    let mut bed = Bed::new();
    let (iqn, portal) = ("iqn.2010-10.org.openstack:volume-x", "10.0.0.1:3260");
    bed.lock_as(OTHER, "os-brick-connect_volume");
    let node = iscsi::NodeNew { iqn: iqn.into(), portal: portal.into() };
    bed.must_as(Process::NovaCompute, OTHER, node);
    bed.must(iscsi::NodeDelete { iqn: iqn.into(), portal: portal.into() });
    bed.broke("S07");
}

#[test]
fn s12_another_works_on_the_server_between_two_steps_of_a_detach() {
    let mut bed = Bed::new();
    bed.bdm();
    let row = BdmCreate { instance: server(), volume_id: "another".into(), device_name: None };
    bed.must_as(Process::NovaCompute, OTHER, row);
    bed.bdm();
    bed.broke("S12");
}

fn queued(bed: &mut Bed) {
    let (instance, volume_id) = (server(), volume());
    let method = Method::DetachVolume { instance, volume_id, attachment_id: None };
    let cast = Cast { server: HostName::new("compute-1"), method };
    bed.must_as(Process::NovaApi, DETACH, cast);
}

#[test]
fn s12_a_second_detach_begins_when_an_administrator_has_undone_the_first() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    bed.must(cinder::BeginDetaching { volume_id: volume() });
    queued(&mut bed);
    bed.must_as(Process::Client, OTHER, cinder::RollDetaching { volume_id: volume() });
    bed.must_as(Process::NovaApi, OTHER, cinder::BeginDetaching { volume_id: volume() });
    bed.broke("S12");
}

#[test]
fn s12_a_second_detach_may_begin_when_the_first_has_rolled_back() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    bed.must(cinder::BeginDetaching { volume_id: volume() });
    queued(&mut bed);
    bed.must(cinder::RollDetaching { volume_id: volume() });
    bed.must_as(Process::NovaApi, OTHER, cinder::BeginDetaching { volume_id: volume() });
    let violations = bed.observer.violations();
    assert!(violations.iter().all(|v| v.property.name != "S12"), "{violations:?}");
}

#[test]
fn s13_a_detach_is_rolled_back_by_another_request() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    bed.must(cinder::BeginDetaching { volume_id: volume() });
    let roll = cinder::RollDetaching { volume_id: volume() };
    bed.must_as(Process::NovaCompute, OTHER, roll);
    bed.broke("S13");
}

#[test]
fn s18_a_volume_is_unmapped_while_another_server_has_it() {
    let mut bed = Bed::new();
    bed.world.cinder.volume_mut(&volume()).unwrap().multiattach = true;
    let connector = bed.connector();
    bed.must(cinder::InitializeConnection { volume_id: volume(), connector: connector.clone() });
    bed.attach_in_cinder();
    let instance = bed.another_server();
    bed.must(cinder::Reserve { volume_id: volume() });
    let mountpoint = "/dev/vdb".into();
    bed.must(cinder::Attach { volume_id: volume(), instance, mountpoint });
    bed.must(cinder::TerminateConnection { volume_id: volume(), connector });
    bed.broke("S18");
}

#[test]
fn s22_and_l8_two_workers_wait_for_each_other() {
    let mut bed = Bed::new();
    bed.lock_as(DETACH, "server-1");
    bed.lock_as(OTHER, "server-2");
    assert!(matches!(bed.lock_as(DETACH, "server-2"), Outcome::Blocked(_)));
    assert!(bed.observer.violations().is_empty(), "{:?}", bed.observer.violations());
    assert!(matches!(bed.lock_as(OTHER, "server-1"), Outcome::Blocked(_)));
    bed.broke("S22");
    bed.observer.settled(&bed.world, bed.now);
    bed.broke("L8");
}

#[test]
fn s27_a_detach_removes_a_disk_that_was_made_after_it_had_begun() {
    let mut bed = Bed::new();
    bed.bdm();
    bed.now = bed.now + Duration::from_secs(1);
    let (device, sid, lun) = ("sdb".into(), castoff_ports::Sid(1), castoff_ports::Lun(1));
    let up = Fact::DeviceUp { device, sid, lun, volume: "another".into() };
    bed.see(OTHER, "host::ScanLun", up);
    let (device, volume) = ("sdb".into(), "another".into());
    let gone = Fact::DeviceGone { device, volume, dirty: 0, in_use: false, running: true };
    bed.see(DETACH, "host::DeleteDevice", gone);
    bed.broke("S27");
}

#[test]
fn l6_a_detach_waits_for_the_work_on_another_volume() {
    let mut bed = Bed::new();
    let name = "os-brick-connect_volume";
    bed.lock_as(OTHER, name);
    assert!(matches!(bed.lock_as(DETACH, name), Outcome::Blocked(_)));
    bed.now = bed.now + Duration::from_secs(900);
    bed.unlock_as(OTHER, name);
    bed.broke("L6");
}

#[test]
fn l7_a_dead_process_holds_a_lock() {
    let mut bed = Bed::new();
    bed.lock_as(DETACH, "os-brick-connect_volume");
    let died = Fact::ProcessDied { process: Process::NovaCompute, incarnation: 0 };
    bed.see(OTHER, "runtime::Lock", died);
    bed.broke("L7");
}
