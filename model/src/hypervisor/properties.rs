//! Whatever is called in whatever order, the host's models keep their own invariants.

use std::collections::BTreeSet;
use std::time::Duration;

use castoff_ports::libvirt::{
    AttachDeviceFlags, CreateWaiter, DetachDeviceFlags, PowerState, WaitForEvent, WaiterId, XmlDesc,
};
use castoff_ports::qemu::{Machine, Qemu, Version};
use castoff_ports::{
    Call, DeviceName, Failure, Hctl, Lun, Operation, Process, Sid, SimTime, host, iscsi,
};
use proptest::prelude::*;

use super::{Happening, LetsGo};
use crate::Release;
use crate::fact::Fact;
use crate::kernel::Linger;
use crate::kernel::bed::{Bed, disk, guest, volume};

/// One step of a random run; numbers choose among few volumes, disks and targets.
#[derive(Clone, Copy, Debug)]
enum Do {
    Map(u32),
    Unmap(u32),
    Connect(u32),
    Logout(u32),
    NodeDelete(u32),
    Rescan(u32),
    ScanLun(u32, u32),
    Delete(u8),
    Flush(u8),
    Attach(u32, u8, bool, bool),
    Detach(u8, bool, bool),
    Wait(u32),
    Pass(u16),
    Power(PowerState),
    Answers(LetsGo),
    Linger(Option<Linger>),
    Link(bool),
    Cache(bool),
    Happens(Happening),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let volume = 1..4_u32;
    let nth = 0..4_u8;
    let answers = prop_oneof![
        Just(LetsGo::Never),
        (0..9000_u64).prop_map(|ms| LetsGo::After(Duration::from_millis(ms))),
        (0..9000_u64).prop_map(|ms| LetsGo::Refuses(Duration::from_millis(ms))),
    ];
    let power = prop_oneof![
        Just(PowerState::Running),
        Just(PowerState::Paused),
        Just(PowerState::Shutdown)
    ];
    let linger = prop_oneof![
        Just(None),
        Just(Some(Linger::Never)),
        (0..3000_u64).prop_map(|ms| Some(Linger::For(Duration::from_millis(ms)))),
    ];
    let time = || (0..3000_u64).prop_map(Duration::from_millis);
    let happening = prop_oneof![
        time().prop_map(Happening::LibvirtdRestarts),
        time().prop_map(Happening::GuestReboots),
        Just(Happening::QemuDies),
        Just(Happening::GuestPauses),
        Just(Happening::GuestResumes),
    ];
    let one = prop_oneof![
        1 => volume.clone().prop_map(Do::Map),
        1 => volume.clone().prop_map(Do::Unmap),
        4 => volume.clone().prop_map(Do::Connect),
        1 => volume.clone().prop_map(Do::Logout),
        1 => volume.clone().prop_map(Do::NodeDelete),
        1 => volume.clone().prop_map(Do::Rescan),
        1 => (1..6_u32, 1..4_u32).prop_map(|(host, lun)| Do::ScanLun(host, lun)),
        1 => nth.clone().prop_map(Do::Delete),
        1 => nth.clone().prop_map(Do::Flush),
        4 => (volume.clone(), nth.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(v, n, c, l)| Do::Attach(v, n, c, l)),
        3 => (nth, any::<bool>(), any::<bool>()).prop_map(|(n, c, l)| Do::Detach(n, c, l)),
        1 => volume.prop_map(Do::Wait),
        3 => (0..7000_u16).prop_map(Do::Pass),
        1 => power.prop_map(Do::Power),
        1 => answers.prop_map(Do::Answers),
        1 => linger.prop_map(Do::Linger),
        1 => any::<bool>().prop_map(Do::Link),
        1 => any::<bool>().prop_map(Do::Cache),
        1 => happening.prop_map(Do::Happens),
        1 => Just(Do::Crash),
    ];
    prop::collection::vec(one, 1..60)
}

