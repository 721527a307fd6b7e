//! The `network` binding: the same models behind real HTTP, a broker and links, on turmoil hosts.
//!
//! Nine hosts: client, keystone, nova-api, nova-conductor, broker, nova-compute, compute-kernel,
//! cinder, storage. Keystone, nova-api and cinder speak HTTP/1.1 with JSON bodies, `X-Auth-Token`
//! and their status codes; the broker, the conductor's database and the iSCSI links are private
//! framed protocols ([`frames`]): turmoil loses, delays and breaks them all the same.
//!
//! The kernel, QEMU and libvirtd are in the models, outside nova-compute's turmoil host: a crash
//! of nova-compute leaves them alone. Between two ticks the world advances and its answers are
//! handed to whoever waits. Time moves in ticks, so it is no latency data.
//!
//! - [`shared`]: what all hosts of a run share; counting work, so that quiet can be told.
//! - [`hosts`]: what runs on each host.
//! - [`http`], [`frames`]: the two ways of talking.
//! - [`cuts`]: links that are cut, by turmoil's own means.
//! - [`binding`]: [`Binding`] for the pipeline's processes.

mod binding;
mod cuts;
mod frames;
mod hosts;
mod http;
mod shared;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use castoff_model::World;
use castoff_ports::fault::{FaultLayer, Passed};
use castoff_ports::plan::{Fault, Plan};
use castoff_ports::trace_layer::TraceLayer;
use castoff_ports::{Binding, Port, Process, RequestId, SimTime};
use futures::future::LocalBoxFuture;

use crate::actors::Answer;
use crate::direct::Quiet;
use crate::observe::Observer;
use crate::prepare::{self, Prepared};
use crate::standing::standing;
use shared::Shared;

/// One tick of every host: coarse, as an idle tick of all hosts costs as much as a busy one.
const TICK: Duration = Duration::from_millis(50);

/// Messages take less than a tick.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));

/// So many ticks without work are quiet: longer than any message is under way.
const QUIET_TICKS: u32 = 8;

/// One run on `network`.
pub struct Network {
    sim: turmoil::Sim<'static>,
    shared: Rc<Shared>,
    layered: Rc<dyn Binding>,
    faults: Option<Rc<FaultLayer>>,
    restarts: Vec<(SimTime, Process)>,
    service_down: Option<SimTime>,
}

impl Network {
    /// A run from this prepared state; with `record` every point that a fault could strike is written
    /// down.
    pub fn new(
        prepared: &Rc<Prepared>,
        world: World,
        observer: Observer,
        plan: &Plan,
        seed: u64,
        start: SimTime,
        record: bool,
    ) -> Network {
        let trace = observer.trace.clone();
        let shared = Shared::new(world, observer, prepared.conf.clone(), start);
        let mut layered: Rc<dyn Binding> = Rc::new(binding::NetBinding::new(shared.clone()));
        let mut faults = None;
        if record || !plan.is_empty() {
            let layer = if record {
                FaultLayer::recording(layered, plan, trace.clone())
            } else {
                FaultLayer::new(layered, plan, trace.clone())
            };
            let layer = Rc::new(layer);
            faults = Some(layer.clone());
            layered = layer;
        }
        if trace.is_on() {
            layered = Rc::new(TraceLayer::new(layered, trace));
        }
        shared.set_layered(Some(layered.clone()));
        let mut sim = turmoil::Builder::new()
            .tick_duration(TICK)
            .min_message_latency(LATENCY.0)
            .max_message_latency(LATENCY.1)
            .simulation_duration(Duration::MAX)
            .tcp_capacity(1024)
            .rng_seed(seed)
            .build();
        hosts::register(&mut sim, &shared);
        Network { sim, shared, layered, faults, restarts: Vec::new(), service_down: None }
    }

    /// What a client calls.
    pub fn client_port(&self, request: RequestId) -> Port {
        Port::new(self.layered.clone(), prepare::client_cx(request))
    }

    /// Runs a user's part on the client host.
    pub fn spawn_client(&self, future: LocalBoxFuture<'static, ()>) {
        self.shared.to_client(future);
    }

    /// What stops nova-compute, and starts it so much later.
    pub fn restarter(&self) -> Box<dyn Fn(Duration)> {
        let shared = self.shared.clone();
        Box::new(move |after| shared.stop_compute(after))
    }

