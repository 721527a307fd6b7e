//! In which order a run on `direct` takes the steps that could come next: data, part of a run's identity.
//!
//! Text forms, for the command line and traces: `fifo`, `random`, `pct:3`, `order:4=1,17=2`,
//! `exhaustive:2`. What a choice point is stands in docs/schedules.md.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kind of a schedule, with its figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// By virtual time: every operation takes as long as the seed draws.
    #[default]
    Fifo,
    /// At each choice point the seed draws one of the requests that could go on.
    Random,
    /// Probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): each request has a
    /// priority that the seed draws, the highest goes on; at `depth` - 1 drawn choice points the
    /// one that would go on falls below all others.
    Pct {
        /// So many ordering constraints a bug may need and is still found with a known probability.
        depth: u8,
    },
    /// One given order.
    Order(Vec<Turn>),
    /// Every order, one run each, with at most so many [`Turn`]s.
    Exhaustive {
        /// Turns of one run at most; none: without a limit.
        turns: Option<u8>,
    },
}

/// Where an order leaves the default, which lets the same request go on as long as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// Which choice point of the run, from 0.
    pub at: u32,
    /// Which of those that could go on there, from 0; 0 is the default.
    pub to: u8,
}

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no schedule {found:?}; expected fifo, random, pct:DEPTH, order:POINT=CHOICE,… or exhaustive[:TURNS]"
)]
pub struct NoSchedule {
    /// The text.
    pub found: String,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Fifo => f.write_str("fifo"),
            Schedule::Random => f.write_str("random"),
            Schedule::Pct { depth } => write!(f, "pct:{depth}"),
            Schedule::Order(turns) => {
                f.write_str("order:")?;
                for (i, turn) in turns.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{}={}", turn.at, turn.to)?;
                }
                Ok(())
            }
            Schedule::Exhaustive { turns: None } => f.write_str("exhaustive"),
            Schedule::Exhaustive { turns: Some(n) } => write!(f, "exhaustive:{n}"),
        }
    }
}

impl FromStr for Schedule {
    type Err = NoSchedule;
    fn from_str(text: &str) -> Result<Self, NoSchedule> {
        let no = || NoSchedule { found: text.to_owned() };
        let (kind, figures) = match text.split_once(':') {
            Some((kind, figures)) => (kind, Some(figures)),
            None => (text, None),
        };
        match (kind, figures) {
            ("fifo", None) => Ok(Schedule::Fifo),
            ("random", None) => Ok(Schedule::Random),
            ("pct", Some(depth)) => match depth.parse() {
                Ok(depth) if depth > 0 => Ok(Schedule::Pct { depth }),
                Ok(_) | Err(_) => Err(no()),
            },
            ("order", Some("")) => Ok(Schedule::Order(Vec::new())),
            ("order", Some(turns)) => {
                let turns: Option<Vec<Turn>> = turns.split(',').map(turn).collect();
                // Points are passed one after the other: an order names each once, as they come.
                let rising = |turns: &Vec<Turn>| turns.windows(2).all(|w| w[0].at < w[1].at);
                turns.filter(rising).map(Schedule::Order).ok_or_else(no)
            }
            ("exhaustive", None) => Ok(Schedule::Exhaustive { turns: None }),
            ("exhaustive", Some(turns)) => match turns.parse() {
                Ok(turns) => Ok(Schedule::Exhaustive { turns: Some(turns) }),
                Err(_) => Err(no()),
            },
            (_, _) => Err(no()),
        }
    }
}

fn turn(text: &str) -> Option<Turn> {
    let (at, to) = text.split_once('=')?;
    Some(Turn { at: at.parse().ok()?, to: to.parse().ok()? })
}

impl Schedule {
    /// The default of every run.
    pub fn is_fifo(&self) -> bool {
        *self == Schedule::Fifo
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a text of the table that is no schedule fails its test")]
mod tests {
    use super::*;

    #[test]
    fn every_text_form_is_read_as_it_is_written() {
        for text in
            ["fifo", "random", "pct:3", "order:", "order:4=1,17=2", "exhaustive", "exhaustive:0"]
        {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        let order = Schedule::Order(vec![Turn { at: 4, to: 1 }, Turn { at: 17, to: 2 }]);
        assert_eq!("order:4=1,17=2".parse(), Ok(order));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_known_forms() {
        for text in [
            "",
            "lifo",
            "pct",
            "pct:0",
            "pct:x",
            "order",
            "order:4",
            "order:4=1,4=2",
            "order:9=1,4=1",
            "random:1",
            "exhaustive:300",
        ] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert!(error.to_string().contains("pct:DEPTH"), "{error}");
        }
    }
}
