//! `plan`: the simulation's faults, each kind once, by the same layer over the real host.

use crate::conform::case::{Case, Check, NOTHING_LEFT, Need, ONE_PATH, Step, gone};

macro_rules! planned {
    ($id:literal, $title:literal, $fault:literal) => {
        Case {
            id: $id,
            title: $title,
            cites: &["castoff ports::plan", "castoff property L2"],
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
    planned!(
        "plan/http-error",
        "cinder answers 500 to the attachment's delete",
        "nova-compute:cinder::AttachmentDelete#1:http-error=500"
    ),
    planned!(
        "plan/command-fails",
        "the first flush fails",
        "nova-compute:host::FlushBufs#1:command-fails=1"
    ),
    planned!(
        "plan/unreachable",
        "cinder cannot be reached for the attachment's delete",
        "nova-compute:cinder::AttachmentDelete#1:unreachable"
    ),
    planned!("plan/lost", "the cast is lost: the intent is taken up", "nova-api:rpc::Cast#1:lost"),
    planned!(
        "plan/reply-lost",
        "the guest is asked, and libvirt's answer is lost",
        "nova-compute:libvirt::DetachDeviceFlags#2:reply-lost"
    ),
    planned!(
        "plan/timeout",
        "os-begin_detaching takes effect, and nova-api is told 504: it looks",
        "nova-api:cinder::BeginDetaching#1:timeout=504,300"
    ),
    planned!("plan/delay", "the logout begins late", "nova-compute:iscsi::Logout#1:delay=1500"),
    planned!(
        "plan/duplicate",
        "the attachment's delete arrives twice",
        "nova-compute:cinder::AttachmentDelete#1:duplicate=100"
    ),
    planned!(
        "plan/tokens-expired",
        "every token has expired when the attachment is to be deleted",
        "nova-compute:cinder::AttachmentDelete#1:tokens-expired"
    ),
    Case {
        id: "plan/guest-deaf",
        title: "the guest answers no more: everything is given back",
        cites: &["castoff ports::plan", "castoff property S14"],
        policy: "hardened",
        needs: &[Need::GuestOfOurs],
        attempts: Some(1),
        timeout_s: Some(1),
        steps: &[
            Step::Attach(&[1]),
            Step::Fault("nova-compute:libvirt::DetachDeviceFlags#2:guest-deaf"),
            Step::Detach(&[1]),
            Step::Check(&[
                Check::Answered(202),
                Check::Volume(1, "in-use"),
                Check::Bdm(1, true),
                Check::Live(1, true),
                Check::Persistent(1, true),
                Check::Device(1, true),
            ]),
        ],
        ..ONE_PATH
    },
];
