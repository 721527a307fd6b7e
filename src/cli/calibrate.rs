//! `castoff calibrate`: a timing profile of a host, from the results of detaches on it, for
//! `--release 2026.1+timing=PROFILE.toml`.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use castoff::conform::calibrate::calibrate as measure;
use castoff::conform::record;
use clap::Args;

use super::{Exit, Problem};

/// Arguments of `castoff calibrate`.
#[derive(Args)]
pub(super) struct CalibrateArgs {
    /// Results that `castoff conform` wrote on one host (JSON lines)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only this case, or all below `PREFIX/`
    #[arg(long, value_name = "ID", default_value = "detach/healthy/one-path")]
    case: String,
    /// Write the profile there [default: print it]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Measures and writes.
pub(super) fn calibrate(args: &CalibrateArgs) -> Result<Exit, Problem> {
    let help = "give files that `castoff conform` wrote";
    let mut runs = Vec::new();
    for file in &args.files {
        let text = fs::read_to_string(file)
            .map_err(|e| Problem::usage(format!("cannot read {}: {e}", file.display()), help))?;
        let records = record::read(&text)
            .map_err(|e| Problem::usage(format!("{}: {e}", file.display()), help))?;
        runs.push(records);
    }
    let profile = measure(&runs, &args.case).map_err(|e| {
        Problem::usage(e.to_string(), "run the healthy cases on one host, several times")
    })?;
    // Strings and numbers always serialise.
    let text = toml::to_string(&profile).unwrap_or_default();
    match &args.out {
        // A reader who went away has seen enough.
        None => drop(write!(anstream::stdout(), "{text}")),
        Some(path) => fs::write(path, text).map_err(|e| {
            Problem::usage(
                format!("cannot write {}: {e}", path.display()),
                "give --out a file in a folder that you may write to",
            )
        })?,
    }
    Ok(Exit::Fine)
}
