//! `guest`: who lets go of a disk, when, and what is found when somebody else was faster.

use crate::conform::case::{
    ACCEPTED, Act, Case, Check, Machine, NOTHING_LEFT, Need, ONE_PATH, REQUEST, STILL_THERE, Step,
    When, detached, gone,
};
use crate::conform::recorded::Recording;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "guest/unplug/never-answers",
        title: "nobody in the guest lets go: every attempt waits, then the volume is in-use again",
        cites: &[
            "nova LibvirtDriver._detach_with_retry",
            "nova bug 1894804",
            "libvirt returns 0 after 5 s without an event",
        ],
        machine: Machine::NoOs,
        needs: &[Need::GuestOfOurs],
        attempts: Some(2),
        timeout_s: Some(1),
        steps: &[
            Step::Attach(&[1]),
            Step::Detach(&[1]),
            STILL_THERE,
            // One for the persistent config, which 2026.1 does not give back.
            Step::Check(&[
                Check::Called(REQUEST, 3),
                Check::AsRecorded(Recording::NeverAnswers),
                Check::Persistent(1, false),
                Check::Took(11_000, 40_000),
            ]),
        ],
        ..ONE_PATH
    },
    Case {
        id: "guest/unplug/never-answers-hardened",
        title: "the same, and the persistent config is given back too",
        cites: &["castoff property S14"],
        policy: "hardened",
        machine: Machine::NoOs,
        needs: &[Need::GuestOfOurs],
        attempts: Some(2),
        timeout_s: Some(1),
        steps: &[
            Step::Attach(&[1]),
            Step::Detach(&[1]),
            STILL_THERE,
            Step::Check(&[Check::Persistent(1, true)]),
        ],
        ..ONE_PATH
    },
    Case {
        id: "guest/unplug/second-request-while-pending",
        title: "a second request while the guest still makes up its mind: it lets go, now or before the next DELETE",
        cites: &[
            "nova bug 1882521",
            "QEMU: is already in the process of unplug",
            "QEMU: guest is busy (power indicator blinking)",
        ],
        machine: Machine::Q35Native,
        attempts: Some(3),
        timeout_s: Some(1),
        steps: &[
            Step::Attach(&[1]),
            Step::Detach(&[1]),
            Step::Check(&[Check::Answered(202), Check::AllOrNone(1)]),
            // A guest that blinks for more than QEMU's five seconds is busy, and nova rolls back.
            Step::Usual(&[Check::ActionSucceeded(true), Check::Volume(1, "available")]),
            Step::Until(30, &[Check::Live(1, false)]),
            Step::Detach(&[1]),
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "guest/unplug/paused",
        title: "a paused guest keeps the disk; resumed later it lets go, and a second DELETE clears up",
        cites: &["nova bug 1894804", "measured: the pending unplug completes 0.4 s after resume"],
        needs: &[Need::GuestOfOurs],
        attempts: Some(1),
        timeout_s: Some(1),
        steps: &[
            Step::Attach(&[1]),
            Step::Do(Act::PauseGuest),
            Step::Detach(&[1]),
            STILL_THERE,
            Step::Do(Act::ResumeGuest),
            Step::Until(20, &[Check::Live(1, false)]),
            Step::Check(&[Check::Volume(1, "in-use"), Check::Bdm(1, true), Check::Session(true)]),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "guest/unplug/paused-then-resumed",
        title: "a guest that is resumed while nova waits lets go in time",
        cites: &["nova LibvirtDriver._detach_with_retry"],
        needs: &[Need::GuestOfOurs],
        steps: detached!(Step::Do(Act::PauseGuest),
            Step::At(REQUEST, 2, When::During(1_500), Act::ResumeGuest); Check::Took(1_500, 30_000)),
        ..ONE_PATH
    },
    Case {
        id: "guest/unplug/rebooting",
        title: "a guest that is reset when it is asked lets go when it is up again, or before",
        cites: &["nova bug 1894804", "QEMU acpi_pcihp_reset"],
        needs: &[Need::GuestOfOurs],
        attempts: Some(6),
        deadline_s: 150,
        steps: detached!(Step::At(REQUEST, 2, When::Before, Act::ResetGuest)),
        ..ONE_PATH
    },
    Case {
        id: "guest/gone/by-target",
        title: "somebody has taken the disk out of guest and config: the host is disconnected all the same",
        cites: &["nova bug 1727260", "nova ce531dd1b7"],
        steps: detached!(Step::Do(Act::DetachLive(1)), Step::Do(Act::DetachPersistent(1))),
        ..ONE_PATH
    },
    Case {
        id: "guest/gone/by-alias",
        title: "the same by virDomainDetachDeviceAlias, which waits for nothing",
        cites: &["libvirt virDomainDetachDeviceAlias", "nova bug 1727260"],
        steps: detached!(Step::Do(Act::DetachByAlias(1)), Step::Do(Act::DetachPersistent(1))),
        ..ONE_PATH
    },
    Case {
        id: "guest/gone/only-persistent-left",
        title: "the running guest has the disk no more, its persistent config has",
        cites: &["nova bug 1707238"],
        steps: detached!(Step::Do(Act::DetachLive(1))),
        ..ONE_PATH
    },
    Case {
        id: "guest/gone/only-live-left",
        title: "the persistent config has the disk no more, the running guest has",
        cites: &["nova bug 1707238"],
        steps: detached!(Step::Do(Act::DetachPersistent(1))),
        ..ONE_PATH
    },
    Case {
        id: "guest/gone/since-the-look",
        title: "the disk goes between nova's look and its request: libvirt says DEVICE_MISSING",
        cites: &["nova bug 1887946", "libvirt error 99"],
        steps: detached!(Step::At(REQUEST, 2, When::Before, Act::DetachLive(1))),
        ..ONE_PATH
    },
    Case {
        id: "api/delete/second-while-detaching",
        title: "a second DELETE while the first is under way is refused, and spoils nothing",
        cites: &["cinder os-begin_detaching", "nova compute.API._check_and_begin_detach"],
        steps: &[
            Step::Attach(&[1]),
            Step::DetachTwice(1, 300),
            Step::Check(&[Check::Answered(202), Check::SecondAnswered(400)]),
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
];
