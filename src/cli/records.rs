//! `castoff report`: the results of `castoff conform` as JUnit XML, TAP and a page.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use castoff::conform::record::{self, Grade, Records};
use castoff::conform::{html, junit, refined, tap};
use clap::Args;

use super::{Exit, Problem};

/// Arguments of `castoff report`.
#[derive(Args)]
pub(super) struct RecordsArgs {
    /// Results that `castoff conform` wrote (JSON lines)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write JUnit XML there
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write TAP (version 14) there
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// Write one self-contained page there
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the report of refinement there, as Markdown
    #[arg(long, value_name = "FILE")]
    refinement: Option<PathBuf>,
}

/// Writes the forms that are asked for, and prints what came of the cases.
pub(super) fn report(args: &RecordsArgs) -> Result<Exit, Problem> {
    let help = "give a file that `castoff conform` wrote";
    let text = fs::read_to_string(&args.file)
        .map_err(|e| Problem::usage(format!("cannot read {}: {e}", args.file.display()), help))?;
    let records = record::read(&text)
        .map_err(|e| Problem::usage(format!("{}: {e}", args.file.display()), help))?;
    write(args.junit.as_deref(), || junit::junit(&records))?;
    write(args.tap.as_deref(), || tap::tap(&records))?;
    write(args.html.as_deref(), || html::html(&records))?;
    write(args.refinement.as_deref(), || refined::markdown(&records))?;
    // A reader who went away has seen enough.
    let _ = write!(anstream::stdout(), "{}", summary(&records));
    let whole = records.never_ran().is_empty() && !records.torn;
    Ok(if whole && records.count(Grade::Fail) == 0 { Exit::Fine } else { Exit::Conformance })
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), Problem> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()).map_err(|e| {
        Problem::usage(
            format!("cannot write {}: {e}", path.display()),
            "give a file in a folder that you may write to",
        )
    })
}

fn summary(records: &Records) -> String {
    let mut out = String::new();
    let told = records.cases.iter().filter(|c| !matches!(c.grade, Grade::Pass));
    for case in told {
        let reason = case.reason.as_deref().unwrap_or("no reason given");
        out.push_str(&format!("{:<8}{}: {reason}\n", case.grade, case.id));
    }
    for id in records.never_ran() {
        out.push_str(&format!("never   {id}: the run ended before this case, or during it\n"));
    }
    let counts = Grade::ALL.map(|g| format!("{} {g}", records.count(g)));
    out.push_str(&format!("{} cases: {}\n", records.cases.len(), counts.join(", ")));
    out
}
