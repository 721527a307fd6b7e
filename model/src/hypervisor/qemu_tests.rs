//! What a second unplug request does, by QEMU version and machine type, and what happens to an
//! unplug when the guest, QEMU or libvirtd goes through something meanwhile; in sentences.

use std::time::Duration;

use castoff_ports::libvirt::{
    CreateWaiter, DetachDeviceFlags, DeviceEvent, GetInfo, PowerState, WaitForEvent, WaiterId,
    XmlDesc, error,
};
use castoff_ports::qemu::{Machine, Qemu};
use castoff_ports::{Failure, Operation, SimTime};

use super::{Happening, LetsGo};
use crate::Release;
use crate::fact::Fact;
use crate::kernel::bed::{Bed, disk, guest, volume};

const MS_400: LetsGo = LetsGo::After(Duration::from_millis(400));
const FOREVER: u64 = 1_000_000;

/// A guest with volume v1 as `vdb`; libvirt's calls block for so many seconds.
fn bed(version: &str, machine: Machine, blocks: u64, lets_go: LetsGo) -> Bed {
    let qemu = Qemu { version: version.parse().unwrap(), machine };
    let detach_blocks = Duration::from_secs(blocks);
    let mut b = Bed::of(Release { qemu, detach_blocks, ..Release::named("2026.1").unwrap() });
    b.world.hypervisor.set_lets_go(b.now, lets_go);
    b.attach(1, "vdb", "/dev/sdb");
    b.world.facts.clear();
    b
}

fn detach(config: bool) -> DetachDeviceFlags {
    let disk = disk("vdb", "/dev/sdb", &volume(1));
    DetachDeviceFlags { instance: guest(), disk, config, live: true }
}

fn live(b: &Bed) -> usize {
    b.world.hypervisor.live_disks().count()
}

fn happens(b: &mut Bed, at_ms: u64, what: Happening) {
    b.world.hypervisor.schedule(SimTime(at_ms * 1000), what);
}

fn waiter(b: &mut Bed) -> WaiterId {
    let alias = format!("ua-{}", volume(1)).as_str().into();
    b.ask(CreateWaiter { instance: guest(), alias }).unwrap()
}

/// The text of libvirt's refusal, if it refuses.
fn refused(b: &mut Bed) -> Option<String> {
    let failure = b.ask(detach(false)).err()?;
    let (code, message) = failure.libvirt().unwrap();
    assert_eq!(code, error::INTERNAL_ERROR);
    let of_qemu = "internal error: unable to execute QEMU command 'device_del': ";
    Some(message.strip_prefix(of_qemu).unwrap().to_owned())
}

const PENDING: &str = "Device ua-v1 is already in the process of unplug";
const BUSY: &str = "Hot-unplug failed: guest is busy (power indicator blinking)";

/// A guest that lets go after 30 s gets a second request at 6 s: (its refusal, the disk goes).
fn second(version: &str, machine: Machine) -> (Option<String>, bool) {
    let mut b = bed(version, machine, 0, LetsGo::After(Duration::from_secs(30)));
    assert_eq!(refused(&mut b), None, "{version}");
    b.until(6_000);
    let answer = refused(&mut b);
    b.until(FOREVER);
    (answer, live(&b) == 0)
}

#[test]
fn a_second_request_is_ignored_aborts_or_is_refused_by_version_and_machine() {
    let pending = || Some(PENDING.to_owned());
    for machine in [Machine::Pc, Machine::Q35] {
        assert_eq!(second("2.8", machine), (None, true));
        assert_eq!(second("4.1", machine), (None, true));
        assert_eq!(second("4.2", machine), (None, false), "nova bug 1882521");
        assert_eq!(second("5.0", machine), (pending(), true));
        assert_eq!(second("6.2", machine), (pending(), true));
        assert_eq!(second("7.2", machine), (None, true), "measured");
        assert_eq!(second("10.0", machine), (None, true));
    }
    let native = Machine::Q35Native;
    for version in ["2.8", "4.2"] {
        assert_eq!(second(version, native), (None, false), "a second press of the button");
    }
    assert_eq!(second("5.0", native), (pending(), true));
    assert_eq!(second("6.1", native), (pending(), true));
    assert_eq!(second("6.2", native), (Some(BUSY.to_owned()), true));
    assert_eq!(second("7.2", native), (Some(BUSY.to_owned()), true));
}

