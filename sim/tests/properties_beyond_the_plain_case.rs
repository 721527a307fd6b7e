//! The less plain halves of statements, each broken by hand, with the nearest thing that is allowed.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

mod support;

use castoff_model::Fact;
use castoff_ports::cinder::{self, VolumeStatus};
use castoff_ports::libvirt::{
    Destroy, DetachDeviceFlags, ManagedSave, PowerState, SecretDefine, SecretUndefine,
};
use castoff_ports::novadb::{EventResult, InstanceSave, InstanceUpdate, LockedBy, VmState};
use castoff_ports::{Failure, Process, Refusal, RequestId, libvirt, novadb};
use castoff_scenarios::Standing;
use support::{Bed, DETACH, server, volume};

/// A request that is no watched detach.
const REBOOT: RequestId = RequestId(2);

fn save(bed: &mut Bed, update: InstanceUpdate) {
    let (uuid, update, expected_task_state) = (server(), Box::new(update), Vec::new());
    bed.must(InstanceSave { uuid, update, expected_task_state });
}

fn breaks(bed: &Bed, name: &str, text: &str) -> bool {
    let found = bed.observer.violations();
    found.iter().any(|v| v.property.name == name && v.facts.contains(text))
}

#[test]
fn s11_a_volume_in_error_is_reserved() {
    for (from, wrong) in [(VolumeStatus::Error, true), (VolumeStatus::Available, false)] {
        let mut bed = Bed::new();
        bed.attach_in_cinder();
        let fact = Fact::VolumeStatus { volume: volume(), from, to: VolumeStatus::Reserved };
        bed.see(DETACH, "cinder::Reserve", fact);
        assert_eq!(breaks(&bed, "S11", "is in error and was reserved"), wrong, "from {from:?}");
    }
}

#[test]
fn s16_saved_memory_has_a_disk_without_a_bdm() {
    for has_bdm in [false, true] {
        let mut bed = Bed::new();
        bed.plug();
        if has_bdm {
            bed.bdm();
        }
        bed.must(ManagedSave { instance: server() });
        bed.observer.quiescent(&bed.world, bed.now);
        assert_eq!(breaks(&bed, "S16", "is in the saved memory alone"), !has_bdm);
    }
}

#[test]
fn s16_an_active_server_shows_that_its_running_guest_is_off() {
    for (vm_state, shown, wrong) in [
        (VmState::Active, PowerState::Shutdown, true),
        (VmState::Active, PowerState::Running, false),
        (VmState::Stopped, PowerState::Shutdown, false),
    ] {
        let mut bed = Bed::new();
        let power_state = Some(Some(shown));
        save(&mut bed, InstanceUpdate { power_state, ..InstanceUpdate::vm_state(vm_state) });
        bed.observer.quiescent(&bed.world, bed.now);
        assert_eq!(breaks(&bed, "S16", "its active server shows"), wrong, "{vm_state:?} {shown:?}");
    }
}

#[test]
fn s19_nobody_begins_to_detach_a_root_disk_or_from_a_suspended_server() {
    let begun = |prepare: &dyn Fn(&mut Bed)| {
        let mut bed = Bed::new();
        bed.attach_in_cinder();
        prepare(&mut bed);
        bed.must_as(Process::NovaApi, DETACH, cinder::BeginDetaching { volume_id: volume() });
        bed
    };
    let is = |vm_state| {
        move |bed: &mut Bed| {
            bed.bdm();
            let update = InstanceUpdate::vm_state(vm_state);
            save(bed, update);
        }
    };
    let root = begun(&|bed| {
        bed.bdm();
        bed.world.novadb.set_root(&volume(), &server());
    });
    assert!(breaks(&root, "S19", "which is the root disk"));
    for vm_state in [VmState::Suspended, VmState::Rescued] {
        assert!(breaks(&begun(&is(vm_state)), "S19", "suspended or rescued"), "{vm_state:?}");
    }
    for vm_state in [VmState::Active, VmState::Paused, VmState::Stopped] {
        assert!(!breaks(&begun(&is(vm_state)), "S19", "began"), "{vm_state:?}");
    }
}

#[test]
fn s19_a_locked_server_is_an_administrators_alone() {
    for (by, early) in
        [(Standing::Member, true), (Standing::Member, false), (Standing::Admin, true)]
    {
        let mut bed = Bed::new();
        bed.attach_in_cinder();
        bed.observer = support::observer_of(by);
        let look = cinder::GetVolume { volume_id: volume(), microversion: 0 };
        if !early {
            bed.must_as(Process::NovaApi, DETACH, look.clone());
        }
        let locked_by = Some(Some(LockedBy::Admin));
        let update = InstanceUpdate { locked_by, ..InstanceUpdate::default() };
        save(&mut bed, update);
        bed.must_as(Process::NovaApi, DETACH, look);
        bed.must_as(Process::NovaApi, DETACH, cinder::BeginDetaching { volume_id: volume() });
        let wrong = by == Standing::Member && early;
        assert_eq!(breaks(&bed, "S19", "whose server is locked"), wrong, "{by:?} {early}");
    }
}

