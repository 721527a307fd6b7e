//! A domain's end and new beginning, and what holds a secret or a LUKS mapping, in sentences.

use std::time::Duration;

use castoff_ports::host::{CryptsetupClose, CryptsetupOpen};
use castoff_ports::libvirt::{
    Create, DefineXml, Destroy, DetachDeviceFlags, GetInfo, PowerState, SecretDefine,
    SecretLookupByUsage, SecretUndefine, Shutdown, Undefine, error,
};

use super::LetsGo;
use crate::fact::Fact;
use crate::kernel::bed::{Bed, disk, guest, volume};

fn bed(lets_go: LetsGo) -> Bed {
    let mut b = Bed::new(Duration::from_secs(5));
    b.world.hypervisor.set_lets_go(b.now, lets_go);
    b.attach(1, "vdb", "/dev/sdb");
    b.world.facts.clear();
    b
}

fn code<T: std::fmt::Debug>(result: Result<T, castoff_ports::Failure>) -> i32 {
    result.unwrap_err().libvirt().unwrap().0
}

#[test]
fn a_destroyed_guest_closes_its_disks_and_ends_the_detach_that_waits_for_it() {
    let mut b = bed(LetsGo::Never);
    let disk = disk("vdb", "/dev/sdb", &volume(1));
    let ticket = b.block(DetachDeviceFlags { instance: guest(), disk, config: false, live: true });
    b.ask(Destroy { instance: guest() }).unwrap();
    let answers = b.until(1);
    assert_eq!((answers.len(), answers[0].1), (1, ticket));
    assert_eq!(b.world.hypervisor.live_disks().count(), 0);
    assert!(b.world.facts.iter().any(|f| matches!(f, Fact::DiskClosed { .. })));
    assert_eq!(code(b.ask(Destroy { instance: guest() })), error::OPERATION_INVALID);
}

#[test]
fn an_undefined_domain_comes_back_with_the_disks_of_its_new_xml_and_no_others() {
    let mut b = bed(LetsGo::Never);
    b.ask(Destroy { instance: guest() }).unwrap();
    b.ask(Undefine { instance: guest() }).unwrap();
    assert_eq!(code(b.ask(GetInfo { instance: guest() })), error::NO_DOMAIN);
    b.ask(DefineXml { instance: guest(), disks: Vec::new() }).unwrap();
    assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), PowerState::Shutdown);
    b.ask(Create { instance: guest() }).unwrap();
    assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), PowerState::Running);
    assert_eq!(b.world.hypervisor.live_disks().count(), 0);
}

#[test]
fn a_guest_whose_disk_has_gone_from_the_host_does_not_start() {
    let mut b = bed(LetsGo::Never);
    b.ask(Destroy { instance: guest() }).unwrap();
    let disks = vec![disk("vdb", "/dev/sdz", &volume(1))];
    b.ask(DefineXml { instance: guest(), disks }).unwrap();
    assert_eq!(code(b.ask(Create { instance: guest() })), error::OPERATION_FAILED);
    assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), PowerState::Shutdown);
}

#[test]
fn only_a_guest_that_answers_follows_its_power_button() {
    for (lets_go, after) in [
        (LetsGo::Never, PowerState::Running),
        (LetsGo::After(Duration::from_millis(400)), PowerState::Shutdown),
    ] {
        let mut b = bed(lets_go);
        b.ask(Shutdown { instance: guest() }).unwrap();
        assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), after);
    }
}

#[test]
fn a_secret_is_found_from_its_definition_to_its_end() {
    let mut b = bed(LetsGo::Never);
    let volume_id = volume(1);
    let lookup = || SecretLookupByUsage { volume_id: volume(1) };
    assert_eq!(code(b.ask(lookup())), error::NO_SECRET);
    b.ask(SecretDefine { volume_id: volume_id.clone() }).unwrap();
    b.ask(lookup()).unwrap();
    b.ask(SecretUndefine { volume_id: volume_id.clone() }).unwrap();
    assert_eq!(code(b.ask(SecretUndefine { volume_id })), error::NO_SECRET);
}

#[test]
fn a_luks_mapping_is_busy_under_a_guest_and_closed_for_good_after_it() {
    let mut b = bed(LetsGo::Never);
    let name = || "crypt-sdb".to_owned();
    let open = || CryptsetupOpen { device: "/dev/sdb".to_owned(), name: name() };
    assert_eq!(b.ask(open()).unwrap().exit, 0);
    assert_eq!(b.ask(open()).unwrap().exit, 5);
    // nova bug 1642628: the encryptor went before the guest.
    assert_eq!(b.ask(CryptsetupClose { name: name() }).unwrap().exit, 5);
    b.ask(Destroy { instance: guest() }).unwrap();
    assert_eq!(b.ask(CryptsetupClose { name: name() }).unwrap().exit, 0);
    assert_eq!(b.ask(CryptsetupClose { name: name() }).unwrap().exit, 4);
    assert_eq!(b.world.kernel.crypts().count(), 0);
}
