//! What libvirt, QEMU and the guest were measured to do, in sentences; then the recorded unplugs.

use std::time::Duration;

use castoff_ports::libvirt::{
    AttachDeviceFlags, BlockStats, CreateWaiter, DetachDeviceFlags, DeviceEvent, GetInfo,
    LookupByUuid, PowerState, SecretLookupByUsage, WaitForEvent, WaiterId, XmlDesc, error,
};
use castoff_ports::qemu::{Machine, Qemu, Version};
use castoff_ports::{Operation, Process, SimTime};

use super::LetsGo;
use crate::Release;
use crate::fact::Fact;
use crate::kernel::bed::{Bed, disk, guest, volume};

const MS_400: LetsGo = LetsGo::After(Duration::from_millis(400));
const BLOCKS: Duration = Duration::from_secs(5);

/// A guest with volume v1 as `vdb`, in both configs.
fn bed(blocks: Duration, lets_go: LetsGo) -> Bed {
    let mut b = Bed::new(blocks);
    b.world.hypervisor.set_lets_go(b.now, lets_go);
    b.attach(1, "vdb", "/dev/sdb");
    b.world.facts.clear();
    b
}

fn detach(config: bool, live: bool) -> DetachDeviceFlags {
    let disk = disk("vdb", "/dev/sdb", &volume(1));
    DetachDeviceFlags { instance: guest(), disk, config, live }
}

fn live(b: &Bed) -> usize {
    b.world.hypervisor.live_disks().count()
}

fn config(b: &Bed) -> usize {
    b.world.hypervisor.config_disks(&guest()).len()
}

fn power(b: &mut Bed, power: PowerState) {
    let w = &mut b.world;
    w.hypervisor
        .set_power(&mut w.facts, &mut w.kernel, &mut w.storage, b.now, &guest(), power)
        .unwrap();
}

fn waiter(b: &mut Bed) -> WaiterId {
    let alias = format!("ua-{}", volume(1)).as_str().into();
    b.ask(CreateWaiter { instance: guest(), alias }).unwrap()
}

fn wait(waiter: WaiterId) -> WaitForEvent {
    WaitForEvent { waiter, timeout: Duration::from_secs(20) }
}

#[test]
fn a_live_detach_returns_when_the_guest_has_let_go() {
    let mut b = bed(BLOCKS, MS_400);
    let ticket = b.block(detach(false, true));
    let answers = b.until(10_000);
    assert_eq!(answers.len(), 1);
    let (at, answered, result) = &answers[0];
    assert_eq!((*at, *answered, result.is_ok()), (SimTime(400_000), ticket, true));
    assert_eq!((live(&b), config(&b)), (0, 1));
}

#[test]
fn a_live_detach_returns_success_after_5_s_although_the_disk_is_still_there() {
    let mut b = bed(BLOCKS, LetsGo::Never);
    b.block(detach(false, true));
    let answers = b.until(100_000);
    assert_eq!((answers[0].0, answers[0].2.is_ok()), (SimTime::from_secs(5), true));
    assert_eq!((live(&b), answers.len()), (1, 1));
}

#[test]
fn qemu_tells_what_a_libvirtd_that_lags_does_not_know_yet() {
    let mut b = bed(Duration::ZERO, MS_400);
    b.world.hypervisor.events_lag = Some(Duration::from_secs(27));
    let stats = || BlockStats { instance: guest(), target_dev: "vdb".to_owned() };
    let listed = |b: &mut Bed| b.ask(XmlDesc { instance: guest(), inactive: false }).unwrap().len();
    assert_eq!(b.ask(stats()), Ok(()));
    b.ask(detach(false, true)).unwrap();
    b.until(10_000);
    let alias = format!("ua-{}", volume(1));
    let path = format!("/machine/peripheral/{alias}/virtio-backend");
    let text = format!("internal error: cannot find statistics for device '{path}'");
    let refused = b.ask(stats()).unwrap_err();
    assert_eq!((refused.libvirt(), listed(&mut b)), (Some((error::INTERNAL_ERROR, &*text)), 1));
    b.until(28_000);
    let refused = b.ask(stats()).unwrap_err();
    assert_eq!((refused.libvirt().unwrap().0, listed(&mut b)), (error::INVALID_ARG, 0));
    power(&mut b, PowerState::Shutdown);
    assert_eq!(b.ask(stats()).unwrap_err().libvirt().unwrap().0, error::OPERATION_INVALID);
}

#[test]
fn parallel_detaches_queue_on_the_job_lock() {
    let mut b = bed(BLOCKS, LetsGo::Never);
    b.block(detach(false, true));
    b.block(detach(false, true));
    let at: Vec<_> = b.until(100_000).iter().map(|a| a.0).collect();
    assert_eq!(at, [SimTime::from_secs(5), SimTime::from_secs(10)]);
}

