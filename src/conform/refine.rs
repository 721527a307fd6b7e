//! Refinement: is what happened on the host something that the model allows?
//!
//! A detach on the real binding and the same detach on `direct` are traces of the same pipeline.
//! They are compared call by call: the same operations in the same order, the same outcomes, and
//! each answer after a time that the model has too. What a host chooses (UUIDs, disks, sessions,
//! addresses) is named by the order in which it comes. Where the two differ either one of them is
//! wrong, or there is a reason: [`EXPLAINED`] has the reasons, as data.

mod names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::qemu::Machine;
use castoff_ports::trace::{Event, What};
use castoff_ports::{RequestId, SimTime};
use castoff_scenarios::scenario::Actor;
use castoff_scenarios::{Action, Scenario};
use castoff_sim::prepare::{PrepareError, Prepared};
use castoff_sim::run::{self, BindingKind};

use super::record::{Difference, Refinement};
use names::Names;

/// A difference that is as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// The operation.
    pub operation: &'static str,
    /// What the host's side says, in part.
    pub real: &'static str,
    /// What the model's side says, in part; empty: it has no such call.
    pub model: &'static str,
    /// Why.
    pub why: &'static str,
}

impl Explained {
    fn covers(&self, real: &str, model: &str) -> bool {
        let in_model = match self.model {
            "" => model.is_empty(),
            part => model.contains(part),
        };
        real.contains(self.real) && in_model
    }
}

/// All differences that have a reason.
pub const EXPLAINED: [Explained; 4] = [
    Explained {
        operation: "host::MultipathdShowStatus",
        real: "error receiving packet",
        model: "exit 1",
        why: "an older multipathd says so where a newer one says nothing; os-brick takes either for one that does \
              not run (LP 1789699)",
    },
    Explained {
        operation: "host::MultipathdShowStatus",
        real: "exit 127",
        model: "exit 1",
        why: "the host has no multipathd at all, the model one that does not run: os-brick uses one path for both",
    },
    Explained {
        operation: "host::RealPath",
        real: "/dev/disk/by-path/<link1>: /dev/<disk1>",
        model: "",
        why: "udev takes the by-path link away some time after the disk has gone, the model with it: os-brick 1.12 \
              looks once more",
    },
    Explained {
        operation: "runtime::Sleep",
        real: "sleep 2 s",
        model: "",
        why: "the pause of os-brick 1.12 before it looks at udev's link once more",
    },
];

/// One call and its answer.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    operation: &'static str,
    asked: String,
    answered: String,
    took: Duration,
}

/// What a detach is made of: nova-api's part until its answer, and all of nova-compute's.
///
/// What the user asks afterwards, and what a model says of its own state, is not part of it.
pub fn detach_of(events: &[Event], request: RequestId) -> Vec<Event> {
    let mut answered = false;
    let mut kept = Vec::new();
    for event in events.iter().filter(|e| e.request == Some(request)) {
        if let What::Reply { operation: "nova::DeleteVolumeAttachment", .. } = event.what {
            answered = true;
        }
        let is_call = matches!(event.what, What::Call { .. } | What::Reply { .. });
        let is_part = match event.who {
            "nova-api" => !answered,
            who => who == "nova-compute",
        };
        if is_call && is_part {
            kept.push(event.clone());
        }
    }
    kept
}

/// Calls with their answers, by process; an answer belongs to the last call of its operation.
fn steps(events: &[Event]) -> Vec<Step> {
    /// Steps with the times of their calls, and the names that they used.
    type OfProcess = (Vec<(Step, SimTime)>, Names);
    let mut by_process: BTreeMap<&str, OfProcess> = BTreeMap::new();
    for event in events {
        let (steps, names) = by_process.entry(event.who).or_default();
        match &event.what {
            What::Call { operation, text, .. } => {
                let step = Step {
                    operation,
                    asked: names.normal(text),
                    answered: "no answer".to_owned(),
                    took: Duration::ZERO,
                };
                steps.push((step, event.at));
            }
            What::Reply { operation, text, ok, .. } => {
                let open = steps
                    .iter_mut()
                    .rev()
                    .find(|(s, _)| s.operation == *operation && s.answered == "no answer");
                if let Some((step, called)) = open {
                    let failed = if *ok { "" } else { "refused: " };
                    // Its answer is a map's name, and nothing else.
                    let is_map = *operation == "host::DmName" && *ok;
                    let text = if is_map { names.map(text) } else { names.normal(text) };
                    step.answered = format!("{failed}{text}");
                    step.took = event.at.since(*called);
                }
            }
            What::State { .. } | What::Note { .. } | What::Fault { .. } | What::Verdict { .. } => {}
        }
    }
    // nova-api before nova-compute, as the request goes.
    let by_name = by_process.into_iter();
    by_name.flat_map(|(_, (steps, _))| steps.into_iter().map(|(step, _)| step)).collect()
}

