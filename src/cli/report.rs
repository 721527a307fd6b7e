//! What a campaign, or the merge of its shards, is told as: text or JSON, a baseline, an exit code.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use castoff_sim::campaign::baseline::{Baseline, VERSION};
use castoff_sim::campaign::results::Header;
use castoff_sim::campaign::{CellId, Finding, Outcome, Row};

use super::run_args::ReportArgs;
use super::{Exit, Format, Problem, table};

/// Findings shown of one property in one cell: JSON has all.
const SHOWN: usize = 3;

/// What there is to tell.
pub(super) struct Conclusion<'a> {
    /// The campaign.
    pub(super) header: &'a Header,
    /// What it came to.
    pub(super) outcome: &'a Outcome,
    /// How long it took.
    pub(super) elapsed: Duration,
}

impl Conclusion<'_> {
    /// The cells with their rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&CellId, &Row)> {
        self.header.cells.iter().zip(&self.outcome.rows)
    }

    /// All findings with their cells.
    pub(super) fn findings(&self) -> impl Iterator<Item = (&CellId, &Row, &Finding)> {
        self.rows().flat_map(|(id, row)| row.unexpected.iter().map(move |f| (id, row, f)))
    }
}

/// The first findings of each property of a row, those with the smallest plans.
pub(super) fn shown(row: &Row) -> impl Iterator<Item = &Finding> {
    let mut of = ("", 0);
    row.unexpected.iter().filter(move |f| {
        if of.0 != f.what {
            of = (&f.what, 0);
        }
        of.1 += 1;
        of.1 <= SHOWN
    })
}

/// The baseline that the arguments name; an empty one when they name none.
pub(super) fn baseline(args: &ReportArgs) -> Result<Baseline, Problem> {
    let Some(path) = &args.baseline else { return Ok(Baseline::default()) };
    let help = "give a file that --write-baseline wrote";
    let wrong = |why: String| Problem::usage(format!("{}: {why}", path.display()), help);
    let text = fs::read_to_string(path).map_err(|e| {
        Problem::usage(format!("cannot read the baseline {}: {e}", path.display()), help)
    })?;
    let document: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    match document.get("castoff-baseline").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {
            serde_json::from_value(document).map_err(|e| wrong(e.to_string()))
        }
        Some(version) => {
            Err(wrong(format!("it has version {version}, this castoff reads {VERSION}")))
        }
        None => Err(wrong("it is no baseline".to_owned())),
    }
}

fn write_baseline(path: &Path, conclusion: &Conclusion<'_>) -> Result<(), Problem> {
    let mut baseline = Baseline::default();
    conclusion.findings().for_each(|(id, _, finding)| baseline.add(id, finding));
    let text = serde_json::to_string_pretty(&baseline).unwrap_or_default() + "\n";
    fs::write(path, text).map_err(|e| {
        Problem::usage(
            format!("cannot write {}: {e}", path.display()),
            "give --write-baseline a file that you may write",
        )
    })
}

/// Prints, writes the baseline if one is asked for, and gives the exit code: what the baseline
/// knows does not fail.
pub(super) fn conclude(args: &ReportArgs, conclusion: &Conclusion<'_>) -> Result<Exit, Problem> {
    let known = baseline(args)?;
    let text = match args.format {
        Format::Text => table::text(conclusion, &known, args.coverage),
        Format::Json => table::json(conclusion, &known),
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
    if let Some(path) = &args.write_baseline {
        write_baseline(path, conclusion)?;
    }
    let new = conclusion.findings().filter(|(id, _, f)| !known.knows(id, f));
    Ok(Exit::of(new.map(|(_, _, f)| f.class).min()))
}
