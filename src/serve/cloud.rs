//! The models and the pipeline's processes, in real time: what every socket of `serve` works on.
//!
//! One thread, one world. A call of the pipeline takes as long as it does on `direct` (the middle
//! of its range), divided by the speed; what blocks in the models waits for the world's timers,
//! which a task of its own lets strike. A process's tasks are known, so that a crash ends them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use castoff_model::{Outcome, Ticket, World};
use castoff_pipeline::NovaProcess;
use castoff_pipeline::conf::Conf;
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

pub(super) type Answer = Result<Reply, Failure>;

/// Of nova's actions so many of the newest are kept: what a user sees of them at once, a page
/// (`[api]max_limit`).
const KEPT_ACTIONS: usize = 1000;

/// Actions are archived so many at a time.
const ARCHIVED_AT_ONCE: usize = 100;

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
    conf: Rc<Conf>,
    lives: [Cell<(u32, bool)>; 3],
    processes: [RefCell<Rc<NovaProcess>>; 3],
    tasks: RefCell<Vec<Task>>,
    faults: RefCell<Option<Rc<FaultLayer>>>,
    last_request: Cell<u32>,
    watched: RefCell<Vec<Watched>>,
}

/// A task of a process.
struct Task {
    process: Process,
    request: RequestId,
    handle: AbortHandle,
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

/// The middle of a range in microseconds.
pub(super) fn middle((lo, hi): (u32, u32)) -> Duration {
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
        if let Some(seconds) = cloud.conf.policy.reconcile_period_s {
            cloud.start_passes(Duration::from_secs(seconds.into()));
        }
        cloud
    }

    /// The name of its policy.
    pub(super) fn policy(&self) -> &str {
        &self.conf.policy.name
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

    /// Starts a task of this process, for this request: it ends with the process.
    pub(super) fn spawn<T: 'static>(
        &self,
        process: Process,
        request: RequestId,
        future: impl Future<Output = T> + 'static,
    ) -> JoinHandle<T> {
        let task = spawn_local(future);
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|t| !t.handle.is_finished());
        tasks.push(Task { process, request, handle: task.abort_handle() });
        task
    }

    /// Drops old actions when there are many; not those of requests that somebody works on, or
    /// whose end will be looked for.
    pub(super) fn archive(&self) {
        let mut world = self.world.borrow_mut();
        if world.novadb.actions().len() < KEPT_ACTIONS + ARCHIVED_AT_ONCE {
            return;
        }
        let mut wanted: BTreeSet<RequestId> = world.broker.queued_requests().collect();
        wanted.extend(world.broker.in_flight());
        wanted.extend(self.tasks.borrow().iter().map(|t| t.request));
        wanted.extend(self.watched.borrow().iter().map(|w| w.request));
        world.novadb.archive(KEPT_ACTIONS, |request| wanted.contains(&request));
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
        let idle = self.tasks.borrow().iter().all(|t| t.handle.is_finished());
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
                    self.schedule_delivery();
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
        for task in self.tasks.borrow().iter().filter(|t| t.process == process) {
            task.handle.abort();
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
    pub(super) fn restart(self: &Rc<Self>, process: Process) {
        let (incarnation, dead) = self.lives[process as usize].get();
        if !dead {
            return;
        }
        self.lives[process as usize].set((incarnation + 1, false));
        let fresh = Rc::new(NovaProcess::new(self.conf.clone()));
        *self.processes[process as usize].borrow_mut() = fresh;
        if process == Process::NovaCompute {
            self.set_service_up(true);
            self.start_compute();
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
