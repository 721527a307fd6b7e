//! Every property is broken here once, by the shortest wrong step in a world of models: a property
//! that cannot fail says nothing. What takes more than one worker is in
//! `properties_can_fail_by_many.rs`.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

mod support;

use castoff_model::Fact;
use castoff_ports::cinder::{self, VolumeStatus};
use castoff_ports::libvirt::{SecretDefine, SecretUndefine};
use castoff_ports::novadb::{BdmCreate, BdmDestroy, BdmSave, BdmUpdate, EventResult};
use castoff_ports::plan::{Fault, FaultKind, FaultPoint};
use castoff_ports::{
    Auth, Call, CallCx, Failure, Process, Refusal, RequestId, VolumeId, host, iscsi, novadb,
};
use castoff_sim::properties::CATALOGUE;
use support::{Bed, DETACH, server, volume};

#[test]
fn s01_a_guest_has_a_volume_that_is_available() {
    let mut bed = Bed::new();
    bed.plug();
    bed.broke("S01");
}

#[test]
fn s02_and_s03_a_volume_is_unmapped_under_a_guest() {
    let mut bed = Bed::new();
    bed.plug();
    bed.attach_in_cinder();
    let connector = bed.connector();
    bed.must(cinder::TerminateConnection { volume_id: volume(), connector });
    bed.broke("S02");
    bed.broke("S03");
}

#[test]
fn s03_a_session_is_logged_out_under_a_guest() {
    let mut bed = Bed::new();
    let login = bed.plug();
    let out = bed.must(iscsi::Logout { iqn: login.iqn, portal: login.portal });
    assert_eq!(out.exit, 0, "measured: nothing stops the wrong order");
    bed.broke("S03");
    bed.broke("S07");
}

#[test]
fn s04_a_guest_writes_into_the_volume_that_got_its_lun() {
    let mut bed = Bed::new();
    bed.world.storage.shared_target = true;
    bed.plug();
    let initiator = bed.world.kernel.initiator.clone();
    let other = VolumeId::new("30d72547-9316-4c2a-84c9-000000000002");
    bed.world.storage.add_volume(other.clone());
    // The LUN number goes to another volume while the guest still has the disk.
    bed.world.storage.unmap(&mut bed.world.facts, &volume(), &initiator);
    bed.world.storage.map(&mut bed.world.facts, &other, &initiator);
    let disk = bed.must(castoff_ports::libvirt::XmlDesc { instance: server(), inactive: false });
    let outcome = bed.world.call(
        bed.now,
        &CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request: DETACH,
            auth: Auth::default(),
            deadline: None,
        },
        Call::Libvirt(castoff_ports::libvirt::Call::DetachDeviceFlags(
            castoff_ports::libvirt::DetachDeviceFlags {
                instance: server(),
                disk: disk[0].clone(),
                config: false,
                live: true,
            },
        )),
    );
    assert!(matches!(outcome, castoff_model::Outcome::Blocked(_)), "it waits for the guest");
    bed.observer.observe(&mut bed.world, bed.now);
    bed.broke("S04");
}

#[test]
fn s05_a_disk_goes_with_writes_that_were_acknowledged() {
    let mut bed = Bed::new();
    bed.world.kernel.writeback = true;
    bed.plug();
    let out = bed.must(host::DeleteDevice { device: "sdb".into() });
    assert_eq!(out.exit, 0);
    bed.broke("S05");
}

#[test]
fn s08_a_session_is_left_without_a_disk() {
    let mut bed = Bed::new();
    bed.plug();
    bed.must(host::DeleteDevice { device: "sdb".into() });
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("S08");
    bed.broke("L5");
}

#[test]
fn s08_a_luks_mapping_is_left_on_the_host() {
    let mut bed = Bed::new();
    bed.plug();
    let (device, name) = ("/dev/sdb".into(), "crypt-sdb".into());
    assert_eq!(bed.must(host::CryptsetupOpen { device, name }).exit, 0);
    bed.observer.quiescent(&bed.world, bed.now);
    let mut found = bed.observer.violations().iter();
    let left = "LUKS mapping crypt-sdb is left on the host";
    assert!(found.any(|v| v.property.name == "S08" && v.facts == left));
}

#[test]
fn s09_nova_has_a_bdm_and_cinder_no_attachment() {
    let mut bed = Bed::new();
    bed.must(BdmCreate {
        instance: server(),
        volume_id: volume(),
        device_name: Some("/dev/vdb".into()),
    });
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("S09");
    bed.broke("S16");
}