#[test]
fn a_queued_detach_finds_the_disk_gone() {
    let mut b = bed(BLOCKS, MS_400);
    b.block(detach(false, true));
    b.block(detach(false, true));
    let answers = b.until(10_000);
    let refused = answers[1].2.as_ref().unwrap_err().libvirt();
    let text = "device not found: disk vdb not found";
    assert_eq!(refused, Some((error::DEVICE_MISSING, text)));
}

#[test]
fn a_combined_detach_changes_the_config_only_after_the_live_part() {
    let mut b = bed(BLOCKS, LetsGo::Never);
    b.block(detach(true, true));
    b.until(4_999);
    assert_eq!(config(&b), 1);
    b.until(5_000);
    assert_eq!((live(&b), config(&b)), (1, 0));
    // nova bug 1707238: the next combined call fails before the guest is asked.
    b.world.facts.clear();
    let refused = b.ask(detach(true, true)).unwrap_err();
    assert_eq!(refused.libvirt().unwrap().0, error::DEVICE_MISSING);
    assert!(b.world.facts.is_empty(), "{:?}", b.world.facts);
}

#[test]
fn an_older_libvirt_has_other_words_for_a_missing_device() {
    let old = Release { detach_blocks: Duration::ZERO, ..Release::named("ocata").unwrap() };
    let mut b = Bed::of(old);
    let config = b.ask(detach(true, false)).unwrap_err();
    let text = "invalid argument: no target device vdb";
    assert_eq!(config.libvirt(), Some((error::INVALID_ARG, text)));
    let live = b.ask(detach(false, true)).unwrap_err();
    let text = "operation failed: disk vdb not found";
    assert_eq!(live.libvirt(), Some((error::OPERATION_FAILED, text)));
}

#[test]
fn a_paused_guest_lets_go_only_after_it_is_resumed() {
    let mut b = bed(BLOCKS, MS_400);
    power(&mut b, PowerState::Paused);
    b.block(detach(false, true));
    b.until(60_000);
    assert_eq!(live(&b), 1);
    power(&mut b, PowerState::Running);
    b.until(60_399);
    assert_eq!(live(&b), 1);
    b.until(60_400);
    assert_eq!(live(&b), 0);
}

#[test]
fn a_pending_unplug_completes_when_the_guest_begins_to_answer() {
    let mut b = bed(Duration::ZERO, LetsGo::Never);
    b.ask(detach(false, true)).unwrap();
    b.until(50_000);
    b.world.hypervisor.set_lets_go(b.now, MS_400);
    b.until(50_399);
    assert_eq!(live(&b), 1);
    b.until(50_400);
    assert_eq!(live(&b), 0);
}

#[test]
fn a_waiter_gets_the_event_whether_it_came_before_the_wait_or_after() {
    let mut b = bed(Duration::ZERO, MS_400);
    let (early, late, too_late) = (waiter(&mut b), waiter(&mut b), wait(WaiterId(99)));
    b.ask(detach(false, true)).unwrap();
    b.block(wait(early));
    let answers = b.until(400);
    let reply = WaitForEvent::from_reply(answers[0].2.clone().unwrap());
    assert_eq!((answers[0].0, reply), (SimTime(400_000), Some(Some(DeviceEvent::Removed))));
    assert_eq!(b.ask(wait(late)).unwrap(), Some(DeviceEvent::Removed));
    assert_eq!(b.ask(too_late).unwrap(), None);
}

#[test]
fn an_event_before_the_waiter_is_lost_and_the_wait_times_out() {
    let mut b = bed(Duration::ZERO, MS_400);
    b.ask(detach(false, true)).unwrap();
    b.until(500);
    let id = waiter(&mut b);
    b.block(wait(id));
    let answers = b.until(100_000);
    let reply = WaitForEvent::from_reply(answers[0].2.clone().unwrap());
    assert_eq!((answers[0].0, reply), (SimTime(20_500_000), Some(None)));
}

#[test]
fn a_lost_event_leaves_only_the_xml_to_tell() {
    let mut b = bed(Duration::ZERO, MS_400);
    b.world.hypervisor.events_lost = true;
    let id = waiter(&mut b);
    b.ask(detach(false, true)).unwrap();
    b.block(wait(id));
    assert_eq!(b.until(100_000)[0].0, SimTime::from_secs(20));
    assert_eq!(b.ask(XmlDesc { instance: guest(), inactive: false }).unwrap(), []);
}

