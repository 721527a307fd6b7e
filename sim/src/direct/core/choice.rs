//! Who goes on, where more than one could: the schedule's choice. docs/schedules.md has the argument.

use std::time::Duration;

use castoff_ports::RequestId;
use castoff_ports::schedule::{Schedule, Turn};

use crate::rng::SimRng;

/// A call without a fault takes no longer than this to its effect (the slowest of [`latency`] is
/// luksOpen): so long may time go on while it is under way.
///
/// [`latency`]: crate::latency
pub const RACE_WINDOW: Duration = Duration::from_secs(2);

/// PCT draws the points where priorities fall among so many: measured, runs with two actors pass 25 to 60.
pub const PCT_POINTS: u32 = 64;

/// Whoever could take the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thread {
    /// A request: its oldest call under way takes effect, or the broker delivers its message.
    Request(RequestId),
    /// Time goes on to the next timer, whatever is under way.
    Time,
}

/// One choice that a run made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// So many could go on.
    pub of: u8,
    /// Which did, from 0; 0 is the default.
    pub taken: u8,
}

/// Chooses, and keeps what was chosen.
#[derive(Clone, Debug)]
pub(in crate::direct) struct Chooser {
    kind: Kind,
    last: Option<Thread>,
    made: Vec<Choice>,
}

#[derive(Clone, Debug)]
enum Kind {
    Random,
    Pct { priorities: Vec<(Thread, u64)>, falls: Vec<u32> },
    Order(Vec<Turn>),
}

impl Chooser {
    /// The chooser of this schedule; none where virtual time decides.
    pub(in crate::direct) fn new(schedule: &Schedule, rng: &mut SimRng) -> Option<Chooser> {
        let kind = match schedule {
            Schedule::Fifo => return None,
            Schedule::Random => Kind::Random,
            Schedule::Pct { depth } => Kind::Pct {
                priorities: Vec::new(),
                falls: (1..*depth).map(|_| rng.between(0, PCT_POINTS - 1)).collect(),
            },
            Schedule::Order(turns) => Kind::Order(turns.clone()),
            // One run of a search is an order; alone it is the first one, the default.
            Schedule::Exhaustive { .. } => Kind::Order(Vec::new()),
        };
        Some(Chooser { kind, last: None, made: Vec::new() })
    }

    /// The schedule's part is over: from here on everything goes on by default.
    pub(super) fn rest(&mut self) {
        self.kind = Kind::Order(Vec::new());
    }

    /// What was chosen so far.
    pub(super) fn made(&self) -> &[Choice] {
        &self.made
    }

    /// Puts the default first: whoever went on last, else whose call is oldest; time at the end.
    pub(super) fn sort(&self, options: &mut [(Thread, usize)]) {
        if let Some(at) =
            options.iter().position(|(t, _)| Some(*t) == self.last && *t != Thread::Time)
        {
            options[..=at].rotate_right(1);
        }
    }

    /// Which of `options` goes on; they are sorted, and there is at least one.
    pub(super) fn choose(&mut self, rng: &mut SimRng, options: &[(Thread, usize)]) -> usize {
        let taken = match options.len() {
            1 => 0,
            n => {
                let point = self.made.len() as u32;
                let taken = self.kind.choose(rng, point, options);
                self.made.push(Choice { of: n as u8, taken: taken as u8 });
                taken
            }
        };
        self.last = Some(options[taken].0);
        taken
    }
}

impl Kind {
    fn choose(&mut self, rng: &mut SimRng, point: u32, options: &[(Thread, usize)]) -> usize {
        match self {
            Kind::Random => rng.index(options.len()),
            Kind::Order(turns) => match turns.iter().find(|t| t.at == point) {
                // An order of another run may name what is not there: the last one then.
                Some(turn) => usize::from(turn.to).min(options.len() - 1),
                None => 0,
            },
            Kind::Pct { priorities, falls } => {
                for (thread, _) in options {
                    if !priorities.iter().any(|(t, _)| t == thread) {
                        priorities.push((*thread, rng.bits() | 1 << 63));
                    }
                }
                // A fall at this point: below all drawn priorities, and in the order of the draws.
                if let Some(rank) = falls.iter().position(|at| *at == point) {
                    let thread = options[highest(priorities, options)].0;
                    if let Some(known) = priorities.iter_mut().find(|(t, _)| *t == thread) {
                        known.1 = rank as u64;
                    }
                }
                highest(priorities, options)
            }
        }
    }
}

fn highest(priorities: &[(Thread, u64)], options: &[(Thread, usize)]) -> usize {
    let priority = |thread: Thread| priorities.iter().find(|(t, _)| *t == thread).map(|(_, p)| *p);
    let (mut best, mut top) = (0, None);
    for (i, (thread, _)) in options.iter().enumerate() {
        let p = priority(*thread);
        if p > top {
            (best, top) = (i, p);
        }
    }
    best
}
