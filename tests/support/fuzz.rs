//! What the fuzz targets of every crate share: bytes that choose, samples that are edited.
//!
//! A target is an ordinary test. Under `cargo test` it runs on [`RUNS`] inputs that follow from
//! their number alone: bolero's own engine there takes its seeds from the system, and no two runs
//! would be alike. Built by cargo-bolero (`--cfg fuzzing`) the same target is bolero's, and
//! libFuzzer or AFL choose the bytes: `cargo bolero test -p castoff-pipeline --test fuzz_parse NAME`.
//!
//! Random bytes seldom get past a parser's first line, so a target takes a sample that is well
//! formed and makes a few edits to it.

// Every target uses some of this.
#![allow(dead_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Inputs per target under `cargo test`.
pub(crate) const RUNS: u64 = 2_000;

/// Bytes per input; when they are used up, zeros follow.
const LENGTH: usize = 512;

/// Edits to one sample.
const MAX_EDITS: usize = 5;

/// What parsers stumble over.
const TOKENS: [&str; 26] = [
    "",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "<",
    "</",
    ">",
    "&",
    "&#x110000;",
    "&#0;",
    "null",
    "-1",
    "0",
    "18446744073709551616",
    "1e999",
    "\u{e9}",
    "\u{4e2d}\u{1f980}",
    "\u{0}",
    ",",
    ":",
    "/",
    "%00",
    "\r\n",
    "  ",
];

/// Runs a target, a function of [`Bytes`].
macro_rules! fuzz {
    ($target:expr) => {{
        #[cfg(fuzzing)]
        bolero::check!().for_each(|bytes: &[u8]| $target(&mut fuzz::Bytes::new(bytes)));
        #[cfg(not(fuzzing))]
        fuzz::seeded($target);
    }};
}
pub(crate) use fuzz;

/// Runs a target on the first [`RUNS`] inputs.
pub(crate) fn seeded(target: impl Fn(&mut Bytes<'_>)) {
    for seed in 0..RUNS {
        let mut state = seed;
        let words = std::iter::repeat_with(|| split_mix(&mut state)).take(LENGTH / 8);
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        let run = AssertUnwindSafe(|| target(&mut Bytes::new(&bytes)));
        assert!(catch_unwind(run).is_ok(), "input {seed} of {RUNS} fails");
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An input, from which a target takes its choices.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % n
    }

    pub(crate) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    /// One of the samples with some edits; one in eight is left as it is, one is noise.
    pub(crate) fn edited<S: AsRef<[u8]>>(&mut self, samples: &[S]) -> Vec<u8> {
        let mut text = self.pick(samples).as_ref().to_vec();
        let edits = match self.byte() % 8 {
            0 => 0,
            1 => {
                let length = self.below(64);
                return (0..length).map(|_| self.byte()).collect();
            }
            _ => 1 + self.below(MAX_EDITS),
        };
        for _ in 0..edits {
            self.edit(&mut text);
        }
        text
    }

    /// As [`Bytes::edited`], as text.
    pub(crate) fn edited_text<S: AsRef<[u8]>>(&mut self, samples: &[S]) -> String {
        String::from_utf8_lossy(&self.edited(samples)).into_owned()
    }

    fn edit(&mut self, text: &mut Vec<u8>) {
        let from = self.below(text.len() + 1);
        let to = (from + self.below(24)).min(text.len());
        match self.byte() % 6 {
            0 => text.truncate(from),
            1 => text.insert(from, self.byte()),
            2 => drop(text.drain(from..to)),
            3 => drop(text.splice(from..to, self.pick(&TOKENS).bytes())),
            4 => {
                let token = self.pick(&TOKENS).bytes();
                drop(text.splice(from..from, token));
            }
            _ => {
                let piece = text[from..to].to_vec();
                let at = self.below(text.len() + 1);
                drop(text.splice(at..at, piece));
            }
        }
    }
}