#[test]
fn a_guest_that_refuses_fails_the_call_and_may_be_asked_again() {
    let mut b = bed(BLOCKS, LetsGo::Refuses(Duration::from_secs(1)));
    let id = waiter(&mut b);
    b.block(detach(false, true));
    let answers = b.until(1_000);
    let refused = answers[0].2.as_ref().unwrap_err().libvirt().unwrap();
    assert_eq!((answers[0].0, refused.0), (SimTime::from_secs(1), error::OPERATION_FAILED));
    assert_eq!(b.ask(wait(id)).unwrap(), Some(DeviceEvent::RemovalFailed));
    b.world.hypervisor.set_lets_go(b.now, MS_400);
    b.block(detach(false, true));
    b.until(1_400);
    assert_eq!(live(&b), 0);
}

#[test]
fn a_dead_caller_gets_no_answer_but_the_unplug_goes_on() {
    let mut b = bed(BLOCKS, MS_400);
    let id = waiter(&mut b);
    b.block(detach(true, true));
    b.block(wait(id));
    b.world.kill(b.now, Process::NovaCompute, 0);
    assert!(b.until(100_000).is_empty());
    assert_eq!((live(&b), config(&b)), (0, 0));
}

#[test]
fn a_taken_target_is_an_xml_error_even_while_its_unplug_is_pending() {
    let mut b = bed(Duration::ZERO, LetsGo::Never);
    b.ask(detach(true, false)).unwrap();
    b.ask(detach(false, true)).unwrap();
    b.connect(2);
    let disk = disk("vdb", "/dev/sdc", &volume(2));
    let attach = AttachDeviceFlags { instance: guest(), disk, config: true, live: true };
    assert_eq!(b.ask(attach).unwrap_err().libvirt().unwrap().0, error::XML_ERROR);
    assert_eq!((live(&b), config(&b)), (1, 0));
}

#[test]
fn an_attach_opens_a_device_or_its_by_path_link_or_fails_without_a_trace() {
    let mut b = Bed::new(Duration::ZERO);
    let disk_at = |source: &str| AttachDeviceFlags {
        instance: guest(),
        disk: disk("vdb", source, &volume(1)),
        config: true,
        live: true,
    };
    let refused = b.ask(disk_at("/dev/sdb")).unwrap_err();
    assert_eq!(refused.libvirt().unwrap().0, error::OPERATION_FAILED);
    assert_eq!((live(&b), config(&b)), (0, 0));
    let (portal, iqn, lun) = {
        let to = b.connect(1);
        b.session_of(&to)
    };
    let link = castoff_ports::host::by_path_name(&portal, &iqn, lun);
    b.ask(disk_at(&format!("/dev/disk/by-path/{link}"))).unwrap();
    let opened = b.world.hypervisor.live_disks().next().unwrap().device.name.clone();
    assert_eq!((opened.as_str(), config(&b)), ("sdb", 1));
}

#[test]
fn the_live_xml_has_an_alias_that_the_config_may_lack() {
    let mut b = Bed::new(Duration::ZERO);
    b.connect(1);
    let mut plain = disk("vdb", "/dev/sdb", &volume(1));
    plain.alias = None;
    let attach = AttachDeviceFlags { instance: guest(), disk: plain, config: true, live: true };
    b.ask(attach).unwrap();
    let live = b.ask(XmlDesc { instance: guest(), inactive: false }).unwrap();
    assert_eq!(live[0].alias, Some("virtio-disk1".into()));
    let config = b.ask(XmlDesc { instance: guest(), inactive: true }).unwrap();
    assert_eq!(config[0].alias, None);
}

#[test]
fn a_transient_domain_has_no_config_and_is_gone_when_it_stops() {
    let mut b = Bed::new(Duration::ZERO);
    b.world.hypervisor.start_guest("server-2".into(), false);
    let (id, inactive) = (castoff_ports::InstanceId::new("server-2"), true);
    let refused = b.ask(XmlDesc { instance: id.clone(), inactive }).unwrap_err();
    assert_eq!(refused.libvirt().unwrap().0, error::OPERATION_INVALID);
    let w = &mut b.world;
    w.hypervisor
        .set_power(&mut w.facts, &mut w.kernel, &mut w.storage, b.now, &id, PowerState::Shutdown)
        .unwrap();
    let refused = b.ask(LookupByUuid { instance: id }).unwrap_err();
    assert_eq!(refused.libvirt().unwrap().0, error::NO_DOMAIN);
}

