//! The rows of a campaign: a table for people, JSON for programs.

use std::time::Duration;

use castoff_ports::schedule::Schedule;
use castoff_sim::campaign::{Cell, Row};
use comfy_table::{CellAlignment, Table, presets};

use super::run::seconds;

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

/// The table, the findings, and one line that sums up.
pub(super) fn text(results: &[(&Cell, &Row)], elapsed: Duration) -> String {
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
    for (cell, row) in results {
        let expected: Vec<&str> = row.expected.keys().copied().collect();
        let unexpected: Vec<&str> = row.unexpected.iter().map(|f| f.what.as_str()).collect();
        let dash = |list: Vec<&str>| {
            if list.is_empty() { "-".to_owned() } else { list.join(" ") }
        };
        table.add_row([
            cell.scenario.name.clone(),
            cell.binding.as_str().to_owned(),
            cell.policy.name.clone(),
            row.runs.to_string(),
            ends(row),
            dash(expected),
            dash(unexpected),
            format!("{:.0}", runs_per_second(row)),
            per_wall(row),
        ]);
    }
    for column in [3, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = table.trim_fmt();
    out.push('\n');
    let mut findings = 0;
    for (cell, row) in results {
        for f in &row.unexpected {
            findings += 1;
            out.push_str(&format!(
                "\nunexpected: {} under {} on {}: {} ({} of {} runs)\n  {}\n",
                cell.scenario.name,
                cell.policy.name,
                cell.binding.as_str(),
                f.text,
                f.runs,
                row.runs,
                cell.replay_command(f),
            ));
        }
    }
    for (cell, row) in results {
        if matches!(cell.schedule, Schedule::Exhaustive { .. }) {
            let seeds = cell.seeds.end - cell.seeds.start;
            out.push_str(&format!(
                "\n{} under {}: {} orders over {seeds} {}, {}",
                cell.scenario.name,
                cell.policy.name,
                row.runs,
                if seeds == 1 { "seed" } else { "seeds" },
                if row.bounded == 0 { "every order that there is" } else { "all within the bound" },
            ));
        }
    }
    let runs: u64 = results.iter().map(|(_, r)| r.runs).sum();
    let calls: u64 = results.iter().map(|(_, r)| r.calls).sum();
    out.push_str(&format!(
        "\n{runs} runs, {calls} operations in {} s: {}",
        seconds(elapsed),
        match findings {
            0 => "all as expected".to_owned(),
            1 => "1 unexpected finding".to_owned(),
            n => format!("{n} unexpected findings"),
        }
    ));
    out
}

/// An object with a `rows` array.
pub(super) fn json(results: &[(&Cell, &Row)]) -> String {
    let rows: Vec<serde_json::Value> = results
        .iter()
        .map(|(cell, row)| {
            let ends: Vec<serde_json::Value> = row
                .ends
                .iter()
                .map(|((end, after), n)| {
                    serde_json::json!({
                        "end": end.as_str(), "after_retry": after.as_str(), "runs": n,
                    })
                })
                .collect();
            serde_json::json!({
                "scenario": cell.scenario.name,
                "binding": cell.binding.as_str(),
                "policy": cell.policy.name,
                "release": cell.release.name,
                "runs": row.runs,
                "violations": row.violations(),
                "expected": row.expected,
                "unexpected": row.unexpected,
                "ends": ends,
                "not_struck": row.not_struck,
                "schedule": cell.schedule,
                "bounded": row.bounded,
                "operations": row.calls,
                "runs_per_second": runs_per_second(row).round(),
                "simulated_seconds": row.simulated.as_secs_f64(),
                "wall_seconds": row.wall.as_secs_f64(),
            })
        })
        .collect();
    // Strings, integers and finite floats: always JSON.
    serde_json::to_string_pretty(&serde_json::json!({ "rows": rows })).unwrap_or_default()
}