#[test]
fn s19_and_s20_nothing_of_a_server_exists_for_a_user_of_another_project() {
    for by in [Standing::Member, Standing::Stranger] {
        let mut bed = Bed::new();
        bed.attach_in_cinder();
        bed.bdm();
        bed.observer = support::observer_of(by);
        let refusal = Failure::from(Refusal::http(404, "no"));
        bed.observer.answered(&bed.world, bed.now, DETACH, &Err(refusal));
        assert_eq!(breaks(&bed, "S19", "was answered 404"), by == Standing::Member);
        bed.must_as(Process::NovaApi, DETACH, cinder::BeginDetaching { volume_id: volume() });
        bed.observer.answered(&bed.world, bed.now, DETACH, &Ok(()));
        assert_eq!(breaks(&bed, "S20", "user of another project"), by == Standing::Stranger);
    }
}

#[test]
fn l3_nova_never_detaches_for_everybody_nor_from_a_locked_server() {
    for (by, locked, wrong) in [
        (Standing::Member, false, true),
        (Standing::Member, true, false),
        (Standing::Admin, true, true),
        (Standing::Reader, false, false),
        (Standing::Stranger, false, false),
    ] {
        let mut bed = Bed::new();
        bed.attach_in_cinder();
        bed.bdm();
        let locked_by = Some(locked.then_some(LockedBy::Admin));
        save(&mut bed, InstanceUpdate { locked_by, ..InstanceUpdate::default() });
        bed.observer = support::observer_of(by);
        bed.observer.retries(&bed.world, DETACH, RequestId(101));
        bed.observer.quiescent(&bed.world, bed.now);
        assert_eq!(breaks(&bed, "L3", "has not detached it"), wrong, "{by:?} {locked}");
    }
}

#[test]
fn s24_a_guest_gets_an_encrypted_volume_without_its_secret() {
    for secret in [false, true] {
        let mut bed = Bed::new();
        bed.world.cinder.volume_mut(&volume()).unwrap().encrypted = true;
        if secret {
            bed.must(SecretDefine { volume_id: volume() });
        }
        bed.plug();
        assert_eq!(breaks(&bed, "S24", "without its mapping or secret"), !secret);
    }
}

#[test]
fn s24_a_reboot_deletes_the_secret_of_a_guest_that_is_off() {
    for by in [REBOOT, DETACH] {
        let mut bed = Bed::new();
        bed.must(SecretDefine { volume_id: volume() });
        bed.bdm();
        let update = InstanceUpdate::task_state(Some("reboot_started_hard"));
        save(&mut bed, update);
        bed.must(Destroy { instance: server() });
        bed.must_as(Process::NovaCompute, by, SecretUndefine { volume_id: volume() });
        assert_eq!(breaks(&bed, "S24", "by a reboot"), by == REBOOT, "{by}");
    }
}

#[test]
fn s26_success_is_recorded_while_the_row_is_there() {
    for gone in [false, true] {
        let mut bed = Bed::new();
        let id = bed.bdm();
        bed.see(DETACH, "rpc::Notify", Fact::Notified { request: DETACH, event: "volume.detach" });
        if gone {
            bed.must(novadb::BdmDestroy { id });
        }
        bed.must(novadb::ActionStart { instance: server(), action: "detach_volume".into() });
        let event = || "compute_detach_volume".to_owned();
        bed.must(novadb::EventStart { instance: server(), event: event() });
        let result = EventResult::Success;
        bed.must(novadb::EventFinish { instance: server(), event: event(), result });
        assert_eq!(breaks(&bed, "S26", "Success"), !gone);
    }
}

#[test]
fn l4_a_guest_that_is_off_and_has_the_disk_in_its_config_gets_it_back() {
    for in_config in [false, true] {
        let mut bed = Bed::new();
        bed.plug();
        bed.attach_in_cinder();
        bed.bdm();
        bed.must(cinder::BeginDetaching { volume_id: volume() });
        let disk = bed.must(libvirt::XmlDesc { instance: server(), inactive: true }).remove(0);
        bed.must(Destroy { instance: server() });
        let fact =
            Fact::DiskUnplugged { instance: server(), target: "vdb".into(), volume: volume() };
        bed.see(DETACH, "libvirt::DetachDeviceFlags", fact);
        if !in_config {
            let instance = server();
            bed.must(DetachDeviceFlags { instance, disk, config: true, live: false });
        }
        bed.observer.healed(&bed.world, bed.now);
        assert_eq!(breaks(&bed, "L4", "the BDM is still there"), !in_config);
    }
}
