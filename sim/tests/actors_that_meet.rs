//! Whatever else a user asks of a server while he attaches or detaches: every two of these requests meet, in
//! both orders, at once and while the first is on its way, under every single fault.
//!
//! The scenarios are made here; what one of them once broke and no built-in scenario shows is listed
//! with its orders.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::Plan;
use castoff_ports::schedule::Schedule;
use castoff_ports::trace::to_text;
use castoff_scenarios::Scenario;
use castoff_scenarios::check::POLICIES;
use castoff_scenarios::scenario::End;
use castoff_sim::exemptions::exempt;
use castoff_sim::explore::{Explore, Ground};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{BindingKind, Keep, identity, run, run_scheduled};

/// What a user may ask for, and what has to come before.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Request {
    action: &'static str,
    after: Option<&'static str>,
}

const fn request(action: &'static str) -> Request {
    Request { action, after: None }
}

const DETACH: Request = request("detach");
const ATTACH: Request = request("attach");
const UNSHELVE: Request = Request { action: "unshelve", after: Some("shelve") };

const OTHERS: &[Request] = &[
    request("shelve"),
    UNSHELVE,
    request("delete-server"),
    request("hard-reboot"),
    request("soft-reboot"),
    request("stop"),
    Request { action: "start", after: Some("stop") },
    request("suspend"),
    Request { action: "resume", after: Some("suspend") },
];

/// When the two meet, and how long whatever comes next waits, in milliseconds.
const MEET: u32 = 120_000;

/// The second request comes so much later, in milliseconds.
const LATER: [u32; 2] = [0, 300];

fn actor(text: &mut String, action: &str, at_ms: u32) {
    let volume = if action == "attach" { "v2" } else { "v1" };
    writeln!(text, "[[actor]]\naction = \"{action}\"\nvolume = \"{volume}\"\nat_ms = {at_ms}")
        .unwrap();
}

/// The two meet; then the server is brought back, and what it has is detached.
fn meeting(first: Request, second: Request, later: u32) -> Scenario {
    let name = format!("{}-meets-{}-{later}", first.action, second.action);
    let mut text = format!(
        "name = \"{name}\"\ntitle = \"two requests meet\"\nstory = \"two requests meet\"\n"
    );
    text.push_str("[[volume]]\nname = \"v1\"\n");
    let both = [first, second];
    if both.contains(&ATTACH) {
        text.push_str("[[volume]]\nname = \"v2\"\nattached = false\n");
    }
    for before in both.iter().filter_map(|r| r.after) {
        actor(&mut text, before, 0);
    }
    actor(&mut text, first.action, MEET);
    actor(&mut text, second.action, MEET + later);
    for (away, back) in [("shelve", "unshelve"), ("stop", "start"), ("suspend", "resume")] {
        if both.iter().any(|r| r.action == away) {
            actor(&mut text, back, 3 * MEET);
        }
    }
    if !both.contains(&DETACH) {
        actor(&mut text, "detach", 6 * MEET);
    }
    if both.contains(&ATTACH) {
        text.push_str("[[actor]]\naction = \"detach\"\nvolume = \"v2\"\n");
        writeln!(text, "at_ms = {}", 6 * MEET).unwrap();
    }
    for policy in POLICIES {
        writeln!(text, "[expect.\"{policy}\"]\nend = \"detached\"\nafter_retry = \"detached\"")
            .unwrap();
    }
    castoff_scenarios::parse(&format!("{name}.toml"), &text, POLICIES).unwrap()
}

fn meetings() -> Vec<Scenario> {
    let mut pairs = vec![(DETACH, DETACH), (DETACH, ATTACH), (ATTACH, DETACH)];
    for &other in OTHERS {
        pairs.extend([(DETACH, other), (other, DETACH), (ATTACH, other), (other, ATTACH)]);
    }
    let delete = request("delete-server");
    pairs.extend([(UNSHELVE, delete), (delete, UNSHELVE)]);
    let each = pairs.into_iter().flat_map(|(a, b)| LATER.map(|later| meeting(a, b, later)));
    each.collect()
}

fn hardened() -> (Policy, Release) {
    let policy = Policy::named("hardened").unwrap();
    let release = Release::named(&policy.default_release).unwrap();
    (policy, release)
}

