//! What a campaign reached, and what it never did.

use std::collections::{BTreeMap, BTreeSet};

use castoff_sim::campaign::Ledger;
use castoff_sim::campaign::fields::Fields;
use castoff_sim::campaign::ledger::SAMPLE;
use comfy_table::{CellAlignment, Table, presets};

fn table(header: &[&str], numbers: impl IntoIterator<Item = usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Tables: calls with what struck them, the pipeline's notes, the fields; what was never reached.
pub(super) fn text(ledger: &Ledger) -> String {
    let never = ledger.never_struck();
    let mut calls = table(&["PROCESS AND OPERATION", "CALLED", "STRUCK", "NEVER STRUCK BY"], [1]);
    let places: BTreeSet<&String> = ledger.called.keys().chain(ledger.struck.keys()).collect();
    for place in places {
        let called = ledger.called.get(place).copied().unwrap_or_default();
        let struck = ledger.struck.get(place);
        let struck: Vec<String> =
            struck.into_iter().flatten().map(|(kind, n)| format!("{kind} {n}")).collect();
        let missing = never.get(place).map(|kinds| kinds.join(", ")).unwrap_or_default();
        calls.add_row([place.clone(), called.to_string(), struck.join(", "), missing]);
    }
    let mut notes = table(&["NOTE", "TAKEN"], [1]);
    for (note, n) in &ledger.notes {
        notes.add_row([note.clone(), n.to_string()]);
    }
    let unused = ledger.never_called();
    format!(
        "\ncoverage: strikes in every run; calls and notes in {} traced runs (every {SAMPLE}th seed)\n\n{}\n\n{}\n\nnever called {}\n{}",
        ledger.traced,
        calls.trim_fmt(),
        notes.trim_fmt(),
        listed(&unused),
        fields(ledger),
    )
}

fn listed(names: &[&str]) -> String {
    let all = if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    format!("({}): {all}", names.len())
}

/// By field and policy, how many scenarios are another run when the field has another value.
fn fields(ledger: &Ledger) -> String {
    if ledger.fields.is_empty() {
        return String::new();
    }
    let policies = || ledger.fields.keys().map(String::as_str);
    let header: Vec<&str> = ["FIELD"].into_iter().chain(policies()).collect();
    let mut table = table(&header, 1..header.len());
    let all: BTreeSet<&String> =
        ledger.fields.values().flat_map(|of| of.reached.keys().chain(&of.unchanged)).collect();
    for field in all {
        let by =
            |of: &Fields| of.reached.get(field).map_or("-".to_owned(), |s| s.len().to_string());
        table.add_row([field.clone()].into_iter().chain(ledger.fields.values().map(by)));
    }
    let compared = ledger.fields.iter().map(|(p, of)| format!("{} under {p}", of.scenarios.len()));
    let compared: Vec<String> = compared.collect();
    let mut out = format!(
        "\nfields of the policies: scenarios that are another run when the field has another value; compared were {}\n\n{}\n\n",
        compared.join(", "),
        table.trim_fmt(),
    );
    for (policy, of) in &ledger.fields {
        out.push_str(&format!("never reached under {policy} {}\n", listed(&of.never_reached())));
        let fixed = of.never_changed();
        if !fixed.is_empty() {
            out.push_str(&format!("no other value can run under {policy} {}\n", listed(&fixed)));
        }
    }
    out
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
        "fields": ledger.fields.iter().map(|(policy, of)| (policy.clone(), json_fields(of)))
            .collect::<serde_json::Map<_, _>>(),
    })
}

fn json_fields(of: &Fields) -> serde_json::Value {
    serde_json::json!({
        "scenarios": of.scenarios.len(),
        "reached": of.reached.iter().filter(|(_, by)| !by.is_empty()).collect::<BTreeMap<_, _>>(),
        "never_reached": of.never_reached(),
        "never_changed": of.never_changed(),
    })
}
