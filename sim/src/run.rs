//! One run, from its identity to its report: the same for both simulated bindings.
//!
//! First all actors play until nothing moves. Then the faults stop: guests answer, devices go,
//! dead processes start, and if the volume is not detached, the same user tries once more. Safety
//! is judged all along; liveness, agreement and cleanliness at the end.

mod engine;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use castoff_model::{Release, World};
use castoff_pipeline::policy::Policy;
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::fault::Passed;
use castoff_ports::novadb::VmState;
use castoff_ports::plan::{Fault, Plan};
use castoff_ports::schedule::Schedule;
use castoff_ports::trace::{Event, Identity, Trace, What};
use castoff_ports::{InstanceId, RequestId, VolumeId};
use castoff_scenarios::{Action, End, Scenario};
use serde::{Deserialize, Serialize};

use crate::actors::{Answer, Script};
use crate::direct::{Choice, Direct};
use crate::network::Network;
use crate::observe::Observer;
use crate::prepare::{Prepared, RESUME, RETRY, server_id, volume_id};
use crate::properties::{Checker, Violation, Watched};
use crate::rng::{GENERATOR, SimRng};
use engine::Engine;

/// A simulated binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BindingKind {
    /// Models in process, on virtual time.
    Direct,
    /// Models behind HTTP, a broker and links, on turmoil.
    Network,
}

impl BindingKind {
    /// Both.
    pub const ALL: [BindingKind; 2] = [BindingKind::Direct, BindingKind::Network];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            BindingKind::Direct => "direct",
            BindingKind::Network => "network",
        }
    }
}

/// A phase that lasts longer than this has not become quiet.
const PHASE_LIMIT: Duration = Duration::from_secs(3600);

/// What a run came to.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// How the volume of the first actor stood at the first quiet.
    pub end: End,
    /// The same at the end.
    pub after_retry: End,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Nova's answers, by request.
    pub answers: Vec<Answer>,
    /// Planned faults that struck.
    pub struck: Vec<Fault>,
    /// Planned faults that never did.
    pub not_struck: Vec<Fault>,
    /// Simulated time from the first actor to the end.
    pub simulated: Duration,
    /// Operations called.
    pub calls: u64,
    /// The points that were passed until the faults stopped, if they were asked for.
    pub passed: Vec<Passed>,
    /// What the schedule chose at each choice point; empty by virtual time.
    pub choices: Vec<Choice>,
    /// The trace, if one was asked for.
    pub events: Vec<Event>,
}

/// What is kept of a run beside its verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The trace.
    pub trace: bool,
    /// The points that it passes.
    pub points: bool,
}

/// The identity of a run of `prepared`.
pub fn identity(
    prepared: &Prepared,
    binding: BindingKind,
    seed: u64,
    extra: Option<&Plan>,
) -> Identity {
    let Prepared { scenario, policy, release, .. } = prepared;
    identity_of(scenario, policy, release, binding, seed, extra)
}

/// The identity of a run that has not been prepared.
pub fn identity_of(
    scenario: &Scenario,
    policy: &Policy,
    release: &Release,
    binding: BindingKind,
    seed: u64,
    extra: Option<&Plan>,
) -> Identity {
    Identity {
        castoff: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: scenario.argument().to_owned(),
        policy: policy.name.clone(),
        release: release.name.clone(),
        binding: binding.as_str().to_owned(),
        seed,
        plan: extra.cloned(),
        schedule: Schedule::Fifo,
        generator: GENERATOR.to_owned(),
    }
}

/// Runs `prepared` once. `extra` adds faults to those of the scenario.
pub fn run(
    prepared: &Rc<Prepared>,
    binding: BindingKind,
    seed: u64,
    extra: Option<&Plan>,
    traced: bool,
) -> RunReport {
    run_keeping(prepared, binding, seed, extra, Keep { trace: traced, points: false })
}

/// The same, and says what to keep.
pub fn run_keeping(
    prepared: &Rc<Prepared>,
    binding: BindingKind,
    seed: u64,
    extra: Option<&Plan>,
    keep: Keep,
) -> RunReport {
    run_scheduled(prepared, binding, seed, extra, &Schedule::Fifo, keep)
}