#[test]
fn native_hotplug_refuses_a_request_right_after_libvirts_own_wait_as_measured() {
    let mut b = bed("7.2", Machine::Q35Native, 5, LetsGo::After(Duration::from_millis(1_170)));
    b.block(detach(false));
    b.block(detach(false));
    let answers = b.until(5_000);
    assert_eq!((answers.len(), answers[0].2.is_ok()), (2, true));
    let (code, message) = answers[1].2.as_ref().unwrap_err().libvirt().unwrap();
    assert_eq!(code, error::INTERNAL_ERROR);
    assert!(message.ends_with(PENDING), "{message}");
}

#[test]
fn native_hotplug_returns_after_5_s_with_the_disk_still_there_and_lets_go_at_6_17_s() {
    let mut b = bed("7.2", Machine::Q35Native, 5, LetsGo::After(Duration::from_millis(1_170)));
    b.block(detach(false));
    let answers = b.until(6_169);
    assert_eq!((answers[0].0, answers[0].2.is_ok()), (SimTime::from_secs(5), true));
    assert_eq!(live(&b), 1);
    b.until(6_170);
    assert_eq!(live(&b), 0);
}

#[test]
fn acpi_hotplug_returns_with_the_event() {
    for machine in [Machine::Pc, Machine::Q35] {
        let mut b = bed("7.2", machine, 5, MS_400);
        let id = waiter(&mut b);
        b.block(detach(false));
        assert_eq!(b.until(FOREVER)[0].0, SimTime(400_000));
        let wait = WaitForEvent { waiter: id, timeout: Duration::from_secs(20) };
        assert_eq!(b.ask(wait).unwrap(), Some(DeviceEvent::Removed));
    }
}

#[test]
fn a_second_request_in_the_same_instant_is_refused_since_5_0() {
    for (version, machine) in [("7.2", Machine::Pc), ("6.2", Machine::Q35Native)] {
        let mut b = bed(version, machine, 0, LetsGo::Never);
        assert_eq!(refused(&mut b), None);
        assert_eq!(refused(&mut b), Some(PENDING.to_owned()), "{version}");
    }
}

#[test]
fn native_hotplug_presses_the_button_again_of_a_guest_that_does_not_answer() {
    let mut b = bed("6.2", Machine::Q35Native, 0, LetsGo::Never);
    assert_eq!(refused(&mut b), None);
    b.until(5_000);
    assert_eq!(refused(&mut b), Some(PENDING.to_owned()));
    b.until(5_001);
    assert_eq!(refused(&mut b), None);
    // The new press has 5 s of its own.
    b.until(10_001);
    assert_eq!(refused(&mut b), Some(PENDING.to_owned()));
}

#[test]
fn a_request_while_the_guest_boots_is_missed_and_only_some_versions_take_another() {
    for (version, again) in [("2.8", true), ("5.0", false), ("6.2", false), ("7.2", true)] {
        let mut b = bed(version, Machine::Q35, 0, MS_400);
        happens(&mut b, 0, Happening::GuestReboots(Duration::from_secs(10)));
        b.until(1_000);
        assert_eq!(refused(&mut b), None);
        b.until(20_000);
        assert_eq!(live(&b), 1, "{version}: the guest has missed it");
        assert_eq!(refused(&mut b).is_none(), again, "{version}");
        b.until(FOREVER);
        assert_eq!(live(&b) == 0, again, "{version}");
    }
}

#[test]
fn an_aborted_unplug_may_be_requested_again_once_the_guest_answers_anew() {
    let mut b = bed("4.2", Machine::Pc, 0, LetsGo::Never);
    for _ in 0..3 {
        assert_eq!(refused(&mut b), None);
    }
    b.until(100_000);
    assert_eq!(live(&b), 1);
    b.world.hypervisor.set_lets_go(b.now, MS_400);
    assert_eq!(refused(&mut b), None);
    b.until(100_400);
    assert_eq!(live(&b), 0);
}

#[test]
fn a_reset_completes_what_is_pending_without_a_write_of_the_guest() {
    let mut b = bed("7.2", Machine::Pc, 0, LetsGo::Never);
    let id = waiter(&mut b);
    assert_eq!(refused(&mut b), None);
    happens(&mut b, 3_000, Happening::GuestReboots(Duration::from_secs(10)));
    b.until(2_999);
    assert_eq!(live(&b), 1);
    b.world.facts.clear();
    b.until(3_000);
    assert_eq!(live(&b), 0);
    assert!(b.world.facts.iter().all(|f| matches!(f, Fact::DiskUnplugged { .. })));
    let wait = WaitForEvent { waiter: id, timeout: Duration::from_secs(20) };
    assert_eq!(b.ask(wait).unwrap(), Some(DeviceEvent::Removed));
}

