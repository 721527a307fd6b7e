//! `castoff run`: a campaign with a progress bar, a table or JSON, and files when asked for.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use castoff_ports::schedule::Schedule;
use castoff_ports::trace::{self, Identity};
use castoff_sim::campaign::{Campaign, Cell, Row};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{self as one, BindingKind, Keep};
use indicatif::{ProgressBar, ProgressStyle};

use super::{BindingArg, Exit, Format, Problem, RunArgs, select, table};

/// Seeds of the standard campaign.
const DIRECT_SEEDS: std::ops::Range<u64> = 0..1000;
const EXHAUSTIVE_SEEDS: std::ops::Range<u64> = 0..1;
const NETWORK_SEEDS: std::ops::Range<u64> = 0..10;

/// Runs the campaign that the arguments ask for.
pub(super) fn run(args: &RunArgs) -> Result<Exit, Problem> {
    let cells = cells(args)?;
    let total: u64 = cells.iter().map(|c| c.seeds.end - c.seeds.start).sum();
    if let Some(dir) = &args.out {
        fs::create_dir_all(dir).map_err(|e| cannot_write(dir, &e))?;
    }
    let bar = ProgressBar::new(total).with_style(
        // The template is ours and constant: the first run shows that it parses.
        ProgressStyle::with_template("{bar:30} {pos}/{len} runs  {per_sec}  {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let done = AtomicU64::new(0);
    let begun = Instant::now();
    let campaign = Campaign {
        cells,
        jobs: jobs(args.jobs),
        clock: &|| begun.elapsed(),
        progress: &|n| bar.set_position(done.fetch_add(n, Ordering::Relaxed) + n),
        cancelled: &|| false,
    };
    let rows = campaign.run();
    bar.finish_and_clear();
    let rows = rows?;
    let results: Vec<(&Cell, &Row)> = campaign.cells.iter().zip(&rows).collect();
    let text = match args.format {
        Format::Text => table::text(&results, begun.elapsed()),
        Format::Json => table::json(&results),
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
    if let Some(dir) = &args.out {
        write_out(dir, &results)?;
    }
    Ok(Exit::of(rows.iter().filter_map(Row::worst).min()))
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

fn cannot_write(path: &Path, error: &std::io::Error) -> Problem {
    Problem::usage(
        format!("cannot write {}: {error}", path.display()),
        "give --out a folder that you may write to",
    )
}

fn write_out(dir: &Path, results: &[(&Cell, &Row)]) -> Result<(), Problem> {
    let write = |name: String, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|e| cannot_write(&path, &e))
    };
    write("rows.json".to_owned(), table::json(results))?;
    for (cell, row) in results {
        for finding in &row.unexpected {
            let prepared = Prepared::new(&cell.scenario, &cell.policy, &cell.release)?;
            let keep = Keep { trace: true, points: false };
            let (binding, seed, schedule) = (cell.binding, finding.seed, &finding.schedule);
            let report = one::run_scheduled(&prepared, binding, seed, None, schedule, keep);
            let identity = Identity {
                schedule: schedule.clone(),
                ..one::identity(&prepared, binding, seed, None)
            };
            let stem = format!(
                "{}-{}-{}-{}",
                cell.scenario.name,
                cell.policy.name,
                cell.binding.as_str(),
                finding.seed
            );
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
