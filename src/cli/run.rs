//! `castoff run`: a campaign with a progress bar, results in a folder when asked for.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use castoff_ports::plan::Plan;
use castoff_ports::schedule::Schedule;
use castoff_ports::trace;
use castoff_sim::campaign::baseline::Baseline;
use castoff_sim::campaign::chunks::chunks;
use castoff_sim::campaign::results::Header;
use castoff_sim::campaign::{Campaign, Cell, Faults, Known, Shard};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{self as one, BindingKind, Keep};
use indicatif::{ProgressBar, ProgressStyle};

use super::report::{self, Conclusion, conclude, shown};
use super::results::Store;
use super::{BindingArg, Exit, Problem, RunArgs, select, table};

/// Seeds of the standard campaign.
const DIRECT_SEEDS: std::ops::Range<u64> = 0..1000;
const EXHAUSTIVE_SEEDS: std::ops::Range<u64> = 0..1;
const NETWORK_SEEDS: std::ops::Range<u64> = 0..3;

/// Runs the campaign that the arguments ask for.
pub(super) fn run(args: &RunArgs) -> Result<Exit, Problem> {
    let begun = Instant::now();
    let cells = cells(args)?;
    let faults = if args.swarm { Faults::Swarm } else { Faults::Scenario };
    let shard = args.shard.unwrap_or(Shard::WHOLE);
    let header = Header::new(cells.iter().map(Cell::id).collect(), faults, shard);
    let baseline = report::baseline(&args.report)?;
    let (store, known) = match (&args.out, &args.resume) {
        (None, None) => (None, Known::default()),
        (Some(dir), _) => (Some(Store::create(dir, &header)?), Known::default()),
        (None, Some(dir)) => {
            let (store, known) = Store::resume(dir, &header)?;
            (Some(store), known)
        }
    };
    let bar = bar(&header, &known);
    let done = AtomicU64::new(0);
    let campaign = Campaign {
        cells,
        faults,
        fields: args.report.shows_coverage() || store.is_some(),
        shard,
        known,
        jobs: jobs(args.jobs),
        clock: &|| begun.elapsed(),
        budget: args.time_budget,
        ends: &|id, finding| args.fail_fast && !baseline.knows(id, finding),
        progress: &|n| bar.set_position(done.fetch_add(n, Ordering::Relaxed) + n),
        finished: &|chunk, row| store.as_ref().is_none_or(|store| store.keep(chunk, row)),
        cancelled: &|| false,
    };
    let outcome = campaign.run();
    bar.finish_and_clear();
    let outcome = outcome?;
    let cells = campaign.cells;
    if let Some(store) = store {
        store.close()?;
    }
    let conclusion = Conclusion { header: &header, outcome: &outcome, elapsed: begun.elapsed() };
    if let Some(dir) = args.out.as_ref().or(args.resume.as_ref()) {
        write_out(dir, &cells, &conclusion, &baseline)?;
    }
    conclude(&args.report, &conclusion)
}

/// A progress bar over the runs that are left.
fn bar(header: &Header, known: &Known) -> ProgressBar {
    let left = chunks(&header.cells).into_iter().enumerate();
    let left = left.filter(|(i, _)| header.shard.has(*i) && !known.chunks.contains(i));
    let total = left.map(|(_, chunk)| chunk.seeds.end - chunk.seeds.start).sum();
    ProgressBar::new(total).with_style(
        // The template is ours and constant: the first run shows that it parses.
        ProgressStyle::with_template("{bar:30} {pos}/{len} runs  {per_sec}  {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

fn cells(args: &RunArgs) -> Result<Vec<Cell>, Problem> {
    let scenarios = select::scenarios(&args.scenarios)?;
    let policies = select::policies(&args.policy)?;
    let bindings = match args.binding {
        BindingArg::Direct => vec![BindingKind::Direct],
        BindingArg::Network => vec![BindingKind::Network],
        // A schedule is of direct: there is nothing to choose on network.
        BindingArg::All if !args.schedule.is_fifo() => vec![BindingKind::Direct],
        BindingArg::All => BindingKind::ALL.to_vec(),
    };
    if bindings.contains(&BindingKind::Network) {
        select::schedule_of_network(&args.schedule)?;
    }
    let mut cells = Vec::new();
    for scenario in &scenarios {
        for binding in &bindings {
            for policy in &policies {
                let seeds = args.seeds.clone().unwrap_or(match binding {
                    // Each seed is a whole search.
                    BindingKind::Direct if matches!(args.schedule, Schedule::Exhaustive { .. }) => {
                        EXHAUSTIVE_SEEDS
                    }
                    BindingKind::Direct => DIRECT_SEEDS,
                    BindingKind::Network => NETWORK_SEEDS,
                });
                cells.push(Cell {
                    scenario: scenario.clone(),
                    binding: *binding,
                    release: select::release(args.release.as_deref(), policy)?,
                    policy: policy.clone(),
                    seeds,
                    schedule: args.schedule.clone(),
                });
            }
        }
    }
    Ok(cells)
}

/// The rows, and identity and trace of what was found: made again by a resumed campaign.
fn write_out(
    dir: &Path,
    cells: &[Cell],
    conclusion: &Conclusion<'_>,
    baseline: &Baseline,
) -> Result<(), Problem> {
    let write = |name: String, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|e| {
            Problem::usage(
                format!("cannot write {}: {e}", path.display()),
                "give --out a folder that you may write to",
            )
        })
    };
    write("rows.json".to_owned(), table::json(conclusion, baseline))?;
    for (cell, (id, row)) in cells.iter().zip(conclusion.rows()) {
        for finding in shown(row) {
            let prepared = Prepared::new(&cell.scenario, &cell.policy, &cell.release)?;
            let keep = Keep { trace: true, points: false };
            let (binding, seed, schedule) = (cell.binding, finding.seed, &finding.schedule);
            let plan = Plan { faults: finding.plan.clone() };
            let drawn = (!plan.is_empty()).then_some(&plan);
            let report = one::run_scheduled(&prepared, binding, seed, drawn, schedule, keep);
            let identity = finding.identity(id);
            let mut stem =
                format!("{}-{}-{}-{seed}", id.scenario, id.policy, cell.binding.as_str());
            if !plan.is_empty() {
                // One seed may break several properties, each by a plan of its own.
                stem.push_str(&format!("-{}", finding.what));
            }
            let json = serde_json::to_string_pretty(&identity).unwrap_or_default();
            write(format!("{stem}.json"), json)?;
            write(format!("{stem}.trace"), trace::to_text(&identity, &report.events))?;
        }
    }
    Ok(())
}

/// So many threads, or one a core.
pub(super) fn jobs(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// Seconds of a duration with two digits.
pub(super) fn seconds(d: Duration) -> String {
    format!("{:.2}", d.as_secs_f64())
}