const NAMES: [&str; 4] = ["sdb", "sdc", "sdd", "sde"];
const TARGETS: [&str; 4] = ["vdb", "vdc", "vdd", "vde"];

fn send(b: &mut Bed, call: Call) {
    // The answer does not matter here, only what the world looks like afterwards.
    let _ = b.world.call(b.now, &b.cx, call);
}

fn run(b: &mut Bed, step: Do) {
    let address = |b: &Bed, n: u32| {
        let target = if b.world.storage.shared_target {
            "iqn.2010-10.org.openstack:shared".to_owned()
        } else {
            format!("iqn.2010-10.org.openstack:volume-v{n}")
        };
        (castoff_ports::Iqn::new(target), b.world.storage.portal().clone())
    };
    match step {
        Do::Map(n) => drop(b.map(n)),
        Do::Unmap(n) => b.unmap(n),
        Do::Connect(n) => {
            let (iqn, portal) = address(b, n);
            b.map(n);
            send(b, iscsi::NodeNew { iqn: iqn.clone(), portal: portal.clone() }.into_call());
            send(b, iscsi::Login { iqn, portal }.into_call());
        }
        Do::Logout(n) => {
            let (iqn, portal) = address(b, n);
            let sid = b.world.kernel.session(&portal, &iqn).map(|s| s.sid);
            send(b, iscsi::Logout { iqn, portal }.into_call());
            if let Some(sid) = sid {
                assert_eq!(b.ask(host::SessionDevices { sid }).unwrap(), []);
                assert!(b.world.kernel.sessions().iter().all(|s| s.sid != sid));
            }
        }
        Do::NodeDelete(n) => {
            let (iqn, portal) = address(b, n);
            send(b, iscsi::NodeDelete { iqn, portal }.into_call());
        }
        Do::Rescan(n) => {
            let (iqn, portal) = address(b, n);
            send(b, iscsi::Rescan { iqn, portal }.into_call());
        }
        Do::ScanLun(host, lun) => {
            let hctl = Hctl { host, channel: 0, target: 0, lun: Lun(lun) };
            send(b, host::ScanLun { hctl }.into_call());
        }
        Do::Delete(n) => send(b, host::DeleteDevice { device: name(n) }.into_call()),
        Do::Flush(n) => send(b, host::FlushBufs { device: name(n) }.into_call()),
        Do::Attach(v, n, config, live) => {
            let source = format!("/dev/{}", NAMES[usize::from(n)]);
            let disk = disk(TARGETS[usize::from(n)], &source, &volume(v));
            let instance = guest();
            send(b, AttachDeviceFlags { instance, disk, config, live }.into_call());
        }
        Do::Detach(n, config, live) => {
            let disk = disk(TARGETS[usize::from(n)], "", &volume(1));
            let instance = guest();
            send(b, DetachDeviceFlags { instance, disk, config, live }.into_call());
        }
        Do::Wait(n) => {
            let alias = format!("ua-{}", volume(n)).as_str().into();
            send(b, CreateWaiter { instance: guest(), alias }.into_call());
            let timeout = Duration::from_secs(2);
            send(b, WaitForEvent { waiter: WaiterId(n), timeout }.into_call());
        }
        Do::Pass(ms) => drop(b.until(b.now.0 / 1000 + u64::from(ms))),
        Do::Power(power) => {
            let w = &mut b.world;
            // A guest whose disks are gone does not boot: that is an answer too.
            let _ = w.hypervisor.set_power(
                &mut w.facts,
                &mut w.kernel,
                &mut w.storage,
                b.now,
                &guest(),
                power,
            );
        }
        Do::Answers(how) => b.world.hypervisor.set_lets_go(b.now, how),
        Do::Linger(linger) => b.world.kernel.linger = linger,
        Do::Link(up) => b.world.storage.reachable = up,
        Do::Cache(writeback) => b.world.kernel.writeback = writeback,
        Do::Happens(what) => b.world.hypervisor.schedule(b.now, what),
        Do::Crash => {
            b.world.kill(b.now, Process::NovaCompute, b.cx.incarnation);
            b.cx.incarnation += 1;
        }
    }
}

