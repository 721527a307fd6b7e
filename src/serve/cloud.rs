//! The models and the pipeline's processes, in real time: what every socket of `serve` works on.
//!
//! One thread, one world. A call of the pipeline takes as long as it does on `direct` (the middle
//! of its range), divided by the speed; what blocks in the models waits for the world's timers,
//! which a task of its own lets strike. A process's tasks are known, so that a crash ends them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use castoff_model::{Outcome, Ticket, World};
use castoff_pipeline::conf::Conf;
use castoff_pipeline::{NovaProcess, nova_compute};
use castoff_ports::fault::FaultLayer;
use castoff_ports::plan::{EnvironmentEvent, Plan};
use castoff_ports::trace::Trace;
use castoff_ports::{
    Auth, Binding, Call, CallCx, Failure, Port, Process, Refusal, Reply, RequestId, SimTime, rpc,
    runtime,
};
use castoff_sim::latency;
use castoff_sim::observe::Observer;
use castoff_sim::prepare::{self, SERVICE_DOWN_TIME};
use castoff_sim::properties::{Checker, Violation, Watched};
use futures::future::LocalBoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};

use super::clock::Clock;

type Answer = Result<Reply, Failure>;

/// rpc_response_timeout.
const RPC_RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// At most so many detaches are followed; the oldest are forgotten first.
const MAX_WATCHED: usize = 256;

/// A served cloud.
pub(super) struct Cloud {
    /// Everything outside the pipeline.
    pub(super) world: RefCell<World>,
    /// Its time.
    pub(super) clock: Clock,
    observer: RefCell<Observer>,
    waiting: RefCell<Vec<(Ticket, oneshot::Sender<Answer>)>>,
    changed: Notify,
    queued: Notify,
    conf: Rc<Conf>,
    lives: [Cell<(u32, bool)>; 3],
    processes: [RefCell<Rc<NovaProcess>>; 3],
    tasks: RefCell<Vec<(Process, AbortHandle)>>,
    faults: RefCell<Option<Rc<FaultLayer>>>,
    last_request: Cell<u32>,
    watched: RefCell<Vec<Watched>>,
}

/// The binding under the fault layer.
struct Ground(Rc<Cloud>);

impl Binding for Ground {
    fn call<'a>(&'a self, cx: &'a CallCx, call: Call) -> LocalBoxFuture<'a, Answer> {
        Box::pin(self.0.carry_out(cx, call))
    }
    fn now(&self) -> SimTime {
        self.0.clock.now()
    }
    fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        self.0.crash(cx.process, restart_after);
    }
    fn environment(&self, event: EnvironmentEvent) {
        self.0.world.borrow_mut().environment(self.0.clock.now(), event);
        self.0.settle();
    }
}

fn middle((lo, hi): (u32, u32)) -> Duration {
    Duration::from_micros(u64::from(lo.midpoint(hi)))
}

impl Cloud {
    /// A cloud on this world. Its tasks run on the current `LocalSet`.
    pub(super) fn start(mut world: World, conf: Rc<Conf>, plan: &Plan, clock: Clock) -> Rc<Cloud> {
        world.advance(clock.now());
        world.facts.clear();
        let fresh = || RefCell::new(Rc::new(NovaProcess::new(conf.clone())));
        let cloud = Rc::new(Cloud {
            world: RefCell::new(world),
            clock,
            observer: RefCell::new(Observer::new(Trace::off(), Checker::default())),
            waiting: RefCell::default(),
            changed: Notify::new(),
            queued: Notify::new(),
            lives: Default::default(),
            processes: [fresh(), fresh(), fresh()],
            tasks: RefCell::default(),
            faults: RefCell::new(None),
            last_request: Cell::new(0),
            watched: RefCell::default(),
            conf,
        });
        let ground = Rc::new(Ground(cloud.clone()));
        *cloud.faults.borrow_mut() = Some(Rc::new(FaultLayer::new(ground, plan, Trace::off())));
        spawn_local(timers(cloud.clone()));
        spawn_local(deliveries(cloud.clone()));
        cloud
    }

    /// What makes faults strike.
    pub(super) fn faults(&self) -> Rc<FaultLayer> {
        let faults = self.faults.borrow().clone();
        faults.expect("start() has laid it over the ground")
    }

    /// A request of some client: nobody's clients number theirs as we do.
    pub(super) fn next_request(&self) -> RequestId {
        self.last_request.set(self.last_request.get() + 1);
        RequestId(self.last_request.get())
    }

