//! `castoff explore`: every fault at every point, alone and in pairs.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use castoff_ports::plan::{Fault, Plan};
use castoff_ports::trace::Identity;
use castoff_sim::exemptions::exempt;
use castoff_sim::explore::{Cause, Explore, Explored, Ground};
use castoff_sim::run::{self as one, BindingKind};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::run::{jobs, seconds};
use super::{Exit, ExploreArgs, Format, Problem, findings, select};

/// Causes shown of one property, unless all are asked for.
const SHOWN: usize = 3;

/// Explores each scenario under each policy.
pub(super) fn explore(args: &ExploreArgs) -> Result<Exit, Problem> {
    let scenarios = select::scenarios(&args.scenarios)?;
    let policies = select::policies(&args.policy)?;
    let bar = ProgressBar::new_spinner().with_style(
        // The template is ours and constant: the first run shows that it parses.
        ProgressStyle::with_template("{spinner} {pos} plans  {per_sec}  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let done = AtomicU64::new(0);
    let begun = Instant::now();
    let mut results = Vec::new();
    for scenario in &scenarios {
        for policy in &policies {
            bar.set_message(format!("{} under {}", scenario.name, policy.name));
            let ground = Ground {
                scenario: scenario.clone(),
                policy: policy.clone(),
                release: select::release(args.release.as_deref(), policy)?,
                seed: args.seed,
                depth: args.depth,
            };
            let explored = Explore {
                ground: ground.clone(),
                jobs: jobs(args.jobs),
                clock: &|| begun.elapsed(),
                progress: &|n| bar.set_position(done.fetch_add(n, Ordering::Relaxed) + n),
                cancelled: &|| false,
            }
            .run()?;
            results.push((ground, explored));
        }
    }
    bar.finish_and_clear();
    if let Some(path) = &args.markdown {
        std::fs::write(path, findings::markdown(&results)).map_err(|e| {
            Problem::usage(
                format!("cannot write {}: {e}", path.display()),
                "give --markdown a file that you may write to",
            )
        })?;
    }
    let text = match args.format {
        Format::Text => text(&results, args.all),
        Format::Json => json(&results),
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
    let worst = results.iter().flat_map(|(ground, explored)| unexpected(ground, explored));
    Ok(Exit::of(worst.map(|c| c.property.class).min()))
}

/// Causes that the scenario does not expect of this policy: a scenario tells what it breaks by
/// itself, never what further faults may break.
fn unexpected<'a>(ground: &'a Ground, explored: &'a Explored) -> Vec<&'a Cause> {
    let expects = |c: &Cause| {
        let expectation = ground.scenario.expect.get(&ground.policy.name);
        c.plan.is_empty()
            && expectation.is_some_and(|e| e.violates.iter().any(|v| v == c.property.name))
    };
    let exempt = |c: &Cause| exempt(&ground.policy.name, &ground.scenario.name, c).is_some();
    explored.causes.all().into_iter().filter(|c| !expects(c) && !exempt(c)).collect()
}

/// The identity of the run of a plan.
pub(super) fn identity(ground: &Ground, plan: &[Fault]) -> Identity {
    let Ground { scenario, policy, release, seed, .. } = ground;
    let plan = (!plan.is_empty()).then(|| Plan { faults: plan.to_vec() });
    one::identity_of(scenario, policy, release, BindingKind::Direct, *seed, plan.as_ref())
}

fn rate(explored: &Explored) -> f64 {
    let wall = explored.wall.as_secs_f64();
    if wall > 0.0 { explored.total() as f64 / wall } else { 0.0 }
}

fn text(results: &[(Ground, Explored)], all: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "SCENARIO",
        "POLICY",
        "POINTS",
        "PLANS",
        "NOT STRUCK",
        "BROKE",
        "PROPERTIES",
        "CAUSES",
        "PLANS/S",
    ]);
    for (ground, explored) in results {
        let properties: Vec<&str> = explored.causes.by_property().into_keys().collect();
        table.add_row([
            ground.scenario.name.clone(),
            ground.policy.name.clone(),
            explored.points.to_string(),
            explored.total().to_string(),
            explored.not_struck.to_string(),
            explored.broke.to_string(),
            if properties.is_empty() { "-".to_owned() } else { properties.join(" ") },
            explored.causes.all().len().to_string(),
            format!("{:.0}", rate(explored)),
        ]);
    }
    for column in [2, 3, 4, 5, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = table.trim_fmt();
    out.push('\n');
    for (ground, explored) in results {
        out.push_str(&of_one(ground, explored, all));
    }
    let plans: u64 = results.iter().map(|(_, e)| e.total()).sum();
    let broke: u64 = results.iter().map(|(_, e)| e.broke).sum();
    let exempt: u64 = results.iter().map(|(_, e)| e.exempt).sum();
    let wall: std::time::Duration = results.iter().map(|(_, e)| e.wall).sum();
    out.push_str(&format!(
        "\n{plans} plans, every one tried, in {} s: {}",
        seconds(wall),
        if broke == 0 {
            "no property broken".to_owned()
        } else {
            format!("{broke} broke a property, {exempt} of them only what is exempt")
        }
    ));
    out
}

fn of_one(ground: &Ground, explored: &Explored, all: bool) -> String {
    let mut out = String::new();
    let mut of_property = (String::new(), 0);
    let causes = explored.causes.all();
    for cause in &causes {
        let name = cause.property.name;
        if of_property.0 != name {
            of_property = (name.to_owned(), 0);
            let ways = causes.iter().filter(|c| c.property.name == name).count();
            let plans = explored.causes.by_property().get(name).copied().unwrap_or_default();
            out.push_str(&format!(
                "\n{name} {}: {} under {}, {plans} plans, {ways} {}\n",
                cause.property.title,
                ground.scenario.name,
                ground.policy.name,
                if ways == 1 { "cause" } else { "causes" },
            ));
        }
        of_property.1 += 1;
        if of_property.1 > SHOWN && !all {
            if of_property.1 == SHOWN + 1 {
                out.push_str("  … `--all` shows the others\n");
            }
            continue;
        }
        if let Some(e) = exempt(&ground.policy.name, &ground.scenario.name, cause) {
            out.push_str(&format!("  exempt, {}: {}\n", e.owner, e.assumption));
        }
        out.push_str(&format!(
            "  {}\n    {}\n",
            cause.facts,
            identity(ground, &cause.plan).replay_command()
        ));
    }
    out
}

fn json(results: &[(Ground, Explored)]) -> String {
    let mut rows = Vec::new();
    for (ground, explored) in results {
        let mut causes = Vec::new();
        for cause in explored.causes.all() {
            causes.push(serde_json::json!({
                "property": cause.property.name,
                "plan": cause.plan,
                "plans": cause.plans,
                "facts": cause.facts,
                "exempt": exempt(&ground.policy.name, &ground.scenario.name, cause).map(|e| e.assumption),
                "replay": identity(ground, &cause.plan).replay_command(),
            }));
        }
        rows.push(serde_json::json!({
            "scenario": ground.scenario.name,
            "policy": ground.policy.name,
            "release": ground.release.name,
            "seed": ground.seed,
            "depth": ground.depth,
            "points": explored.points,
            "plans": explored.plans,
            "not_struck": explored.not_struck,
            "broke": explored.broke,
            "exempt": explored.exempt,
            "by_property": explored.causes.by_property(),
            "causes": causes,
            "operations": explored.calls,
            "wall_seconds": explored.wall.as_secs_f64(),
        }));
    }
    // Strings, integers and finite floats: always JSON.
    serde_json::to_string_pretty(&serde_json::json!({ "version": 1, "rows": rows }))
        .unwrap_or_default()
}
