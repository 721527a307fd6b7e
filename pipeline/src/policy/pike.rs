//! `pike`: nova master of spring 2017 (f893cc9c2b) with os-brick 1.12.0, the code of the seed.

use castoff_ports::runtime::LockScope;

use super::{
    AccessRule, BdmLookup, Brick, FailedLook, Flush, LostReply, MissingGuestDevice, Policy,
    RemovalWait, Rollback, Unplug, VolumeApi,
};

/// The policy.
pub fn policy() -> Policy {
    Policy {
        name: "pike".to_owned(),
        default_release: "ocata".to_owned(),
        access_rule: AccessRule::AdminOrOwner,
        bdm_lookup: BdmLookup::ScanInstance,
        root_refusal_status: 403,
        check_detach: true,
        compute_is_up_check: false,
        duplicate_attach_check: false,
        destroy_bdm_on_reserve_timeout: false,
        cells_v1: true,
        instance_action_events: false,
        instance_lock: false,
        connector_first: true,
        guard_connection: false,
        volume_api: VolumeApi::Legacy,
        cinder_attempts: 1,
        ignore_missing_attachment: false,
        http_retries: 3,
        service_token: false,
        unplug: Unplug::Poll { max_retry_count: 7, inc_sleep_time: 2, max_sleep_time: 30 },
        persistent_first: false,
        check_is_persistent: false,
        alias_lookup: false,
        device_missing_error: false,
        ignore_unplug_in_progress: false,
        missing_guest_device: MissingGuestDevice::SkipHostDisconnect,
        secret_lookup: false,
        multiattach_count: false,
        reboot_lock: false,
        reboot_deletes_dangling: false,
        offload_terminates: false,
        reboot_disconnects: false,
        destroy_forces_disconnect: false,
        attach_busy_error: true,
        brick: Brick::V1_12,
        connect_volume_lock: LockScope::InProcess,
        flush: Flush { attempts: 1, interval_s: 0, timeout_s: None, failure_is_fatal: false },
        removal_wait: RemovalWait::Backoff { attempts: 3 },
        command_timeout_s: None,
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