/// Compares a detach on the host with the same one on the model: operations and outcomes.
///
/// Both are whole traces of one detach ([`detach_of`]).
pub fn refine(real: &[Event], model: &[Event]) -> Refinement {
    compare(&steps(real), &steps(model), &BTreeMap::new())
}

/// How long each operation may take: shortest and longest.
type Ranges = BTreeMap<&'static str, (Duration, Duration)>;

fn compare(real: &[Step], model: &[Step], ranges: &Ranges) -> Refinement {
    let mut refinement = Refinement::default();
    let mut number = 0;
    for pair in aligned(real, model) {
        number += 1;
        let (operation, real, model) = match pair {
            (Some(r), Some(m)) => {
                refinement.compared += 1;
                let late = out_of_range(r, ranges);
                if r.asked == m.asked && r.answered == m.answered {
                    let Some(late) = late else { continue };
                    (r.operation, late.0, late.1)
                } else if r.asked == m.asked {
                    (r.operation, r.answered.clone(), m.answered.clone())
                } else {
                    let both = |s: &Step| format!("{}: {}", s.asked, s.answered);
                    (r.operation, both(r), both(m))
                }
            }
            (Some(r), None) => (r.operation, format!("{}: {}", r.asked, r.answered), String::new()),
            (None, Some(m)) => (m.operation, String::new(), format!("{}: {}", m.asked, m.answered)),
            (None, None) => continue,
        };
        let why = EXPLAINED.iter().find(|e| e.operation == operation && e.covers(&real, &model));
        refinement.differences.push(Difference {
            at: format!("{number} {operation}"),
            explained: why.map(|e| e.why.to_owned()),
            real,
            model,
        });
    }
    // A pause has its reason from the look that comes after it.
    let differences = &mut refinement.differences;
    let looks = |d: &Difference| d.explained.is_some() && d.at.ends_with("host::RealPath");
    if !differences.iter().any(looks) {
        let pauses = differences.iter_mut().filter(|d| d.at.ends_with("runtime::Sleep"));
        pauses.for_each(|d| d.explained = None);
    }
    refinement
}

/// A host is noisier than n runs of a model: so much shorter, so much longer is still its range.
const SHORTER: u32 = 4;
const LONGER: u32 = 4;
/// A busy machine's scheduling.
const SLACK: Duration = Duration::from_millis(100);

/// What the host took and what the model may take, when that is another time.
fn out_of_range(step: &Step, ranges: &Ranges) -> Option<(String, String)> {
    // The control plane of a real run is the models without their latencies.
    let on_host = ["libvirt::", "iscsi::", "host::"].iter().any(|s| step.operation.starts_with(s));
    let (shortest, longest) = *ranges.get(step.operation).filter(|_| on_host)?;
    let inside = step.took + SLACK >= shortest / SHORTER && step.took <= longest * LONGER + SLACK;
    let seconds = |d: Duration| format!("{:.3} s", d.as_secs_f64());
    let range = || format!("{} to {}", seconds(shortest), seconds(longest));
    (!inside).then(|| (seconds(step.took), range()))
}

/// The pairing of two sequences with the fewest differences, in which only calls of one operation
/// make a pair.
fn aligned<'a>(real: &'a [Step], model: &'a [Step]) -> Vec<(Option<&'a Step>, Option<&'a Step>)> {
    let pair_cost = |r: &Step, m: &Step| {
        let (asked, answered) = (r.asked != m.asked, r.answered != m.answered);
        (r.operation == m.operation).then_some(u32::from(asked) + u32::from(answered))
    };
    // A call that one side lacks costs more than a pair that differs in all.
    const ALONE: u32 = 3;
    let (rows, columns) = (real.len() + 1, model.len() + 1);
    let mut cost = vec![0_u32; rows * columns];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            let mut best = if i == real.len() && j == model.len() { 0 } else { u32::MAX };
            if i < real.len() {
                best = best.min(cost[(i + 1) * columns + j].saturating_add(ALONE));
            }
            if j < model.len() {
                best = best.min(cost[i * columns + j + 1].saturating_add(ALONE));
            }
            if i < real.len()
                && j < model.len()
                && let Some(pair) = pair_cost(&real[i], &model[j])
            {
                best = best.min(cost[(i + 1) * columns + j + 1].saturating_add(pair));
            }
            cost[i * columns + j] = best;
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < real.len() || j < model.len() {
        let here = cost[i * columns + j];
        if i < real.len()
            && j < model.len()
            && let Some(pair) = pair_cost(&real[i], &model[j])
            && here == cost[(i + 1) * columns + j + 1].saturating_add(pair)
        {
            pairs.push((Some(&real[i]), Some(&model[j])));
            (i, j) = (i + 1, j + 1);
        } else if i < real.len() && here == cost[(i + 1) * columns + j].saturating_add(ALONE) {
            pairs.push((Some(&real[i]), None));
            i += 1;
        } else {
            pairs.push((None, model.get(j)));
            j += 1;
        }
    }
    pairs
}

