//! `hardened`: castoff's own decisions, built on 2026.1 so that a difference is one line here.
//!
//! It needs nothing but what an unmodified nova has: a row of instance_system_metadata for each
//! detach under way, and a directory on the compute host.

use super::{FailedAttach, FailedLook, LostReply, MultiattachUsers, Policy, Rollback};

/// The policy.
pub fn policy() -> Policy {
    Policy {
        name: "hardened".to_owned(),
        detach_intent: true,
        begin_lost_reply: LostReply::LookUp,
        detach_journal: true,
        reconcile_period_s: Some(60),
        rollback: Rollback::DiskInGuest,
        asks_qemu: true,
        unreadable_xml: FailedLook::Error,
        unreadable_discoverydb: FailedLook::Error,
        confirm_disconnect: true,
        delete_stale_attachments: true,
        attach_intent: true,
        attach_journal: true,
        failed_attach: FailedAttach::GuestDecides,
        multiattach_users: MultiattachUsers::Exported,
        create_lost_reply: LostReply::LookUp,
        detaches_lost_volumes: true,
        shelve_resumes: true,
        power_resumes: true,
        saved_guest_kept: true,
        delete_confirms: true,
        offload_confirms: true,
        reboot_disconnects: false,
        failed_connect_forces: false,
        // Longer than replacement_timeout (120 s) keeps a command waiting, and short enough that whoever
        // waits for connect_volume meanwhile is done within T_max (property L6).
        command_timeout_s: Some(300),
        ..super::v2026_1::policy()
    }
}
