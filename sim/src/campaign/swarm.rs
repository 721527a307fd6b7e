//! Swarm testing: each seed draws which kinds of faults are on, and a plan of some of them.
//!
//! With every kind on in every run, kinds hide each other: a crash everywhere is a run without
//! timeouts. So a seed first draws the kinds, then up to [`MOST`] faults (Groce et al., "Swarm
//! Testing", ISSTA 2012). The first strikes at a point that the scenario passes by itself, the
//! others at points that a run with the first one passes after it, so that retries, rollbacks and
//! recovery are struck too.
//!
//! A plan depends on scenario, policy, release and seed alone: the points are those of one run on
//! `direct`, and the generator is seeded by these names.

use std::collections::BTreeMap;
use std::rc::Rc;

use castoff_ports::Process;
use castoff_ports::fault::Passed;
use castoff_ports::fault_space::faults_at;
use castoff_ports::plan::{Fault, Plan};

use super::checksum::Fnv;
use super::row::Run;
use crate::prepare::Prepared;
use crate::rng::SimRng;
use crate::run::{self, BindingKind, Keep, RunReport};

/// Faults of one plan, at most.
pub const MOST: u32 = 4;

/// The seed of the runs whose points are drawn from.
const POINTS_SEED: u64 = 0;

/// A point, with every fault that can strike there; bit n stands for kind n of the swarm.
struct Point {
    passed: Passed,
    faults: Vec<(u64, Fault)>,
    kinds: u64,
}

/// Draws plans for one prepared scenario.
pub struct Swarm {
    prepared: Rc<Prepared>,
    kinds: Vec<&'static str>,
    points: Vec<Point>,
    known: BTreeMap<Passed, u32>,
    /// Points of the scenario alone.
    first: Rc<[u32]>,
    /// Points after a first fault: by point and kind.
    after: BTreeMap<(u32, u64), Rc<[u32]>>,
}

impl Swarm {
    /// Finds the points.
    pub fn new(prepared: &Rc<Prepared>) -> Swarm {
        let mut swarm = Swarm {
            prepared: prepared.clone(),
            kinds: Vec::new(),
            points: Vec::new(),
            known: BTreeMap::new(),
            first: Rc::new([]),
            after: BTreeMap::new(),
        };
        let alone = swarm.passed(None);
        swarm.first = swarm.number(&alone);
        swarm
    }

    fn passed(&self, plan: Option<&Plan>) -> Vec<Passed> {
        let keep = Keep { trace: false, points: true };
        run::run_keeping(&self.prepared, BindingKind::Direct, POINTS_SEED, plan, keep).passed
    }

    fn number(&mut self, passed: &[Passed]) -> Rc<[u32]> {
        passed.iter().map(|p| self.point(p)).collect()
    }

    fn point(&mut self, passed: &Passed) -> u32 {
        if let Some(known) = self.known.get(passed) {
            return *known;
        }
        let faults: Vec<(u64, Fault)> =
            faults_at(passed).into_iter().map(|f| (self.kind(f.strike.as_str()), f)).collect();
        let kinds = faults.iter().fold(0, |all, (kind, _)| all | kind);
        let number = self.points.len() as u32;
        self.points.push(Point { passed: *passed, faults, kinds });
        self.known.insert(*passed, number);
        number
    }

    fn kind(&mut self, name: &'static str) -> u64 {
        let i = self.kinds.iter().position(|k| *k == name).unwrap_or_else(|| {
            self.kinds.push(name);
            self.kinds.len() - 1
        });
        // There are about twenty kinds; a sixty-fifth would share its bit, and be on with it.
        1 << (i % 64)
    }

    /// The points that the scenario passes by itself.
    pub fn points(&self) -> usize {
        self.first.len()
    }

    /// The plan of this seed.
    pub fn draw(&mut self, seed: u64) -> Plan {
        let names = Fnv::new()
            .text(&self.prepared.scenario.name)
            .text(&self.prepared.policy.name)
            .text(&self.prepared.release.name);
        let mut rng = SimRng::new(names.text(&seed.to_string()).sum());
        let coins = rng.bits();
        // By name, so that a kind is on or off whichever point showed it first.
        let is_on = |kind: &str| Fnv::new().text(kind).text(&coins.to_string()).mixed() & 1 == 1;
        let mut plan = Plan::default();
        let mut used: Vec<u32> = Vec::new();
        let mut from = self.first.clone();
        for _ in 0..rng.between(0, MOST) {
            let on = self.kinds.iter().enumerate();
            let on = on.filter(|(_, k)| is_on(k)).fold(0, |all, (i, _)| all | 1 << (i % 64));
            let mut open: BTreeMap<(Process, &'static str), Vec<u32>> = BTreeMap::new();
            for number in from.iter().filter(|p| !used.contains(p)) {
                let point = &self.points[*number as usize];
                if point.kinds & on != 0 {
                    let place = (point.passed.process, point.passed.operation);
                    open.entry(place).or_default().push(*number);
                }
            }
            // First the operation: a user who polls a hundred times is no hundred places.
            let places: Vec<&Vec<u32>> = open.values().collect();
            if places.is_empty() {
                break;
            }
            let place = places[rng.index(places.len())];
            let number = place[rng.index(place.len())];
            let point = &self.points[number as usize];
            let faults: Vec<usize> =
                (0..point.faults.len()).filter(|i| point.faults[*i].0 & on != 0).collect();
            let choice = faults[rng.index(faults.len())];
            plan.faults.push(point.faults[choice].1.clone());
            used.push(number);
            if plan.faults.len() == 1 {
                from = self.after(number, choice, &plan);
            }
        }
        plan
    }

    fn after(&mut self, number: u32, choice: usize, plan: &Plan) -> Rc<[u32]> {
        let key = (number, choice as u64);
        if let Some(known) = self.after.get(&key) {
            return known.clone();
        }
        let at = self.points[number as usize].passed;
        let passed = self.passed(Some(plan));
        let from = passed.iter().position(|p| *p == at).map_or(0, |i| i + 1);
        let numbers = self.number(&passed[from..]);
        self.after.insert(key, numbers.clone());
        numbers
    }

    fn again(&self, binding: BindingKind, run: &Run<'_>, plan: &Plan) -> RunReport {
        let (seed, schedule, keep) = (run.seed, run.schedule, Keep::default());
        run::run_scheduled(&self.prepared, binding, seed, Some(plan), schedule, keep)
    }

    /// The smallest part of `plan` that still breaks `property` with this seed, found by leaving
    /// one fault away after the other, and the facts; `text` if nothing can be left away.
    pub(super) fn smallest(
        &self,
        binding: BindingKind,
        run: &Run<'_>,
        plan: &Plan,
        (property, text): (&str, String),
    ) -> (Vec<Fault>, String) {
        // What never struck changed nothing.
        let struck = plan.faults.iter().filter(|f| !run.report.not_struck.contains(f));
        let mut plan = Plan { faults: struck.cloned().collect() };
        let mut text = text;
        let mut i = 0;
        while i < plan.faults.len() {
            let mut less = plan.clone();
            less.faults.remove(i);
            let report = self.again(binding, run, &less);
            match report.violations.iter().find(|v| v.property.name == property) {
                Some(violation) => {
                    text = violation.to_string();
                    less.faults.retain(|f| !report.not_struck.contains(f));
                    plan = less;
                    // Another fault may strike now, or no longer be needed.
                    i = 0;
                }
                None => i += 1,
            }
        }
        (plan.faults, text)
    }
}
