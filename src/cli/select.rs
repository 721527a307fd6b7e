//! From names on the command line to scenarios, policies and releases.

use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::schedule::Schedule;
use castoff_scenarios::Scenario;

use super::problem::Problem;

/// The scenarios of these names or files; all when none is named.
pub(super) fn scenarios(names: &[String]) -> Result<Vec<Arc<Scenario>>, Problem> {
    if names.is_empty() {
        return Ok(castoff_scenarios::all().into_iter().map(Arc::new).collect());
    }
    names.iter().map(|name| scenario(name)).collect()
}

/// The scenario of this name or file.
pub(super) fn scenario(name: &str) -> Result<Arc<Scenario>, Problem> {
    Ok(Arc::new(castoff_scenarios::resolve(name)?))
}

/// The policies of these names; all when none is named.
pub(super) fn policies(names: &[String]) -> Result<Vec<Policy>, Problem> {
    if names.is_empty() {
        return Ok(Policy::all());
    }
    names.iter().map(|name| policy(name)).collect()
}

/// The policy of this name.
pub(super) fn policy(name: &str) -> Result<Policy, Problem> {
    Policy::parse(name).map_err(|error| {
        Problem::usage(
            error.to_string(),
            "give NAME, or NAME+FIELD=VALUE to change a decision: `castoff list policies`",
        )
    })
}

/// The release of this name, or the policy's own.
pub(super) fn release(name: Option<&str>, policy: &Policy) -> Result<Release, Problem> {
    let name = name.unwrap_or(&policy.default_release);
    let release = Release::parse(name).map_err(|error| {
        let known: Vec<String> = Release::all().into_iter().map(|r| r.name).collect();
        Problem::usage(error.to_string(), format!("the releases are {}", known.join(", ")))
    })?;
    if let Err(reason) = policy.works_with(&release.name) {
        return Err(Problem::usage(
            format!("policy {} cannot work with release {}: {reason}", policy.name, release.name),
            "leave --release away to get the policy's own; `castoff list policies` shows it",
        ));
    }
    Ok(release)
}

/// That nobody asks `network` for an order: its order is turmoil's, drawn from the seed.
pub(super) fn schedule_of_network(schedule: &Schedule) -> Result<(), Problem> {
    match schedule.is_fifo() {
        true => Ok(()),
        false => Err(Problem::usage(
            format!("the schedule {schedule} cannot be followed on network"),
            "give --binding direct: on network the order of steps is drawn with the seed",
        )),
    }
}
