//! `castoff ablate`: each decision of a policy taken otherwise, and what then breaks.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use castoff_ports::plan::Plan;
use castoff_ports::trace::Identity;
use castoff_sim::ablate::{Ablate, Ablated, Change};
use castoff_sim::hunt::{Cloud, Hunt, Noticed};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{self as one, BindingKind};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::run::{jobs, seconds};
use super::{AblateArgs, Exit, Format, Problem, ablation, select};

/// Changes each field of the policy and prints what notices it.
pub(super) fn ablate(args: &AblateArgs) -> Result<Exit, Problem> {
    let base = select::policy(&args.policy)?;
    let release = select::release(args.release.as_deref(), &base)?;
    let known = base.fields();
    if let Some(wrong) = args.field.iter().find(|f| !known.contains_key(*f)) {
        return Err(Problem::usage(
            format!("policies have no field {wrong:?}"),
            "`castoff list fields` has them",
        ));
    }
    let changes: Vec<Change> = base
        .alternatives()
        .into_iter()
        .filter(|(field, _)| args.field.is_empty() || args.field.contains(field))
        .map(|(field, value)| Change { field, value })
        .collect();
    let bar = bar(changes.len(), "changes");
    let done = AtomicU64::new(0);
    let begun = Instant::now();
    let ablate = Ablate {
        base: Cloud { policy: base, release },
        hunt: Hunt::new(select::scenarios(&args.scenarios)?, args.depth, args.seeds),
        changes,
        jobs: jobs(args.jobs),
        progress: &|n| bar.set_position(done.fetch_add(n, Ordering::Relaxed) + n),
    };
    let results = ablate.run();
    bar.finish_and_clear();
    let results = results?;
    if let Some(path) = &args.markdown {
        let document = ablation::markdown(&ablate, &results)?;
        std::fs::write(path, document).map_err(|error| unwritten(path, &error))?;
    }
    let text = match args.format {
        Format::Text => text(&ablate, &results, begun.elapsed())?,
        Format::Json => json(&ablate, &results)?,
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
    Ok(Exit::Fine)
}

/// A document that could not be written.
pub(super) fn unwritten(path: &Path, error: &std::io::Error) -> Problem {
    Problem::usage(
        format!("cannot write {}: {error}", path.display()),
        "give a file in a folder that exists",
    )
}

/// Shows how many of `what` are done.
pub(super) fn bar(len: usize, what: &str) -> ProgressBar {
    let template = format!("{{bar:30}} {{pos}}/{{len}} {what}  {{elapsed}}");
    ProgressBar::new(len as u64).with_style(
        // The template is ours: the first run shows that it parses.
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

/// The command that repeats the run which tells a cloud from the unchanged one.
pub(super) fn replay(cloud: &Cloud, noticed: &Noticed) -> Result<String, Problem> {
    let prepared = Prepared::new(&noticed.scenario, &cloud.policy, &cloud.release)?;
    let plan = Plan { faults: noticed.plan.clone() };
    let plan = (!plan.is_empty()).then_some(&plan);
    let identity = Identity {
        schedule: noticed.schedule.clone(),
        ..one::identity(&prepared, BindingKind::Direct, noticed.seed, plan)
    };
    Ok(identity.replay_command())
}

/// The command for a change that was noticed.
pub(super) fn command(ablate: &Ablate<'_>, result: &Ablated) -> Result<Option<String>, Problem> {
    let (Ok(policy), Some(noticed)) = (&result.policy, &result.found.noticed) else {
        return Ok(None);
    };
    let release = ablate.base.release.clone();
    Ok(Some(replay(&Cloud { policy: policy.clone(), release }, noticed)?))
}

fn text(
    ablate: &Ablate<'_>,
    results: &[Ablated],
    elapsed: std::time::Duration,
) -> Result<String, Problem> {
    let fields = ablate.base.policy.fields();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["FIELD", "IS", "CHANGED TO", "BREAKS", "IN", "FAULTS", "RUNS"]);
    for result in results {
        let change = &result.change;
        let is = fields.get(&change.field).map(ToString::to_string).unwrap_or_default();
        let (breaks, place, faults) = match (&result.policy, &result.found.noticed) {
            (Err(reason), _) => ("cannot run".to_owned(), reason.clone(), String::new()),
            (Ok(_), None) => ("nothing".to_owned(), "-".to_owned(), "-".to_owned()),
            (Ok(_), Some(n)) => (
                format!("{} {}", n.property.name, n.property.title),
                n.scenario.name.clone(),
                n.plan.len().to_string(),
            ),
        };
        table.add_row([
            change.field.clone(),
            is,
            change.value.to_string(),
            breaks,
            place,
            faults,
            result.found.tried.to_string(),
        ]);
    }
    for column in [5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = table.trim_fmt();
    out.push('\n');
    for result in results {
        if let (Some(noticed), Some(command)) = (&result.found.noticed, command(ablate, result)?) {
            out.push_str(&format!("\n{}: {}\n  {command}\n", result.change.field, noticed.facts));
        }
    }
    let noticed = results.iter().filter(|r| r.found.noticed.is_some()).count();
    let run = results.iter().filter(|r| r.policy.is_ok()).count();
    out.push_str(&format!(
        "\n{} changes of {}, {run} can run, {noticed} noticed, {} runs in {} s",
        results.len(),
        ablate.base.policy.name,
        results.iter().map(|r| r.found.tried).sum::<u64>(),
        seconds(elapsed),
    ));
    Ok(out)
}

fn json(ablate: &Ablate<'_>, results: &[Ablated]) -> Result<String, Problem> {
    let mut rows = Vec::new();
    for result in results {
        rows.push(serde_json::json!({
            "field": result.change.field,
            "value": result.change.value,
            "cannot_run": result.policy.as_ref().err(),
            "property": result.found.noticed.as_ref().map(|n| n.property.name),
            "scenario": result.found.noticed.as_ref().map(|n| n.scenario.name.clone()),
            "plan": result.found.noticed.as_ref().map(|n| n.plan.clone()),
            "facts": result.found.noticed.as_ref().map(|n| n.facts.clone()),
            "replay": command(ablate, result)?,
            "runs": result.found.tried,
        }));
    }
    let all =
        serde_json::json!({ "version": 1, "policy": ablate.base.policy.name, "changes": rows });
    // Strings and integers: always JSON.
    Ok(serde_json::to_string_pretty(&all).unwrap_or_default())
}
