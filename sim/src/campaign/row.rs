//! What the runs of one cell came to: counts, and each finding with the first seed that shows it.
//!
//! Rows of the same cell add up in any order to the same row, so neither threads nor shards nor
//! a campaign that was killed and went on can be told from its result.

mod forms;

use std::collections::BTreeMap;
use std::time::Duration;

use castoff_ports::plan::{Fault, Plan};
use castoff_ports::schedule::Schedule;
use castoff_ports::trace::Identity;
use castoff_scenarios::End;
use serde::{Deserialize, Serialize};

use super::cell::{Cell, CellId, Faults};
use super::ledger::Ledger;
use crate::exemptions::exempt_plan;
use crate::properties::Class;
use crate::rng::GENERATOR;
use crate::run::RunReport;

/// Something that a run should not have shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// A property's name, or `end`, `after_retry`, `fault`, `expectation …`.
    pub what: String,
    /// In words.
    pub text: String,
    /// Safety or liveness: decides the exit code.
    #[serde(with = "forms::class")]
    pub class: Class,
    /// The first seed that showed it.
    pub seed: u64,
    /// The faults that it takes beside the scenario's own: the drawn plan without those that
    /// can be left away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<Fault>,
    /// The schedule of that run: of several orders the one with the fewest turns.
    #[serde(default, skip_serializing_if = "Schedule::is_fifo")]
    pub schedule: Schedule,
    /// How many runs showed it.
    pub runs: u64,
}

impl Finding {
    /// What strikes where, without counts and figures: a property that is broken at the same
    /// places by the same kinds is broken by the same cause.
    pub fn cause(&self) -> String {
        let mut each: Vec<String> = self
            .plan
            .iter()
            .map(|f| format!("{} {} {}", f.at.process, f.at.operation, f.strike.as_str()))
            .collect();
        each.sort();
        each.join(" + ")
    }

    /// Small plans first: the order in which findings are kept and shown.
    fn key(&self) -> (String, usize, String) {
        (self.what.clone(), self.plan.len(), self.cause())
    }

    /// Of two runs with the same finding, the one that is shown: the lowest seed, then the fewest
    /// turns.
    fn rank(&self) -> (u64, usize, String) {
        let turns = match &self.schedule {
            Schedule::Order(turns) => turns.len(),
            Schedule::Fifo | Schedule::Random | Schedule::Pct { .. } => 0,
            Schedule::Exhaustive { .. } => 0,
        };
        let mut text = self.schedule.to_string();
        self.plan.iter().for_each(|fault| text.push_str(&format!(" {fault}")));
        (self.seed, turns, text)
    }

    /// The run that shows it.
    pub fn identity(&self, cell: &CellId) -> Identity {
        let plan = Plan { faults: self.plan.clone() };
        Identity {
            castoff: env!("CARGO_PKG_VERSION").to_owned(),
            scenario: cell.argument.clone(),
            policy: cell.policy.clone(),
            release: cell.release.clone(),
            binding: cell.binding.as_str().to_owned(),
            seed: self.seed,
            plan: (!plan.is_empty()).then_some(plan),
            schedule: self.schedule.clone(),
            generator: GENERATOR.to_owned(),
        }
    }
}

/// Causes kept of one property in one cell, those with the smallest plans: more than that is a
/// pipeline to repair, not a list to read.
const MAX_CAUSES: usize = 256;

/// What the runs of one cell came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Runs made.
    pub runs: u64,
    /// Runs by how they ended, first and last.
    #[serde(with = "forms::ends")]
    pub ends: BTreeMap<(End, End), u64>,
    /// Runs that broke a property which the scenario expects this policy to break.
    pub expected: BTreeMap<String, u64>,
    /// Runs that broke a property in a way that [`exemptions`](crate::exemptions) leave to somebody
    /// else, by property.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exempt: BTreeMap<String, u64>,
    /// What nobody expected, by what was broken and how.
    pub unexpected: Vec<Finding>,
    /// Runs that broke a property which nobody expected to be broken, by property.
    pub broke: BTreeMap<String, u64>,
    /// Runs in which a planned fault never struck: no pass, no failure.
    pub not_struck: u64,
    /// Seeds whose search over orders met a bound: not every order was run.
    pub bounded: u64,
    /// What the runs reached.
    pub ledger: Ledger,
    /// Simulated time of all runs.
    #[serde(rename = "simulated_us", with = "forms::micros")]
    pub simulated: Duration,
    /// Operations of all runs.
    #[serde(rename = "operations")]
    pub calls: u64,
    /// Processor time of all runs, by the caller's clock.
    #[serde(rename = "wall_us", with = "forms::micros")]
    pub wall: Duration,
}