/// The same in the order of a schedule; on `network` the order is turmoil's.
pub fn run_scheduled(
    prepared: &Rc<Prepared>,
    binding: BindingKind,
    seed: u64,
    extra: Option<&Plan>,
    schedule: &Schedule,
    keep: Keep,
) -> RunReport {
    let trace = if keep.trace { Trace::on(prepared.start) } else { Trace::off() };
    let mut plan = Plan::default();
    let all = prepared.scenario.faults.iter().chain(extra.into_iter().flat_map(|p| &p.faults));
    plan.faults.extend(all.filter(|f| f.applies_to(prepared.policy.base())).cloned());
    let scripts = scripts(prepared);
    let observer = Observer::new(trace.clone(), Checker::new(watched(&scripts)));
    let mut rng = SimRng::new(seed);
    let world = prepared.world(&mut rng);
    let mut report = match binding {
        BindingKind::Direct => {
            let mut direct = Direct::keeping(
                prepared,
                world,
                observer,
                &plan,
                rng.bits(),
                prepared.start,
                keep.points,
            )
            .following(schedule);
            direct.start_periods(&prepared.policy);
            let mut report = play(&mut direct, prepared, scripts);
            report.choices = direct.core().choices();
            report
        }
        BindingKind::Network => {
            let mut network = Network::new(
                prepared,
                world,
                observer,
                &plan,
                rng.bits(),
                prepared.start,
                keep.points,
            );
            play(&mut network, prepared, scripts)
        }
    };
    report.events = trace.take();
    report
}

fn scripts(prepared: &Prepared) -> Vec<Script> {
    let actors = prepared.scenario.actors.iter().enumerate();
    actors
        .map(|(i, actor)| Script {
            request: RequestId(i as u32 + 1),
            action: actor.action,
            server: server_id(&prepared.scenario, prepared.scenario.server_of(actor)),
            volume: volume_id(&prepared.scenario, &actor.volume),
            user: prepared.users.of(actor).clone(),
            by: actor.by,
            microversion: prepared.microversion_of(actor),
            at: Duration::from_millis(actor.at_ms),
        })
        .collect()
}

fn watched(scripts: &[Script]) -> Vec<Watched> {
    let detaches = scripts.iter().filter(|s| s.action == Action::Detach);
    detaches
        .map(|s| Watched {
            request: s.request,
            instance: s.server.clone(),
            volume: s.volume.clone(),
            by: s.by,
            accepted: None,
        })
        .collect()
}

fn play(engine: &mut impl Engine, prepared: &Prepared, scripts: Vec<Script>) -> RunReport {
    let answers: Rc<RefCell<Vec<Answer>>> = Rc::default();
    let first = scripts.iter().find(|s| s.action == Action::Detach).or(scripts.first()).cloned();
    for script in scripts {
        start(engine, script, &answers);
    }
    let limit = prepared.start + PHASE_LIMIT;
    engine.run_until_quiet(limit);
    {
        let world = engine.world().borrow();
        let mut observer = engine.observer().borrow_mut();
        observer.struck(&engine.faults().0);
        observer.settled(&world, engine.now());
    }
    let volume = first.as_ref().map(|s| s.volume.clone());
    let server = first.as_ref().map(|s| s.server.clone());
    let judged = volume.as_ref().zip(server.as_ref());
    let end = end_of(&engine.world().borrow(), judged);
    verdict(engine, format!("quiet: {}", describe_end(&engine.world().borrow(), volume.as_ref())));

    // Healing forgets what has not struck yet.
    let (struck, not_struck) = engine.faults();
    engine.heal();
    let limit = engine.now() + PHASE_LIMIT;
    engine.run_until_quiet(limit);
    {
        let world = engine.world().borrow();
        engine.observer().borrow_mut().healed(&world, engine.now());
    }
    let wants_detached = first.as_ref().is_some_and(|s| s.action == Action::Detach);
    if let Some(first) = first
        && wants_detached
        && end != End::Detached
    {
        verdict(engine, "faults stop; the user tries once more".to_owned());
        if is_suspended(&engine.world().borrow(), &first.server) {
            verdict(engine, "the user resumes the server first".to_owned());
            let request = RequestId(first.request.0 + RESUME);
            let resume =
                Script { request, action: Action::Resume, at: Duration::ZERO, ..first.clone() };
            start(engine, resume, &answers);
            engine.run_until_quiet(limit);
        }
        let request = RequestId(first.request.0 + RETRY);
        {
            let world = engine.world().borrow();
            engine.observer().borrow_mut().retries(&world, first.request, request);
        }
        start(engine, Script { request, at: Duration::ZERO, ..first }, &answers);
        engine.run_until_quiet(limit);
        verdict(
            engine,
            format!("quiet: {}", describe_end(&engine.world().borrow(), volume.as_ref())),
        );
    }
    let after_retry = end_of(&engine.world().borrow(), judged);
    {
        let world = engine.world().borrow();
        engine.observer().borrow_mut().quiescent(&world, engine.now());
    }
    RunReport {
        end,
        after_retry,
        violations: engine.observer().borrow().violations().to_vec(),
        answers: answers.take(),
        struck,
        not_struck,
        simulated: engine.now().since(prepared.start),
        calls: engine.calls(),
        passed: engine.passed(),
        choices: Vec::new(),
        events: Vec::new(),
    }
}

