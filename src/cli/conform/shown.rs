//! What a person sees of a run: a line a case while it goes on, a table at the end.

use castoff::conform::record::{CaseRecord, Grade};
use comfy_table::{CellAlignment, Table, presets};

/// One case that has ended, on one line.
pub(super) fn line(record: &CaseRecord) -> String {
    let word = match record.grade {
        Grade::Pass => "pass   ",
        Grade::Differs => "differs",
        Grade::Fail => "FAIL   ",
        Grade::Skip => "skip   ",
    };
    let why = record.reason.as_ref().map(|r| format!("  {r}")).unwrap_or_default();
    format!("{word} {:>6.1} s  {}{why}", record.took_ms as f64 / 1000.0, record.id)
}

/// All of them.
pub(super) fn table(records: &[CaseRecord]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["GRADE", "SECONDS", "CHECKS", "CASE", "WHY"]);
    for r in records {
        let held = r.checks.iter().filter(|c| c.ok).count();
        let grade = if r.grade == Grade::Fail { "FAIL" } else { r.grade.as_str() };
        table.add_row([
            grade.to_owned(),
            format!("{:.1}", r.took_ms as f64 / 1000.0),
            format!("{held}/{}", r.checks.len()),
            r.id.clone(),
            r.reason.clone().unwrap_or_default(),
        ]);
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let count = |g| records.iter().filter(|r| r.grade == g).count();
    let lines: Vec<String> = table.lines().map(|l| l.trim_end().to_owned()).collect();
    format!(
        "{}\n\n{} pass, {} differ, {} fail, {} skipped",
        lines.join("\n"),
        count(Grade::Pass),
        count(Grade::Differs),
        count(Grade::Fail),
        count(Grade::Skip)
    )
}

/// Where a host and the model differ, one above the other.
pub(super) fn differences(records: &[CaseRecord]) -> String {
    let mut out = String::new();
    let compared = records.iter().filter_map(|r| Some((&r.id, r.refinement.as_ref()?)));
    for (id, refinement) in compared.filter(|(_, r)| !r.differences.is_empty()) {
        let (calls, differ) = (refinement.compared, refinement.differences.len());
        out.push_str(&format!("\n{id}: {calls} calls compared with the model, {differ} differ\n"));
        for d in &refinement.differences {
            let side = |text: &str| if text.is_empty() { "nothing" } else { text }.to_owned();
            let why = d.explained.as_deref().unwrap_or("unexplained");
            out.push_str(&format!("  {} ({why})\n", d.at));
            out.push_str(&format!("    this host  {}\n", side(&d.real)));
            out.push_str(&format!("    the model  {}\n", side(&d.model)));
        }
    }
    out
}

/// Everything of the cases that failed: what was checked and what was found.
pub(super) fn failures(records: &[CaseRecord]) -> String {
    let mut out = String::new();
    for r in records.iter().filter(|r| r.grade == Grade::Fail) {
        out.push_str(&format!("\n{}: {}\n", r.id, r.title));
        for c in &r.checks {
            let word = if c.ok { "ok  " } else { "FAIL" };
            out.push_str(&format!("  {word}  {:<60} {}\n", c.name, c.found));
        }
    }
    out
}
