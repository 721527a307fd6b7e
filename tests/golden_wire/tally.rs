//! What became of a session's steps, and the table of all sessions.

use super::session::Step;

/// What became of a session's steps.
pub(crate) struct Tally {
    pub(crate) session: String,
    steps: usize,
    pub(crate) agree: usize,
    /// Agree, sent by another than the record says.
    pub(crate) recorded_as: usize,
    pub(crate) kept: usize,
    /// Requests that castoff leaves to others.
    pub(crate) outside: usize,
    pub(crate) failures: Vec<String>,
}

impl Tally {
    pub(crate) fn new(session: &str, steps: usize) -> Tally {
        let session = session.to_owned();
        let (agree, recorded_as, kept, outside) = (0, 0, 0, 0);
        Tally { session, steps, agree, recorded_as, kept, outside, failures: Vec::new() }
    }

    pub(crate) fn fails(&mut self, index: usize, step: &Step, why: &str) {
        let (session, number, label) = (&self.session, index + 1, &step.label);
        self.failures.push(format!("{session}, step {number} ({label}): {why}"));
    }

    fn row(&self) -> [usize; 6] {
        let compared = self.steps - self.outside;
        let Tally { steps, agree, recorded_as, kept, outside, .. } = self;
        [*steps, compared, agree + recorded_as, *recorded_as, *kept, *outside]
    }
}

/// A line for each session, in the order of the replay, and their sum.
pub(crate) fn table(tallies: &[Tally]) -> String {
    let heads = ["steps", "compared", "agree", "other token", "kept", "outside"];
    let line = |name: &str, cells: Vec<String>| {
        let widths = heads.iter().zip(cells).map(|(head, cell)| (head.len(), cell));
        let cells: String = widths.map(|(width, cell)| format!("  {cell:>width$}")).collect();
        format!("{name:<26}{cells}\n")
    };
    let mut text = line("session", heads.map(str::to_owned).to_vec());
    let mut sum = [0; 6];
    for tally in tallies {
        let row = tally.row();
        text += &line(&tally.session, row.map(|n| n.to_string()).to_vec());
        sum.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
    }
    text + &line("all", sum.map(|n| n.to_string()).to_vec())
}
