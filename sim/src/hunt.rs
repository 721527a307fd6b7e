//! A search for what tells two clouds apart that differ in one decision, knowing nothing of it.
//!
//! It goes through the scenarios as they are, over seeds and over random orders of those with
//! several actors, then over every fault, and at depth 2 over every pair. What counts first is a
//! property that the changed cloud breaks and the unchanged one breaks nowhere in that scenario at
//! that depth. Only when no scenario has one, a property that a run with faults breaks with the change
//! and not without it, both runs having one history up to where the last fault strikes: else the change
//! has only shifted the point that the plan names, or, without faults, who comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::fault::Passed;
use castoff_ports::plan::{Fault, Plan};
use castoff_ports::schedule::Schedule;
use castoff_scenarios::Scenario;

use crate::explore::{Explore, Explored, Ground};
use crate::prepare::{PrepareError, Prepared};
use crate::properties::Property;
use crate::run::{self, BindingKind, Keep, RunReport};

/// A policy and what it runs against.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// The policy.
    pub policy: Policy,
    /// The release.
    pub release: Release,
}

/// A run that tells two clouds apart.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The broken property.
    pub property: &'static Property,
    /// Others that this run breaks, and that count as it does.
    pub also: Vec<&'static str>,
    /// The faults beside the scenario's own.
    pub plan: Vec<Fault>,
    /// The seed.
    pub seed: u64,
    /// The order of the steps.
    pub schedule: Schedule,
    /// What contradicts the property.
    pub facts: String,
    /// The unchanged cloud breaks this property in no run of the scenario at this depth.
    pub alone: bool,
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The first run that tells the clouds apart.
    pub noticed: Option<Noticed>,
    /// Runs of the changed cloud until then, or in all.
    pub tried: u64,
}

/// Where a search looks.
#[derive(Debug)]
pub struct Hunt {
    /// The scenarios.
    pub scenarios: Vec<Arc<Scenario>>,
    /// Faults at once, 0 to 2.
    pub depth: u8,
    /// Seeds of each scenario as it is.
    pub seeds: u64,
    /// What unchanged clouds break, by policy, release, scenario and depth: asked for every change.
    unchanged: Mutex<BTreeMap<Searched, Arc<Broken>>>,
}

/// Names of properties.
type Broken = BTreeSet<&'static str>;

/// Names of policy, release and scenario, and the depth.
type Searched = (String, String, String, u8);

/// Both clouds of a comparison, ready in one scenario.
struct Pair {
    base: Rc<Prepared>,
    changed: Rc<Prepared>,
}

fn run(of: &Rc<Prepared>, seed: u64, plan: &[Fault], schedule: &Schedule) -> RunReport {
    let plan = Plan { faults: plan.to_vec() };
    let extra = (!plan.is_empty()).then_some(&plan);
    let keep = Keep { points: extra.is_some(), ..Keep::default() };
    run::run_scheduled(of, BindingKind::Direct, seed, extra, schedule, keep)
}

/// What a run passed until the last fault of its plan struck; nothing of a run that none struck.
fn history<'a>(report: &'a RunReport, plan: &[Fault]) -> Option<&'a [Passed]> {
    let Some(last) = plan.last() else { return Some(&[]) };
    if report.struck.len() < plan.len() {
        return None;
    }
    let at = report.passed.iter().position(|p| {
        p.process == last.at.process
            && p.operation == last.at.operation
            && p.nth == last.at.nth
            && last.at.request.is_none_or(|r| r == p.request)
    })?;
    Some(&report.passed[..=at])
}

impl Pair {
    /// Whether the unchanged cloud, with the same history, keeps the property in this run.
    fn differs(&self, property: &Property, seed: u64, plan: &[Fault], order: &Schedule) -> bool {
        let before = run(&self.base, seed, plan, order);
        if before.violations.iter().any(|v| v.property.name == property.name) {
            return false;
        }
        let after = run(&self.changed, seed, plan, order);
        match (history(&before, plan), history(&after, plan)) {
            (Some(before), Some(after)) => before == after,
            (None, _) | (_, None) => false,
        }
    }

    fn noticed(
        &self,
        (property, facts): (&'static Property, &str),
        plan: &[Fault],
        seed: u64,
        order: &Schedule,
        alone: bool,
    ) -> Noticed {
        Noticed {
            scenario: self.changed.scenario.clone(),
            property,
            also: Vec::new(),
            plan: plan.to_vec(),
            seed,
            schedule: order.clone(),
            facts: facts.to_owned(),
            alone,
        }
    }
}

impl Pair {
    /// With everything else that its run breaks and the unchanged cloud breaks nowhere.
    fn all_of(&self, noticed: Noticed, known: &Broken) -> Noticed {
        let report = run(&self.changed, noticed.seed, &noticed.plan, &noticed.schedule);
        let others = report.violations.iter().map(|v| v.property.name);
        let also: Broken =
            others.filter(|n| *n != noticed.property.name && !known.contains(n)).collect();
        Noticed { also: also.into_iter().collect(), ..noticed }
    }
}

impl Hunt {
    /// A search of these scenarios.
    pub fn new(scenarios: Vec<Arc<Scenario>>, depth: u8, seeds: u64) -> Hunt {
        Hunt { scenarios, depth, seeds, unchanged: Mutex::default() }
    }

