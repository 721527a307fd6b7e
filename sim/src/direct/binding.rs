//! The binding over [`Core`], and the pipeline's processes that answer calls.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use castoff_model::{Fact, World};
use castoff_pipeline::policy::Policy;
use castoff_pipeline::{NovaProcess, init_host, nova_api, nova_compute, reconcile};
use castoff_ports::fault::{FaultLayer, Passed};
use castoff_ports::plan::{EnvironmentEvent, Fault, Plan};
use castoff_ports::schedule::Schedule;
use castoff_ports::trace::Note;
use castoff_ports::trace_layer::TraceLayer;
use castoff_ports::{
    Auth, Binding, Call, CallCx, Failure, Port, Process, Refusal, Reply, RequestId, SimTime, nova,
    rpc,
};
use futures::future::LocalBoxFuture;

use super::core::{Core, Hooks, Layered, Quiet};
use crate::host_spec::conf_at_start;
use crate::latency;
use crate::observe::Observer;
use crate::prepare::Prepared;

/// How long an RPC call waits for its reply (rpc_response_timeout).
const RPC_RESPONSE_TIMEOUT: (u32, u32) = (60_000_000, 60_000_000);

/// One run on `direct`.
pub struct Direct {
    core: Rc<Core>,
    layered: Layered,
    faults: Option<Rc<FaultLayer>>,
}

struct Base(Rc<Core>);

impl Binding for Base {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.0.begin(cx, call))
    }
    fn now(&self) -> SimTime {
        self.0.now()
    }
    fn note(&self, cx: &CallCx, note: Note) {
        if let Note::Notification(event) = note {
            let fact = Fact::Notified { request: cx.request, event };
            self.0.world.borrow_mut().facts.push(fact);
            self.0.settle();
        }
    }
    fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        self.0.crash(cx, restart_after);
    }
    fn environment(&self, event: EnvironmentEvent) {
        self.0.world.borrow_mut().environment(self.0.now(), event);
        self.0.settle();
    }
    fn lasts_until(&self, at: SimTime) {
        self.0.lasts_until(at);
    }
}

/// The pipeline's long-lived processes.
struct Processes {
    prepared: Rc<Prepared>,
    layered: Layered,
    api: RefCell<Rc<NovaProcess>>,
    compute: RefCell<Rc<NovaProcess>>,
    /// The incarnation of nova-compute whose periodic task is at work.
    passing: Rc<Cell<Option<u32>>>,
}

impl Processes {
    fn port(&self, core: &Core, process: Process, caller: &CallCx, auth: Auth) -> Port {
        let cx = CallCx {
            process,
            incarnation: core.life(process).incarnation,
            request: caller.request,
            auth,
            deadline: None,
        };
        Port::new(self.layered.clone(), cx)
    }

    fn serve_api(&self, core: &Rc<Core>, slot: u32, cx: &CallCx, call: nova::Call) {
        let back = latency::of(&Call::Nova(call.clone())).back;
        if core.life(Process::NovaApi).dead {
            let failure = Failure::Unreachable { system: Process::NovaApi.to_string() };
            core.answer(slot, Err(failure), back);
            return;
        }
        core.handled_by(slot, Process::NovaApi);
        let auth = Auth { token: cx.auth.token.clone(), service_token: None };
        let port = self.port(core, Process::NovaApi, cx, auth);
        let process = self.api.borrow().clone();
        let done = core.clone();
        core.spawn(
            Process::NovaApi,
            Box::pin(async move {
                let result = nova_api(&process, &port, call).await;
                done.answer(slot, result.map(Reply::Nova).map_err(Failure::from), back);
            }),
        );
    }

    fn serve_rpc(&self, core: &Rc<Core>, slot: u32, cx: &CallCx, call: rpc::CallMethod) {
        let rpc::CallMethod { server, method } = call;
        if core.life(Process::NovaCompute).dead {
            let refusal = Refusal::MessagingTimeout { server: server.to_string() };
            core.answer(slot, Err(refusal.into()), RPC_RESPONSE_TIMEOUT);
            return;
        }
        let back = (50_000, 500_000);
        let port = self.port(core, Process::NovaCompute, cx, cx.auth.clone());
        let process = self.compute.borrow().clone();
        let done = core.clone();
        core.spawn(
            Process::NovaCompute,
            Box::pin(async move {
                let result = nova_compute(&process, &port, method).await;
                let result = match result {
                    Ok(returned) => Ok(Reply::Rpc(rpc::Reply::CallMethod(returned))),
                    Err(error) => Err(error.to_remote().into()),
                };
                done.answer(slot, result, back);
            }),
        );
    }
}

impl Hooks for Processes {
    fn serve(&self, core: &Rc<Core>, slot: u32, cx: CallCx, call: Call) {
        match call {
            Call::Nova(call) => self.serve_api(core, slot, &cx, call),
            Call::Rpc(rpc::Call::CallMethod(call)) => self.serve_rpc(core, slot, &cx, call),
            other => {
                let refusal = Refusal::Unsupported { operation: other.name().to_owned() };
                core.answer(slot, Err(refusal.into()), (0, 0));
            }
        }
    }

