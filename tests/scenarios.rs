//! The project's own fault scenarios, in the form that anybody's crate uses.
//!
//! Each runs under every policy; the scenario file says what each policy makes of it. A failure
//! prints the command that replays it.

use castoff::BindingKind;

macro_rules! fault_scenarios {
    ($($test:ident: $name:literal),* $(,)?) => {$(
        #[test]
        fn $test() {
            castoff::scenario($name).seeds(0..200).check();
            castoff::scenario($name).binding(BindingKind::Network).seeds(0..3).check();
        }
    )*

        #[test]
        fn every_built_in_scenario_has_a_test_of_its_own() {
            let tested = [$($name),*];
            for scenario in castoff_scenarios::all() {
                assert!(tested.contains(&scenario.name.as_str()), "{} has no test", scenario.name);
            }
        }
    };
}

fault_scenarios! {
    a_healthy_detach_leaves_nothing_behind: "healthy",
    a_guest_that_never_lets_go_keeps_its_disk: "guest-never-lets-go",
    a_guest_that_lets_go_late_is_waited_for: "guest-lets-go-late",
    a_device_that_stays_on_the_host_stops_the_disconnect: "device-busy-on-the-host",
    a_stale_attachment_outlives_the_detach: "stale-attachment",
    a_stale_scsi_device_keeps_the_session: "stale-scsi-device",
    a_lost_reply_of_cinder_is_retried_or_fatal_by_policy: "cinder-times-out",
    a_cinder_that_fails_for_good_is_given_up_and_come_back_to: "cinder-fails-for-good",
    a_cinder_that_cannot_be_reached_begins_nothing: "cinder-unreachable-at-begin",
    a_lost_cast_leaves_the_volume_detaching: "cast-lost",
    a_compute_that_dies_before_the_disconnect_is_not_resumed: "compute-dies-before-disconnect",
    a_token_that_expires_while_the_guest_is_slow_needs_a_service_token: "token-expires",
    two_detaches_of_one_volume_come_to_one: "two-detaches-race",
    a_compute_that_restarts_while_the_guest_is_asked_forgets_the_detach: "compute-restarts-while-detaching",
    a_server_delete_beside_a_detach_leaves_nothing_behind: "detach-races-server-delete",
    a_hard_reboot_beside_a_detach_waits_for_it_or_gives_the_disk_back: "detach-races-hard-reboot",
    a_server_without_a_host_is_detached_from_by_nova_api: "detach-from-shelved-server",
    a_server_that_came_back_lets_its_volume_go: "detach-after-unshelve",
    an_encrypted_volume_is_detached_from_the_guest_first: "encrypted-volume",
    another_volume_of_the_target_keeps_its_session: "other-volume-of-the-target",
    a_healthy_multipath_detach_leaves_nothing_behind: "healthy-multipath",
    a_single_path_of_a_multipath_host_is_no_map: "multipath-one-portal",
    an_attach_beside_a_detach_rescans_the_target: "detach-races-attach",
    a_volume_deleted_as_soon_as_it_is_available_is_gone_for_good: "detach-races-volume-delete",
    an_administrators_reset_status_lets_a_detach_meet_another_attach: "detach-races-reset-status",
    a_soft_reboot_completes_a_pending_unplug: "detach-races-soft-reboot",
    an_administrators_force_detach_takes_the_volume_from_under_a_detach: "force-detached-while-detaching",
    an_update_of_nova_compute_stops_it_in_the_middle: "compute-updated-while-detaching",
    a_freed_lun_number_goes_to_another_volume: "freed-lun-given-away",
    two_volumes_of_one_target_are_detached_at_once: "two-volumes-detached-at-once",
    a_lost_path_does_not_keep_a_volume_from_being_detached: "multipath-one-path-lost",
    a_paused_guest_has_its_disk: "guest-is-paused",
    a_request_sent_again_ends_an_unplug_of_qemu_4_2: "qemu-aborts-a-repeated-unplug",
    a_disk_that_qemu_does_not_find_has_gone: "libvirtd-lags-behind-qemu",
    a_suspended_server_keeps_its_volume: "detach-from-suspended-server",
    a_root_disk_is_not_detached: "detach-of-root-disk",
    a_volume_just_attached_can_be_detached: "detach-after-attach",
    a_hard_reboot_keeps_the_secret: "encrypted-volume-after-reboot",
    cached_writes_are_flushed: "cached-writes",
    cached_writes_of_a_map_are_flushed: "multipath-cached-writes",
    a_device_that_goes_late_is_waited_for: "device-goes-late",
    a_map_is_removed_whatever_nova_conf_says_now: "multipath-switched-off",
    portals_that_cinder_does_not_list_are_found_again: "multipath-by-discovery",
    iscsiadms_complaints_are_passed_over: "iscsiadm-complains",
    a_command_that_hangs_is_given_up: "a-command-hangs",
    two_maps_stay_apart: "multipath-two-volumes",
    a_users_own_delete_of_an_attachment_is_refused: "user-deletes-attachment",
    a_volume_in_error_is_not_attached: "attach-of-error-volume",
    a_connection_without_a_connector_is_let_go: "detach-of-volume-attached-while-shelved",
    a_server_that_is_being_shelved_keeps_its_volume: "detach-races-shelve",
    a_server_waits_for_its_host_to_let_go: "server-deleted-while-compute-is-down",
    a_locked_server_keeps_its_volume: "detach-from-locked-server",
    a_reader_detaches_nothing: "detach-by-reader",
    a_stranger_sees_no_server: "detach-by-stranger",
    a_second_server_keeps_a_multiattach_volume: "multiattach-two-servers",
    a_stale_attachment_of_a_multiattach_volume: "multiattach-stale-attachment",
    an_old_open_iscsi_scans_by_itself: "iscsid-scans-by-itself",
    open_iscsi_is_downgraded_under_nova_compute: "open-iscsi-downgraded",
    cinder_forbids_the_detach: "cinder-forbids",
    an_attach_fails_at_its_last_call: "attach-fails-late",
    a_stopped_server_has_its_disks_in_its_config: "detach-from-stopped-server",
    a_server_that_does_not_start_is_a_stopped_one: "detach-after-failed-start",
    a_server_that_was_not_rebooted_is_active: "detach-after-failed-reboot",
    an_encrypted_volume_comes_back_with_its_server: "encrypted-volume-after-unshelve",
    a_shelved_server_is_deleted_with_its_volume_attached: "server-deleted-while-shelved",
    an_old_client_does_not_detach_from_a_shelved_server: "detach-from-shelved-server-by-old-client",
    a_refused_repetition_is_no_failure: "qemu-refuses-a-repeated-unplug",
    servers_of_a_multiattach_volume_are_deleted_one_after_the_other: "multiattach-servers-deleted",
    a_detach_beside_the_delete_of_the_volumes_other_server: "multiattach-detach-races-server-delete",
    a_volume_attached_while_shelved_comes_with_the_server: "detach-after-attach-while-shelved",
    an_attach_and_an_unshelve_do_not_pass_each_other: "attach-races-unshelve",
    a_detach_and_an_unshelve_do_not_pass_each_other: "detach-races-unshelve",
    a_shelved_server_reserves_no_volume_that_is_detached: "shelved-while-detaching",
    a_saved_guest_keeps_the_disks_that_it_knows: "detach-races-suspend",
    a_saved_guest_gets_no_disk: "attach-races-suspend",
}
