//! Exhaustive search: every fault at every point of a scenario, alone and in pairs, no sampling.
//!
//! The points of a second fault are those that the run with the first one passes after it has
//! struck, so retries, rollbacks and recovery are struck too. A pair is thus tried in the order in
//! which its faults strike, and each once.
//!
//! A broken property is put down to the smallest plan that breaks it: a pair that breaks what one
//! of its faults breaks alone is counted with that fault; what the scenario breaks without any
//! further fault is counted with the scenario.

mod causes;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::fault::Passed;
use castoff_ports::fault_space::faults_at;
use castoff_ports::plan::{Fault, Plan};
use castoff_scenarios::{End, Scenario};

use crate::exemptions::all_exempt;
use crate::parallel::share;
use crate::prepare::{PrepareError, Prepared};
use crate::run::{self, BindingKind, Keep, RunReport};

pub use causes::{Broken, Cause, Causes};

/// What is searched.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The scenario, with faults of its own.
    pub scenario: Arc<Scenario>,
    /// The policy.
    pub policy: Policy,
    /// The release.
    pub release: Release,
    /// The seed of every run.
    pub seed: u64,
    /// Faults at once, from 1.
    pub depth: u8,
}

/// How a search is carried out.
pub struct Explore<'a> {
    /// What is searched.
    pub ground: Ground,
    /// Threads.
    pub jobs: usize,
    /// A clock for `wall`: it is only reported.
    pub clock: &'a (dyn Fn() -> Duration + Sync),
    /// Told how many plans are done.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Asked between first faults whether to stop early.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Plans tried, by how many faults they have: index 0 is the scenario alone.
    pub plans: Vec<u64>,
    /// Points that the scenario passes alone.
    pub points: u64,
    /// Plans whose last fault never struck: neither a pass nor a failure.
    pub not_struck: u64,
    /// Plans by how the volume of the first detach stood, first and last.
    pub ends: BTreeMap<(End, End), u64>,
    /// Plans that broke at least one property.
    pub broke: u64,
    /// Those of them that broke only what is exempt.
    pub exempt: u64,
    /// What was broken, with the smallest plan of each cause.
    pub causes: Causes,
    /// Operations of all runs.
    pub calls: u64,
    /// By the caller's clock.
    pub wall: Duration,
    /// Stopped early.
    pub cancelled: bool,
}

impl Explored {
    /// All plans.
    pub fn total(&self) -> u64 {
        self.plans.iter().sum()
    }

    fn merge(&mut self, mut other: Explored) {
        other.causes.later_by(self.total());
        if self.plans.len() < other.plans.len() {
            self.plans.resize(other.plans.len(), 0);
        }
        for (mine, its) in self.plans.iter_mut().zip(other.plans) {
            *mine += its;
        }
        self.points += other.points;
        self.not_struck += other.not_struck;
        for (end, n) in other.ends {
            *self.ends.entry(end).or_default() += n;
        }
        self.broke += other.broke;
        self.exempt += other.exempt;
        self.causes.merge(other.causes);
        self.calls += other.calls;
        self.cancelled |= other.cancelled;
    }
}

/// A plan that was run: what it broke, and what can still go wrong after its last fault.
struct Node {
    plan: Vec<Fault>,
    broken: Broken,
    next: Vec<Passed>,
}

fn is_at(passed: &Passed, fault: &Fault) -> bool {
    passed.process == fault.at.process
        && passed.operation == fault.at.operation
        && passed.nth == fault.at.nth
        && fault.at.request == Some(passed.request)
}

