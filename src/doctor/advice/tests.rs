//! Good files are left alone, and every bad line is told of.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

use super::*;

const GOOD_NOVA: &str = include_str!("good-nova.conf");
const GOOD_CINDER: &str = include_str!("good-cinder.conf");

fn conf(text: &str) -> Conf {
    let mut conf = Conf::default();
    conf.add("c", text).unwrap();
    conf
}

fn told(nova: &str, cinder: &str) -> Vec<Advice> {
    advise(Some(&conf(nova)), Some(&conf(cinder)))
}

/// What there is to say of the good files with one line replaced.
fn with(file: &str, line: &str, instead: &str) -> Vec<(Severity, String)> {
    let of = |name: &str, text: &str| {
        if name == file {
            assert!(text.contains(line), "{file} has no line {line}");
            text.replacen(line, instead, 1)
        } else {
            text.to_owned()
        }
    };
    let all = told(&of("nova", GOOD_NOVA), &of("cinder", GOOD_CINDER));
    all.into_iter().map(|a| (a.severity, a.option)).collect()
}

#[test]
fn good_files_are_left_alone() {
    let all = told(GOOD_NOVA, GOOD_CINDER);
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn each_bad_line_is_told_of_once_and_at_its_own_option() {
    use Severity::{Note, Stuck, Unsafe};
    let cases = [
        (
            "nova",
            "send_service_user_token = true",
            "",
            Stuck,
            "[service_user] send_service_user_token",
        ),
        ("nova", "auth_type = password", "", Stuck, "[service_user] auth_type"),
        ("nova", "username = nova", "", Stuck, "[service_user] username"),
        (
            "cinder",
            "service_token_roles_required = true",
            "",
            Unsafe,
            "[keystone_authtoken] service_token_roles_required",
        ),
        (
            "cinder",
            "service_token_roles = service",
            "service_token_roles = service, member",
            Unsafe,
            "[keystone_authtoken] service_token_roles",
        ),
        ("nova", "lock_path = $state_path/tmp", "", Stuck, "[oslo_concurrency] lock_path"),
        (
            "nova",
            "lock_path = $state_path/tmp",
            "lock_path = /tmp/nova",
            Unsafe,
            "[oslo_concurrency] lock_path",
        ),
        (
            "nova",
            "lock_path = $state_path/tmp",
            "lock_path = /var/lib/cinder/tmp/",
            Note,
            "[oslo_concurrency] lock_path",
        ),
        (
            "nova",
            "lock_path = /var/lib/os-brick",
            "lock_path = /var/lib/nova-brick",
            Note,
            "[os_brick] lock_path",
        ),
        ("nova", "lock_path = /var/lib/os-brick", "", Note, "[os_brick] lock_path"),
        (
            "nova",
            "volume_enforce_multipath = true",
            "",
            Stuck,
            "[libvirt] volume_enforce_multipath",
        ),
        (
            "cinder",
            "enabled_backends = lvm",
            "enabled_backends = lvm, ceph",
            Stuck,
            "[DEFAULT] enabled_backends",
        ),
        (
            "cinder",
            "enforce_multipath_for_image_xfer = true",
            "",
            Note,
            "[lvm] enforce_multipath_for_image_xfer",
        ),
        (
            "nova",
            "device_detach_attempts = 8",
            "device_detach_attempts = 1",
            Stuck,
            "[libvirt] device_detach_attempts",
        ),
        (
            "nova",
            "device_detach_attempts = 8",
            "device_detach_attempts = 20",
            Stuck,
            "[libvirt] device_detach_attempts",
        ),
        (
            "nova",
            "device_detach_timeout = 20",
            "device_detach_timeout = 5",
            Stuck,
            "[libvirt] device_detach_timeout",
        ),
        (
            "nova",
            "device_detach_timeout = 20",
            "device_detach_timeout = 0",
            Stuck,
            "[libvirt] device_detach_timeout",
        ),
        (
            "nova",
            "device_detach_timeout = 20",
            "device_detach_timeout = soon",
            Stuck,
            "[libvirt] device_detach_timeout",
        ),
        (
            "nova",
            "num_volume_scan_tries = 5",
            "num_volume_scan_tries = 1",
            Note,
            "[libvirt] num_volume_scan_tries",
        ),
        (
            "nova",
            "num_volume_scan_tries = 5",
            "num_iscsi_scan_tries = 5",
            Note,
            "[libvirt] num_iscsi_scan_tries",
        ),
        (
            "cinder",
            "rpc_response_timeout = 60",
            "rpc_response_timeout = 30",
            Stuck,
            "[DEFAULT] rpc_response_timeout",
        ),
        (
            "nova",
            "rpc_response_timeout = 60",
            "rpc_response_timeout = 30",
            Stuck,
            "[DEFAULT] rpc_response_timeout",
        ),
        (
            "nova",
            "service_down_time = 60",
            "service_down_time = 20",
            Stuck,
            "[DEFAULT] service_down_time",
        ),
        (
            "nova",
            "service_down_time = 60",
            "service_down_time = 600",
            Stuck,
            "[DEFAULT] service_down_time",
        ),
        ("nova", "http_retries = 3", "http_retries = 0", Stuck, "[cinder] http_retries"),
        ("nova", "timeout = 120", "", Note, "[cinder] timeout"),
        ("nova", "timeout = 120", "timeout = 60", Stuck, "[cinder] timeout"),
        ("nova", "debug = false", "debug = true", Note, "[DEFAULT] debug"),
        ("cinder", "debug = false", "debug = maybe", Stuck, "[DEFAULT] debug"),
    ];
    for (file, line, instead, severity, option) in cases {
        let all = with(file, line, instead);
        let mine: Vec<_> = all.iter().filter(|(_, o)| o == option).collect();
        assert!(!mine.is_empty(), "{file}: {line} -> {instead}: {all:?}");
        assert_eq!(mine[0].0, severity, "{file}: {line} -> {instead}: {all:?}");
        let others: Vec<_> = all.iter().filter(|(_, o)| o != option).collect();
        let allowed = file == "nova" && instead == "device_detach_timeout = 0"
            || others.is_empty()
            // Without a lock path of its own os-brick takes the service's, which is another.
            || instead.starts_with("lock_path");
        assert!(allowed, "{file}: {line} -> {instead}: {others:?}");
    }
}

#[test]
fn one_path_to_a_backend_with_two_portals_is_told_of() {
    let nova = GOOD_NOVA
        .replace("volume_use_multipath = true", "volume_use_multipath = off")
        .replace("volume_enforce_multipath = true", "");
    let all = told(&nova, GOOD_CINDER);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0].option, "[libvirt] volume_use_multipath");
    assert!(all[0].what.starts_with("lvm offers more than one portal"), "{}", all[0].what);
    // The option's older name means the same.
    let older = GOOD_CINDER.replace("target_secondary_ip", "iscsi_secondary_ip");
    assert_eq!(told(&nova, &older).len(), 1);
}