    /// Looks for the first run that tells the clouds apart.
    ///
    /// # Errors
    /// When a scenario cannot be prepared in the unchanged cloud.
    pub fn find(&self, base: &Cloud, changed: &Cloud) -> Result<Found, PrepareError> {
        let mut found = Found::default();
        for depth in 0..=self.depth {
            let mut weaker = None;
            for scenario in &self.scenarios {
                let base = Prepared::new(scenario, &base.policy, &base.release)?;
                let changed = match Prepared::new(scenario, &changed.policy, &changed.release) {
                    Ok(changed) => changed,
                    // Attaching alone fails with the change: that is noticed too, but by no
                    // property; the next scenario may tell which.
                    Err(PrepareError::NotReady { .. }) => continue,
                    Err(error) => return Err(error),
                };
                let pair = Pair { base, changed };
                found.noticed = if depth == 0 {
                    self.as_it_is(&pair, &mut found.tried)?
                } else {
                    self.with_faults(&pair, depth, &mut found.tried, &mut weaker)?
                };
                if found.noticed.is_some() {
                    return Ok(found);
                }
            }
            if weaker.is_some() {
                found.noticed = weaker;
                return Ok(found);
            }
        }
        Ok(found)
    }

    /// The orders in which a scenario as it is runs: random ones too when several act.
    fn orders(of: &Prepared) -> &'static [Schedule] {
        match of.scenario.actors.len() > 1 {
            true => &[Schedule::Fifo, Schedule::Random],
            false => &[Schedule::Fifo],
        }
    }

    /// The scenario over its seeds and orders.
    fn as_it_is(&self, pair: &Pair, tried: &mut u64) -> Result<Option<Noticed>, PrepareError> {
        let known = self.unchanged_breaks(&pair.base, 0, || {
            let all = Self::orders(&pair.base).iter();
            let all = all.flat_map(|order| (0..self.seeds).map(move |seed| (seed, order)));
            let broken = all.flat_map(|(seed, order)| run(&pair.base, seed, &[], order).violations);
            Ok(broken.map(|v| v.property.name).collect())
        })?;
        for order in Self::orders(&pair.changed) {
            for seed in 0..self.seeds {
                *tried += 1;
                for v in run(&pair.changed, seed, &[], order).violations {
                    let found = (v.property, v.facts.as_str());
                    if !known.contains(v.property.name) {
                        let noticed = pair.noticed(found, &[], seed, order, true);
                        return Ok(Some(pair.all_of(noticed, &known)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Every plan of exactly this many faults.
    fn with_faults(
        &self,
        pair: &Pair,
        depth: u8,
        tried: &mut u64,
        weaker: &mut Option<Noticed>,
    ) -> Result<Option<Noticed>, PrepareError> {
        let known = self.unchanged_breaks(&pair.base, depth, || {
            Ok(explore(&pair.base, depth)?.causes.by_property().into_keys().collect())
        })?;
        let explored = explore(&pair.changed, depth)?;
        let mut causes = explored.causes.all();
        causes.retain(|c| c.plan.len() == usize::from(depth));
        causes.sort_by_key(|c| c.tried);
        for cause in causes {
            let found = (cause.property, cause.facts.as_str());
            let fifo = &Schedule::Fifo;
            if !known.contains(cause.property.name) {
                *tried += cause.tried;
                let noticed = pair.noticed(found, &cause.plan, 0, fifo, true);
                return Ok(Some(pair.all_of(noticed, &known)));
            }
            if weaker.is_none() && pair.differs(cause.property, 0, &cause.plan, fifo) {
                *weaker = Some(pair.noticed(found, &cause.plan, 0, fifo, false));
            }
        }
        *tried += explored.total();
        Ok(None)
    }

    /// What an unchanged cloud breaks in one part of the search, found once.
    fn unchanged_breaks(
        &self,
        base: &Prepared,
        depth: u8,
        search: impl FnOnce() -> Result<Broken, PrepareError>,
    ) -> Result<Arc<Broken>, PrepareError> {
        let names = [&base.policy.name, &base.release.name, &base.scenario.name];
        let [policy, release, scenario] = names.map(Clone::clone);
        let key = (policy, release, scenario, depth);
        let known = || self.unchanged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broken) = known().get(&key) {
            return Ok(broken.clone());
        }
        let broken = Arc::new(search()?);
        known().insert(key, broken.clone());
        Ok(broken)
    }
}

fn explore(of: &Prepared, depth: u8) -> Result<Explored, PrepareError> {
    Explore {
        ground: Ground {
            scenario: of.scenario.clone(),
            policy: of.policy.clone(),
            release: of.release.clone(),
            seed: 0,
            depth,
        },
        jobs: 1,
        clock: &|| Duration::ZERO,
        progress: &|_| {},
        cancelled: &|| false,
    }
    .run()
}
