//! `castoff shrink` and `castoff keep`: from a run that breaks something to the smallest one, and
//! to a scenario file.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use castoff_sim::keep::{self, KeepError};
use castoff_sim::prepare::Prepared;
use castoff_sim::run as one;
use castoff_sim::shrink::{self, Failing, ShrinkError, Shrunk};

use super::replay::asked;
use super::{Exit, KeepArgs, Problem, ReplayOf, ShrinkArgs, select};

fn failing(which: &ReplayOf) -> Result<Failing, Problem> {
    let asked = asked(which)?;
    let policy = select::policy(&asked.policy)?;
    Ok(Failing {
        scenario: select::scenario(&asked.scenario)?,
        release: select::release(asked.release.as_deref(), &policy)?,
        policy,
        binding: asked.binding,
        seed: asked.seed,
        plan: asked.plan.unwrap_or_default(),
        schedule: asked.schedule,
    })
}

fn shrunk(which: &ReplayOf, property: Option<&str>) -> Result<Shrunk, Problem> {
    shrink::shrink(&failing(which)?, property).map_err(|error| match error {
        ShrinkError::Prepare(error) => error.into(),
        ShrinkError::NotBroken { .. } => Problem::usage(
            error.to_string(),
            "give a run that breaks a property: `castoff explore` prints such, with all their faults",
        ),
    })
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    fs::write(path, text).map_err(|e| {
        Problem::usage(
            format!("cannot write {}: {e}", path.display()),
            "give a path that you may write to",
        )
    })
}

/// Shrinks a run and prints the smallest one.
pub(super) fn shrink(args: &ShrinkArgs) -> Result<Exit, Problem> {
    let mut shrunk = shrunk(&args.of, args.property.as_deref())?;
    if shrunk.scenario_changed {
        let Some(path) = &args.scenario_out else {
            return Err(Problem::usage(
                "the smallest run needs a smaller scenario, which is a file of its own",
                "give --scenario-out FILE",
            ));
        };
        let mut scenario = castoff_scenarios::Scenario::clone(&shrunk.run.scenario);
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        scenario.name = stem.unwrap_or_default();
        write(path, &toml(&scenario)?)?;
        scenario.source = Some(path.display().to_string());
        shrunk.run.scenario = std::sync::Arc::new(scenario);
    }
    let run = &shrunk.run;
    let prepared = Prepared::new(&run.scenario, &run.policy, &run.release)?;
    let plan = (!run.plan.is_empty()).then_some(&run.plan);
    let identity = castoff_ports::trace::Identity {
        schedule: run.schedule.clone(),
        ..one::identity(&prepared, run.binding, run.seed, plan)
    };
    if let Some(path) = &args.out {
        // Strings and integers: always JSON.
        write(path, &serde_json::to_string_pretty(&identity).unwrap_or_default())?;
    }
    // A reader who went away has seen enough.
    let _ = writeln!(
        anstream::stdout(),
        "{}\n  {} faults, {} actors, {} volumes, seed {} ({} runs tried)\n  {}",
        shrunk.violation,
        run.plan.faults.len() + run.scenario.faults.len(),
        run.scenario.actors.len(),
        run.scenario.volumes.len(),
        run.seed,
        shrunk.tried,
        identity.replay_command(),
    );
    Ok(Exit::of(Some(shrunk.violation.property.class)))
}

fn toml(scenario: &castoff_scenarios::Scenario) -> Result<String, Problem> {
    keep::to_toml(scenario).map_err(|e| {
        Problem::usage(format!("the scenario cannot be written: {e}"), "give smaller times")
    })
}

/// Keeps a run as a scenario file.
pub(super) fn keep(args: &KeepArgs) -> Result<Exit, Problem> {
    let failing = failing(&args.of)?;
    let Some(stem) = args.out.file_stem().map(|s| s.to_string_lossy().into_owned()) else {
        return Err(Problem::usage("--out names no file", "give a path such as late-cast.toml"));
    };
    let title = args.title.clone().unwrap_or_else(|| stem.replace('-', " "));
    let scenario = keep::keep(&failing, &stem, &title).map_err(|error| match error {
        KeepError::Prepare(error) => error.into(),
        KeepError::Wavers { .. } => Problem::usage(
            error.to_string(),
            "shrink the run first, or write the scenario by hand with one policy's expectation",
        ),
        KeepError::Harmless => Problem::usage(
            error.to_string(),
            "give a run that breaks a property: `castoff explore` prints such",
        ),
    })?;
    let text = toml(&scenario)?;
    // What is written must read back: names, times and places are checked as in any file.
    castoff_scenarios::parse(&args.out.display().to_string(), &text, castoff_scenarios::POLICIES)?;
    write(&args.out, &text)?;
    let _ = writeln!(
        anstream::stdout(),
        "{}: check it with\n  castoff run {} --binding direct",
        args.out.display(),
        args.out.display(),
    );
    Ok(Exit::Fine)
}
