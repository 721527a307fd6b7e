//! The rows of a campaign: a table for people, JSON for programs.

use castoff_ports::schedule::Schedule;
use castoff_sim::campaign::baseline::Baseline;
use castoff_sim::campaign::{CellId, Row};
use comfy_table::{CellAlignment, Table, presets};

use super::coverage;
use super::report::{Conclusion, shown};
use super::run::seconds;

/// The version of the JSON document.
const VERSION: u32 = 1;

fn ends(row: &Row) -> String {
    let each = row.ends.iter().map(|((end, after), n)| {
        let way = if end == after {
            end.as_str().to_owned()
        } else {
            format!("{}, then {}", end.as_str(), after.as_str())
        };
        if row.ends.len() == 1 { way } else { format!("{n} {way}") }
    });
    each.collect::<Vec<_>>().join("; ")
}

fn runs_per_second(row: &Row) -> f64 {
    let wall = row.wall.as_secs_f64();
    if wall > 0.0 { row.runs as f64 / wall } else { 0.0 }
}

fn per_wall(row: &Row) -> String {
    let wall = row.wall.as_secs_f64();
    if wall > 0.0 { format!("{:.0}:1", row.simulated.as_secs_f64() / wall) } else { "-".to_owned() }
}

/// What was broken, each once, with the number of causes where there are several.
fn unexpected(row: &Row) -> String {
    let mut each: Vec<(&str, usize)> = Vec::new();
    for finding in &row.unexpected {
        match each.last_mut() {
            Some((what, causes)) if *what == finding.what => *causes += 1,
            Some(_) | None => each.push((&finding.what, 1)),
        }
    }
    let each = each.into_iter();
    let each = each.map(|(what, n)| if n == 1 { what.to_owned() } else { format!("{what}×{n}") });
    let text: Vec<String> = each.collect();
    if text.is_empty() { "-".to_owned() } else { text.join(" ") }
}

