//! Arguments of `castoff run` and `castoff merge`.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use castoff_sim::campaign::Shard;
use clap::Args;

use super::{BindingArg, Format};

#[derive(Args)]
pub(super) struct RunArgs {
    /// Names of scenarios, or paths of scenario files [default: all that castoff has]
    #[arg(value_name = "SCENARIO")]
    pub(super) scenarios: Vec<String>,
    /// Where the pipeline runs
    #[arg(long, value_enum, default_value = "all")]
    pub(super) binding: BindingArg,
    /// Only this policy (may be given several times) [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) policy: Vec<String>,
    /// How everything else behaves [default: each policy's own]
    #[arg(long, value_name = "NAME")]
    pub(super) release: Option<String>,
    /// Seeds, the last one excluded [default: 0..1000 on direct, 0..3 on network]
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub(super) seeds: Option<Range<u64>>,
    /// Order of steps on direct: fifo, random, pct:DEPTH, order:POINT=CHOICE,…, exhaustive[:TURNS]
    #[arg(long, value_name = "SCHEDULE", default_value = "fifo")]
    pub(super) schedule: castoff_ports::schedule::Schedule,
    /// Each seed draws kinds of faults and up to four faults of them, beside the scenario's own
    #[arg(long)]
    pub(super) swarm: bool,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) jobs: Option<u16>,
    /// Write results as they come, and identity and trace of unexpected findings, into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Go on with the campaign in this folder, given the same arguments again
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    pub(super) resume: Option<PathBuf>,
    /// Only this part of the campaign, 2/3 for the second of three; `castoff merge` joins them
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<Shard>,
    /// Begin nothing more after this time: 60s, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) time_budget: Option<Duration>,
    /// End with the first unexpected finding that the baseline does not know
    #[arg(long)]
    pub(super) fail_fast: bool,
    #[command(flatten)]
    pub(super) report: ReportArgs,
}

#[derive(Args)]
pub(super) struct MergeArgs {
    /// Folders that `castoff run --out` wrote, of one campaign
    #[arg(value_name = "DIR", required = true)]
    pub(super) dirs: Vec<PathBuf>,
    /// Take a campaign that is not complete
    #[arg(long)]
    pub(super) partial: bool,
    #[command(flatten)]
    pub(super) report: ReportArgs,
}

/// What is made of results.
#[derive(Args)]
pub(super) struct ReportArgs {
    /// What to print
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
    /// Show what was reached and what never was (JSON always has it)
    #[arg(long)]
    pub(super) coverage: bool,
    /// Findings that are known: they are shown, and only others fail
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// Write all findings there, as a baseline
    #[arg(long, value_name = "FILE")]
    pub(super) write_baseline: Option<PathBuf>,
}

impl ReportArgs {
    /// Whether what was reached is told.
    pub(super) fn shows_coverage(&self) -> bool {
        self.coverage || self.format == Format::Json
    }
}

/// Seeds of one row: hours on one core, and a list of chunks that still fits in memory.
const MAX_SEEDS: u64 = 1_000_000_000;

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let bounds = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match bounds {
        Some((a, b)) if a < b && b - a > MAX_SEEDS => {
            Err(format!("{} seeds are too many: give at most {MAX_SEEDS} at once", b - a))
        }
        Some((a, b)) if a < b => Ok(a..b),
        Some((a, b)) => Err(format!("{a}..{b} holds no seed: the first must be below the last")),
        None => Err("expected two numbers, for example 0..100".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    let time = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(seconds));
    time.filter(|n| *n > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a number and a unit, for example 60s, 5m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "60", "s", "0s", "-1s", "1.5m", "5x", "99999999999999999999h", "ßs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
