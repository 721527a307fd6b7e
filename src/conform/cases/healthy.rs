//! `detach/healthy`: nothing goes wrong.

use crate::conform::case::{
    ACCEPTED, Case, Check, Machine, NOTHING_LEFT, Need, ONE_PATH, Paths, Step, gone,
};
use crate::conform::recorded::Recording;

/// The volume is attached and detached, and nothing is left of it.
const SIMPLE: &[Step] = &[
    Step::Attach(&[1]),
    Step::Check(&[
        Check::Volume(1, "in-use"),
        Check::Bdm(1, true),
        Check::Attachment(1, true),
        Check::Live(1, true),
        Check::Persistent(1, true),
        Check::Device(1, true),
        Check::Session(true),
    ]),
    Step::Detach(&[1]),
    ACCEPTED,
    gone!(1),
    NOTHING_LEFT,
];

/// As [`SIMPLE`], with a map.
const SIMPLE_TWO_PATHS: &[Step] = &[
    Step::Attach(&[1]),
    Step::Check(&[
        Check::Volume(1, "in-use"),
        Check::Live(1, true),
        Check::Device(1, true),
        Check::Maps(true),
    ]),
    Step::Detach(&[1]),
    ACCEPTED,
    gone!(1),
    NOTHING_LEFT,
];

/// Compared with what a real Nova issued.
const AS_NOVA: &[Step] = &[
    SIMPLE[0],
    SIMPLE[1],
    SIMPLE[2],
    Step::Check(&[Check::AsRecorded(Recording::OnePath)]),
    SIMPLE[3],
    SIMPLE[4],
    SIMPLE[5],
];
const AS_NOVA_TWO_PATHS: &[Step] = &[
    SIMPLE_TWO_PATHS[0],
    SIMPLE_TWO_PATHS[1],
    SIMPLE_TWO_PATHS[2],
    Step::Check(&[Check::AsRecorded(Recording::TwoPaths)]),
    SIMPLE_TWO_PATHS[3],
    SIMPLE_TWO_PATHS[4],
    SIMPLE_TWO_PATHS[5],
];

/// These disks of one guest, all at the same time.
macro_rules! in_parallel {
    ($($n:literal),+) => {
        &[
            Step::Attach(&[$($n),+]),
            Step::Detach(&[$($n),+]),
            Step::Check(&[Check::Answered(202)]),
            gone!($($n),+),
            NOTHING_LEFT,
        ]
    };
}

const IN_PARALLEL: Case = Case {
    cites: &["os-brick bug 1947370", "nova bug 1662483"],
    machine: Machine::Pc,
    needs: &[Need::LocalTarget],
    deadline_s: 240,
    ..ONE_PATH
};

const CITES: &[&str] =
    &["nova ComputeManager._detach_volume", "os-brick ISCSIConnector.disconnect_volume"];

pub(super) const CASES: &[Case] = &[
    Case {
        id: "detach/healthy/one-path",
        title: "a disk with one path is detached, and nothing is left of it",
        cites: CITES,
        steps: AS_NOVA,
        ..ONE_PATH
    },
    Case {
        id: "detach/healthy/one-path-hardened",
        title: "the same with an intent, a journal and a confirmed disconnect",
        cites: CITES,
        policy: "hardened",
        steps: SIMPLE,
        ..ONE_PATH
    },
    Case {
        id: "detach/healthy/one-path-pike",
        title: "the same as nova did it in 2017, polling the guest's XML",
        cites: &["nova bug 1374508", "os-brick 1.12 ISCSIConnector.disconnect_volume"],
        policy: "pike",
        steps: &[
            Step::Attach(&[1]),
            Step::Check(&[
                Check::Volume(1, "in-use"),
                Check::Live(1, true),
                Check::Persistent(1, true),
            ]),
            Step::Detach(&[1]),
            Step::Check(&[Check::Answered(202)]),
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "detach/healthy/two-paths",
        title: "a disk with two portals and a multipath map is detached, and nothing is left of it",
        cites: &[
            "os-brick ISCSIConnector._cleanup_connection",
            "os-brick LinuxSCSI.flush_multipath_device",
        ],
        needs: &[Need::LocalTarget, Need::Multipath],
        paths: Paths::Two,
        steps: AS_NOVA_TWO_PATHS,
        ..ONE_PATH
    },
    Case {
        id: "detach/healthy/two-paths-hardened",
        title: "the same with a confirmed disconnect",
        cites: &["os-brick bug 1732199"],
        policy: "hardened",
        needs: &[Need::LocalTarget, Need::Multipath],
        paths: Paths::Two,
        steps: SIMPLE_TWO_PATHS,
        ..ONE_PATH
    },
    Case {
        id: "detach/healthy/q35-native",
        title: "a guest that lets go after five seconds, when libvirt's own wait is over",
        cites: &[
            "libvirt qemuDomainDetachDeviceLiveAndUpdateConfig waits 5 s",
            "PCI Express 4.0 section 6.7.1.5",
        ],
        machine: Machine::Q35Native,
        timeout_s: Some(5),
        steps: SIMPLE,
        ..ONE_PATH
    },
    Case {
        id: "detach/healthy/pc",
        title: "a guest of machine type pc lets go by ACPI",
        cites: CITES,
        machine: Machine::Pc,
        steps: SIMPLE,
        ..ONE_PATH
    },
    Case {
        id: "detach/healthy/eight-in-parallel",
        title: "eight disks of one guest are detached at the same time",
        steps: in_parallel!(1, 2, 3, 4, 5, 6, 7, 8),
        ..IN_PARALLEL
    },
    Case {
        id: "detach/healthy/sixteen-in-parallel",
        title: "sixteen disks of one guest are detached at the same time",
        steps: in_parallel!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
        ..IN_PARALLEL
    },
];
