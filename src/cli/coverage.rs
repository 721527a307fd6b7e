//! What a campaign reached, and what it never did.

use castoff_sim::campaign::Ledger;
use castoff_sim::campaign::ledger::SAMPLE;
use comfy_table::{CellAlignment, Table, presets};

fn table<const N: usize>(header: [&str; N], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for column in numbers {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Tables: calls with what struck them, the pipeline's notes, what was never reached.
pub(super) fn text(ledger: &Ledger) -> String {
    let never = ledger.never_struck();
    let mut calls = table(["PROCESS AND OPERATION", "CALLED", "STRUCK", "NEVER STRUCK BY"], &[1]);
    let places: std::collections::BTreeSet<&String> =
        ledger.called.keys().chain(ledger.struck.keys()).collect();
    for place in places {
        let called = ledger.called.get(place).copied().unwrap_or_default();
        let struck = ledger.struck.get(place);
        let struck: Vec<String> =
            struck.into_iter().flatten().map(|(kind, n)| format!("{kind} {n}")).collect();
        let missing = never.get(place).map(|kinds| kinds.join(", ")).unwrap_or_default();
        calls.add_row([place.clone(), called.to_string(), struck.join(", "), missing]);
    }
    let mut notes = table(["NOTE", "TAKEN"], &[1]);
    for (note, n) in &ledger.notes {
        notes.add_row([note.clone(), n.to_string()]);
    }
    let unused = ledger.never_called();
    format!(
        "\ncoverage: strikes in every run; calls and notes in {} traced runs (every {SAMPLE}th seed)\n\n{}\n\n{}\n\nnever called ({}): {}\n",
        ledger.traced,
        calls.trim_fmt(),
        notes.trim_fmt(),
        unused.len(),
        if unused.is_empty() { "-".to_owned() } else { unused.join(", ") },
    )
}

/// The same as an object.
pub(super) fn json(ledger: &Ledger) -> serde_json::Value {
    serde_json::json!({
        "traced_runs": ledger.traced,
        "called": ledger.called,
        "struck": ledger.struck,
        "notes": ledger.notes,
        "never_called": ledger.never_called(),
        "never_struck": ledger.never_struck(),
    })
}