/// One thread's means of trying plans.
struct Trier<'a> {
    prepared: Rc<Prepared>,
    ground: &'a Ground,
    seed: u64,
    depth: u8,
    out: Explored,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Trier<'_> {
    /// Tries `plan`; what it breaks beyond `known` is its own doing.
    fn try_plan(&mut self, faults: Vec<Fault>, known: Broken) -> Node {
        let plan = Plan { faults };
        let points = plan.faults.len() < usize::from(self.depth);
        let keep = Keep { trace: false, points };
        let extra = (!plan.faults.is_empty()).then_some(&plan);
        let report = run::run_keeping(&self.prepared, BindingKind::Direct, self.seed, extra, keep);
        self.count(&plan, &report);
        let mut broken = Broken::default();
        for violation in &report.violations {
            // The first violation of a property tells its story; the others follow from it.
            if !broken.has(violation.property) {
                let tried = self.out.total();
                self.out.causes.add(violation, &plan.faults, known, tried);
            }
            broken = broken.and(Broken::of(std::slice::from_ref(violation)));
        }
        // Points before the last fault belong to a plan with the faults in the other order.
        let last = plan.faults.last().and_then(|f| report.passed.iter().position(|p| is_at(p, f)));
        let from = last.map_or(0, |i| i + 1);
        let next = report.passed.into_iter().skip(from);
        Node { plan: plan.faults, broken, next: next.collect() }
    }

    fn count(&mut self, plan: &Plan, report: &RunReport) {
        let depth = plan.faults.len();
        if self.out.plans.len() <= depth {
            self.out.plans.resize(depth + 1, 0);
        }
        self.out.plans[depth] += 1;
        if plan.faults.last().is_some_and(|last| report.not_struck.contains(last)) {
            self.out.not_struck += 1;
        }
        *self.out.ends.entry((report.end, report.after_retry)).or_default() += 1;
        if !report.violations.is_empty() {
            let broken = report.violations.iter().map(|v| v.property.name);
            let Ground { policy, scenario, .. } = self.ground;
            let exempt = all_exempt(&policy.name, &scenario.name, broken, &plan.faults);
            self.out.broke += 1;
            self.out.exempt += u64::from(exempt);
        }
        self.out.calls += report.calls;
        (self.progress)(1);
    }

    /// Everything below a node, depth first.
    fn below(&mut self, node: &Node, known: Broken, singles: &BTreeMap<String, Broken>) {
        if node.plan.len() >= usize::from(self.depth) {
            return;
        }
        for passed in &node.next {
            for fault in faults_at(passed) {
                if node.plan.iter().any(|f| f.at == fault.at) {
                    continue;
                }
                let alone = singles.get(&fault.to_string()).copied().unwrap_or_default();
                let known = known.and(node.broken).and(alone);
                let mut faults = node.plan.clone();
                faults.push(fault);
                let child = self.try_plan(faults, known);
                self.below(&child, known, singles);
            }
        }
    }
}

impl Explore<'_> {
    /// Searches everything.
    ///
    /// # Errors
    /// When the scenario cannot be prepared.
    pub fn run(&self) -> Result<Explored, PrepareError> {
        let begin = (self.clock)();
        let mut all = self.all()?;
        all.wall = (self.clock)().saturating_sub(begin);
        Ok(all)
    }

    fn trier(&self) -> Result<Trier<'_>, PrepareError> {
        let Ground { scenario, policy, release, seed, depth } = &self.ground;
        let prepared = Prepared::new(scenario, policy, release)?;
        let (seed, depth) = (*seed, *depth);
        let ground = &self.ground;
        Ok(Trier {
            prepared,
            ground,
            seed,
            depth,
            out: Explored::default(),
            progress: self.progress,
        })
    }

    fn go_on(&self, trier: &mut Trier<'_>) -> bool {
        trier.out.cancelled |= (self.cancelled)();
        !trier.out.cancelled
    }

    fn all(&self) -> Result<Explored, PrepareError> {
        let mut trier = self.trier()?;
        let root = trier.try_plan(Vec::new(), Broken::default());
        let mut all = std::mem::take(&mut trier.out);
        all.points = root.next.len() as u64;
        let firsts: Vec<Fault> = root.next.iter().flat_map(faults_at).collect();
        let singles = share(
            self.jobs,
            firsts.len(),
            || self.trier(),
            |trier, i| {
                let node =
                    self.go_on(trier).then(|| trier.try_plan(vec![firsts[i].clone()], root.broken));
                (node, std::mem::take(&mut trier.out))
            },
        )?;
        let (nodes, parts): (Vec<Option<Node>>, Vec<Explored>) = singles.into_iter().unzip();
        for part in parts {
            all.merge(part);
        }
        let table: BTreeMap<String, Broken> = firsts
            .iter()
            .zip(&nodes)
            .filter_map(|(f, n)| n.as_ref().map(|n| (f.to_string(), n.broken)))
            .collect();
        if self.ground.depth > 1 {
            let below = share(
                self.jobs,
                nodes.len(),
                || self.trier(),
                |trier, i| {
                    if let Some(node) = nodes[i].as_ref().filter(|_| self.go_on(trier)) {
                        trier.below(node, root.broken, &table);
                    }
                    std::mem::take(&mut trier.out)
                },
            )?;
            for part in below {
                all.merge(part);
            }
        }
        Ok(all)
    }
}
