//! A host's timing profile, from the results of healthy detaches on it.

use std::collections::BTreeMap;

use castoff_sim::latency::profile::{Profile, Range, VERSION};

use super::record::{CaseRecord, Grade, Records};

/// Why there is no profile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrateError {
    /// No case fits.
    #[error("no case {wanted:?} passed and has steps")]
    NoCases {
        /// The wanted id, or with a slash at its end what it is below.
        wanted: String,
    },
    /// The results are of more than one host.
    #[error("the results are of different hosts: {one} and {other}")]
    Hosts {
        /// The first.
        one: String,
        /// Another.
        other: String,
    },
}

fn host(records: &Records) -> String {
    let facts = records.head.facts();
    let about = ["host", "kernel", "libvirt", "qemu", "open-iscsi", "multipath-tools"];
    let known = facts.iter().filter(|(name, _)| about.contains(name));
    known.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

fn micros(us: u64) -> u32 {
    // More than an hour is no step of a detach that passed.
    u32::try_from(us).unwrap_or(u32::MAX)
}

/// A case by its id, or all below `detach/healthy/`.
fn is_meant(id: &str, wanted: &str) -> bool {
    id == wanted || (wanted.ends_with('/') && id.starts_with(wanted))
}

/// The profile of the host that these runs were on, from the passed cases of this id, or below it
/// when it ends with a slash.
///
/// # Errors
/// When no case fits, or the runs are of different hosts.
pub fn calibrate(runs: &[Records], wanted: &str) -> Result<Profile, CalibrateError> {
    let fits =
        |c: &&CaseRecord| is_meant(&c.id, wanted) && c.grade == Grade::Pass && !c.steps.is_empty();
    let cases: Vec<&CaseRecord> = runs.iter().flat_map(|r| &r.cases).filter(fits).collect();
    let ends = cases.iter().map(|c| {
        let ends = c.steps.iter().map(|s| s.from_us.saturating_add(s.took_us));
        micros(ends.max().unwrap_or(0))
    });
    let Some(whole) = Range::of(ends.collect()) else {
        return Err(CalibrateError::NoCases { wanted: wanted.to_owned() });
    };
    let hosts: Vec<String> = runs.iter().map(host).collect();
    let one = hosts.first().cloned().unwrap_or_default();
    if let Some(other) = hosts.iter().find(|h| **h != one) {
        return Err(CalibrateError::Hosts { one, other: other.clone() });
    }
    let mut times: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for step in cases.iter().flat_map(|c| &c.steps) {
        // A pause is the pipeline's own, not the host's.
        if !step.operation.starts_with("runtime::") {
            times.entry(&step.operation).or_default().push(micros(step.took_us));
        }
    }
    let ranges = times.into_iter();
    let operation =
        ranges.filter_map(|(name, times)| Some((name.to_owned(), Range::of(times)?))).collect();
    Ok(Profile { version: VERSION, host: one, detaches: whole.n, whole, operation })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

    use super::super::record::{StepRecord, samples};
    use super::*;

    fn run(took: &[u64]) -> Records {
        let step = |operation: &str, from_us, took_us| StepRecord {
            operation: operation.to_owned(),
            from_us,
            took_us,
        };
        let of = |took: &u64| CaseRecord {
            grade: Grade::Pass,
            steps: vec![
                step("runtime::Sleep", 0, 5_000_000),
                step("iscsi::Logout", 100, *took),
                step("iscsi::Logout", 6_000_000, took * 2),
            ],
            ..samples::case("detach/healthy/one-path")
        };
        let mut cases: Vec<CaseRecord> = took.iter().map(of).collect();
        // Neither a failed case nor another one is part of a profile.
        cases.push(CaseRecord { grade: Grade::Fail, ..cases[0].clone() });
        cases.push(CaseRecord { id: "guest/never".to_owned(), ..cases[0].clone() });
        let hardened = "detach/healthy/one-path-hardened".to_owned();
        cases.push(CaseRecord { id: hardened, ..cases[0].clone() });
        Records { head: samples::head(), cases, torn: false }
    }

    #[test]
    fn a_profile_has_the_range_of_every_step_and_of_the_whole() {
        let runs = [run(&[10, 20]), run(&[30])];
        assert_eq!(calibrate(&runs, "detach/healthy/").unwrap().detaches, 5, "all below it");
        let profile = calibrate(&runs, "detach/healthy/one-path").unwrap();
        assert_eq!((profile.detaches, profile.host.as_str()), (3, "libvirt 9.0.0"));
        assert_eq!(profile.operation.len(), 1);
        let logout = profile.range("iscsi::Logout").unwrap();
        assert_eq!((logout.n, logout.min_us, logout.median_us, logout.p90_us), (6, 10, 20, 40));
        assert_eq!((profile.whole.min_us, profile.whole.p90_us), (6_000_020, 6_000_040));
        let text = toml::to_string(&profile).unwrap();
        assert_eq!(Profile::parse(&text).unwrap(), profile);
    }

    #[test]
    fn nothing_measured_and_two_hosts_are_refused() {
        let none = calibrate(&[run(&[10])], "initiator/").unwrap_err();
        assert_eq!(none, CalibrateError::NoCases { wanted: "initiator/".to_owned() });
        let mut other = run(&[10]);
        other.head.host.libvirt = Some("10.0.0".to_owned());
        let hosts = calibrate(&[run(&[10]), other], "detach/healthy/").unwrap_err();
        assert!(matches!(hosts, CalibrateError::Hosts { .. }));
    }
}