fn rows(conclusion: &Conclusion<'_>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "SCENARIO",
        "BINDING",
        "POLICY",
        "RUNS",
        "ENDED",
        "BREAKS, AS EXPECTED",
        "UNEXPECTED",
        "RUNS/S",
        "SIM:WALL",
    ]);
    for (id, row) in conclusion.rows() {
        let expected: Vec<&str> = row.expected.keys().map(String::as_str).collect();
        table.add_row([
            id.scenario.clone(),
            id.binding.as_str().to_owned(),
            id.policy.clone(),
            row.runs.to_string(),
            ends(row),
            if expected.is_empty() { "-".to_owned() } else { expected.join(" ") },
            unexpected(row),
            format!("{:.0}", runs_per_second(row)),
            per_wall(row),
        ]);
    }
    for column in [3, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn findings(id: &CellId, row: &Row, known: &Baseline) -> String {
    let mut out = String::new();
    let mut listed = 0;
    for f in shown(row) {
        listed += 1;
        out.push_str(&format!(
            "\n{}: {} under {} on {}: {} ({} of {} runs)\n  {}\n",
            if known.knows(id, f) { "in the baseline" } else { "unexpected" },
            id.scenario,
            id.policy,
            id.binding.as_str(),
            f.text,
            f.runs,
            row.runs,
            f.identity(id).replay_command(),
        ));
    }
    if listed < row.unexpected.len() {
        let more = row.unexpected.len() - listed;
        out.push_str(&format!("  … and {more} more causes: `--format json` has them\n"));
    }
    out
}

fn orders(id: &CellId, row: &Row) -> Option<String> {
    matches!(id.schedule, Schedule::Exhaustive { .. }).then(|| {
        let seeds = id.seeds.end - id.seeds.start;
        format!(
            "\n{} under {}: {} orders over {seeds} {}, {}",
            id.scenario,
            id.policy,
            row.runs,
            if seeds == 1 { "seed" } else { "seeds" },
            if row.bounded == 0 { "every order that there is" } else { "all within the bound" },
        )
    })
}

/// The table, the findings, and one line that sums up.
pub(super) fn text(conclusion: &Conclusion<'_>, known: &Baseline, coverage: bool) -> String {
    let outcome = conclusion.outcome;
    let mut out = rows(conclusion).trim_fmt();
    out.push('\n');
    conclusion.rows().for_each(|(id, row)| out.push_str(&findings(id, row, known)));
    conclusion.rows().filter_map(|(id, row)| orders(id, row)).for_each(|line| out.push_str(&line));
    if coverage {
        out.push('\n');
        out.push_str(&coverage::text(&outcome.ledger()));
    }
    if !outcome.is_complete() {
        let why = outcome.stopped.map_or(String::new(), |s| format!(" ({})", s.as_str()));
        out.push_str(&format!(
            "\nnot complete{why}: {} of {} chunks are done\n",
            outcome.done, outcome.chunks
        ));
    }
    let runs: u64 = outcome.rows.iter().map(|r| r.runs).sum();
    let calls: u64 = outcome.rows.iter().map(|r| r.calls).sum();
    let (old, new): (Vec<_>, Vec<_>) =
        conclusion.findings().partition(|(id, _, f)| known.knows(id, f));
    let exempt: u64 = outcome.rows.iter().flat_map(|r| r.exempt.values()).sum();
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    out.push_str(&format!(
        "\n{runs} runs, {calls} operations in {} s: {}{}{}",
        seconds(conclusion.elapsed),
        match new.len() {
            0 => "all as expected".to_owned(),
            n => plural(n, "unexpected finding"),
        },
        match old.len() {
            0 => String::new(),
            n => format!(", {n} in the baseline"),
        },
        match exempt {
            0 => String::new(),
            1 => ", 1 exempt violation".to_owned(),
            n => format!(", {n} exempt violations"),
        }
    ));
    out
}

fn json_row(id: &CellId, row: &Row, known: &Baseline) -> serde_json::Value {
    let ends: Vec<serde_json::Value> = row
        .ends
        .iter()
        .map(|((end, after), n)| {
            serde_json::json!({ "end": end.as_str(), "after_retry": after.as_str(), "runs": n })
        })
        .collect();
    let unexpected: Vec<serde_json::Value> = row
        .unexpected
        .iter()
        .map(|f| {
            let mut finding = serde_json::json!(f);
            finding["cause"] = f.cause().into();
            finding["in_baseline"] = known.knows(id, f).into();
            finding["replay"] = f.identity(id).replay_command().into();
            finding
        })
        .collect();
    serde_json::json!({
        "scenario": id.scenario,
        "binding": id.binding.as_str(),
        "policy": id.policy,
        "release": id.release,
        "runs": row.runs,
        "violations": row.violations(),
        "expected": row.expected,
        "exempt": row.exempt,
        "unexpected": unexpected,
        "broke": row.broke,
        "ends": ends,
        "not_struck": row.not_struck,
        "schedule": id.schedule,
        "bounded": row.bounded,
        "operations": row.calls,
        "runs_per_second": runs_per_second(row).round(),
        "simulated_seconds": row.simulated.as_secs_f64(),
        "wall_seconds": row.wall.as_secs_f64(),
    })
}

/// An object with a `rows` array.
pub(super) fn json(conclusion: &Conclusion<'_>, known: &Baseline) -> String {
    let (header, outcome) = (conclusion.header, conclusion.outcome);
    let rows: Vec<serde_json::Value> =
        conclusion.rows().map(|(id, row)| json_row(id, row, known)).collect();
    let document = serde_json::json!({
        "version": VERSION,
        "castoff": header.castoff,
        "faults": header.faults,
        "shard": (!header.shard.is_whole()).then(|| header.shard.to_string()),
        "chunks": { "done": outcome.done, "all": outcome.chunks },
        "stopped": outcome.stopped.map(|s| s.as_str()),
        "rows": rows,
        "coverage": coverage::json(&outcome.ledger()),
    });
    // Strings, integers and finite floats: always JSON.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}