#[test]
fn a_stopped_guest_shows_its_config_and_ends_the_calls_that_wait() {
    let mut b = bed(BLOCKS, LetsGo::Never);
    b.block(detach(false, true));
    power(&mut b, PowerState::Shutdown);
    let answers = b.until(0);
    assert!(answers.len() == 1 && answers[0].2.is_ok(), "{answers:?}");
    assert_eq!(b.ask(GetInfo { instance: guest() }).unwrap(), PowerState::Shutdown);
    assert_eq!(b.ask(XmlDesc { instance: guest(), inactive: false }).unwrap().len(), 1);
    let refused = b.ask(detach(false, true)).unwrap_err();
    assert_eq!(refused.libvirt().unwrap().0, error::OPERATION_INVALID);
    power(&mut b, PowerState::Running);
    assert_eq!(live(&b), 1);
}

#[test]
fn there_is_no_secret_for_a_volume_that_qemu_does_not_encrypt() {
    let mut b = Bed::new(Duration::ZERO);
    let refused = b.ask(SecretLookupByUsage { volume_id: volume(1) }).unwrap_err();
    assert_eq!(
        refused.libvirt(),
        Some((error::NO_SECRET, "Secret not found: no secret with matching usage 'v1'"))
    );
}

#[test]
fn the_last_write_comes_just_before_the_guest_lets_go() {
    let mut b = bed(Duration::ZERO, MS_400);
    b.ask(detach(false, true)).unwrap();
    b.until(1_000);
    let last: Vec<_> = b.world.facts.iter().rev().take(2).collect();
    assert!(matches!(last[0], Fact::DiskUnplugged { .. }), "{last:?}");
    assert!(matches!(last[1], Fact::GuestWrite { served_by: Some(_), .. }), "{last:?}");
    assert_eq!(b.world.storage.blocks(&volume(1)).len(), 3, "plug, request, letting go");
}

#[test]
fn periodic_writes_end_when_they_are_told_to() {
    let mut b = Bed::new(Duration::ZERO);
    b.world.hypervisor.guest_writes_every = Some(Duration::from_secs(1));
    b.world.hypervisor.guest_writes_until = SimTime::from_secs(5);
    b.attach(1, "vdb", "/dev/sdb");
    b.until(100_000);
    assert_eq!(b.world.storage.blocks(&volume(1)).len(), 6);
    assert_eq!(b.world.next_timer(), None);
}

/// Name, QEMU, the guest lets go after, requests, their results after the first, gone at.
type Recorded<'a> = (&'a str, Version, u64, &'a [u64], Option<i32>, Option<u64>);

/// The recorded unplugs, as far as libvirt goes: a `device_del` at each of these seconds, each
/// with its error code; when the disk is gone, if ever.
#[test]
fn requests_at_the_recorded_times_have_the_recorded_results() {
    let (ignored, aborts, refused) = (Version::new(2, 8), Version::new(4, 2), Version::new(5, 0));
    let pike = [0, 0, 2, 6, 12, 20, 30, 42, 56];
    let modern = [0, 20, 40, 60, 80, 100, 120, 140];
    let (ok, busy) = (None, Some(error::INTERNAL_ERROR));
    let cases: [Recorded<'_>; 8] = [
        ("slow_5s pike", ignored, 5, &pike[..3], ok, Some(5)),
        ("slow_30s pike", ignored, 30, &pike[..6], ok, Some(30)),
        ("slow_100s pike", ignored, 100, &pike, ok, Some(100)),
        ("slow_30s 2026.1", refused, 30, &modern[..2], busy, Some(30)),
        ("slow_100s 2026.1", refused, 100, &modern[..5], busy, Some(100)),
        ("slow_5s_qemu42_abort pike", aborts, 5, &pike, ok, None),
        ("slow_5s_qemu42_abort 2026.1", aborts, 5, &modern[..1], ok, Some(5)),
        ("slow_165s_qemu_old 2026.1", ignored, 165, &modern, ok, Some(165)),
    ];
    for (name, version, delay, requests, later, gone) in cases {
        let qemu = Qemu { version, machine: Machine::Pc };
        let release = Release::named("2026.1").unwrap();
        let mut b = Bed::of(Release { qemu, detach_blocks: Duration::ZERO, ..release });
        b.world.hypervisor.set_lets_go(b.now, LetsGo::After(Duration::from_secs(delay)));
        b.attach(1, "vdb", "/dev/sdb");
        for (n, at) in requests.iter().enumerate() {
            b.until(at * 1000);
            let got = b.ask(detach(false, true)).err();
            let code = got.as_ref().and_then(|f| f.libvirt()).map(|(code, _)| code);
            assert_eq!(code, if n == 0 { None } else { later }, "{name}: request at {at} s");
        }
        if let Some(gone) = gone {
            b.until(gone * 1000 - 1);
            assert_eq!(live(&b), 1, "{name}: before {gone} s");
            b.until(gone * 1000);
            assert_eq!(live(&b), 0, "{name}: at {gone} s");
        } else {
            b.until(10_000_000);
            assert_eq!(live(&b), 1, "{name}");
        }
    }
}