/// A detach from a server that is suspended is refused with 409 (nova bug 1240922).
fn is_suspended(world: &World, server: &InstanceId) -> bool {
    let mut servers = world.novadb.instances().iter();
    servers.any(|i| i.uuid == *server && i.vm_state == VmState::Suspended && i.task_state.is_none())
}

fn start(engine: &impl Engine, script: Script, answers: &Rc<RefCell<Vec<Answer>>>) {
    let port = engine.client_port(script.request);
    let (answers, hears, restart) = (answers.clone(), engine.hears(), engine.restarter());
    let tell = move |answer| {
        hears(&answer);
        answers.borrow_mut().push(answer);
    };
    let play = script.play(port, tell, restart);
    engine.spawn_client(Box::pin(play));
}

fn verdict(engine: &impl Engine, text: String) {
    engine.observer().borrow().push(engine.now(), "castoff", None, What::Verdict { text });
}

/// How a volume stands; a multiattach one as far as this server is concerned.
pub(crate) fn end_of(world: &World, volume: Option<(&VolumeId, &InstanceId)>) -> End {
    let Some((volume, server)) = volume else { return End::Other };
    let Some(row) = world.cinder.volume(volume) else { return End::Other };
    let here = |other: &InstanceId| !row.multiattach || other == server;
    let mut bdms = world.novadb.live_bdms().iter();
    let bdm = bdms.any(|b| b.volume_id == *volume && here(&b.instance_uuid));
    let rows = || world.cinder.live_attachments().filter(|a| a.volume_id == *volume);
    let attached = rows().any(|a| here(&a.instance));
    let elsewhere = rows().any(|a| !here(&a.instance));
    let mut disks = world.hypervisor.live_disks();
    let plugged = disks.any(|d| d.volume == *volume && here(&d.instance));
    let clean = !bdm && !attached && !plugged;
    match row.status {
        VolumeStatus::Available if clean => End::Detached,
        VolumeStatus::InUse if clean && elsewhere => End::Detached,
        VolumeStatus::Detaching => End::StuckDetaching,
        VolumeStatus::InUse if bdm => End::RolledBack,
        _ if !bdm && attached => End::Orphaned,
        _ => End::Other,
    }
}

fn describe_end(world: &World, volume: Option<&VolumeId>) -> String {
    let Some(volume) = volume else { return "no volume".to_owned() };
    let status = world.cinder.volume(volume).map_or("missing", |v| v.status.as_str());
    let bdms = world.novadb.live_bdms().iter().filter(|b| b.volume_id == *volume).count();
    let rows = world.cinder.live_attachments().filter(|a| a.volume_id == *volume).count();
    let plugged = world.hypervisor.live_disks().any(|d| d.volume == *volume);
    let devices = world.kernel.devices().filter(|d| d.volume == *volume).count();
    format!(
        "volume {volume} is {status}, {bdms} BDM, {rows} attachment, {} guest disk, {devices} SCSI disk",
        u8::from(plugged)
    )
}
