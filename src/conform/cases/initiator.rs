//! `initiator`: sessions and node records, and who else needs them.

use crate::conform::case::{
    ACCEPTED, Act, Case, Check, NOTHING_LEFT, Need, ONE_PATH, Paths, REQUEST, Step, When, detached,
    gone,
};

/// The first volume has gone; the second, of the same session, is untouched.
const SECOND_STAYS: Step = Step::Check(&[
    Check::Called("iscsi::Logout", 0),
    Check::Session(true),
    Check::Volume(2, "in-use"),
    Check::Bdm(2, true),
    Check::Live(2, true),
    Check::Device(2, true),
    Check::GuestReads(2),
    Check::DataIntact(2),
]);

/// One of two disks of a session is detached, then the other.
const OTHER_LUN: &[Step] = &[
    Step::Attach(&[1, 2]),
    Step::Do(Act::GuestWrites(2)),
    Step::Detach(&[1]),
    ACCEPTED,
    gone!(1),
    SECOND_STAYS,
    Step::Detach(&[2]),
    ACCEPTED,
    gone!(2),
    NOTHING_LEFT,
];

/// The target hangs up before this operation; the initiator comes back by itself.
macro_rules! hangs_up {
    ($operation:expr, $nth:literal) => {
        detached!(Step::Do(Act::GuestWrites(1)),
            Step::At($operation, $nth, When::Before, Act::DropConnections); Check::DataIntact(1))
    };
}

pub(super) const CASES: &[Case] = &[
    Case {
        id: "initiator/logout/other-lun-in-use",
        title: "the session stays as long as another LUN of it is in use, and that LUN is untouched",
        cites: &["os-brick ISCSIConnector._cleanup_connection", "castoff property S04"],
        needs: &[Need::LocalTarget],
        steps: OTHER_LUN,
        ..ONE_PATH
    },
    Case {
        id: "initiator/logout/other-lun-in-use-hardened",
        title: "the same under the lock of the backend",
        cites: &["nova bug 2035375", "castoff property S04"],
        policy: "hardened",
        needs: &[Need::LocalTarget],
        steps: OTHER_LUN,
        ..ONE_PATH
    },
    Case {
        id: "initiator/logout/other-guest",
        title: "the session stays as long as another guest of the host uses another LUN of it",
        cites: &["os-brick ISCSIConnector._cleanup_connection", "castoff property S07"],
        needs: &[Need::LocalTarget],
        deadline_s: 120,
        steps: &[
            Step::Attach(&[1]),
            Step::AttachToOther(2),
            Step::Do(Act::GuestWrites(2)),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            SECOND_STAYS,
            // Nobody in it lets go, so it goes first.
            Step::Do(Act::EndOther),
            Step::Detach(&[2]),
            ACCEPTED,
            gone!(2),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "initiator/logout/other-map-in-use",
        title: "with two paths: both sessions stay as long as another map needs them",
        cites: &["os-brick ISCSIConnector._get_connection_devices"],
        needs: &[Need::LocalTarget, Need::Multipath],
        paths: Paths::Two,
        steps: &[
            Step::Attach(&[1, 2]),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            Step::Check(&[
                Check::Session(true),
                Check::Maps(true),
                Check::Live(2, true),
                Check::GuestReads(2),
            ]),
            Step::Detach(&[2]),
            ACCEPTED,
            gone!(2),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "initiator/records/stale-node-record",
        title: "a node record from an earlier time, startup automatic, does not outlive the detach",
        cites: &[
            "os-brick ISCSIConnector._connect_to_iscsi_portal",
            "os-brick ISCSIConnector._disconnect_from_iscsi_portal",
        ],
        needs: &[Need::LocalTarget],
        steps: &[
            Step::Do(Act::StaleRecord),
            Step::Attach(&[1]),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "initiator/session/dropped-before-unplug",
        title: "the target hangs up before the guest is asked; the session comes back",
        cites: &["RFC 7143 section 7.3", "castoff property S05"],
        needs: &[Need::LocalTarget],
        steps: hangs_up!(REQUEST, 2),
        ..ONE_PATH
    },
    Case {
        id: "initiator/session/dropped-before-flush",
        title: "the target hangs up before the flush; the session comes back",
        cites: &["RFC 7143 section 7.3", "os-brick LinuxSCSI.flush_device_io"],
        needs: &[Need::LocalTarget],
        steps: hangs_up!("host::FlushBufs", 1),
        ..ONE_PATH
    },
    Case {
        id: "initiator/session/dropped-before-logout",
        title: "the target hangs up before the logout",
        cites: &["RFC 7143 section 7.3", "open-iscsi iscsiadm --logout"],
        needs: &[Need::LocalTarget],
        steps: hangs_up!("iscsi::Logout", 1),
        ..ONE_PATH
    },
];
