//! `target` and `path`: the other end freezes, dies, or cannot be reached.

use super::data::{WRITES, half_written, written};
use crate::conform::case::{
    ACCEPTED, Act, Case, Check, NOTHING_LEFT, Need, ONE_PATH, Paths, REQUEST, Step, When, detached,
    gone,
};

/// The target answers nothing for three seconds from this operation on.
macro_rules! frozen_at {
    ($operation:expr, $nth:literal) => {
        detached!(
            Step::At($operation, $nth, When::Before, Act::FreezeTarget),
            Step::At($operation, $nth, When::During(3_000), Act::ThawTarget)
        )
    };
}

pub(super) const CASES: &[Case] = &[
    Case {
        id: "target/frozen/then-thawed-at-unplug",
        title: "the target freezes when the guest is asked, and goes on three seconds later",
        cites: &["measured: libvirt's detach waits for the request under way"],
        needs: &[Need::LocalTarget],
        steps: frozen_at!(REQUEST, 2),
        ..ONE_PATH
    },
    Case {
        id: "target/frozen/then-thawed-at-flush",
        title: "the target freezes before the flush, and goes on three seconds later",
        cites: &["os-brick LinuxSCSI.flush_device_io"],
        needs: &[Need::LocalTarget],
        steps: frozen_at!("host::FlushBufs", 1),
        ..ONE_PATH
    },
    Case {
        id: "target/frozen/then-thawed-at-logout",
        title: "the target freezes before the logout, and goes on three seconds later",
        cites: &["open-iscsi node.conn[0].timeo.logout_timeout"],
        needs: &[Need::LocalTarget],
        steps: frozen_at!("iscsi::Logout", 1),
        ..ONE_PATH
    },
    Case {
        id: "target/killed/for-good",
        title: "the target dies after the guest's writes: today's nova rolls back without a disk in the guest; a DELETE later ends it",
        cites: &[
            "os-brick LinuxSCSI.flush_device_io fails after three attempts",
            "castoff property S14",
            "open-iscsi node.session.timeo.replacement_timeout",
        ],
        needs: &[Need::LocalTarget, Need::GuestOfOurs],
        deadline_s: 180,
        steps: &[
            Step::Attach(&[1]),
            // With a request under way the kernel may take the disk offline for good.
            WRITES[0],
            WRITES[1],
            Step::At(REQUEST, 2, When::After, Act::KillTarget),
            WRITES[2],
            Step::Detach(&[1]),
            Step::Check(&[
                Check::Answered(202),
                Check::ActionSucceeded(false),
                Check::Volume(1, "in-use"),
                Check::Bdm(1, true),
                Check::Attachment(1, true),
                Check::Live(1, false),
                Check::Device(1, true),
                Check::Session(true),
                Check::Called("host::FlushBufs", 3),
            ]),
            Step::Do(Act::StartTarget),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            NOTHING_LEFT,
            Step::Check(&[Check::DataIntact(1)]),
        ],
        ..ONE_PATH
    },
    Case {
        id: "target/killed/then-started-hardened",
        title: "the target dies when the guest is asked, and is back twelve seconds later",
        cites: &["os-brick LinuxSCSI.flush_device_io", "castoff property L2"],
        policy: "hardened",
        needs: &[Need::LocalTarget],
        deadline_s: 150,
        steps: &[
            Step::Attach(&[1]),
            Step::At(REQUEST, 2, When::Before, Act::KillTarget),
            Step::At(REQUEST, 2, When::During(12_000), Act::StartTarget),
            Step::Detach(&[1]),
            Step::Check(&[Check::Answered(202)]),
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "target/killed/for-good-hardened",
        title: "the target is dead: the volume is nobody else's until it is back, and then goes by itself",
        cites: &["os-brick LinuxSCSI.flush_device_io", "castoff property L2"],
        policy: "hardened",
        needs: &[Need::LocalTarget],
        deadline_s: 240,
        steps: &[
            Step::Attach(&[1]),
            Step::At(REQUEST, 2, When::Before, Act::KillTarget),
            Step::DetachFor(&[1], 40),
            Step::Check(&[
                Check::Answered(202),
                Check::Volume(1, "detaching"),
                Check::Bdm(1, true),
                Check::Attachment(1, true),
                Check::Device(1, true),
            ]),
            Step::Do(Act::StartTarget),
            Step::Until(
                90,
                &[Check::Volume(1, "available"), Check::Bdm(1, false), Check::Session(false)],
            ),
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "path/unreachable/before-flush",
        title: "the only portal cannot be reached any more after the guest's writes: nothing is left once the timeouts are over",
        cites: &[
            "open-iscsi node.conn[0].timeo.noop_out_timeout",
            "open-iscsi node.session.timeo.replacement_timeout",
        ],
        needs: &[Need::LocalTarget, Need::GuestOfOurs],
        deadline_s: 180,
        // With a request under way the session is given up, and the disk cannot be opened to be flushed.
        steps: written!(Step::At("host::FlushBufs", 1, When::Before, Act::LosePortal(0))),
        ..ONE_PATH
    },
    Case {
        id: "path/multipath/one-of-two-lost",
        title: "one of two paths is lost before the detach",
        cites: &[
            "os-brick ISCSIConnector._cleanup_connection",
            "os-brick LinuxSCSI.flush_multipath_device",
        ],
        needs: &[Need::LocalTarget, Need::Multipath],
        paths: Paths::Two,
        deadline_s: 180,
        steps: detached!(Step::Do(Act::LosePortal(1))),
        ..ONE_PATH
    },
    Case {
        id: "path/multipath/multipathd-down",
        title: "multipathd stops between the guest's writes: the map and both paths go all the same",
        cites: &["os-brick LinuxSCSI.flush_multipath_device"],
        needs: &[Need::LocalTarget, Need::Multipath, Need::DaemonsOfOurs, Need::GuestOfOurs],
        paths: Paths::Two,
        steps: half_written!((When::After, Act::StopMultipathd)),
        ..ONE_PATH
    },
];
