//! `2026.1`: nova 33 with os-brick 7, today's releases.

use castoff_ports::runtime::LockScope;

use super::{
    AccessRule, BdmLookup, Brick, FailedLook, Flush, LostReply, MissingGuestDevice, Policy,
    RemovalWait, Rollback, Unplug, VolumeApi,
};

/// The policy.
pub fn policy() -> Policy {
    Policy {
        name: "2026.1".to_owned(),
        default_release: "2026.1".to_owned(),
        access_rule: AccessRule::ProjectMemberOrAdmin,
        bdm_lookup: BdmLookup::ByVolumeAndInstance,
        root_refusal_status: 400,
        check_detach: false,
        compute_is_up_check: true,
        duplicate_attach_check: true,
        destroy_bdm_on_reserve_timeout: true,
        cells_v1: false,
        instance_action_events: true,
        instance_lock: true,
        connector_first: false,
        guard_connection: true,
        volume_api: VolumeApi::Attachments,
        cinder_attempts: 5,
        ignore_missing_attachment: true,
        http_retries: 3,
        service_token: true,
        unplug: Unplug::AwaitEvents { attempts: 8, timeout_s: 20 },
        persistent_first: true,
        check_is_persistent: true,
        alias_lookup: true,
        device_missing_error: true,
        ignore_unplug_in_progress: true,
        missing_guest_device: MissingGuestDevice::Continue,
        secret_lookup: true,
        multiattach_count: true,
        reboot_lock: true,
        reboot_deletes_dangling: true,
        offload_terminates: true,
        reboot_disconnects: true,
        destroy_forces_disconnect: true,
        attach_busy_error: false,
        brick: Brick::V7,
        connect_volume_lock: LockScope::External,
        flush: Flush { attempts: 3, interval_s: 10, timeout_s: Some(300), failure_is_fatal: true },
        removal_wait: RemovalWait::Poll { checks: 61, interval_ms: 500 },
        command_timeout_s: Some(600),
        detach_intent: false,
        begin_lost_reply: LostReply::Repeat,
        detach_journal: false,
        reconcile_period_s: None,
        rollback: Rollback::AnyFailure,
        unreadable_xml: FailedLook::NotThere,
        unreadable_discoverydb: FailedLook::NotThere,
        confirm_disconnect: false,
        delete_stale_attachments: false,
    }
}
