//! What the policies make of libvirt and QEMU as they were measured, version by version.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

use std::sync::Arc;

use castoff::{BindingKind, Suite};
use castoff_scenarios::{POLICIES, parse};

const DETACHED: [&str; 2] = ["detached", "detached"];
const ONLY_RETRY: [&str; 2] = ["rolled-back", "detached"];

/// The rollback left the persistent config without the disk.
const ROLLED_BACK: &[&str] = &["S14"];

/// The same, and the guest lets go after nova has given up.
const TOO_LATE: &[&str] = &["S14", "L4"];

/// The retry of pike finds no disk in the guest and skips the host (nova bug 1727260).
const SKIPS_HOST: &[&str] = &["S02", "S08", "S14", "S23", "L4", "L5"];

/// The retry of pike takes "no target device" of the config for the whole disk (nova bug 1707238).
const FALSE_SUCCESS: &[&str] =
    &["S01", "S02", "S03", "S08", "S14", "S15", "S16", "S23", "L3", "L5"];

fn slow(after_ms: u32, host: &str) -> String {
    format!("[guest]\nlets_go = {{ after_ms = {after_ms} }}\n{host}")
}

fn event(kind: &str, keys: &str) -> String {
    format!("[[host.event]]\nkind = \"{kind}\"\n{keys}\n")
}

/// How a detach ends with these tables of `[guest]` and `[host]`: at the first quiet and after the
/// retry, and what it breaks; on both bindings.
fn ends(tables: &str, policy: &str, [end, after_retry]: [&str; 2], violates: &[&str]) {
    let text = format!(
        "name = \"host\"\ntitle = \"a host\"\n{tables}\n[[volume]]\nname = \"v1\"\n\
         [[actor]]\naction = \"detach\"\nvolume = \"v1\"\n\
         [expect.\"{policy}\"]\nend = \"{end}\"\nafter_retry = \"{after_retry}\"\n\
         violates = {violates:?}\n"
    );
    let scenario = Arc::new(parse("host.toml", &text, POLICIES).unwrap());
    for binding in BindingKind::ALL {
        let suite = Suite::new(scenario.clone()).policy(policy).binding(binding).seeds(0..3);
        if let Err(failed) = suite.verdict() {
            panic!("{tables}\n{failed}");
        }
    }
}

#[test]
fn pike_asks_again_after_5_s_and_the_version_decides_what_comes_of_it() {
    let guest = |version: &str| slow(8_000, &format!("[host]\nqemu = \"{version}\""));
    ends(&guest("2.8"), "pike", DETACHED, &[]);
    // Nova bug 1882521.
    ends(&guest("4.2"), "pike", ["rolled-back", "other"], FALSE_SUCCESS);
    ends(&guest("5.0"), "pike", ONLY_RETRY, SKIPS_HOST);
    ends(&guest("7.2"), "pike", DETACHED, &[]);
}

#[test]
fn a_guest_within_the_20_s_of_2026_1_is_asked_once_by_any_version() {
    for version in ["2.8", "4.2", "5.0", "7.2"] {
        let guest = slow(8_000, &format!("[host]\nqemu = \"{version}\""));
        ends(&guest, "2026.1", DETACHED, &[]);
    }
}

#[test]
fn a_slower_guest_is_asked_again_by_2026_1_which_knows_one_refusal_and_not_the_other() {
    let guest = |host: &str| slow(30_000, &format!("[host]\n{host}"));
    ends(&guest("qemu = \"2.8\""), "2026.1", DETACHED, &[]);
    ends(&guest("qemu = \"4.2\""), "2026.1", ONLY_RETRY, ROLLED_BACK);
    ends(&guest("qemu = \"5.0\""), "2026.1", DETACHED, &[]);
    ends(&guest("qemu = \"7.2\""), "2026.1", DETACHED, &[]);
    // "guest is busy (power indicator blinking)" is no "already in the process of unplug".
    ends(&guest("qemu = \"7.2\"\nmachine = \"q35-native\""), "2026.1", ONLY_RETRY, TOO_LATE);
}

#[test]
fn native_hotplug_is_slower_than_libvirts_wait_which_pike_does_not_survive() {
    for machine in ["pc", "q35"] {
        let host = format!("[host]\nqemu = \"7.2\"\nmachine = \"{machine}\"");
        ends(&host, "pike", DETACHED, &[]);
        ends(&host, "2026.1", DETACHED, &[]);
    }
    let native = "[host]\nqemu = \"7.2\"\nmachine = \"q35-native\"";
    ends(native, "pike", ONLY_RETRY, SKIPS_HOST);
    ends(native, "2026.1", DETACHED, &[]);
}

#[test]
fn a_restart_of_libvirtd_breaks_the_call_or_loses_the_event() {
    let restart = |at: u32| event("libvirtd-restarts", &format!("at_ms = {at}\nfor_ms = 500"));
    let in_call = slow(4_800, &restart(4_000));
    let of_pike = &["S02", "S08", "S15", "S16", "S23", "L4", "L5"];
    ends(&in_call, "pike", ONLY_RETRY, of_pike);
    ends(&in_call, "2026.1", ONLY_RETRY, TOO_LATE);
    // The call has returned; the event is lost, and the XML tells after 20 s.
    let in_wait = slow(10_000, &restart(8_000));
    ends(&in_wait, "2026.1", DETACHED, &[]);
}

#[test]
fn a_reboot_completes_the_unplug_and_a_booting_guest_misses_it() {
    let never = "[guest]\nlets_go = \"never\"\n";
    let reboots = event("guest-reboots", "at_ms = 10000\nfor_ms = 20000");
    let boots = event("guest-reboots", "at_ms = 0\nfor_ms = 15000");
    for policy in ["pike", "2026.1"] {
        ends(&format!("{never}{reboots}"), policy, DETACHED, &[]);
        ends(&boots, policy, DETACHED, &[]);
    }
    // No second request is ever taken: only another reboot would help.
    let refused = format!("[host]\nqemu = \"5.0\"\n{boots}");
    ends(&refused, "2026.1", ["rolled-back", "rolled-back"], &["S14", "S16", "L3"]);
    ends(&refused, "pike", ["rolled-back", "other"], FALSE_SUCCESS);
}

#[test]
fn a_paused_guest_is_given_up_or_waited_for() {
    let paused = event("guest-pauses", "at_ms = 0");
    ends(&paused, "2026.1", ONLY_RETRY, TOO_LATE);
    ends(&paused, "pike", ONLY_RETRY, SKIPS_HOST);
    let for_10_s = event("guest-pauses", "at_ms = 0\nfor_ms = 10000");
    ends(&for_10_s, "2026.1", DETACHED, &[]);
    ends(&for_10_s, "pike", DETACHED, &[]);
}

#[test]
fn a_killed_qemu_lets_go_of_everything() {
    let dies = event("qemu-dies", "at_ms = 4000");
    let never = format!("[guest]\nlets_go = \"never\"\n{dies}");
    ends(&never, "2026.1", DETACHED, &[]);
    ends(&never, "pike", DETACHED, &[]);
}
