//! `guest/data`: 64 MiB that the guest writes while its disk is being detached.
//!
//! The guest is paused when it is asked to let go, so that the writes lie between the request and
//! its answer on every host; its QEMU writes, as its driver would have it, and is told of each write
//! that it is durable. Then the guest goes on and lets go. What else goes wrong does so after half
//! of the writes, or after them. `target` and `path` have three such cases more.

use crate::conform::case::{
    ACCEPTED, Act, Case, Check, Machine, NOTHING_LEFT, Need, ONE_PATH, Paths, QEMU_ENDED, REQUEST,
    Step, USUALLY_ENDED, When, detached, gone,
};

const FLUSH: &str = "host::FlushBufs";

/// The guest is asked, writes, and lets go.
pub(super) const WRITES: [Step; 3] = [
    Step::Do(Act::PauseGuest),
    Step::At(REQUEST, 2, When::After, Act::GuestWritesMuch(1)),
    Step::At(REQUEST, 2, When::After, Act::ResumeGuest),
];

/// The guest is asked, and writes half; after what happens then it writes the rest, and lets go.
pub(super) const HALF: [Step; 2] =
    [Step::Do(Act::PauseGuest), Step::At(REQUEST, 2, When::After, Act::GuestWritesHalf(1))];
pub(super) const REST: [Step; 2] = [
    Step::At(REQUEST, 2, When::After, Act::GuestWritesRest(1)),
    Step::At(REQUEST, 2, When::After, Act::ResumeGuest),
];

const CITES: &[&str] = &["castoff property S05", "virtio 1.2 section 5.2.6.2"];

macro_rules! written {
    ($($step:expr),*) => {
        detached!(
            $crate::conform::cases::data::WRITES[0],
            $crate::conform::cases::data::WRITES[1],
            $crate::conform::cases::data::WRITES[2]
            $(, $step)*;
            $crate::conform::case::Check::DataIntact(1)
        )
    };
}
pub(super) use written;

/// What happens after the first half, then whatever happens besides.
macro_rules! half_written {
    ($($act:expr),+ $(; $($step:expr),*)?) => {
        detached!(
            $crate::conform::cases::data::HALF[0],
            $crate::conform::cases::data::HALF[1],
            $($crate::conform::case::Step::At(
                $crate::conform::case::REQUEST, 2, $act.0, $act.1
            ),)+
            $crate::conform::cases::data::REST[0],
            $crate::conform::cases::data::REST[1]
            $($(, $step)*)?;
            $crate::conform::case::Check::DataIntact(1)
        )
    };
}
pub(super) use half_written;

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

/// Today's nova may end it or give it back; the guest lets go, and the next DELETE ends it.
macro_rules! gone_in_the_end {
    ($($step:expr),+) => {
        &[
            Step::Attach(&[1]),
            $($step,)+
            Step::Detach(&[1]),
            Step::Check(&[Check::Answered(202), Check::AllOrNone(1)]),
            Step::Until(30, &[Check::Live(1, false)]),
            Step::Detach(&[1]),
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
        id: "guest/data/written-then-asked-again",
        title: "the same, and nova asks a second time between the halves",
        cites: &["castoff property S05", "QEMU: is already in the process of unplug"],
        timeout_s: Some(1),
        steps: gone_in_the_end!(
            HALF[0],
            HALF[1],
            Step::At(REQUEST, 3, When::After, Act::GuestWritesRest(1)),
            Step::At(REQUEST, 3, When::After, Act::ResumeGuest)
        ),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-busy",
        title: "the same, and the guest is too busy for nova's second request",
        cites: &["castoff property S05", "QEMU: guest is busy (power indicator blinking)"],
        machine: Machine::Q35Native,
        timeout_s: Some(2),
        steps: gone_in_the_end!(WRITES[0], WRITES[1], WRITES[2]),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-held-open",
        title: "the same, and a process of the host holds the disk open",
        cites: &["castoff property S05", "os-brick LinuxSCSI.remove_connection"],
        steps: written!(Step::At(FLUSH, 1, When::Before, Act::HoldOpen(1))),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-beside-another",
        title: "the same, and another LUN of the session, written to as well, stays in use",
        cites: &["castoff property S05", "castoff property S04"],
        steps: &[
            Step::Attach(&[1, 2]),
            WRITES[0],
            Step::Do(Act::GuestWrites(2)),
            WRITES[1],
            WRITES[2],
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            Step::Check(&[
                Check::Called("iscsi::Logout", 0),
                Check::Session(true),
                Check::Volume(2, "in-use"),
                Check::GuestReads(2),
                Check::DataIntact(1),
                Check::DataIntact(2),
            ]),
            Step::Detach(&[2]),
            ACCEPTED,
            gone!(2),
            NOTHING_LEFT,
        ],
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-dropped",
        title: "the same, and the target hangs up between the halves, and once more before the flush",
        steps: half_written!((When::After, Act::DropConnections);
            Step::At(FLUSH, 1, When::Before, Act::DropConnections)),
        ..WHILE_DETACHING
    },
    Case {
        id: "guest/data/written-then-frozen",
        title: "the same, and the target freezes between the halves for three seconds, and before the flush",
        steps: half_written!((When::After, Act::FreezeTarget), (When::Beside(3_000), Act::ThawTarget);
            Step::At(FLUSH, 1, When::Before, Act::FreezeTarget),
            Step::At(FLUSH, 1, When::During(3_000), Act::ThawTarget)),
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
        id: "guest/data/written-then-libvirtd-killed",
        title: "the same, and libvirtd dies between the halves: nobody hears that the guest lets go",
        cites: &["castoff property S05", "nova bug 1887946"],
        needs: &[Need::LocalTarget, Need::GuestOfOurs, Need::DaemonsOfOurs],
        steps: half_written!(
            (When::After, Act::RestartLibvirtd),
            (When::After, Act::AwaitLibvirtd)
        ),
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
        title: "the same with two paths, of which one is lost between the halves",
        needs: &[Need::LocalTarget, Need::GuestOfOurs, Need::Multipath],
        paths: Paths::Two,
        deadline_s: 180,
        steps: half_written!((When::After, Act::LosePortal(1))),
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
