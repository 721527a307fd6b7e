//! How a campaign is cut: into chunks of seeds, dealt to shards.
//!
//! The cut depends on the cells alone, so any number of threads and shards does the same chunks.
//! Chunks go round the cells, so that a campaign which ends early has seen something of each.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::cell::CellId;
use super::checksum::Fnv;
use crate::run::BindingKind;

/// Seeds of one chunk: enough to make the preparation cheap, few enough to share and to lose.
pub fn size(binding: BindingKind) -> u64 {
    match binding {
        BindingKind::Direct => 256,
        BindingKind::Network => 4,
    }
}

/// Some seeds of one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Index of the cell.
    pub cell: usize,
    /// The seeds.
    pub seeds: Range<u64>,
}

/// All chunks of these cells; a chunk is named by its index.
pub fn chunks(cells: &[CellId]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut from: Vec<u64> = cells.iter().map(|c| c.seeds.start).collect();
    loop {
        let before = chunks.len();
        for (cell, id) in cells.iter().enumerate() {
            if from[cell] < id.seeds.end {
                let to = from[cell].saturating_add(size(id.binding)).min(id.seeds.end);
                chunks.push(Chunk { cell, seeds: from[cell]..to });
                from[cell] = to;
            }
        }
        if chunks.len() == before {
            return chunks;
        }
    }
}

/// One part of a campaign, for one machine: `2/3` is the second of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Shard {
    /// From 1.
    index: u32,
    /// How many there are.
    of: u32,
}

impl Shard {
    /// The whole campaign.
    pub const WHOLE: Shard = Shard { index: 1, of: 1 };

    /// Whether it has this chunk. Chunks are dealt by a hash: dealt in turn, one shard could get
    /// all chunks of one binding.
    pub fn has(self, chunk: usize) -> bool {
        let mixed = Fnv::new().bytes(&(chunk as u64).to_le_bytes()).mixed();
        mixed % u64::from(self.of) == u64::from(self.index - 1)
    }

    /// Whether it is all there is.
    pub fn is_whole(self) -> bool {
        self.of == 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

/// A text that names no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no shard: expected I/N with I from 1 to N, for example 2/3")]
pub struct ShardError {
    /// The text.
    text: String,
}

/// Shards that one campaign may have: more than anyone has machines.
const MOST_SHARDS: u32 = 1 << 16;

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        text.split_once('/')
            .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)))
            .filter(|(index, of)| (1..=*of).contains(index) && *of <= MOST_SHARDS)
            .map(|(index, of)| Shard { index, of })
            .ok_or_else(|| ShardError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Shard {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Self, ShardError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use castoff_ports::schedule::Schedule;

    use super::*;

    fn cell(binding: BindingKind, seeds: Range<u64>) -> CellId {
        CellId {
            scenario: "s".to_owned(),
            argument: "s".to_owned(),
            binding,
            policy: "p".to_owned(),
            release: "r".to_owned(),
            seeds,
            schedule: Schedule::Fifo,
            violates: Vec::new(),
            sum: String::new(),
        }
    }

    #[test]
    fn every_seed_is_in_one_chunk() {
        let cells = [
            cell(BindingKind::Direct, 5..1000),
            cell(BindingKind::Network, 0..10),
            cell(BindingKind::Direct, u64::MAX - 1..u64::MAX),
        ];
        let chunks = chunks(&cells);
        for (i, id) in cells.iter().enumerate() {
            let mut next = id.seeds.start;
            for chunk in chunks.iter().filter(|c| c.cell == i) {
                assert_eq!(chunk.seeds.start, next);
                next = chunk.seeds.end;
            }
            assert_eq!(next, id.seeds.end);
        }
        let first: Vec<usize> = chunks.iter().take(3).map(|c| c.cell).collect();
        assert_eq!(first, [0, 1, 2], "the first chunks see every cell");
    }

    #[test]
    fn every_chunk_belongs_to_one_shard_and_shards_are_about_equal() {
        for of in [1, 2, 3, 7] {
            let shards: Vec<Shard> =
                (1..=of).map(|i| format!("{i}/{of}").parse().unwrap()).collect();
            let mut share = vec![0; of as usize];
            for chunk in 0..7000 {
                let owners: Vec<usize> =
                    (0..shards.len()).filter(|s| shards[*s].has(chunk)).collect();
                assert_eq!(owners.len(), 1, "chunk {chunk} of {of}");
                share[owners[0]] += 1;
            }
            let even = 7000 / of;
            assert!(
                share.iter().all(|n| (even * 8 / 10..=even * 12 / 10).contains(n)),
                "{share:?}"
            );
        }
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "1/100000"] {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains("I from 1 to N"), "{text}: {error}");
        }
    }
}
