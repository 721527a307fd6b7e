//! Many runs: every chosen scenario under every chosen policy on every chosen binding, over seeds.
//!
//! Work is cut into [`chunks`] of seeds that any thread, and any shard, may take. A [`Row`] keeps
//! counts and the first finding of each kind, nothing a run: memory does not grow with the seeds.
//! Rows add up in any order to the same, so a result does not depend on the number of jobs or
//! shards, or on how often the campaign was killed and went on.
//!
//! - [`cell`]: a row to be; [`chunks`]: how the work is cut and dealt.
//! - [`swarm`]: faults that each seed draws.
//! - [`row`], [`ledger`], [`fields`]: what came of it, and what was reached.
//! - [`results`], [`baseline`]: the forms of both in files.

pub mod baseline;
pub mod cell;
pub mod checksum;
pub mod chunks;
pub mod fields;
mod fold;
pub mod ledger;
pub mod results;
pub mod row;
pub mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use castoff_ports::schedule::Schedule;

use crate::prepare::{PrepareError, Prepared};
use crate::properties::Class;
use crate::run::{self, BindingKind, Keep, RunReport};
use crate::schedule::{Bounds, every_order};

pub use cell::{Cell, CellId, Faults};
pub use chunks::{Chunk, Shard};
pub use ledger::Ledger;
pub use row::{Finding, Row};

use fields::Fields;
use fold::Fold;
use row::Run;
use swarm::Swarm;

/// How a campaign is carried out.
pub struct Campaign<'a> {
    /// What to run, in the order of the rows.
    pub cells: Vec<Cell>,
    /// Which faults strike.
    pub faults: Faults,
    /// Whether it is found out which fields of its policy each scenario reaches: about a hundred
    /// runs more for each pair of the two.
    pub fields: bool,
    /// Which part of the campaign is run.
    pub shard: Shard,
    /// What was done before.
    pub known: Known,
    /// Threads.
    pub jobs: usize,
    /// A clock for `wall` and `budget`: the only time of the machine that a campaign sees.
    pub clock: &'a (dyn Fn() -> Duration + Sync),
    /// When no further chunk is begun, by `clock`.
    pub budget: Option<Duration>,
    /// Whether a finding ends the campaign: what it says of the chunks before is kept.
    pub ends: &'a (dyn Fn(&CellId, &Finding) -> bool + Sync),
    /// Told how many runs are done.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Told of each chunk that is finished; false ends the campaign.
    pub finished: &'a (dyn Fn(usize, &Row) -> bool + Sync),
    /// Asked between chunks whether to stop early.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// Chunks that were done before, added up by cell.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// A row a cell; fewer stand for empty ones.
    pub rows: Vec<Row>,
    /// The chunks.
    pub chunks: BTreeSet<usize>,
}

impl Known {
    /// Takes in a chunk; one that is known already is not counted twice.
    pub fn add(&mut self, chunk: usize, cell: usize, row: Row) {
        if self.chunks.insert(chunk) {
            if self.rows.len() <= cell {
                self.rows.resize_with(cell + 1, Row::default);
            }
            self.rows[cell].merge(row);
        }
    }
}

/// Why a campaign ended before its last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A finding ended it.
    Finding,
    /// The time was up.
    Budget,
    /// It was told to stop, or its results could not be kept.
    Cancelled,
}

impl Stopped {
    /// Its name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Stopped::Finding => "fail-fast",
            Stopped::Budget => "time-budget",
            Stopped::Cancelled => "cancelled",
        }
    }
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One row a cell.
    pub rows: Vec<Row>,
    /// Chunks that are in the rows.
    pub done: usize,
    /// Chunks of this shard.
    pub chunks: usize,
    /// Why there are fewer.
    pub stopped: Option<Stopped>,
}

/// Stack of a worker: a whole pipeline's future is moved about on it, unoptimised in tests.
const STACK: usize = 32 << 20;

/// Prepared cells that a thread keeps: chunks go round the cells.
const KEPT: usize = 128;

/// One thread's cells.
#[derive(Default)]
struct Ready(BTreeMap<usize, (Rc<Prepared>, Option<Swarm>)>);