#[test]
fn a_guest_that_is_paused_answers_after_it_goes_on() {
    let mut b = bed("7.2", Machine::Pc, 5, MS_400);
    happens(&mut b, 200, Happening::GuestPauses);
    happens(&mut b, 60_000, Happening::GuestResumes);
    b.block(detach(false));
    assert_eq!(b.until(59_999)[0].0, SimTime::from_secs(5));
    assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), PowerState::Paused);
    b.until(60_399);
    assert_eq!(live(&b), 1);
    b.until(60_400);
    assert_eq!(live(&b), 0);
}

#[test]
fn healing_ends_a_pause_of_the_host_and_no_pause_of_novas() {
    let mut b = bed("7.2", Machine::Pc, 0, MS_400);
    happens(&mut b, 0, Happening::GuestPauses);
    happens(&mut b, 5_000, Happening::QemuDies);
    b.until(1);
    b.world.hypervisor.heal(b.now, MS_400);
    assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), PowerState::Running);
    assert_eq!(b.world.next_timer(), None, "nothing more happens");
    b.ask(castoff_ports::libvirt::Suspend { instance: guest() }).unwrap();
    b.world.hypervisor.heal(b.now, MS_400);
    assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), PowerState::Paused);
}

#[test]
fn a_killed_qemu_ends_the_call_and_leaves_the_config() {
    let mut b = bed("7.2", Machine::Pc, 5, LetsGo::Never);
    b.block(detach(false));
    happens(&mut b, 1_000, Happening::QemuDies);
    let answers = b.until(FOREVER);
    assert_eq!((answers[0].0, answers[0].2.is_ok()), (SimTime::from_secs(1), true));
    assert!(b.world.facts.iter().any(|f| matches!(f, Fact::DiskClosed { .. })));
    assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), PowerState::Shutdown);
    assert_eq!(b.ask(XmlDesc { instance: guest(), inactive: false }).unwrap().len(), 1);
}

#[test]
fn a_restart_of_libvirtd_breaks_calls_and_loses_the_event_but_not_the_unplug() {
    let mut b = bed("7.2", Machine::Pc, 5, LetsGo::After(Duration::from_secs(2)));
    let id = waiter(&mut b);
    b.block(detach(true));
    b.block(WaitForEvent { waiter: id, timeout: Duration::from_secs(20) });
    happens(&mut b, 1_000, Happening::LibvirtdRestarts(Duration::from_secs(3)));
    let answers = b.until(1_500);
    let lost = Failure::NoReply { system: "libvirt".to_owned() };
    assert_eq!((answers[0].0, &answers[0].2), (SimTime::from_secs(1), &Err(lost)));
    let gone = Failure::Unreachable { system: "libvirt".to_owned() };
    assert_eq!(b.ask(GetInfo { instance: guest() }), Err(gone));
    let answers = b.until(60_000);
    let reply = WaitForEvent::from_reply(answers[0].2.clone().unwrap());
    assert_eq!((answers[0].0, reply), (SimTime::from_secs(20), Some(None)));
    assert_eq!(b.ask(XmlDesc { instance: guest(), inactive: false }).unwrap(), []);
    let config = b.ask(XmlDesc { instance: guest(), inactive: true }).unwrap();
    assert_eq!(config.len(), 1, "the call that broke had not come to the config");
}

#[test]
fn after_a_restart_of_libvirtd_events_come_again_once_nova_has_called() {
    for (calls, event) in [(false, None), (true, Some(DeviceEvent::Removed))] {
        let mut b = bed("7.2", Machine::Pc, 0, LetsGo::After(Duration::from_secs(2)));
        let id = waiter(&mut b);
        assert_eq!(refused(&mut b), None);
        happens(&mut b, 500, Happening::LibvirtdRestarts(Duration::from_millis(100)));
        b.until(1_000);
        if calls {
            b.ask(GetInfo { instance: guest() }).unwrap();
        }
        b.block(WaitForEvent { waiter: id, timeout: Duration::from_secs(20) });
        let answers = b.until(60_000);
        assert_eq!(WaitForEvent::from_reply(answers[0].2.clone().unwrap()), Some(event));
    }
}