/// One run, as a row takes it in.
pub(super) struct Run<'a> {
    /// Its seed.
    pub(super) seed: u64,
    /// Its schedule.
    pub(super) schedule: &'a Schedule,
    /// What it came to.
    pub(super) report: &'a RunReport,
}

impl Run<'_> {
    fn finding(&self, what: &str, text: String, class: Class, plan: Vec<Fault>) -> Finding {
        let (what, schedule) = (what.to_owned(), self.schedule.clone());
        Finding { what, text, class, seed: self.seed, plan, schedule, runs: 1 }
    }
}

/// The properties that a run broke, each once, with its first violation in words.
fn broken(report: &RunReport) -> Vec<(&'static str, Class, String)> {
    let mut seen: Vec<(&'static str, Class, String)> = Vec::new();
    for violation in &report.violations {
        let property = violation.property;
        if seen.iter().all(|(name, ..)| *name != property.name) {
            seen.push((property.name, property.class, violation.to_string()));
        }
    }
    seen
}

impl Row {
    /// Takes in a run of the scenario's own plan, of which an expectation tells all; the end only
    /// of the default order: who of two comes first may decide who is refused.
    pub(super) fn add(&mut self, cell: &Cell, run: &Run<'_>) {
        self.add_drawn(cell, run, |_, text| (Vec::new(), text));
        let Some(expectation) = cell.expectation() else { return };
        if !cell.schedule.is_fifo() {
            return;
        }
        for (what, found, needed) in [
            ("end", run.report.end, expectation.end),
            ("after_retry", run.report.after_retry, expectation.after_retry),
        ] {
            if found != needed {
                let text =
                    format!("the run ends {}, {} is expected", found.as_str(), needed.as_str());
                self.find(run.finding(what, text, Class::Liveness, Vec::new()));
            }
        }
    }

    /// Takes in a run with more faults than the scenario's, of which an expectation tells only
    /// what the scenario breaks by itself. `smallest` is asked for the smallest plan that breaks
    /// a property, with the facts in words.
    pub(super) fn add_drawn(
        &mut self,
        cell: &Cell,
        run: &Run<'_>,
        smallest: impl Fn(&'static str, String) -> (Vec<Fault>, String),
    ) {
        let report = run.report;
        self.runs += 1;
        *self.ends.entry((report.end, report.after_retry)).or_default() += 1;
        self.simulated += report.simulated;
        self.calls += report.calls;
        self.not_struck += u64::from(!report.not_struck.is_empty());
        self.ledger.add(report);
        let expected = cell.expectation();
        for (name, class, text) in broken(report) {
            if expected.is_some_and(|e| e.violates.iter().any(|v| v == name)) {
                *self.expected.entry(name.to_owned()).or_default() += 1;
                continue;
            }
            let (plan, text) = smallest(name, text);
            if exempt_plan(&cell.policy.name, &cell.scenario.name, name, &plan).is_some() {
                *self.exempt.entry(name.to_owned()).or_default() += 1;
                continue;
            }
            *self.broke.entry(name.to_owned()).or_default() += 1;
            self.find(run.finding(name, text, class, plan));
        }
    }

    fn find(&mut self, finding: Finding) {
        match self.unexpected.binary_search_by_key(&finding.key(), Finding::key) {
            Ok(i) => {
                let known = &mut self.unexpected[i];
                let runs = known.runs + finding.runs;
                if finding.rank() < known.rank() {
                    *known = finding;
                }
                known.runs = runs;
            }
            Err(i) => {
                // What is dropped has so many smaller ones before it that it can never come back
                // into a sum: what stays is counted in full.
                let what = finding.what.clone();
                self.unexpected.insert(i, finding);
                let of = |f: &Finding| f.what == what;
                if self.unexpected.iter().filter(|f| of(f)).count() > MAX_CAUSES
                    && let Some(last) = self.unexpected.iter().rposition(of)
                {
                    self.unexpected.remove(last);
                }
            }
        }
    }

    /// Adds the runs of another part of the same cell.
    pub fn merge(&mut self, other: Row) {
        self.runs += other.runs;
        self.not_struck += other.not_struck;
        self.bounded += other.bounded;
        self.simulated += other.simulated;
        self.calls += other.calls;
        self.wall += other.wall;
        self.ledger.merge(other.ledger);
        for (k, n) in other.ends {
            *self.ends.entry(k).or_default() += n;
        }
        for (k, n) in other.expected {
            *self.expected.entry(k).or_default() += n;
        }
        for (k, n) in other.exempt {
            *self.exempt.entry(k).or_default() += n;
        }
        for (k, n) in other.broke {
            *self.broke.entry(k).or_default() += n;
        }
        for f in other.unexpected {
            self.find(f);
        }
    }

    /// What only all runs of the cell together can show: expectations that no run met, planned
    /// faults that never struck. Drawn faults may miss, and an expectation is of the scenario's
    /// own plan: of a swarm there is nothing more to say.
    pub fn close(&mut self, cell: &CellId, faults: Faults) {
        let seed = cell.seeds.start;
        let of_all = |what: String, text: String, runs: u64| Finding {
            what,
            text,
            class: Class::Liveness,
            seed,
            plan: Vec::new(),
            schedule: cell.schedule.clone(),
            runs,
        };
        match faults {
            Faults::Swarm => {}
            Faults::Scenario => {
                for name in &cell.violates {
                    if !self.expected.contains_key(name) {
                        let text = format!("no run broke {name}, which the scenario expects");
                        self.find(of_all(format!("expectation {name}"), text, self.runs));
                    }
                }
                if self.not_struck > 0 {
                    let text = "a planned fault never struck".to_owned();
                    self.find(of_all("fault".to_owned(), text, self.not_struck));
                }
            }
        }
    }

    /// The gravest class among what nobody expected.
    pub fn worst(&self) -> Option<Class> {
        self.unexpected.iter().map(|f| f.class).min()
    }

    /// How often properties were broken, expected, exempt or neither; each property once a run.
    pub fn violations(&self) -> u64 {
        self.expected.values().chain(self.exempt.values()).chain(self.broke.values()).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn finding(fault: &str, seed: u64) -> Finding {
        Finding {
            what: "S01".to_owned(),
            text: format!("seed {seed}"),
            class: Class::Safety,
            seed,
            plan: vec![fault.parse().unwrap()],
            schedule: Schedule::Fifo,
            runs: 1,
        }
    }

    fn row(findings: &[Finding]) -> Row {
        let mut row = Row { runs: findings.len() as u64, ..Row::default() };
        findings.iter().for_each(|f| row.find(f.clone()));
        row
    }

    #[test]
    fn parts_add_up_to_the_same_row_in_any_order_even_beyond_the_limit() {
        let operations: Vec<&str> = castoff_ports::call::operation_names().collect();
        let mut all = Vec::new();
        for (i, operation) in operations.iter().enumerate() {
            for kind in ["unreachable", "reply-lost", "crash-before", "crash-after", "delay=5"] {
                all.push(finding(&format!("nova-compute:{operation}#1@1:{kind}"), i as u64 % 7));
                all.push(finding(&format!("nova-compute:{operation}#2@1:{kind}"), i as u64 % 5));
            }
        }
        let whole = row(&all);
        assert!(all.len() / 2 > MAX_CAUSES, "only {} causes", all.len() / 2);
        assert_eq!(whole.unexpected.len(), MAX_CAUSES);
        assert!(whole.unexpected.iter().all(|f| f.runs == 2), "kept ones are counted in full");
        let mut backwards = Row::default();
        for part in all.chunks(37).rev() {
            backwards.merge(row(part));
        }
        assert_eq!(backwards, whole);
    }

    #[test]
    fn a_row_reads_back_from_its_json() {
        let mut row = row(&[finding("nova-api:cinder::BeginDetaching#1@1:http-error=500", 3)]);
        row.ends.insert((End::RolledBack, End::Detached), 1);
        row.simulated = Duration::from_micros(1_500_001);
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
    }
}