impl Campaign<'_> {
    /// A campaign over these cells: all of it, on one thread, without drawn faults.
    pub fn of(cells: Vec<Cell>) -> Campaign<'static> {
        Campaign {
            cells,
            faults: Faults::Scenario,
            fields: false,
            shard: Shard::WHOLE,
            known: Known::default(),
            jobs: 1,
            clock: &|| Duration::ZERO,
            budget: None,
            ends: &|_, _| false,
            progress: &|_| {},
            finished: &|_, _| true,
            cancelled: &|| false,
        }
    }

    /// The gravest class of what one run showed and its cell does not expect.
    pub fn judge(cell: &Cell, seed: u64, report: &RunReport) -> Option<Class> {
        let mut row = Row::default();
        let run = Run { seed, schedule: &cell.schedule, report };
        row.add(cell, &run);
        row.worst()
    }

    /// Runs everything; one row a cell.
    ///
    /// # Errors
    /// When a scenario cannot be prepared.
    pub fn run(&self) -> Result<Outcome, PrepareError> {
        let ids: Vec<CellId> = self.cells.iter().map(Cell::id).collect();
        let chunks = chunks::chunks(&ids);
        let mine = (0..chunks.len()).filter(|i| self.shard.has(*i));
        let todo: Vec<usize> = mine.clone().filter(|i| !self.known.chunks.contains(i)).collect();
        let mut fold = Fold::new(&ids, self.ends, &self.known);
        let out_of = mine.count();
        let next = AtomicUsize::new(0);
        let late = AtomicBool::new(false);
        if !fold.ended() {
            let fold = Mutex::new(&mut fold);
            let shared = Shared { chunks: &chunks, todo: &todo, next: &next, late: &late };
            std::thread::scope(|scope| {
                for _ in 0..self.jobs.clamp(1, todo.len().max(1)) {
                    let work = || self.work(&shared, &fold);
                    let thread = std::thread::Builder::new().stack_size(STACK);
                    // Only a machine without memory for one more thread refuses.
                    thread.spawn_scoped(scope, work).expect("a thread can be started");
                }
            });
        }
        let (rows, done, ended) = fold.close()?;
        let stopped = match (ended, done == out_of) {
            (true, _) => Some(Stopped::Finding),
            (false, true) => None,
            (false, false) if late.into_inner() => Some(Stopped::Budget),
            (false, false) => Some(Stopped::Cancelled),
        };
        let mut outcome = Outcome { rows, done, chunks: out_of, stopped };
        if self.shard.is_whole() {
            outcome.close(&ids, self.faults);
        }
        Ok(outcome)
    }

    fn work(&self, shared: &Shared<'_>, fold: &Mutex<&mut Fold<'_>>) {
        let mut ready = Ready::default();
        loop {
            if (self.cancelled)() {
                return;
            }
            if self.budget.is_some_and(|budget| (self.clock)() >= budget) {
                shared.late.store(true, Ordering::Relaxed);
                return;
            }
            let place = shared.next.fetch_add(1, Ordering::Relaxed);
            let Some(&number) = shared.todo.get(place) else { return };
            let chunk = &shared.chunks[number];
            let result = self.chunk(chunk, &mut ready);
            let kept = result.as_ref().is_ok_and(|row| (self.finished)(number, row));
            (self.progress)(chunk.seeds.end - chunk.seeds.start);
            let mut fold = fold.lock().unwrap_or_else(PoisonError::into_inner);
            fold.put(place, chunk.cell, result);
            if !kept || fold.ended() {
                // The chunks before this one have all been taken: they are finished, no more.
                shared.next.store(shared.todo.len(), Ordering::Relaxed);
                return;
            }
        }
    }

    fn chunk(&self, chunk: &Chunk, ready: &mut Ready) -> Result<Row, PrepareError> {
        let cell = &self.cells[chunk.cell];
        if ready.0.len() >= KEPT && !ready.0.contains_key(&chunk.cell) {
            ready.0.clear();
        }
        let (prepared, swarm) = match ready.0.entry(chunk.cell) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let prepared = Prepared::new(&cell.scenario, &cell.policy, &cell.release)?;
                let swarm = match self.faults {
                    Faults::Scenario => None,
                    Faults::Swarm => Some(Swarm::new(&prepared)),
                };
                new.insert((prepared, swarm))
            }
        };
        let mut row = Row::default();
        let begin = (self.clock)();
        for seed in chunk.seeds.clone() {
            let plan = swarm.as_mut().map(|s| s.draw(seed)).filter(|p| !p.is_empty());
            let plan = plan.as_ref();
            let add = |row: &mut Row, run: &Run<'_>| match (swarm.as_ref(), plan) {
                (Some(swarm), Some(plan)) => row.add_drawn(cell, run, |property, text| {
                    swarm.smallest(cell.binding, run, plan, (property, text))
                }),
                (None, _) | (_, None) => row.add(cell, run),
            };
            if let (Schedule::Exhaustive { turns }, BindingKind::Direct) =
                (&cell.schedule, cell.binding)
            {
                let bounds = Bounds { turns: *turns, ..Bounds::default() };
                let searched = every_order(prepared, seed, plan, bounds, |schedule, report| {
                    add(&mut row, &Run { seed, schedule, report });
                });
                row.bounded += u64::from(!searched.is_complete());
                continue;
            }
            let keep = Keep { trace: seed % ledger::SAMPLE == 0, points: false };
            let (binding, schedule) = (cell.binding, &cell.schedule);
            let report = run::run_scheduled(prepared, binding, seed, plan, schedule, keep);
            add(&mut row, &Run { seed, schedule, report: &report });
        }
        row.wall = (self.clock)().saturating_sub(begin);
        if self.compares(chunk) {
            let fields = Fields::of(prepared, chunk.seeds.start);
            row.ledger.fields.insert(cell.policy.name.clone(), fields);
        }
        Ok(row)
    }

    /// Whether this chunk shows what its scenario reaches of its policy: the first chunk of the
    /// first cell that has both, whoever runs it.
    fn compares(&self, chunk: &Chunk) -> bool {
        let same = |one: &Cell, other: &Cell| {
            one.scenario == other.scenario
                && one.policy == other.policy
                && one.release == other.release
        };
        let cell = &self.cells[chunk.cell];
        self.fields
            && chunk.seeds.start == cell.seeds.start
            && !self.cells[..chunk.cell].iter().any(|before| same(before, cell))
    }
}

/// What the threads of a campaign share.
struct Shared<'a> {
    chunks: &'a [Chunk],
    todo: &'a [usize],
    next: &'a AtomicUsize,
    late: &'a AtomicBool,
}

impl Outcome {
    /// Whether every chunk is in the rows.
    pub fn is_complete(&self) -> bool {
        self.done == self.chunks
    }

    /// Adds what only a complete campaign can show.
    pub fn close(&mut self, cells: &[CellId], faults: Faults) {
        if self.is_complete() {
            for (row, cell) in self.rows.iter_mut().zip(cells) {
                row.close(cell, faults);
            }
        }
    }

    /// What all rows reached together.
    pub fn ledger(&self) -> Ledger {
        let mut all = Ledger::default();
        self.rows.iter().for_each(|row| all.merge(row.ledger.clone()));
        all
    }
}
