//! `castoff merge`: the parts of one campaign, joined.

use castoff_sim::campaign::chunks::chunks;
use castoff_sim::campaign::results::Header;
use castoff_sim::campaign::{Known, Outcome, Row, Shard};

use super::report::{Conclusion, conclude};
use super::run_args::MergeArgs;
use super::{Exit, Problem, results};

/// Joins the results of these folders; a chunk that several have counts once.
pub(super) fn merge(args: &MergeArgs) -> Result<Exit, Problem> {
    let mut joined: Option<(Header, Vec<bool>, Vec<Row>)> = None;
    let mut shards = Vec::new();
    for dir in &args.dirs {
        let loaded = results::load(dir)?;
        shards.push(loaded.header.shard.to_string());
        let Known { rows, chunks: done } = loaded.known;
        let (header, have, sum) = joined.get_or_insert_with(|| {
            let all = chunks(&loaded.header.cells).len();
            let rows = vec![Row::default(); loaded.header.cells.len()];
            (loaded.header.clone(), vec![false; all], rows)
        });
        if let Some(other) = header.differs(&loaded.header) {
            return Err(Problem::usage(
                format!("{} is of another campaign: {other}", dir.display()),
                "merge the shards of one campaign",
            ));
        }
        // Two folders have either no chunk in common, or are parts of the same work.
        let twice = done.iter().filter(|i| have[**i]).count();
        if twice > 0 {
            return Err(Problem::usage(
                format!("{} has {twice} chunks that another folder has too", dir.display()),
                "give each shard once, all of the same N",
            ));
        }
        done.iter().for_each(|i| have[*i] = true);
        sum.iter_mut().zip(rows).for_each(|(mine, its)| mine.merge(its));
    }
    // clap asks for at least one folder.
    let Some((mut header, have, rows)) = joined else { return Ok(Exit::Fine) };
    header.shard = Shard::WHOLE;
    let done = have.iter().filter(|h| **h).count();
    let mut outcome = Outcome { rows, done, chunks: have.len(), stopped: None };
    if !outcome.is_complete() && !args.partial {
        return Err(Problem::usage(
            format!(
                "{} of {} chunks are missing; there are the shards {}",
                outcome.chunks - outcome.done,
                outcome.chunks,
                shards.join(", ")
            ),
            "finish the missing shards (`castoff run --resume DIR`), or take what there is: --partial",
        ));
    }
    outcome.close(&header.cells, header.faults);
    let elapsed = outcome.rows.iter().map(|r| r.wall).sum();
    conclude(&args.report, &Conclusion { header: &header, outcome: &outcome, elapsed })
}