#[test]
fn a_backend_takes_what_all_backends_have() {
    let cinder = GOOD_CINDER.replace("[lvm]", "[lvm]\nvolume_group = v\n\n[backend_defaults]");
    assert!(told(GOOD_NOVA, &cinder).is_empty());
}

#[test]
fn an_option_in_the_wrong_section_is_told_of_with_the_right_one() {
    let all = told(&format!("{GOOD_NOVA}\n[compute]\ndevice_detach_attempts = 8\n"), GOOD_CINDER);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(
        (all[0].option.as_str(), all[0].fix.as_str()),
        ("[compute] device_detach_attempts", "move it to [libvirt]")
    );
    assert!(all[0].place.as_deref().unwrap().starts_with("c:"));
}

#[test]
fn an_empty_configuration_is_unsafe_and_the_worst_comes_first() {
    let all = told("[DEFAULT]\n", "[DEFAULT]\n");
    assert!(all.is_sorted_by_key(|a| a.severity));
    assert_eq!(all[0].option, "[keystone_authtoken] service_token_roles_required");
    assert!(all.iter().any(|a| a.option == "[service_user] send_service_user_token"));
    assert!(all.iter().filter(|a| a.option == "[oslo_concurrency] lock_path").count() == 2);
    assert!(all.iter().all(|a| !a.what.is_empty() && !a.fix.is_empty() && !a.reference.is_empty()));
}

#[test]
fn one_service_alone_is_judged_alone() {
    assert!(advise(Some(&conf(GOOD_NOVA)), None).is_empty());
    assert!(advise(None, Some(&conf(GOOD_CINDER))).is_empty());
    assert!(advise(None, None).is_empty());
}

#[test]
fn a_quoted_or_referring_value_is_judged_as_the_service_sees_it() {
    let nova = GOOD_NOVA.replace("debug = false", "debug = \"True\"");
    assert_eq!(told(&nova, GOOD_CINDER)[0].option, "[DEFAULT] debug");
    let nova = GOOD_NOVA.replace("state_path = /var/lib/nova", "state_path = /tmp/nova");
    let all = told(&nova, GOOD_CINDER);
    assert_eq!((all[0].severity, all[0].found.as_str()), (Severity::Unsafe, "$state_path/tmp"));
}