    /// A port of this process.
    pub(super) fn port(&self, process: Process, request: RequestId, auth: Auth) -> Port {
        let incarnation = self.lives[process as usize].get().0;
        let cx = CallCx { process, incarnation, request, auth, deadline: None };
        Port::new(self.faults(), cx)
    }

    /// The memory of this process.
    pub(super) fn process(&self, process: Process) -> Rc<NovaProcess> {
        self.processes[process as usize].borrow().clone()
    }

    /// Starts a task of this process: it ends with it.
    pub(super) fn spawn<T: 'static>(
        &self,
        process: Process,
        future: impl Future<Output = T> + 'static,
    ) -> JoinHandle<T> {
        let task = spawn_local(future);
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|(_, t)| !t.is_finished());
        tasks.push((process, task.abort_handle()));
        task
    }

    /// A detach was accepted: its end will be looked for.
    pub(super) fn watch(&self, detach: Watched) {
        let mut watched = self.watched.borrow_mut();
        if watched.len() == MAX_WATCHED {
            watched.remove(0);
        }
        watched.push(detach);
    }

    /// Nobody works on anything, and nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        let world = self.world.borrow();
        let queued = world.broker.queued() > 0 && !self.is_dead(Process::NovaCompute);
        let idle = self.tasks.borrow().iter().all(|(_, t)| t.is_finished());
        idle && !queued && world.next_timer().is_none()
    }

    /// What was broken so far; when all is quiet also what must hold then.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut found = self.observer.borrow().violations().to_vec();
        if self.is_quiet() {
            let mut checker = Checker::new(self.watched.borrow().clone());
            let (world, now) = (self.world.borrow(), self.clock.now());
            checker.settled(&world, now);
            checker.quiescent(&world, now);
            found.extend_from_slice(checker.violations());
        }
        found
    }

    /// After any transition: facts to the observer, due answers to those who wait.
    pub(super) fn settle(&self) {
        let completed = {
            let mut world = self.world.borrow_mut();
            self.observer.borrow_mut().observe(&mut world, self.clock.now());
            world.take_completed()
        };
        for (ticket, result) in completed {
            let mut waiting = self.waiting.borrow_mut();
            if let Some(i) = waiting.iter().position(|(t, _)| *t == ticket) {
                let (_, tell) = waiting.swap_remove(i);
                // Whoever waited may have died: the effect stands, nobody hears of it.
                let _ = tell.send(result);
            }
        }
        self.changed.notify_one();
    }

    /// A look at the world, or a change from outside, at the time it is.
    pub(super) fn with_world<T>(&self, body: impl FnOnce(&mut World, SimTime) -> T) -> T {
        let now = self.clock.now();
        let result = {
            let mut world = self.world.borrow_mut();
            world.advance(now);
            body(&mut world, now)
        };
        self.settle();
        result
    }

    async fn carry_out(self: &Rc<Self>, cx: &CallCx, call: Call) -> Answer {
        let takes = latency::of(&call);
        match call {
            Call::Runtime(runtime::Call::Sleep(s)) => {
                self.clock.sleep(s.duration).await;
                Ok(Reply::Runtime(runtime::Reply::Sleep(())))
            }
            Call::Rpc(rpc::Call::CallMethod(call)) => {
                self.clock.sleep(middle(takes.there)).await;
                self.rpc_call(cx, call).await
            }
            Call::Nova(_) => Err(Refusal::Unsupported { operation: call.name().to_owned() }.into()),
            call => {
                self.clock.sleep(middle(takes.there)).await;
                let cast = matches!(call, Call::Rpc(rpc::Call::Cast(_)));
                let result = self.transition(cx, call).await;
                if cast {
                    self.queued.notify_one();
                }
                self.clock.sleep(middle(takes.back)).await;
                result
            }
        }
    }

    async fn transition(&self, cx: &CallCx, call: Call) -> Answer {
        let outcome = {
            let now = self.clock.now();
            let mut world = self.world.borrow_mut();
            world.advance(now);
            world.call(now, cx, call)
        };
        match outcome {
            Outcome::Done(result) => {
                self.settle();
                result
            }
            Outcome::Blocked(ticket) => {
                let (tell, hear) = oneshot::channel();
                self.waiting.borrow_mut().push((ticket, tell));
                self.settle();
                match hear.await {
                    Ok(result) => result,
                    // The world never answers the dead: its tickets went with the process.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }

    async fn rpc_call(self: &Rc<Self>, cx: &CallCx, call: rpc::CallMethod) -> Answer {
        let rpc::CallMethod { server, method } = call;
        let silence = || Refusal::MessagingTimeout { server: server.to_string() };
        if self.is_dead(Process::NovaCompute) {
            self.clock.sleep(RPC_RESPONSE_TIMEOUT).await;
            return Err(silence().into());
        }
        let port = self.port(Process::NovaCompute, cx.request, cx.auth.clone());
        let process = self.process(Process::NovaCompute);
        let task =
            self.spawn(
                Process::NovaCompute,
                async move { nova_compute(&process, &port, method).await },
            );
        let limit = self.clock.real(RPC_RESPONSE_TIMEOUT);
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(Ok(returned))) => Ok(Reply::Rpc(rpc::Reply::CallMethod(returned))),
            Ok(Ok(Err(error))) => Err(error.to_remote().into()),
            Err(_) => Err(silence().into()),
            // It died at work: its caller waits in vain, as long as anybody waits.
            Ok(Err(_)) => {
                self.clock.sleep(RPC_RESPONSE_TIMEOUT).await;
                Err(silence().into())
            }
        }
    }

    /// Whether this process is down.
    pub(super) fn is_dead(&self, process: Process) -> bool {
        self.lives[process as usize].get().1
    }

    /// Kills a process here and now; it starts again after `restart_after`, if ever.
    pub(super) fn crash(self: &Rc<Self>, process: Process, restart_after: Option<Duration>) {
        let (incarnation, dead) = self.lives[process as usize].get();
        if dead {
            return;
        }
        self.lives[process as usize].set((incarnation, true));
        for (_, task) in self.tasks.borrow().iter().filter(|(p, _)| *p == process) {
            task.abort();
        }
        self.with_world(|world, now| world.kill(now, process, incarnation));
        let cloud = self.clone();
        if process == Process::NovaCompute {
            spawn_local(async move {
                cloud.clock.sleep(SERVICE_DOWN_TIME).await;
                if cloud.lives[process as usize].get() == (incarnation, true) {
                    cloud.set_service_up(false);
                }
            });
        }
        if let Some(after) = restart_after {
            let cloud = self.clone();
            spawn_local(async move {
                cloud.clock.sleep(after).await;
                cloud.restart(process);
            });
        }
    }

    /// Starts a dead process again: its memory is empty.
    pub(super) fn restart(&self, process: Process) {
        let (incarnation, dead) = self.lives[process as usize].get();
        if !dead {
            return;
        }
        self.lives[process as usize].set((incarnation + 1, false));
        let fresh = Rc::new(NovaProcess::new(self.conf.clone()));
        *self.processes[process as usize].borrow_mut() = fresh;
        if process == Process::NovaCompute {
            self.set_service_up(true);
            self.world.borrow_mut().broker.consumer_up();
            self.queued.notify_one();
        }
    }

    fn set_service_up(&self, up: bool) {
        let host = prepare::compute_host();
        self.world.borrow_mut().novadb.set_service_up(&host, up);
    }
}

/// Lets the world's timers strike.
async fn timers(cloud: Rc<Cloud>) {
    loop {
        let next = cloud.world.borrow().next_timer();
        match next {
            None => cloud.changed.notified().await,
            Some(at) if at <= cloud.clock.now() => cloud.with_world(|_, _| ()),
            Some(at) => {
                // A transition may have set an earlier one.
                let slept = std::pin::pin!(cloud.clock.sleep_until(at));
                let changed = std::pin::pin!(cloud.changed.notified());
                futures::future::select(slept, changed).await;
            }
        }
    }
}

/// Hands queued messages to nova-compute: acknowledged as they are handed over (at most once).
async fn deliveries(cloud: Rc<Cloud>) {
    loop {
        let waiting = cloud.world.borrow().broker.queued() > 0;
        if !waiting || cloud.is_dead(Process::NovaCompute) {
            cloud.queued.notified().await;
            continue;
        }
        cloud.clock.sleep(middle(latency::DELIVERY)).await;
        if cloud.is_dead(Process::NovaCompute) {
            continue;
        }
        let Some(message) = cloud.with_world(World::deliver) else { continue };
        let request = message.request;
        let port = cloud.port(Process::NovaCompute, request, message.auth);
        let process = cloud.process(Process::NovaCompute);
        let done = cloud.clone();
        cloud.spawn(Process::NovaCompute, async move {
            // A cast has no one to answer to: the manager has recorded what went wrong.
            let _ = nova_compute(&process, &port, message.method).await;
            done.world.borrow_mut().broker.finished(request);
        });
    }
}
