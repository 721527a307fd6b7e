//! Many runs: every chosen scenario under every chosen policy on every chosen binding, over seeds.
//!
//! Work is cut into chunks of seeds that any thread may take; what comes out is merged in the
//! order of the cells and seeds, so it does not depend on the number of jobs. A row keeps counts
//! and the first finding of each kind, nothing a run: memory does not grow with the seeds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::schedule::Schedule;
use castoff_ports::trace::Identity;
use castoff_scenarios::{End, Expectation, Scenario};
use serde::Serialize;

use crate::prepare::{PrepareError, Prepared};
use crate::properties::Class;
use crate::run::{self, BindingKind, Keep, RunReport};
use crate::schedule::{Bounds, every_order};

/// One row of a campaign to be.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The binding.
    pub binding: BindingKind,
    /// The policy.
    pub policy: Policy,
    /// The release.
    pub release: Release,
    /// The seeds.
    pub seeds: Range<u64>,
    /// The order of steps on `direct`; an exhaustive one runs every order for each seed.
    pub schedule: Schedule,
}

impl Cell {
    /// The one command that repeats the run of this cell that showed the finding.
    pub fn replay_command(&self, finding: &Finding) -> String {
        let Cell { scenario, policy, release, binding, .. } = self;
        let identity = run::identity_of(scenario, policy, release, *binding, finding.seed, None);
        Identity { schedule: finding.schedule.clone(), ..identity }.replay_command()
    }
}

/// Something that a run should not have shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// A property's name, or `end`, `after_retry`, `fault`, `expectation`.
    pub what: String,
    /// In words.
    pub text: String,
    /// Safety or liveness: decides the exit code.
    #[serde(skip)]
    pub class: Class,
    /// The first seed that showed it.
    pub seed: u64,
    /// The schedule of that run: of several orders the one with the fewest turns.
    #[serde(skip_serializing_if = "Schedule::is_fifo")]
    pub schedule: Schedule,
    /// How many runs showed it.
    pub runs: u64,
}

impl Finding {
    /// The first one is shown: the lowest seed, then the fewest turns.
    fn rank(&self) -> (u64, usize) {
        let turns = match &self.schedule {
            Schedule::Order(turns) => turns.len(),
            Schedule::Fifo | Schedule::Random | Schedule::Pct { .. } => 0,
            Schedule::Exhaustive { .. } => 0,
        };
        (self.seed, turns)
    }
}

/// What the runs of one cell came to.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Runs made.
    pub runs: u64,
    /// Runs by how they ended, first and last.
    pub ends: BTreeMap<(End, End), u64>,
    /// Runs that broke a property which the scenario expects this policy to break.
    pub expected: BTreeMap<&'static str, u64>,
    /// What nobody expected.
    pub unexpected: Vec<Finding>,
    /// Runs in which a planned fault never struck: no pass, no failure.
    pub not_struck: u64,
    /// Seeds whose search over orders met a bound: not every order was run.
    pub bounded: u64,
    /// Simulated time of all runs.
    pub simulated: Duration,
    /// Operations of all runs.
    pub calls: u64,
    /// Processor time of all runs, by the caller's clock.
    pub wall: Duration,
}

impl Row {
    fn add(
        &mut self,
        expectation: Option<&Expectation>,
        seed: u64,
        schedule: &Schedule,
        report: &RunReport,
    ) {
        let finding = |what: &str, text: String, class: Class| Finding {
            what: what.to_owned(),
            text,
            class,
            seed,
            schedule: schedule.clone(),
            runs: 1,
        };
        self.runs += 1;
        *self.ends.entry((report.end, report.after_retry)).or_default() += 1;
        self.simulated += report.simulated;
        self.calls += report.calls;
        if !report.not_struck.is_empty() {
            self.not_struck += 1;
        }
        let mut seen: Vec<&'static str> = Vec::new();
        for violation in &report.violations {
            let name = violation.property.name;
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            if expectation.is_some_and(|e| e.violates.iter().any(|v| v == name)) {
                *self.expected.entry(name).or_default() += 1;
            } else {
                let class = violation.property.class;
                self.find(finding(name, violation.to_string(), class));
            }
        }
        let Some(expectation) = expectation else { return };
        for (what, found, needed) in [
            ("end", report.end, expectation.end),
            ("after_retry", report.after_retry, expectation.after_retry),
        ] {
            if found != needed {
                let text =
                    format!("the run ends {}, {} is expected", found.as_str(), needed.as_str());
                self.find(finding(what, text, Class::Liveness));
            }
        }
    }

    fn find(&mut self, finding: Finding) {
        match self.unexpected.iter_mut().find(|f| f.what == finding.what) {
            Some(known) => {
                let runs = known.runs + finding.runs;
                if finding.rank() < known.rank() {
                    *known = finding;
                }
                known.runs = runs;
            }
            None => self.unexpected.push(finding),
        }
    }

    fn merge(&mut self, other: Row) {
        self.runs += other.runs;
        self.not_struck += other.not_struck;
        self.bounded += other.bounded;
        self.simulated += other.simulated;
        self.calls += other.calls;
        self.wall += other.wall;
        for (k, n) in other.ends {
            *self.ends.entry(k).or_default() += n;
        }
        for (k, n) in other.expected {
            *self.expected.entry(k).or_default() += n;
        }
        for f in other.unexpected {
            self.find(f);
        }
    }