/// A case on the models: its trace, and how long each operation takes over many seeds.
pub struct Model {
    /// A run a seed: two logins at once may end in either order.
    runs: Vec<Vec<Step>>,
    ranges: Ranges,
}

/// Seeds that a model's ranges are taken from.
const SEEDS: u64 = 40;

impl Model {
    /// The first detach of this scenario on `direct`, after an attach in the same processes, as a
    /// case on the host has it: a token that the attach got serves the detach too.
    ///
    /// # Errors
    /// When policy and release do not work together, or the starting state is not reached.
    pub fn of(
        scenario: &Scenario,
        policy: &Policy,
        release: &Release,
    ) -> Result<Model, PrepareError> {
        let scenario = Arc::new(with_attach(scenario));
        let prepared = Prepared::new(&scenario, policy, release)?;
        let mut model = Model { runs: Vec::new(), ranges: BTreeMap::new() };
        for seed in 0..SEEDS {
            let report = run::run(&prepared, BindingKind::Direct, seed, None, true);
            let run = steps(&detach_of(&report.events, DETACH));
            for step in &run {
                let range = model.ranges.entry(step.operation).or_insert((step.took, step.took));
                *range = (range.0.min(step.took), range.1.max(step.took));
            }
            model.runs.push(run);
        }
        Ok(model)
    }

    /// Compares the trace of a detach on the host ([`detach_of`]) with this: operations, outcomes
    /// and times.
    pub fn refine(&self, real: &[Event]) -> Refinement {
        let real = steps(real);
        let each = self.runs.iter().map(|run| compare(&real, run, &self.ranges));
        // It is enough that one run of the model is like it.
        each.min_by_key(|r| r.differences.len()).unwrap_or_default()
    }
}

/// What a healthy detach was made on.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// Two paths and a map, instead of one path.
    pub two_paths: bool,
    /// The guest's machine type; the release's if absent.
    pub machine: Option<Machine>,
    /// The profile of the host's times, a kept one or a file; without one times are not compared.
    pub timing: Option<&'a str>,
}

/// Refines a healthy detach under this policy: one that followed an attach in the same processes.
///
/// `events` is the trace of the whole case, `request` the detach's. The control plane is the
/// policy's own release, the host what the hosts of today are.
///
/// # Errors
/// When there is no such profile.
pub fn healthy(
    events: &[Event],
    request: RequestId,
    made: Made<'_>,
    policy: &Policy,
) -> Result<Refinement, PrepareError> {
    let name = if made.two_paths { "healthy-multipath" } else { "healthy" };
    let none = || PrepareError::Incompatible {
        policy: policy.name.clone(),
        release: policy.default_release.clone(),
        reason: format!("there is no scenario {name} or no such release"),
    };
    let mut scenario = castoff_scenarios::named(name).ok_or_else(none)?;
    scenario.host.machine = made.machine;
    let today = Release::named("2026.1").ok_or_else(none)?;
    let release = Release {
        timing: made.timing.map(str::to_owned),
        qemu: today.qemu,
        detach_blocks: today.detach_blocks,
        device_missing_error: today.device_missing_error,
        luns_announced: today.luns_announced,
        ..Release::named(&policy.default_release).ok_or_else(none)?
    };
    let mut model = Model::of(&scenario, policy, &release)?;
    if made.timing.is_none() {
        model.ranges.clear();
    }
    let refined = model.refine(&detach_of(events, request));
    Ok(Refinement { times: made.timing.map(str::to_owned), ..refined })
}

/// The detach's request in [`with_attach`].
const DETACH: RequestId = RequestId(2);
/// The detach comes so long after the attach; a token outlives it.
const LATER_MS: u64 = 60_000;

/// The scenario's first detach, behind an attach of its volume.
fn with_attach(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    let detach = scenario.actors.iter().find(|a| a.action == Action::Detach).cloned();
    if let Some(detach) = detach {
        let attach = Actor { action: Action::Attach, at_ms: 0, ..detach.clone() };
        for volume in scenario.volumes.iter_mut().filter(|v| v.name == detach.volume) {
            volume.attached = false;
        }
        scenario.actors = vec![attach, Actor { at_ms: LATER_MS, ..detach }];
    }
    scenario
}

#[cfg(test)]
mod tests;
