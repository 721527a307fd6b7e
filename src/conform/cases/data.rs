//! `guest/data`: 64 MiB that the guest writes while its disk is being detached.
//!
//! The guest is paused when it is asked to let go, so that the writes lie between the request and
//! its answer on every host; its QEMU writes, as its driver would have it, and is told of each write
//! that it is durable. Then the guest goes on and lets go, and something else goes wrong.

use crate::conform::case::{
    Act, Case, Check, Machine, NOTHING_LEFT, Need, ONE_PATH, Paths, QEMU_ENDED, REQUEST, Step,
    USUALLY_ENDED, When, detached, gone,
};

const FLUSH: &str = "host::FlushBufs";

/// The guest is asked, writes, and lets go.
const WRITES: [Step; 3] = [
    Step::Do(Act::PauseGuest),
    Step::At(REQUEST, 2, When::After, Act::GuestWritesMuch(1)),
    Step::At(REQUEST, 2, When::After, Act::ResumeGuest),
];

const CITES: &[&str] = &["castoff property S05", "virtio 1.2 section 5.2.6.2"];

macro_rules! written {
    ($($step:expr),*) => {
        detached!(WRITES[0], WRITES[1], WRITES[2] $(, $step)*; Check::DataIntact(1))
    };
}

/// Under hardened the DELETE is answered and the volume goes, whoever ends it.
macro_rules! written_and_gone {
    ($($step:expr),*) => {
        &[
            Step::Attach(&[1]),
            WRITES[0],
            WRITES[1],
            WRITES[2],
            $($step,)*
            Step::Detach(&[1]),
            Step::Check(&[Check::Answered(202)]),
            gone!(1),
            NOTHING_LEFT,
            Step::Check(&[Check::DataIntact(1)]),
        ]
    };
}

const WHILE_DETACHING: Case = Case {
    cites: CITES,
    needs: &[Need::LocalTarget, Need::GuestOfOurs],
    deadline_s: 150,
    ..ONE_PATH
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "guest/data/written-while-detaching",
        title: "64 MiB that the guest was told are durable, while nova waits for it, are on the target",
        steps: written!(),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-dropped",
        title: "the same, and the target hangs up before the flush",
        steps: written!(Step::At(FLUSH, 1, When::Before, Act::DropConnections)),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-frozen",
        title: "the same, and the target freezes before the flush for three seconds",
        steps: written!(
            Step::At(FLUSH, 1, When::Before, Act::FreezeTarget),
            Step::At(FLUSH, 1, When::During(3_000), Act::ThawTarget)
        ),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-flush-fails",
        title: "the same, and the first flush fails",
        policy: "hardened",
        steps: written_and_gone!(Step::Fault("nova-compute:host::FlushBufs#1:command-fails=1")),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-compute-killed",
        title: "the same, and nova-compute dies when the guest was asked",
        policy: "hardened",
        steps: written_and_gone!(Step::Fault(
            "nova-compute:libvirt::DetachDeviceFlags#2:crash-after=500"
        )),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-qemu-killed",
        title: "the same, and QEMU dies before the guest goes on",
        policy: "hardened",
        steps: &[
            Step::Attach(&[1]),
            WRITES[0],
            WRITES[1],
            Step::At(REQUEST, 2, When::After, Act::KillQemu),
            Step::Detach(&[1]),
            QEMU_ENDED,
            USUALLY_ENDED,
            Step::Detach(&[1]),
            gone!(1),
            NOTHING_LEFT,
            Step::Check(&[Check::DataIntact(1)]),
        ],
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-path-lost",
        title: "the same with two paths, of which one is lost before the flush",
        needs: &[Need::LocalTarget, Need::GuestOfOurs, Need::Multipath],
        paths: Paths::Two,
        deadline_s: 180,
        steps: written!(Step::At("host::MultipathFlush", 1, When::Before, Act::LosePortal(1))),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-by-native",
        title: "the same in a guest that lets go by the PCIe slot",
        machine: Machine::Q35Native,
        // Its five seconds begin when it goes on, and a second request would find it busy.
        timeout_s: Some(20),
        steps: written!(),
        ..WHILE_DETACHING
    },
];
