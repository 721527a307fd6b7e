//! `compute`: nova-compute dies after a step, and is started again half a second later.

use crate::conform::case::{ACCEPTED, Act, Case, Check, NOTHING_LEFT, ONE_PATH, Step, gone};

macro_rules! killed {
    ($id:literal, $title:literal, $fault:literal) => {
        Case {
            id: $id,
            title: $title,
            cites: &["nova ComputeManager.init_host", "castoff property L2"],
            policy: "hardened",
            steps: &[
                Step::Attach(&[1]),
                Step::Fault($fault),
                Step::Detach(&[1]),
                Step::Check(&[Check::Answered(202)]),
                gone!(1),
                NOTHING_LEFT,
            ],
            ..ONE_PATH
        }
    };
}

pub(super) const CASES: &[Case] = &[
    killed!(
        "compute/killed/before-unplug",
        "it dies before the guest is asked, and goes on when it is started",
        "nova-compute:libvirt::DetachDeviceFlags#2:crash-before=500"
    ),
    killed!(
        "compute/killed/after-unplug",
        "it dies when the guest has let go, and goes on when it is started",
        "nova-compute:libvirt::DetachDeviceFlags#2:crash-after=500"
    ),
    killed!(
        "compute/killed/after-flush",
        "it dies after the flush, and goes on when it is started",
        "nova-compute:host::FlushBufs#1:crash-after=500"
    ),
    killed!(
        "compute/killed/after-delete",
        "it dies after the SCSI disk's delete, and goes on when it is started",
        "nova-compute:host::DeleteDevice#1:crash-after=500"
    ),
    killed!(
        "compute/killed/after-logout",
        "it dies after the logout, and goes on when it is started",
        "nova-compute:iscsi::Logout#1:crash-after=500"
    ),
    killed!(
        "compute/killed/after-record-delete",
        "it dies after the node record's delete, and goes on when it is started",
        "nova-compute:iscsi::NodeDelete#1:crash-after=500"
    ),
    killed!(
        "compute/killed/after-unmap",
        "it dies after cinder's attachment delete, and goes on when it is started",
        "nova-compute:cinder::AttachmentDelete#1:crash-after=500"
    ),
    Case {
        id: "compute/killed/after-unplug-2026.1",
        title: "today's nova does not go on: the volume stays detaching until an operator resets it",
        cites: &[
            "nova ComputeManager.init_host",
            "measured: os-roll_detaching and a second DELETE recover it",
        ],
        steps: &[
            Step::Attach(&[1]),
            Step::Fault("nova-compute:libvirt::DetachDeviceFlags#2:crash-after=500"),
            Step::Detach(&[1]),
            Step::Check(&[
                Check::Answered(202),
                Check::Volume(1, "detaching"),
                Check::Bdm(1, true),
                Check::Live(1, false),
                Check::Device(1, true),
                Check::Session(true),
            ]),
            Step::Do(Act::RollDetaching(1)),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
];