    /// Expectations that no run met, and runs whose plan never struck, are findings too.
    fn close(&mut self, cell: &Cell) {
        let expectation = cell.scenario.expect.get(&cell.policy.name);
        let of_all = |what: &str, text: String, runs: u64| Finding {
            what: what.to_owned(),
            text,
            class: Class::Liveness,
            seed: cell.seeds.start,
            schedule: cell.schedule.clone(),
            runs,
        };
        for name in expectation.into_iter().flat_map(|e| &e.violates) {
            if !self.expected.contains_key(name.as_str()) {
                let text = format!("no run broke {name}, which the scenario expects");
                self.find(of_all(&format!("expectation {name}"), text, self.runs));
            }
        }
        if self.not_struck > 0 {
            let text = "a planned fault never struck".to_owned();
            self.find(of_all("fault", text, self.not_struck));
        }
    }

    /// The gravest class among what nobody expected.
    pub fn worst(&self) -> Option<Class> {
        self.unexpected.iter().map(|f| f.class).min()
    }

    /// Runs that broke any property, expected or not.
    pub fn violations(&self) -> u64 {
        self.expected.values().sum::<u64>()
            + self
                .unexpected
                .iter()
                .filter(|f| crate::properties::named(&f.what).is_some())
                .map(|f| f.runs)
                .sum::<u64>()
    }
}

/// How a campaign is carried out.
pub struct Campaign<'a> {
    /// What to run, in the order of the rows.
    pub cells: Vec<Cell>,
    /// Threads.
    pub jobs: usize,
    /// A clock for `wall`: the only time of the machine that a campaign sees, and only reports.
    pub clock: &'a (dyn Fn() -> Duration + Sync),
    /// Told how many runs are done.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Asked between chunks whether to stop early.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// Seeds of one chunk: enough to make the preparation cheap, few enough to share.
const CHUNK: u64 = 256;

/// Stack of a worker: a whole pipeline's future is moved about on it, unoptimised in tests.
const STACK: usize = 32 << 20;

struct Chunk {
    cell: usize,
    seeds: Range<u64>,
}

impl Campaign<'_> {
    /// The gravest class of what one run showed and its cell does not expect.
    pub fn judge(cell: &Cell, seed: u64, report: &RunReport) -> Option<Class> {
        let mut row = Row::default();
        row.add(cell.scenario.expect.get(&cell.policy.name), seed, &cell.schedule, report);
        row.worst()
    }

    /// Runs everything; one row a cell.
    ///
    /// # Errors
    /// When a scenario cannot be prepared.
    pub fn run(&self) -> Result<Vec<Row>, PrepareError> {
        let chunks = self.chunks();
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Result<Row, PrepareError>)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                let work = || self.work(&chunks, &next, &done);
                let thread = std::thread::Builder::new().stack_size(STACK);
                // Only a machine without memory for one more thread refuses.
                thread.spawn_scoped(scope, work).expect("a thread can be started");
            }
        });
        let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        done.sort_by_key(|(i, _)| *i);
        let mut rows: Vec<Row> = self.cells.iter().map(|_| Row::default()).collect();
        for (i, row) in done {
            rows[chunks[i].cell].merge(row?);
        }
        for (row, cell) in rows.iter_mut().zip(&self.cells) {
            row.close(cell);
        }
        Ok(rows)
    }

    fn chunks(&self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for (cell, c) in self.cells.iter().enumerate() {
            let size = if c.binding == BindingKind::Network { 4 } else { CHUNK };
            let mut from = c.seeds.start;
            while from < c.seeds.end {
                let to = from.saturating_add(size).min(c.seeds.end);
                chunks.push(Chunk { cell, seeds: from..to });
                from = to;
            }
        }
        chunks
    }

    fn work(
        &self,
        chunks: &[Chunk],
        next: &AtomicUsize,
        done: &Mutex<Vec<(usize, Result<Row, PrepareError>)>>,
    ) {
        let mut ready: Option<(usize, Rc<Prepared>)> = None;
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(i) else { return };
            if (self.cancelled)() {
                return;
            }
            let result = self.chunk(chunk, &mut ready);
            (self.progress)(chunk.seeds.end - chunk.seeds.start);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((i, result));
        }
    }

    fn chunk(
        &self,
        chunk: &Chunk,
        ready: &mut Option<(usize, Rc<Prepared>)>,
    ) -> Result<Row, PrepareError> {
        let cell = &self.cells[chunk.cell];
        let prepared = match ready {
            Some((id, prepared)) if *id == chunk.cell => prepared.clone(),
            _ => {
                let prepared = Prepared::new(&cell.scenario, &cell.policy, &cell.release)?;
                *ready = Some((chunk.cell, prepared.clone()));
                prepared
            }
        };
        let expectation = cell.scenario.expect.get(&cell.policy.name);
        let mut row = Row::default();
        let begin = (self.clock)();
        for seed in chunk.seeds.clone() {
            if let (Schedule::Exhaustive { turns }, BindingKind::Direct) =
                (&cell.schedule, cell.binding)
            {
                let bounds = Bounds { turns: *turns, ..Bounds::default() };
                let searched = every_order(&prepared, seed, None, bounds, |order, report| {
                    row.add(expectation, seed, order, report);
                });
                row.bounded += u64::from(!searched.is_complete());
                continue;
            }
            let (binding, keep) = (cell.binding, Keep::default());
            let report = run::run_scheduled(&prepared, binding, seed, None, &cell.schedule, keep);
            row.add(expectation, seed, &cell.schedule, &report);
        }
        row.wall = (self.clock)().saturating_sub(begin);
        Ok(row)
    }
}
