//! Results as JSON lines: first a header that names the campaign, then a line a finished chunk.
//!
//! Every line ends with a checksum of itself, so a line that was torn by a crash is told from a
//! whole one. Only the last line can be torn: a line is written when the one before it is on the
//! disk.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cell::{CellId, Faults};
use super::checksum::Fnv;
use super::chunks::Shard;
use super::row::Row;
use crate::rng::GENERATOR;

/// The format's version.
pub const VERSION: u32 = 1;

/// What the results are results of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The format's version.
    #[serde(rename = "castoff-results")]
    pub version: u32,
    /// castoff's version.
    pub castoff: String,
    /// The random generator's name.
    pub generator: String,
    /// Which faults strike.
    pub faults: Faults,
    /// The part of the campaign that is in this file.
    pub shard: Shard,
    /// The cells, in the order of the rows.
    pub cells: Vec<CellId>,
}

/// One finished chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Which.
    pub chunk: usize,
    /// Its runs.
    pub row: Row,
}

impl Header {
    /// The header of a campaign by this castoff.
    pub fn new(cells: Vec<CellId>, faults: Faults, shard: Shard) -> Header {
        Header {
            version: VERSION,
            castoff: env!("CARGO_PKG_VERSION").to_owned(),
            generator: GENERATOR.to_owned(),
            faults,
            shard,
            cells,
        }
    }

    /// Where two headers differ, if they are not of the same campaign; shards may differ.
    pub fn differs(&self, other: &Header) -> Option<String> {
        let both = |what: &str, mine: &str, its: &str| {
            (mine != its).then(|| format!("{what} {its}, here {mine}"))
        };
        let cells = || {
            if self.cells.len() != other.cells.len() {
                return Some(format!("{} rows, here {}", other.cells.len(), self.cells.len()));
            }
            self.cells.iter().zip(&other.cells).find(|(a, b)| a != b).map(|(mine, its)| {
                let (mine, its) = (row(mine), row(its));
                match mine == its {
                    true => format!("another content of {its}"),
                    false => format!("{its}, here {mine}"),
                }
            })
        };
        both("format", &self.version.to_string(), &other.version.to_string())
            .or_else(|| both("castoff", &self.castoff, &other.castoff))
            .or_else(|| both("generator", &self.generator, &other.generator))
            .or_else(|| both("faults of", self.faults.as_str(), other.faults.as_str()))
            .or_else(cells)
    }
}

fn row(cell: &CellId) -> String {
    format!(
        "{} under {} with release {} on {}, seeds {}..{}",
        cell.argument,
        cell.policy,
        cell.release,
        cell.binding.as_str(),
        cell.seeds.start,
        cell.seeds.end
    )
}

/// The line of a header or a chunk, with its checksum and its end.
pub fn line(value: &impl Serialize) -> String {
    // Strings, integers and maps with string keys: always JSON.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    if text.ends_with('}') {
        text.pop();
    }
    let sum = Fnv::new().bytes(text.as_bytes()).sum();
    text.push_str(&format!(",\"sum\":\"{sum:016x}\"}}\n"));
    text
}

/// Why a line says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Cut off, or changed.
    #[error("its checksum is wrong")]
    Torn,
    /// Whole, but not what is needed here.
    #[error("{0}")]
    Other(String),
}

/// Reads a line without its end.
///
/// # Errors
/// When it is torn, or whole and something else.
pub fn read<T: DeserializeOwned>(line: &str) -> Result<T, LineError> {
    let (text, sum) = line.rsplit_once(",\"sum\":\"").ok_or(LineError::Torn)?;
    let sum = sum.strip_suffix("\"}").ok_or(LineError::Torn)?;
    if sum != format!("{:016x}", Fnv::new().bytes(text.as_bytes()).sum()) {
        return Err(LineError::Torn);
    }
    serde_json::from_str(&format!("{text}}}")).map_err(|e| LineError::Other(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_line_reads_back_and_every_cut_of_it_is_told() {
        let done = Done { chunk: 7, row: Row { runs: 3, ..Row::default() } };
        let text = line(&done);
        let whole = text.strip_suffix('\n').unwrap();
        assert_eq!(read::<Done>(whole), Ok(done));
        assert!(serde_json::from_str::<serde_json::Value>(whole).unwrap()["sum"].is_string());
        for end in 0..whole.len() {
            assert_eq!(read::<Done>(&whole[..end]), Err(LineError::Torn), "cut at {end}");
        }
        let changed = whole.replace("\"runs\":3", "\"runs\":4");
        assert_eq!(read::<Done>(&changed), Err(LineError::Torn));
        assert!(matches!(read::<Header>(whole), Err(LineError::Other(_))));
    }

    #[test]
    fn another_campaign_is_told_by_what_differs() {
        let header = Header::new(Vec::new(), Faults::Swarm, Shard::WHOLE);
        let shard = Header { shard: "2/3".parse().unwrap(), ..header.clone() };
        assert_eq!(header.differs(&shard), None);
        let other = Header { faults: Faults::Scenario, ..header.clone() };
        assert_eq!(header.differs(&other).unwrap(), "faults of scenario, here swarm");
        let other = Header { castoff: "0.0.1".to_owned(), ..header.clone() };
        assert!(header.differs(&other).unwrap().starts_with("castoff 0.0.1, here "));
    }
}