    fn deliver(&self, core: &Rc<Core>) {
        if core.life(Process::NovaCompute).dead {
            return;
        }
        let message = core.world.borrow_mut().deliver(core.now());
        let Some(message) = message else { return };
        core.settle();
        let caller = CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request: message.request,
            auth: Auth::default(),
            deadline: None,
        };
        let port = self.port(core, Process::NovaCompute, &caller, message.auth);
        let process = self.compute.borrow().clone();
        let done = core.clone();
        let request = message.request;
        core.spawn(
            Process::NovaCompute,
            Box::pin(async move {
                // A cast has no one to answer to: the manager has recorded what went wrong.
                let _ = nova_compute(&process, &port, message.method).await;
                done.world.borrow_mut().broker.finished(request);
            }),
        );
    }

    fn restarted(&self, core: &Rc<Core>, process: Process) {
        let conf = conf_at_start(&self.prepared.conf, &core.world.borrow());
        let fresh = Rc::new(NovaProcess::new(conf));
        match process {
            Process::NovaApi => *self.api.borrow_mut() = fresh,
            Process::NovaCompute => {
                *self.compute.borrow_mut() = fresh.clone();
                let mut world = core.world.borrow_mut();
                world.novadb.set_service_up(&crate::prepare::compute_host(), true);
                drop(world);
                let port = self.port(core, process, &starting(), Auth::default());
                let started = core.clone();
                core.spawn(
                    process,
                    Box::pin(async move {
                        init_host(&fresh, &port).await;
                        // Only now does its RPC server open.
                        let mut world = started.world.borrow_mut();
                        world.broker.consumer_up();
                        let waiting: Vec<RequestId> = world.broker.queued_requests().collect();
                        drop(world);
                        for request in waiting {
                            started.schedule_delivery(request);
                        }
                        // What the last incarnation left is taken up at once.
                        started.schedule_pass(Duration::ZERO);
                    }),
                );
            }
            Process::Client => {}
        }
    }

    fn pass(&self, core: &Rc<Core>) {
        let incarnation = core.life(Process::NovaCompute).incarnation;
        // One at a time: a pass may wait for a lock longer than a period.
        if self.passing.replace(Some(incarnation)) == Some(incarnation) {
            return;
        }
        let port = self.port(core, Process::NovaCompute, &starting(), Auth::default());
        let process = self.compute.borrow().clone();
        let passing = self.passing.clone();
        core.spawn(
            Process::NovaCompute,
            Box::pin(async move {
                reconcile(&process, &port).await;
                passing.set(None);
            }),
        );
    }
}

/// What nova-compute does of its own accord when it starts has no user's request.
fn starting() -> CallCx {
    CallCx {
        process: Process::NovaCompute,
        incarnation: 0,
        request: RequestId(0),
        auth: Auth::default(),
        deadline: None,
    }
}

impl Direct {
    /// A run from this prepared state.
    pub fn new(
        prepared: &Rc<Prepared>,
        world: World,
        observer: Observer,
        plan: &Plan,
        seed: u64,
        start: SimTime,
    ) -> Direct {
        Self::keeping(prepared, world, observer, plan, seed, start, false)
    }

    /// The same; with `record` every point that a fault could strike is written down.
    pub fn keeping(
        prepared: &Rc<Prepared>,
        world: World,
        observer: Observer,
        plan: &Plan,
        seed: u64,
        start: SimTime,
        record: bool,
    ) -> Direct {
        let trace = observer.trace.clone();
        let core = Core::new(world, observer, seed, start, prepared.profile.clone());
        let mut layered: Layered = Rc::new(Base(core.clone()));
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
        core.set_hooks(Some(Rc::new(Processes {
            prepared: prepared.clone(),
            layered: layered.clone(),
            api: RefCell::new(Rc::new(NovaProcess::new(prepared.conf.clone()))),
            compute: RefCell::new(Rc::new(NovaProcess::new(prepared.conf.clone()))),
            passing: Rc::default(),
        })));
        Direct { core, layered, faults }
    }

    /// The same run, but this schedule chooses the order; to be called before anything happens.
    #[must_use]
    pub fn following(self, schedule: &Schedule) -> Direct {
        self.core.follow(schedule);
        self
    }

    /// The executor.
    pub fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// What a client calls.
    pub fn binding(&self) -> Rc<dyn Binding> {
        self.layered.clone()
    }

    /// Starts the periodic task of nova-compute, where the policy has one.
    pub fn start_periods(&self, policy: &Policy) {
        if let Some(seconds) = policy.reconcile_period_s {
            self.core.start_periods(Duration::from_secs(seconds.into()));
        }
    }

    /// Lets everything happen until nothing is left, or until `limit`.
    pub fn run_until_quiet(&self, limit: SimTime) -> Quiet {
        self.core.run_until_quiet(limit)
    }

    /// Faults stop, the schedule too, dead processes start again.
    pub fn heal(&self) {
        self.core.rest();
        if let Some(faults) = &self.faults {
            faults.heal();
        }
        for process in [Process::NovaApi, Process::NovaCompute] {
            self.core.restart(process);
        }
        self.core.settle();
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

impl Drop for Direct {
    fn drop(&mut self) {
        self.core.clear();
    }
}