    /// The time now.
    pub fn now(&self) -> SimTime {
        self.shared.now()
    }

    /// The world outside the pipeline.
    pub fn world(&self) -> &RefCell<World> {
        &self.shared.world
    }

    /// Who looks at every change.
    pub fn observer(&self) -> &RefCell<Observer> {
        &self.shared.observer
    }

    /// Tells the observer of an answer as soon as the client has it.
    pub fn hears(&self) -> Box<dyn Fn(&Answer)> {
        let shared = self.shared.clone();
        Box::new(move |answer| {
            let (world, mut observer) = (shared.world.borrow(), shared.observer.borrow_mut());
            observer.answered(&world, shared.now(), answer.request, &answer.result);
        })
    }

    /// How many operations were called.
    pub fn calls(&self) -> u64 {
        self.shared.calls.get()
    }

    /// Lets everything happen until nothing is left, or until `limit`.
    ///
    /// # Panics
    /// When a host's software fails: a bug of ours, with its error.
    pub fn run_until_quiet(&mut self, limit: SimTime) -> Quiet {
        let mut idle = 0;
        let mut seen = None;
        while self.now() < limit {
            if let Err(error) = self.sim.step() {
                panic!("a simulated host failed: {error}");
            }
            self.shared.set_now(self.sim.elapsed());
            self.between_ticks();
            idle = if self.shared.is_idle() && self.restarts.is_empty() { idle + 1 } else { 0 };
            if idle >= QUIET_TICKS && self.passes_change_nothing(&mut seen) {
                return Quiet::Quiet;
            }
        }
        Quiet::Limit
    }

    /// Where nova-compute has a periodic task, quiet is what two passes of it leave alone.
    fn passes_change_nothing(&self, seen: &mut Option<(u64, String)>) -> bool {
        if self.shared.period().is_none() || self.shared.is_dead(Process::NovaCompute) {
            return true;
        }
        let passes = self.shared.passes();
        if let Some((since, _)) = seen
            && passes < *since + 2
        {
            return false;
        }
        let now = standing(&self.shared.world.borrow());
        if seen.as_ref().is_some_and(|(_, then)| *then == now) {
            return true;
        }
        *seen = Some((passes, now));
        false
    }

    fn between_ticks(&mut self) {
        let now = self.now();
        self.shared.advance(now);
        self.shared.cuts.carry_out(&self.sim, now);
        for (process, incarnation, restart_after) in self.shared.take_kills() {
            if !self.shared.mark_dead(process, incarnation) {
                continue;
            }
            self.sim.crash(process.as_str());
            self.shared.killed(process, incarnation);
            if process == Process::NovaCompute {
                self.service_down = Some(now + prepare::SERVICE_DOWN_TIME);
            }
            self.restarts.extend(restart_after.map(|after| (now + after, process)));
        }
        if self.service_down.is_some_and(|at| at <= now) {
            self.service_down = None;
            if self.shared.is_dead(Process::NovaCompute) {
                self.shared.set_service_up(false);
            }
        }
        let due: Vec<Process> =
            self.restarts.iter().filter(|(at, _)| *at <= now).map(|(_, p)| *p).collect();
        self.restarts.retain(|(at, _)| *at > now);
        for process in due {
            self.restart(process);
        }
    }

    fn restart(&mut self, process: Process) {
        if self.shared.mark_alive(process) {
            self.sim.bounce(process.as_str());
        }
    }

    /// Faults stop, dead processes start again.
    pub fn heal(&mut self) {
        if let Some(faults) = &self.faults {
            faults.heal();
        }
        self.shared.cuts.heal(&self.sim);
        prepare::heal_world(&mut self.shared.world.borrow_mut(), self.now());
        self.restarts.clear();
        for process in [Process::NovaApi, Process::NovaCompute] {
            self.restart(process);
        }
        self.shared.settle();
    }

    /// The points that were passed before the faults stopped, if they were recorded.
    pub fn passed(&self) -> Vec<Passed> {
        self.faults.as_ref().map(|f| f.passed()).unwrap_or_default()
    }

    /// Faults that struck, and those that never did.
    pub fn faults(&self) -> (Vec<Fault>, Vec<Fault>) {
        self.faults.as_ref().map(|f| (f.struck(), f.waiting())).unwrap_or_default()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The layered binding holds what is shared, which holds it.
        self.shared.set_layered(None);
    }
}
