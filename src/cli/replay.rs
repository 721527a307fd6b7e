//! `castoff replay`: one identity again, with its trace.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use castoff_ports::plan::Plan;
use castoff_ports::schedule::Schedule;
use castoff_ports::trace::{self, Identity};
use castoff_scenarios::POLICIES;
use castoff_scenarios::check::check_plan;
use castoff_sim::campaign::{Campaign, Cell};
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{self as one, BindingKind, Keep};

use super::{Exit, Problem, ReplayArgs, ReplayBinding, ReplayOf, TraceForm, select};

/// One run, by names.
pub(super) struct Asked {
    pub(super) scenario: String,
    pub(super) policy: String,
    pub(super) release: Option<String>,
    pub(super) binding: BindingKind,
    pub(super) seed: u64,
    pub(super) plan: Option<Plan>,
    pub(super) schedule: Schedule,
}

/// Runs it again and prints the trace.
pub(super) fn replay(args: &ReplayArgs) -> Result<Exit, Problem> {
    let asked = asked(&args.of)?;
    let scenario = select::scenario(&asked.scenario)?;
    let policy = select::policy(&asked.policy)?;
    let release = select::release(asked.release.as_deref(), &policy)?;
    if asked.binding == BindingKind::Network {
        select::schedule_of_network(&asked.schedule)?;
    }
    if matches!(asked.schedule, Schedule::Exhaustive { .. }) {
        return Err(Problem::usage(
            format!("{} is a search, not one run", asked.schedule),
            "give the order:… that `castoff run --schedule exhaustive` shows with its finding",
        ));
    }
    let prepared = Prepared::new(&scenario, &policy, &release)?;
    let keep = Keep { trace: true, points: false };
    let (binding, seed, plan) = (asked.binding, asked.seed, asked.plan.as_ref());
    let report = one::run_scheduled(&prepared, binding, seed, plan, &asked.schedule, keep);
    let identity = Identity {
        schedule: asked.schedule.clone(),
        ..one::identity(&prepared, binding, seed, plan)
    };
    let text = match args.trace {
        TraceForm::Text => trace::to_text(&identity, &report.events),
        TraceForm::Jsonl => trace::to_jsonl(&identity, &report.events),
    };
    // A reader who went away (head, less) has seen enough.
    let _ = write!(anstream::stdout(), "{text}");
    if let Some(plan) = &asked.plan {
        // Expectations are of the scenario's own plan: with more faults every violation counts,
        // and a fault of the scenario may no longer get its turn.
        let missed = report.not_struck.iter().filter(|f| plan.faults.contains(f));
        let points: Vec<String> = missed
            .map(|f| format!("{} call {} of {}", f.at.process, f.at.nth, f.at.operation))
            .collect();
        if !points.is_empty() {
            return Err(Problem::usage(
                format!("the plan never struck: {}", points.join(", ")),
                "the trace above shows which operations were called, by whom and how often",
            ));
        }
        return Ok(Exit::of(report.violations.iter().map(|v| v.property.class).min()));
    }
    let cell = Cell {
        scenario,
        binding: asked.binding,
        policy,
        release,
        seeds: asked.seed..asked.seed + 1,
        schedule: asked.schedule,
    };
    Ok(Exit::of(Campaign::judge(&cell, asked.seed, &report)))
}

/// The run that the arguments name; its plan is one that can be meant.
pub(super) fn asked(args: &ReplayOf) -> Result<Asked, Problem> {
    if args.file.is_none() && args.scenario.is_none() {
        return Err(Problem::usage(
            "nothing to replay",
            "give FILE, an identity that `castoff run --out` wrote, or --scenario with --policy, \
             --binding and --seed; `castoff replay --help` says more",
        ));
    }
    let asked = named(args)?;
    if let Some(plan) = &asked.plan {
        check(plan)?;
    }
    Ok(asked)
}

fn named(args: &ReplayOf) -> Result<Asked, Problem> {
    let mut plan = args.plan.as_deref().map(read_plan).transpose()?;
    if !args.fault.is_empty() {
        plan.get_or_insert_default().faults.extend(args.fault.iter().cloned());
    }
    let Some(file) = &args.file else {
        return Ok(Asked {
            scenario: args.scenario.clone().unwrap_or_default(),
            policy: args.policy.clone(),
            release: args.release.clone(),
            binding: match args.binding {
                ReplayBinding::Direct => BindingKind::Direct,
                ReplayBinding::Network => BindingKind::Network,
            },
            seed: args.seed,
            plan,
            schedule: args.schedule.clone(),
        });
    };
    let identity: Identity = read_json(file, "an identity that `castoff run --out` wrote")?;
    let binding =
        BindingKind::ALL.into_iter().find(|b| b.as_str() == identity.binding).ok_or_else(|| {
            Problem::usage(
                format!("{}: unknown binding {:?}", file.display(), identity.binding),
                "the bindings that replay are direct and network",
            )
        })?;
    Ok(Asked {
        scenario: identity.scenario,
        policy: identity.policy,
        release: Some(identity.release),
        binding,
        seed: identity.seed,
        plan: identity.plan,
        schedule: identity.schedule,
    })
}

/// A plan is checked as a scenario's faults are.
fn check(plan: &Plan) -> Result<(), Problem> {
    let problems = check_plan(plan, POLICIES);
    if problems.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let mut help: Vec<&str> = problems.iter().filter_map(|p| p.help.as_deref()).collect();
    help.dedup();
    if help.is_empty() {
        help.push(PLAN);
    }
    Err(Problem::usage(format!("the plan cannot be meant: {}", told.join("; ")), help.join("\n")))
}

/// What a plan looks like.
const PLAN: &str = "a plan: {\"faults\": [{\"at\": {\"process\": \"nova-compute\", \"operation\": \
    \"host::FlushBufs\"}, \"strike\": {\"kind\": \"reply-lost\"}}]}";

fn read_plan(path: &Path) -> Result<Plan, Problem> {
    read_json(path, PLAN)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path, expected: &str) -> Result<T, Problem> {
    let text = fs::read_to_string(path).map_err(|e| {
        Problem::usage(format!("cannot read {}: {e}", path.display()), format!("give {expected}"))
    })?;
    serde_json::from_str(&text).map_err(|e| {
        Problem::usage(format!("{}: {e}", path.display()), format!("expected {expected}"))
    })
}
