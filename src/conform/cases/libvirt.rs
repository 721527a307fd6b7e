//! `libvirt`: its daemon and its QEMU end in the middle.

use crate::conform::case::{
    Act, Case, Check, Machine, NOTHING_LEFT, Need, ONE_PATH, QEMU_ENDED, REQUEST, Step,
    USUALLY_ENDED, When, detached, gone,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "libvirt/daemon/killed-between-request-and-event",
        title: "libvirtd dies when it has answered and the guest has not yet let go: the event is lost",
        cites: &["nova LibvirtDriver._detach_from_live_with_retry", "nova bug 1887946"],
        machine: Machine::Q35Native,
        needs: &[Need::DaemonsOfOurs],
        timeout_s: Some(4),
        steps: detached!(Step::At(REQUEST, 2, When::After, Act::RestartLibvirtd)),
        ..ONE_PATH
    },
    Case {
        id: "libvirt/daemon/killed-during-request-hardened",
        title: "libvirtd dies while it works on the request: the guest's word decides, now or at the next DELETE",
        cites: &["castoff property S14", "QEMU: guest is busy (power indicator blinking)"],
        policy: "hardened",
        machine: Machine::Q35Native,
        needs: &[Need::DaemonsOfOurs],
        timeout_s: Some(4),
        steps: &[
            Step::Attach(&[1]),
            Step::At(REQUEST, 2, When::During(1_000), Act::RestartLibvirtd),
            Step::Detach(&[1]),
            Step::Check(&[Check::Answered(202), Check::AllOrNone(1), Check::ConfigAgrees(1)]),
            // A guest that is slow to let go is too busy for a second request, which fails.
            Step::Usual(&[Check::Volume(1, "available")]),
            Step::Until(30, &[Check::Live(1, false)]),
            Step::Detach(&[1]),
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "libvirt/qemu/killed-before-request",
        title: "QEMU dies as the running guest is asked: today's nova rolls back; a DELETE later ends it",
        cites: &["libvirt error 38", "castoff property S14"],
        needs: &[Need::GuestOfOurs],
        steps: &[
            Step::Attach(&[1]),
            Step::At(REQUEST, 2, When::Before, Act::KillQemu),
            Step::Detach(&[1]),
            Step::Check(&[
                Check::Answered(202),
                Check::ActionSucceeded(false),
                Check::Volume(1, "in-use"),
                Check::Bdm(1, true),
                Check::Live(1, false),
                Check::Persistent(1, false),
            ]),
            Step::Detach(&[1]),
            Step::Check(&[Check::Answered(202)]),
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "libvirt/qemu/killed-before-request-hardened",
        title: "the same: libvirt answers 38 while its XML still shows the disk, so it may be given back",
        cites: &["castoff property L2", "castoff property S14"],
        policy: "hardened",
        needs: &[Need::GuestOfOurs],
        steps: &[
            Step::Attach(&[1]),
            Step::At(REQUEST, 2, When::Before, Act::KillQemu),
            Step::Detach(&[1]),
            QEMU_ENDED,
            USUALLY_ENDED,
            Step::Detach(&[1]),
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
];
