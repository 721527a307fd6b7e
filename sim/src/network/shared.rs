//! What all hosts of one run share: the world, who waits for it, what is alive, what is at work.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use castoff_model::{Cause, Outcome, Ticket, World};
use castoff_pipeline::NovaProcess;
use castoff_pipeline::conf::Conf;
use castoff_ports::{
    Binding, Call, CallCx, Failure, Port, Process, Reply, RequestId, SimTime, cinder,
};
use futures::future::LocalBoxFuture;
use tokio::sync::{Notify, oneshot};

use super::cuts::Cuts;
use super::frames::Payload;
use super::http::Connections;
use crate::host_spec::conf_at_start;
use crate::observe::Observer;

type Answer = Result<Reply, Failure>;

/// Everything of one run.
pub(super) struct Shared {
    pub(super) world: RefCell<World>,
    pub(super) observer: RefCell<Observer>,
    pub(super) calls: Cell<u64>,
    pub(super) connections: [Connections; 3],
    /// Values that frames carry the numbers of.
    pub(super) payloads: RefCell<BTreeMap<u64, Payload>>,
    pub(super) next_payload: Cell<u64>,
    /// The broker has something new for its consumer.
    pub(super) queued: Rc<Notify>,
    /// What is cut between hosts.
    pub(super) cuts: Cuts,
    /// Requests for the kernel's links, from whoever runs iscsiadm.
    pub(super) links: super::hosts::LinkRequests,
    pub(super) rpc: super::hosts::RpcState,
    /// What each request asked cinder for last: the wire names the request alone.
    asked: RefCell<BTreeMap<RequestId, Cause>>,
    conf: Rc<Conf>,
    start: SimTime,
    now: Cell<SimTime>,
    waiting: RefCell<Vec<(Ticket, oneshot::Sender<Answer>)>>,
    client: RefCell<VecDeque<LocalBoxFuture<'static, ()>>>,
    client_wakes: Rc<Notify>,
    working: Cell<u32>,
    lives: [Cell<(u32, bool)>; 3],
    kills: RefCell<Vec<(Process, u32, Option<Duration>)>>,
    processes: [RefCell<Rc<NovaProcess>>; 3],
    layered: RefCell<Option<Rc<dyn Binding>>>,
    /// Passes of nova-compute's periodic task so far.
    passes: Cell<u64>,
    /// A fault lasts until then.
    lasts_until: Cell<SimTime>,
}

/// While it lives, the run is not quiet.
pub(super) struct Work(Rc<Shared>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.working.set(self.0.working.get() - 1);
    }
}

impl Shared {
    pub(super) fn new(
        world: World,
        observer: Observer,
        conf: Rc<Conf>,
        start: SimTime,
    ) -> Rc<Shared> {
        let fresh = || RefCell::new(Rc::new(NovaProcess::new(conf.clone())));
        Rc::new(Shared {
            world: RefCell::new(world),
            observer: RefCell::new(observer),
            calls: Cell::new(0),
            connections: Default::default(),
            payloads: RefCell::default(),
            next_payload: Cell::new(0),
            queued: Rc::new(Notify::new()),
            cuts: Cuts::default(),
            links: Default::default(),
            rpc: Default::default(),
            asked: RefCell::default(),
            start,
            now: Cell::new(start),
            waiting: RefCell::default(),
            client: RefCell::default(),
            client_wakes: Rc::new(Notify::new()),
            working: Cell::new(0),
            lives: Default::default(),
            kills: RefCell::default(),
            processes: [fresh(), fresh(), fresh()],
            layered: RefCell::new(None),
            passes: Cell::new(0),
            lasts_until: Cell::new(start),
            conf,
        })
    }

    pub(super) fn set_layered(&self, layered: Option<Rc<dyn Binding>>) {
        *self.layered.borrow_mut() = layered;
    }

    /// The time of the host that asks, or of the last tick outside of any.
    pub(super) fn now(&self) -> SimTime {
        match turmoil::sim_elapsed() {
            Some(elapsed) => (self.start + elapsed).max(self.now.get()),
            None => self.now.get(),
        }
    }

    pub(super) fn set_now(&self, elapsed: Duration) {
        self.now.set(self.start + elapsed);
    }

    /// Counts something that is at work until the guard is dropped.
    pub(super) fn work(self: &Rc<Self>) -> Work {
        self.working.set(self.working.get() + 1);
        Work(self.clone())
    }

    /// Nothing at work, nothing under way, no timer of the world.
    pub(super) fn is_idle(&self) -> bool {
        let world = self.world.borrow();
        let queued = world.broker.queued() > 0 && !self.is_dead(Process::NovaCompute);
        self.working.get() == 0
            && self.lasts_until.get() <= self.now.get()
            && !queued
            && world.next_timer().is_none()
            && self.client.borrow().is_empty()
    }

    /// How often nova-compute looks after unfinished detaches; none under most policies.
    pub(super) fn period(&self) -> Option<Duration> {
        self.conf.policy.reconcile_period_s.map(|s| Duration::from_secs(s.into()))
    }

    pub(super) fn lasts_until(&self, at: SimTime) {
        self.observer.borrow_mut().disturbed(self.now(), at);
        self.lasts_until.set(self.lasts_until.get().max(at));
    }

    pub(super) fn passed(&self) {
        self.passes.set(self.passes.get() + 1);
    }