#[test]
fn s09_cinder_has_an_attachment_that_no_bdm_names() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("S09");
}

#[test]
fn s15_a_detach_is_called_a_success_while_the_guest_has_the_disk() {
    let mut bed = Bed::new();
    bed.plug();
    bed.must(novadb::ActionStart { instance: server(), action: "detach_volume".into() });
    let event = || "compute_detach_volume".to_owned();
    bed.must(novadb::EventStart { instance: server(), event: event() });
    let result = EventResult::Success;
    bed.must(novadb::EventFinish { instance: server(), event: event(), result });
    bed.broke("S15");
}

#[test]
fn l1_and_l2_a_volume_stays_detaching_and_nobody_is_told() {
    let mut bed = Bed::new();
    bed.plug();
    bed.attach_in_cinder();
    bed.must(BdmCreate {
        instance: server(),
        volume_id: volume(),
        device_name: Some("/dev/vdb".into()),
    });
    bed.must(cinder::BeginDetaching { volume_id: volume() });
    bed.observer.settled(&bed.world, bed.now);
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("L1");
    bed.broke("L2");
}

#[test]
fn s10_a_bdm_goes_before_cinders_attachment() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    let id = bed.bdm();
    bed.must(BdmDestroy { id });
    bed.broke("S10");
}

#[test]
fn s11_a_volume_is_available_with_an_attachment() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    bed.world.cinder.volume_mut(&volume()).unwrap().status = VolumeStatus::Available;
    let (from, to) = (VolumeStatus::InUse, VolumeStatus::Available);
    bed.see(DETACH, "cinder::Detach", Fact::VolumeStatus { volume: volume(), from, to });
    bed.broke("S11");
}

#[test]
fn s14_a_rollback_finds_neither_disk_nor_bdm() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    bed.must(cinder::BeginDetaching { volume_id: volume() });
    bed.must(cinder::RollDetaching { volume_id: volume() });
    bed.broke("S14");
}

#[test]
fn s17_a_connection_is_terminated_for_another_host() {
    let mut bed = Bed::new();
    bed.plug();
    let initiator = Some("iqn.1993-08.org.debian:01:another".into());
    let connector = cinder::Connector { initiator, ..bed.connector() };
    bed.must(cinder::TerminateConnection { volume_id: volume(), connector });
    bed.broke("S17");
}

#[test]
fn s19_a_detach_is_accepted_and_no_task_exists() {
    let mut bed = Bed::new();
    bed.observer.answered(&bed.world, bed.now, DETACH, &Ok(()));
    bed.broke("S19");
}

#[test]
fn s19_a_detach_is_refused_without_its_reason_and_an_error_is_explained_by_a_fault_alone() {
    for status in [400, 404, 409, 418, 500] {
        let mut bed = Bed::new();
        bed.attach_in_cinder();
        bed.bdm();
        // Looked at from here on the volume has been in-use all along.
        bed.observer = support::observer();
        let refusal = Failure::from(Refusal::http(status, "no"));
        bed.observer.answered(&bed.world, bed.now, DETACH, &Err(refusal));
        bed.observer.settled(&bed.world, bed.now);
        bed.broke("S19");
    }
}

#[test]
fn s19_the_death_of_nova_compute_explains_the_error_of_an_attach_alone() {
    let at = FaultPoint {
        process: Process::NovaCompute,
        operation: "cinder::GetVolume".to_owned(),
        nth: 1,
        request: Some(DETACH),
    };
    let strike = FaultKind::CrashBefore { restart_after_ms: None };
    let death = Fault { at, strike, policies: Vec::new() };
    let attach = RequestId(77);
    for (request, struck, explained) in
        [(attach, true, true), (attach, false, false), (DETACH, true, false)]
    {
        let mut bed = Bed::new();
        let refusal = Failure::from(Refusal::http(500, "no"));
        bed.observer.answered(&bed.world, bed.now, request, &Err(refusal));
        bed.observer.struck(if struck { std::slice::from_ref(&death) } else { &[] });
        bed.observer.settled(&bed.world, bed.now);
        let broken = bed.observer.violations().iter().any(|v| v.property.name == "S19");
        assert_eq!(broken, !explained, "{request} {struck}");
    }
}