#[test]
fn hardened_survives_every_fault_where_two_requests_meet() {
    let (mut plans, mut worse) = (0, Vec::new());
    for scenario in meetings() {
        let (policy, release) = hardened();
        let name = scenario.name.clone();
        let explore = Explore {
            ground: Ground { scenario: Arc::new(scenario), policy, release, seed: 0, depth: 1 },
            jobs: 2,
            clock: &|| Duration::ZERO,
            progress: &|_| {},
            cancelled: &|| false,
        };
        let found = explore.run().unwrap();
        plans += found.plans.iter().sum::<u64>();
        for cause in found.causes.all() {
            if exempt("hardened", &name, cause).is_none() {
                worse.push(format!(
                    "{name}: {}: {} {:?}",
                    cause.property.name, cause.facts, cause.plan
                ));
            }
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
    assert!(plans > 60_000, "{plans} plans");
}

/// Two requests, a seed of the random order, faults, and what it broke.
type Broke = (Request, Request, u32, u64, &'static str, &'static str);

const BROKE: &[Broke] = &[
    (
        request("delete-server"),
        UNSHELVE,
        300,
        78,
        "nova-compute:libvirt::CleanupWaiters#2@1:crash-after=36000",
        "L3, L5, S09: nova-api deleted a server that a host had taken meanwhile",
    ),
    (
        DETACH,
        DETACH,
        2_000,
        68,
        "nova-api:novadb::ActionStart#1@1:unreachable \
         nova-api:cinder::RollDetaching#1@1:reply-lost",
        "S13: os-roll_detaching was asked for twice, and the second one met another's detach",
    ),
    (
        DETACH,
        request("shelve"),
        0,
        0,
        "nova-compute:iscsi::Logout#1@2:crash-before=36000 \
         nova-compute:libvirt::DetachDeviceFlags#1@1:unreachable",
        "S14: a volume was given back to a server that had half left its host",
    ),
    (
        request("suspend"),
        DETACH,
        0,
        140,
        "nova-compute:cinder::RollDetaching#1@2:crash-before=36000",
        "L1: a rollback that was cut short waited for the guest to come back",
    ),
];

#[test]
fn the_meetings_that_once_broke_a_property_break_none() {
    for &(first, second, later, seed, faults, was) in BROKE {
        let scenario = meeting(first, second, later);
        let (policy, release) = hardened();
        let name = scenario.name.clone();
        let prepared = Prepared::new(&Arc::new(scenario), &policy, &release).unwrap();
        let faults = faults.split_whitespace().map(|f| f.parse().unwrap()).collect();
        let (plan, keep) = (Plan { faults }, Keep::default());
        let order = Schedule::Random;
        let report = run_scheduled(&prepared, BindingKind::Direct, seed, Some(&plan), &order, keep);
        // Whatever comes after the first one may be on a way that is no longer gone.
        assert!(!report.not_struck.contains(&plan.faults[0]), "{name}: {was}");
        let broken: Vec<String> = report.violations.iter().map(|v| v.to_string()).collect();
        assert!(broken.is_empty(), "{name}, {was}: {}", broken.join("\n"));
    }
}

#[test]
fn a_server_whose_guest_kept_a_disk_is_shelved_and_comes_back() {
    let mut text =
        String::from("name = \"kept-then-shelved\"\ntitle = \"kept\"\nstory = \"kept\"\n");
    text.push_str("[guest]\nlets_go = \"never\"\n[[volume]]\nname = \"v1\"\n");
    for (action, at_ms) in [("detach", 0), ("shelve", 3 * MEET), ("unshelve", 8 * MEET)] {
        actor(&mut text, action, at_ms);
    }
    for policy in POLICIES {
        writeln!(
            text,
            "[expect.\"{policy}\"]\nend = \"rolled-back\"\nafter_retry = \"rolled-back\""
        )
        .unwrap();
    }
    let file = "kept-then-shelved.toml";
    let scenario = castoff_scenarios::parse(file, &text, POLICIES).unwrap();
    let (policy, release) = hardened();
    let prepared = Prepared::new(&Arc::new(scenario), &policy, &release).unwrap();
    let report = run(&prepared, BindingKind::Direct, 0, None, true);
    let trace = to_text(&identity(&prepared, BindingKind::Direct, 0, None), &report.events);
    assert_eq!(report.end, End::RolledBack);
    assert!(trace.contains("vm_state=shelved_offloaded"), "it has left its host");
    assert!(trace.contains("vm_state=active task_state=none"), "it never came back:\n{trace}");
}