fn name(n: u8) -> DeviceName {
    DeviceName::new(NAMES[usize::from(n)])
}

/// `seen`: how many facts an earlier check has looked at.
fn check(b: &mut Bed, seen: &mut usize) {
    for fact in &b.world.facts[*seen..] {
        if let Fact::GuestWrite { served_by: Some(v), cached: false, .. } = fact {
            let mapped = b.world.storage.mappings().iter().any(|m| m.volume == *v);
            assert!(mapped, "{fact}, which is not mapped");
        }
    }
    *seen = b.world.facts.len();
    let kernel = &b.world.kernel;
    let mut names = BTreeSet::new();
    let mut links = BTreeSet::new();
    for d in kernel.devices() {
        assert!(names.insert(d.name.clone()), "two disks are called {}", d.name);
        assert!(links.insert(d.by_path.clone()), "two disks share the link {}", d.by_path);
        let sids: Vec<Sid> = kernel.sessions().iter().map(|s| s.sid).collect();
        assert!(sids.contains(&d.sid), "{} is of session {}, live are {sids:?}", d.name, d.sid);
        assert_eq!(kernel.by_path(&d.by_path).map(|o| o.generation), Some(d.generation));
    }
    let targets: Vec<_> = b.world.hypervisor.live_disks().map(|d| d.target.clone()).collect();
    let distinct: BTreeSet<_> = targets.iter().collect();
    assert_eq!(distinct.len(), targets.len(), "two live disks have one target: {targets:?}");
    if b.world.hypervisor.power(&guest()) != Some(PowerState::Shutdown) {
        match b.ask(XmlDesc { instance: guest(), inactive: false }) {
            Ok(xml) => assert_eq!(xml.len(), targets.len()),
            // libvirtd restarts.
            Err(failure) => assert!(matches!(failure, Failure::Unreachable { .. }), "{failure:?}"),
        }
    }
    assert!(b.world.next_timer().is_none_or(|at| at >= b.now), "a timer is in the past");
}

/// What the facts say of writes is what the volumes hold: no block came from anywhere else.
fn check_blocks(b: &Bed) {
    let mut told: Vec<_> = b
        .world
        .facts
        .iter()
        .filter_map(|f| match f {
            Fact::GuestWrite { served_by: Some(v), cached: false, seq, .. } => {
                Some((v.clone(), *seq))
            }
            _ => None,
        })
        .collect();
    let mut held: Vec<_> = (1..4)
        .flat_map(|n| b.world.storage.blocks(&volume(n)).iter().map(move |s| (volume(n), s.seq)))
        .collect();
    told.sort();
    held.sort();
    assert_eq!(told, held);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn random_calls_keep_the_hosts_invariants(
        steps in steps(),
        shared in any::<bool>(),
        blocks in prop_oneof![Just(0_u64), Just(5)],
        version in prop_oneof![
            Just(Version::new(2, 8)), Just(Version::new(4, 2)), Just(Version::new(5, 0)),
            Just(Version::new(6, 2)), Just(Version::new(7, 2)),
        ],
        machine in prop_oneof![Just(Machine::Pc), Just(Machine::Q35), Just(Machine::Q35Native)],
    ) {
        let qemu = Qemu { version, machine };
        let release = Release::named("2026.1").unwrap();
        let mut b = Bed::of(Release { qemu, detach_blocks: Duration::from_secs(blocks), ..release });
        b.world.storage.shared_target = shared;
        b.world.hypervisor.guest_writes_every = Some(Duration::from_secs(1));
        let mut seen = 0;
        for step in steps {
            run(&mut b, step);
            check(&mut b, &mut seen);
        }
        check_blocks(&b);
        b.world.hypervisor.guest_writes_until = SimTime::ZERO;
        b.until(b.now.0 / 1000 + 100_000);
        prop_assert!(b.world.next_timer().is_none(), "the host never comes to rest");
    }
}