#[test]
fn s20_a_user_deletes_an_attachment_that_nova_uses() {
    let mut bed = Bed::new();
    let connector = bed.connector();
    let info = bed.must(cinder::InitializeConnection { volume_id: volume(), connector });
    bed.attach_in_cinder();
    let id = bed.bdm();
    let update = BdmUpdate { connection_info: Some(Box::new(info)), ..BdmUpdate::default() };
    bed.must(BdmSave { id, update });
    let detach = cinder::Detach { volume_id: volume(), attachment_id: None };
    bed.must_as(Process::Client, RequestId(7), detach);
    bed.broke("S20");
}

#[test]
fn s20_a_refused_request_has_changed_something() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    let refusal = Failure::from(Refusal::http(403, "no"));
    bed.observer.answered(&bed.world, bed.now, DETACH, &Err(refusal));
    bed.broke("S20");
}

#[test]
fn s21_a_volume_in_use_is_deleted() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    let (from, to) = (VolumeStatus::InUse, VolumeStatus::Deleting);
    bed.see(DETACH, "cinder::Detach", Fact::VolumeStatus { volume: volume(), from, to });
    bed.broke("S21");
}

#[test]
fn s22_locks_are_taken_the_wrong_way_round() {
    let mut bed = Bed::new();
    bed.lock_as(DETACH, "os-brick-connect_volume");
    bed.lock_as(DETACH, "os-brick-5e41ce00-0000-4000-8000-000000000001");
    bed.broke("S22");
}

#[test]
fn s22_a_session_is_made_without_the_hosts_lock() {
    let mut bed = Bed::new();
    bed.plug();
    bed.broke("S22");
}

#[test]
fn s23_and_l3_a_second_attempt_does_harm_and_does_not_detach() {
    let mut bed = Bed::new();
    bed.observer.retries(&bed.world, DETACH, RequestId(101));
    bed.plug();
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("S23");
    bed.broke("L3");
}

#[test]
fn l3_a_volume_that_another_server_has_by_now_was_detached_and_one_that_two_have_was_not() {
    for still_here in [false, true] {
        let mut bed = Bed::new();
        let other = bed.another_server();
        let device_name = Some("/dev/vdb".into());
        bed.must(BdmCreate { instance: other, volume_id: volume(), device_name });
        if still_here {
            bed.bdm();
        }
        bed.observer.retries(&bed.world, DETACH, RequestId(101));
        bed.observer.quiescent(&bed.world, bed.now);
        let broken = bed.observer.violations().iter().any(|v| v.property.name == "L3");
        assert_eq!(broken, still_here);
    }
}

#[test]
fn s24_a_secret_is_deleted_under_its_guest() {
    let mut bed = Bed::new();
    bed.must(SecretDefine { volume_id: volume() });
    bed.plug();
    bed.must(SecretUndefine { volume_id: volume() });
    bed.broke("S24");
}

#[test]
fn s24_a_disk_goes_before_the_volumes_secret() {
    let mut bed = Bed::new();
    bed.must(SecretDefine { volume_id: volume() });
    bed.plug();
    bed.must(host::DeleteDevice { device: "sdb".into() });
    bed.broke("S24");
}

#[test]
fn s26_a_bdm_goes_and_nobody_is_notified() {
    let mut bed = Bed::new();
    let id = bed.bdm();
    bed.must(BdmDestroy { id });
    bed.broke("S26");
}

#[test]
fn s27_a_disk_leaves_a_guest_that_nobody_has_asked() {
    let mut bed = Bed::new();
    bed.plug();
    let fact = Fact::DiskUnplugged { instance: server(), target: "vdb".into(), volume: volume() };
    bed.see(DETACH, "libvirt::DetachDeviceFlags", fact);
    bed.broke("S27");
}

#[test]
fn l4_a_guest_lets_go_when_nobody_works_on_it_any_more() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    bed.bdm();
    bed.must(cinder::BeginDetaching { volume_id: volume() });
    let fact = Fact::DiskUnplugged { instance: server(), target: "vdb".into(), volume: volume() };
    bed.see(DETACH, "libvirt::DetachDeviceFlags", fact);
    bed.observer.healed(&bed.world, bed.now);
    bed.broke("L4");
}

#[test]
fn every_property_of_the_catalogue_is_broken_in_this_file() {
    let here =
        [include_str!("properties_can_fail.rs"), include_str!("properties_can_fail_by_many.rs")];
    for property in CATALOGUE {
        let name = property.name;
        let broken = format!("bed.broke(\"{name}\")");
        assert!(here.iter().any(|text| text.contains(&broken)), "{name} is never broken");
    }
}
