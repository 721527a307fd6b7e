//! `host`: what a host's kernel and its users do to a disk that is to go.

use crate::conform::case::{
    ACCEPTED, Act, Case, Check, NOTHING_LEFT, Need, ONE_PATH, Step, When, detached, gone,
};

const FLUSH: &str = "host::FlushBufs";

pub(super) const CASES: &[Case] = &[
    Case {
        id: "host/device/held-open",
        title: "a process of the host holds the disk open: it is deleted all the same",
        cites: &["os-brick LinuxSCSI.remove_connection", "Linux scsi_remove_device"],
        needs: &[Need::LocalTarget],
        steps: detached!(Step::Do(Act::HoldOpen(1))),
        ..ONE_PATH
    },
    Case {
        id: "host/device/dirty-pages",
        title: "4 MiB dirty in the host's page cache are on the target before the disk is deleted",
        cites: &["os-brick bug 1502534", "os-brick LinuxSCSI.flush_device_io"],
        needs: &[Need::LocalTarget],
        steps: detached!(Step::At(FLUSH, 1, When::Before, Act::Dirty(1)); Check::DataIntact(1)),
        ..ONE_PATH
    },
    Case {
        id: "host/device/mounted",
        title: "the host has mounted the disk: what was synced is on the target, and the disk goes",
        cites: &["os-brick LinuxSCSI.remove_connection"],
        needs: &[Need::LocalTarget, Need::FileSystem],
        steps: detached!(Step::At(FLUSH, 1, When::Before, Act::Mount(1)); Check::DataIntact(1)),
        ..ONE_PATH
    },
    Case {
        id: "host/device/logical-volume",
        title: "the host has activated a logical volume on the disk: os-brick takes it for a multipath map and fails, until it is off",
        cites: &[
            "os-brick LinuxSCSI.find_sysfs_multipath_dm looks for any dm-* holder",
            "os-brick LinuxSCSI.flush_multipath_device",
        ],
        needs: &[Need::LocalTarget],
        deadline_s: 150,
        steps: &[
            Step::Attach(&[1]),
            Step::Do(Act::MapOn(1)),
            Step::Detach(&[1]),
            Step::Check(&[
                Check::Answered(202),
                Check::ActionSucceeded(false),
                Check::AllOrNone(1),
                Check::Volume(1, "in-use"),
                Check::Live(1, false),
                Check::Device(1, true),
                Check::Session(true),
            ]),
            Step::Do(Act::MapOff),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            NOTHING_LEFT,
            Step::Check(&[Check::DataIntact(1)]),
        ],
        ..ONE_PATH
    },
    Case {
        id: "host/data/acknowledged-write",
        title: "what the guest was told is durable is on the target after the detach",
        cites: &["castoff property S05", "virtio 1.2 section 5.2.6.2"],
        needs: &[Need::LocalTarget],
        steps: detached!(Step::Do(Act::GuestWrites(1)); Check::DataIntact(1)),
        ..ONE_PATH
    },
    Case {
        id: "host/scsi/stale-device-after-unmap",
        title: "a disk whose LUN is unmapped keeps the session, and can itself be detached",
        cites: &["os-brick ISCSIConnector._cleanup_connection", "os-brick bug 1897787"],
        needs: &[Need::LocalTarget],
        steps: &[
            Step::Attach(&[1, 2]),
            Step::Do(Act::Unmap(2)),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            Step::Check(&[
                Check::Session(true),
                Check::Device(2, true),
                Check::Volume(2, "in-use"),
            ]),
            Step::Detach(&[2]),
            ACCEPTED,
            gone!(2),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "host/scsi/lun-reused",
        title: "the LUN's number is another volume's by now: its data stays as it is",
        cites: &["castoff property S04", "os-brick bug 1897787"],
        needs: &[Need::LocalTarget],
        steps: &[
            Step::Attach(&[1, 2]),
            Step::Do(Act::GuestWrites(2)),
            Step::Do(Act::ReuseLun { of: 1, by: 2 }),
            Step::Detach(&[1]),
            ACCEPTED,
            gone!(1),
            Step::Check(&[
                Check::Session(true),
                Check::Volume(2, "in-use"),
                Check::Live(2, true),
                Check::GuestReads(2),
                Check::DataIntact(2),
            ]),
            Step::Detach(&[2]),
            ACCEPTED,
            gone!(2),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
    Case {
        id: "host/scsi/four-in-parallel",
        title: "four disks of one guest and one target are detached at the same time",
        cites: &["os-brick bug 1947370", "nova bug 1662483"],
        needs: &[Need::LocalTarget],
        deadline_s: 150,
        steps: &[
            Step::Attach(&[1, 2, 3, 4]),
            Step::Detach(&[1, 2, 3, 4]),
            Step::Check(&[Check::Answered(202)]),
            gone!(1, 2, 3, 4),
            NOTHING_LEFT,
        ],
        ..ONE_PATH
    },
];