    pub(super) fn passes(&self) -> u64 {
        self.passes.get()
    }

    pub(super) fn to_client(&self, future: LocalBoxFuture<'static, ()>) {
        self.client.borrow_mut().push_back(future);
        self.client_wakes.notify_one();
    }

    /// The next part for the client host to play.
    pub(super) async fn next_client(&self) -> LocalBoxFuture<'static, ()> {
        loop {
            let next = self.client.borrow_mut().pop_front();
            match next {
                Some(future) => return future,
                None => self.client_wakes.notified().await,
            }
        }
    }

    /// A transition of the world, waited for if it blocks.
    pub(super) async fn transition(&self, cx: &CallCx, call: Call) -> Answer {
        let outcome = {
            let now = self.now();
            self.world.borrow_mut().call(now, cx, call)
        };
        let waits = match outcome {
            Outcome::Done(result) => {
                self.settle();
                return result;
            }
            Outcome::Blocked(ticket) => {
                let (tell, hear) = oneshot::channel();
                self.waiting.borrow_mut().push((ticket, tell));
                self.settle();
                hear
            }
        };
        match waits.await {
            Ok(result) => result,
            // The world never answers the dead: its tickets went with the process.
            Err(_) => std::future::pending().await,
        }
    }

    /// After any transition: facts to the observer, due answers to those who wait.
    pub(super) fn settle(&self) {
        let now = self.now();
        let completed = {
            let mut world = self.world.borrow_mut();
            self.observer.borrow_mut().observe(&mut world, now);
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
    }

    /// A request is about to ask an HTTP service; only in cinder anything changes at once.
    pub(super) fn asks(&self, cx: &CallCx, call: &Call) {
        match call {
            // Users look while nova works, under the same request.
            Call::Cinder(cinder::Call::GetVolume(_)) => return,
            Call::Cinder(_) => {}
            _ => return,
        }
        self.asked.borrow_mut().insert(cx.request, Cause::of(cx, call.name()));
    }

    /// Cinder is about to answer: what changes now is this request's doing.
    pub(super) fn answering(&self, request: &http::Request<Vec<u8>>) {
        if request.method() == http::Method::GET {
            return;
        }
        let id = request.headers().get("x-openstack-request-id").and_then(|v| v.to_str().ok());
        let id = id.and_then(|t| t.strip_prefix("req-")?.parse().ok()).map(RequestId);
        let cause = id.and_then(|id| self.asked.borrow().get(&id).copied());
        self.world.borrow_mut().cause = cause;
    }

    pub(super) fn advance(&self, now: SimTime) {
        self.world.borrow_mut().advance(now);
        self.settle();
    }

    pub(super) fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        self.kills.borrow_mut().push((cx.process, cx.incarnation, restart_after));
    }

    /// nova-compute is stopped with the next tick, and started so much later.
    pub(super) fn stop_compute(&self, start_after: Duration) {
        let process = Process::NovaCompute;
        let incarnation = self.lives[process as usize].get().0;
        self.kills.borrow_mut().push((process, incarnation, Some(start_after)));
    }

    pub(super) fn take_kills(&self) -> Vec<(Process, u32, Option<Duration>)> {
        std::mem::take(&mut *self.kills.borrow_mut())
    }

    /// Marks a process dead; false when that incarnation is dead already.
    pub(super) fn mark_dead(&self, process: Process, incarnation: u32) -> bool {
        let life = &self.lives[process as usize];
        if life.get() != (incarnation, false) {
            return false;
        }
        life.set((incarnation, true));
        true
    }

    /// The world releases what the dead process held.
    pub(super) fn killed(&self, process: Process, incarnation: u32) {
        let now = self.now();
        self.world.borrow_mut().kill(now, process, incarnation);
        self.connections[process as usize].clear();
        self.settle();
    }

    pub(super) fn is_dead(&self, process: Process) -> bool {
        self.lives[process as usize].get().1
    }

    /// A dead process is to start again: its memory is empty. False when it is alive.
    pub(super) fn mark_alive(&self, process: Process) -> bool {
        let (incarnation, dead) = self.lives[process as usize].get();
        if !dead {
            return false;
        }
        self.lives[process as usize].set((incarnation + 1, false));
        let conf = conf_at_start(&self.conf, &self.world.borrow());
        *self.processes[process as usize].borrow_mut() = Rc::new(NovaProcess::new(conf));
        if process == Process::NovaCompute {
            self.set_service_up(true);
        }
        true
    }

    pub(super) fn set_service_up(&self, up: bool) {
        self.world.borrow_mut().novadb.set_service_up(&prepare_host(), up);
    }

    /// Whether a process has been started more than once: the first start was before the run.
    pub(super) fn is_restarted(&self, process: Process) -> bool {
        self.lives[process as usize].get().0 > 0
    }

    /// The memory of a pipeline's process.
    pub(super) fn process(&self, process: Process) -> Rc<NovaProcess> {
        self.processes[process as usize].borrow().clone()
    }

    /// A port of a pipeline's process for this request; none when the run is over.
    pub(super) fn port(&self, process: Process, request: &CallCx) -> Option<Port> {
        let cx = CallCx {
            process,
            incarnation: self.lives[process as usize].get().0,
            ..request.clone()
        };
        Some(Port::new(self.layered.borrow().clone()?, cx))
    }
}

fn prepare_host() -> castoff_ports::HostName {
    crate::prepare::compute_host()
}
