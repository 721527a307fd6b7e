//! All conformance cases, a file a group.

use super::case::Case;

mod compute;
mod data;
mod guest;
mod healthy;
mod host;
mod initiator;
mod libvirt;
mod plans;
mod target;

/// Every case, in the order in which they run within a machine.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let groups = [
        healthy::CASES,
        guest::CASES,
        data::CASES,
        host::CASES,
        initiator::CASES,
        target::CASES,
        libvirt::CASES,
        compute::CASES,
        plans::CASES,
    ];
    groups.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

    use std::collections::BTreeSet;

    use castoff_pipeline::Policy;
    use castoff_ports::call::operation_names;
    use castoff_ports::plan::{Fault, FaultKind};

    use super::super::case::{Act, Check, Need, Paths, Step};
    use super::*;

    #[test]
    fn ids_are_unique_paths_of_plain_words() {
        let mut seen = BTreeSet::new();
        for case in all() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            let words: Vec<&str> = case.id.split('/').collect();
            assert!((2..=4).contains(&words.len()), "{}", case.id);
            assert!(words.iter().all(|w| !w.is_empty() && w.chars().all(plain)), "{}", case.id);
            assert!(seen.insert(case.id), "{} twice", case.id);
        }
    }

    #[test]
    fn every_case_says_what_it_checks_and_checks_something() {
        for case in all() {
            assert!(!case.title.is_empty() && !case.cites.is_empty(), "{}", case.id);
            assert!(Policy::named(case.policy).is_some(), "{}", case.id);
            assert!(case.steps.iter().any(|s| matches!(s, Step::Check(_))), "{}", case.id);
            assert!(case.deadline_s <= 240, "{}", case.id);
        }
    }

    #[test]
    fn operations_and_faults_that_cases_name_exist() {
        let known: BTreeSet<&str> = operation_names().collect();
        for case in all() {
            for step in case.steps {
                match step {
                    Step::At(operation, nth, ..) => {
                        assert!(known.contains(operation) && *nth > 0, "{}: {operation}", case.id);
                    }
                    Step::Fault(text) => {
                        let fault: Fault = text.parse().unwrap();
                        assert!(known.contains(fault.at.operation.as_str()), "{}", case.id);
                    }
                    Step::Check(checks) | Step::Usual(checks) | Step::Until(_, checks) => {
                        for check in *checks {
                            if let Check::Called(operation, _) = check {
                                assert!(known.contains(operation), "{}: {operation}", case.id);
                            }
                        }
                    }
                    Step::Attach(_)
                    | Step::AttachToOther(_)
                    | Step::Do(_)
                    | Step::Detach(_)
                    | Step::DetachFor(..)
                    | Step::DetachTwice(..) => {}
                }
            }
        }
    }
    /// What goes wrong while a guest's disk is detached to which it writes, and the case of it.
    const WRITTEN_UNDER: [(&str, &str); 15] = [
        ("nothing", "guest/data/written-while-detaching"),
        ("a second detach is pending", "guest/data/written-then-asked-again"),
        ("the guest is busy", "guest/data/written-then-busy"),
        ("the device is busy", "guest/data/written-then-held-open"),
        ("the target is shared", "guest/data/written-beside-another"),
        ("the target drops the session", "guest/data/written-then-dropped"),
        ("the target freezes and thaws", "guest/data/written-then-frozen"),
        ("the target is killed", "target/killed/for-good"),
        ("the portal is unreachable", "path/unreachable/before-flush"),
        ("one path of two is lost", "guest/data/written-then-path-lost"),
        ("multipathd is down", "path/multipath/multipathd-down"),
        ("libvirtd dies between request and event", "guest/data/written-then-libvirtd-killed"),
        ("QEMU is killed", "guest/data/written-then-qemu-killed"),
        ("nova-compute is killed", "guest/data/written-then-compute-killed"),
        ("the flush fails", "guest/data/written-then-flush-fails"),
    ];

    #[test]
    fn under_every_fault_a_guest_writes_during_the_detach_and_its_data_is_looked_for_at_the_end() {
        for (fault, id) in WRITTEN_UNDER {
            let case = all().find(|c| c.id == id).unwrap_or_else(|| panic!("{fault}: no {id}"));
            let writes = |from| {
                case.steps.iter().any(|s| match s {
                    Step::At("libvirt::DetachDeviceFlags", nth, _, act) => {
                        *act == from && *nth >= 2
                    }
                    _ => false,
                })
            };
            let all = writes(Act::GuestWritesMuch(1));
            let halves = writes(Act::GuestWritesHalf(1)) && writes(Act::GuestWritesRest(1));
            assert!(all || halves, "{fault}: nobody writes during {id}");
            let detach = case.steps.iter().rposition(|s| match s {
                Step::Detach(volumes) => volumes.contains(&1),
                _ => false,
            });
            let looks = |s: &Step| matches!(s, Step::Check(c) if c.contains(&Check::DataIntact(1)));
            assert!(case.steps[detach.unwrap()..].iter().any(looks), "{fault}: {id}");
        }
    }

    #[test]
    fn the_cases_that_are_compared_with_the_model_are_those_to_which_nothing_happens() {
        let ids: Vec<&str> = all().filter(|c| c.is_healthy()).map(|c| c.id).collect();
        let expected = [
            "detach/healthy/one-path",
            "detach/healthy/one-path-hardened",
            "detach/healthy/one-path-pike",
            "detach/healthy/two-paths",
            "detach/healthy/two-paths-hardened",
            "detach/healthy/q35-native",
            "detach/healthy/pc",
        ];
        assert_eq!(ids, expected);
    }

    /// What an act needs before it may be done to a host.
    fn needed(act: Act) -> &'static [Need] {
        match act {
            Act::Mount(_) => &[Need::LocalTarget, Need::FileSystem],
            Act::FreezeTarget
            | Act::ThawTarget
            | Act::KillTarget
            | Act::StartTarget
            | Act::DropConnections
            | Act::LosePortal(_)
            | Act::HoldOpen(_)
            | Act::Dirty(_)
            | Act::MapOn(_)
            | Act::MapOff
            | Act::GuestWrites(_)
            | Act::GuestWritesMuch(_)
            | Act::GuestWritesHalf(_)
            | Act::GuestWritesRest(_)
            | Act::Unmap(_)
            | Act::ReuseLun { .. }
            | Act::StaleRecord => &[Need::LocalTarget],
            Act::PauseGuest | Act::ResumeGuest | Act::ResetGuest | Act::KillQemu => {
                &[Need::GuestOfOurs]
            }
            Act::RestartLibvirtd | Act::StopMultipathd => &[Need::DaemonsOfOurs],
            Act::AwaitLibvirtd => &[],
            Act::DetachLive(_)
            | Act::DetachPersistent(_)
            | Act::DetachByAlias(_)
            | Act::EndOther
            | Act::RollDetaching(_) => &[],
        }
    }

    #[test]
    fn a_case_asks_for_all_that_it_touches() {
        for case in all() {
            let mut needs: Vec<Need> = Vec::new();
            for step in case.steps {
                match step {
                    Step::Do(act) | Step::At(_, _, _, act) => needs.extend(needed(*act)),
                    Step::Fault(text) => {
                        let fault: Fault = text.parse().unwrap();
                        if let FaultKind::Environment { event } = fault.strike {
                            needs.extend(Act::of(event).iter().flat_map(|a| needed(*a)));
                        }
                    }
                    Step::Attach(_) | Step::AttachToOther(_) => {}
                    Step::Detach(_) | Step::DetachFor(..) => {}
                    Step::DetachTwice(..) | Step::Check(_) => {}
                    Step::Usual(_) | Step::Until(..) => {}
                }
            }
            if case.volumes().len() > 1 {
                needs.push(Need::LocalTarget);
            }
            if case.paths == Paths::Two {
                needs.extend([Need::LocalTarget, Need::Multipath]);
            }
            for need in needs {
                assert!(case.needs.contains(&need), "{} does not ask for {need:?}", case.id);
            }
        }
    }
}
