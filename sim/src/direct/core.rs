//! Tasks, events in virtual time, and calls under way.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use castoff_model::{Outcome, Ticket, World};
use castoff_ports::{Binding, Call, CallCx, Failure, Process, Reply, SimTime};
use futures::future::LocalBoxFuture;

use crate::latency;
use crate::observe::Observer;
use crate::rng::SimRng;

/// Steps of one run at most: a run that needs more is a livelock of ours or of the pipeline.
const MAX_STEPS: u64 = 5_000_000;

/// How a stretch of a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// Nothing will ever happen again.
    Quiet,
    /// There was still something to do at the time limit, or after so many steps.
    Limit,
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The call in this slot takes effect.
    Effect(u32),
    /// The reply reaches the caller of this slot.
    Reply(u32),
    /// The broker hands nova-compute its next message.
    Deliver,
    /// A dead process is started again.
    Restart(Process),
    /// nova's service group notices that this incarnation of nova-compute sends no heartbeats.
    ServiceDown(u32),
}

struct Slot {
    call: Option<(CallCx, Call)>,
    reply: Option<Result<Reply, Failure>>,
    arrived: bool,
    waiter: Option<u32>,
    /// Who works on the answer: dies with that process.
    handler: Option<(Process, u32)>,
    abandoned: bool,
}

struct Task {
    process: Process,
    incarnation: u32,
    future: Option<LocalBoxFuture<'static, ()>>,
}

/// The state of one process: how often it was started, whether it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    /// Started so often, less one.
    pub(super) incarnation: u32,
    /// Not running now.
    pub(super) dead: bool,
}

/// The executor's state, shared by the binding and the tasks.
pub struct Core {
    /// The world outside the pipeline.
    pub world: RefCell<World>,
    /// Who looks at every change.
    pub observer: RefCell<Observer>,
    rng: RefCell<SimRng>,
    now: Cell<SimTime>,
    seq: Cell<u64>,
    heap: RefCell<BinaryHeap<Reverse<(SimTime, u64, Event)>>>,
    slots: RefCell<Vec<Option<Slot>>>,
    free_slots: RefCell<Vec<u32>>,
    tickets: RefCell<Vec<(Ticket, u32)>>,
    tasks: RefCell<Vec<Option<Task>>>,
    free_tasks: RefCell<Vec<u32>>,
    ready: RefCell<Vec<u32>>,
    current: Cell<u32>,
    kills: RefCell<Vec<(Process, u32, Option<Duration>)>>,
    lives: [Cell<Life>; 3],
    calls: Cell<u64>,
    hooks: RefCell<Option<Rc<dyn Hooks>>>,
}

/// What the executor asks the binding to do: run pipeline code for a call that needs it.
pub(super) trait Hooks {
    /// A call that another process of the pipeline answers takes effect.
    fn serve(&self, core: &Rc<Core>, slot: u32, cx: CallCx, call: Call);
    /// The broker may have a message for nova-compute.
    fn deliver(&self, core: &Rc<Core>);
    /// A process starts again: its memory is empty.
    fn restarted(&self, core: &Rc<Core>, process: Process);
}

impl Core {
    pub(super) fn new(world: World, observer: Observer, seed: u64, now: SimTime) -> Rc<Core> {
        Rc::new(Core {
            world: RefCell::new(world),
            observer: RefCell::new(observer),
            rng: RefCell::new(SimRng::new(seed)),
            now: Cell::new(now),
            seq: Cell::new(0),
            heap: RefCell::default(),
            slots: RefCell::default(),
            free_slots: RefCell::default(),
            tickets: RefCell::default(),
            tasks: RefCell::default(),
            free_tasks: RefCell::default(),
            ready: RefCell::default(),
            current: Cell::new(0),
            kills: RefCell::default(),
            lives: Default::default(),
            calls: Cell::new(0),
            hooks: RefCell::new(None),
        })
    }

    pub(super) fn set_hooks(&self, hooks: Option<Rc<dyn Hooks>>) {
        *self.hooks.borrow_mut() = hooks;
    }

    /// Drops all tasks and hooks: they hold this core, which holds them.
    pub(super) fn clear(&self) {
        self.hooks.borrow_mut().take();
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    /// The time now.
    pub fn now(&self) -> SimTime {
        self.now.get()
    }

    /// How many operations were called.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    pub(super) fn life(&self, process: Process) -> Life {
        self.lives[process as usize].get()
    }

    fn draw(&self, (lo, hi): (u32, u32)) -> Duration {
        if hi == 0 {
            return Duration::ZERO;
        }
        Duration::from_micros(u64::from(self.rng.borrow_mut().between(lo, hi)))
    }

    fn at(&self, when: SimTime, event: Event) {
        let seq = self.seq.get();
        self.seq.set(seq + 1);
        self.heap.borrow_mut().push(Reverse((when, seq, event)));
    }

    /// Starts a task of this process.
    pub fn spawn(&self, process: Process, future: LocalBoxFuture<'static, ()>) {
        let incarnation = self.life(process).incarnation;
        let task = Task { process, incarnation, future: Some(future) };
        let mut tasks = self.tasks.borrow_mut();
        let id = match self.free_tasks.borrow_mut().pop() {
            Some(id) => {
                tasks[id as usize] = Some(task);
                id
            }
            None => {
                tasks.push(Some(task));
                tasks.len() as u32 - 1
            }
        };
        self.ready.borrow_mut().push(id);
    }

    /// Makes a call: its effect and its reply are events from now on, whoever waits for them.
    pub(super) fn begin(self: &Rc<Self>, cx: &CallCx, call: Call) -> CallFuture {
        self.calls.set(self.calls.get() + 1);
        let after = match &call {
            Call::Runtime(castoff_ports::runtime::Call::Sleep(s)) => s.duration,
            call => self.draw(latency::of(call).there),
        };
        let slot = Slot {
            call: Some((cx.clone(), call)),
            reply: None,
            arrived: false,
            waiter: None,
            handler: None,
            abandoned: false,
        };
        let mut slots = self.slots.borrow_mut();
        let id = match self.free_slots.borrow_mut().pop() {
            Some(id) => {
                slots[id as usize] = Some(slot);
                id
            }
            None => {
                slots.push(Some(slot));
                slots.len() as u32 - 1
            }
        };
        drop(slots);
        self.at(self.now() + after, Event::Effect(id));
        CallFuture { core: self.clone(), slot: id }
    }

    fn free(&self, slot: u32) {
        self.slots.borrow_mut()[slot as usize] = None;
        self.free_slots.borrow_mut().push(slot);
    }

    /// The answer of this slot is known; it reaches the caller `back` later.
    pub(super) fn answer(&self, slot: u32, result: Result<Reply, Failure>, back: (u32, u32)) {
        {
            let mut slots = self.slots.borrow_mut();
            // A slot lives until its reply has arrived, so it is there.
            let Some(s) = slots[slot as usize].as_mut() else { return };
            if s.reply.is_some() {
                return;
            }
            s.reply = Some(result);
            s.handler = None;
        }
        self.at(self.now() + self.draw(back), Event::Reply(slot));
    }

    /// Names who works on the answer of this slot.
    pub(super) fn handled_by(&self, slot: u32, process: Process) {
        let incarnation = self.life(process).incarnation;
        if let Some(s) = self.slots.borrow_mut()[slot as usize].as_mut() {
            s.handler = Some((process, incarnation));
        }
    }

    /// The broker has something: it arrives a delivery's time from now.
    pub(super) fn schedule_delivery(&self) {
        self.at(self.now() + self.draw(latency::DELIVERY), Event::Deliver);
    }

    /// A process dies as soon as the running task gives way.
    pub(super) fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        self.kills.borrow_mut().push((cx.process, cx.incarnation, restart_after));
    }

    /// After any transition: answers that became due, facts for the observer.
    pub(super) fn settle(&self) {
        let completed = {
            let mut world = self.world.borrow_mut();
            self.observer.borrow_mut().observe(&mut world, self.now());
            if !world.has_completed() {
                return;
            }
            world.take_completed()
        };
        for (ticket, result) in completed {
            let slot = {
                let mut tickets = self.tickets.borrow_mut();
                let Some(i) = tickets.iter().position(|(t, _)| *t == ticket) else { continue };
                tickets.swap_remove(i).1
            };
            self.answer(slot, result, (0, 0));
        }
    }

    fn effect(self: &Rc<Self>, slot: u32) {
        let Some((cx, call)) =
            self.slots.borrow_mut()[slot as usize].as_mut().and_then(|s| s.call.take())
        else {
            return;
        };
        let back = latency::of(&call).back;
        match &call {
            Call::Runtime(castoff_ports::runtime::Call::Sleep(_)) => {
                let reply = Reply::Runtime(castoff_ports::runtime::Reply::Sleep(()));
                self.answer(slot, Ok(reply), (0, 0));
            }
            Call::Nova(_) | Call::Rpc(castoff_ports::rpc::Call::CallMethod(_)) => {
                let hooks = self.hooks.borrow().clone();
                if let Some(hooks) = hooks {
                    hooks.serve(self, slot, cx, call);
                }
            }
            _ => {
                let cast = matches!(call, Call::Rpc(castoff_ports::rpc::Call::Cast(_)));
                let outcome = self.world.borrow_mut().call(self.now(), &cx, call);
                match outcome {
                    Outcome::Done(result) => self.answer(slot, result, back),
                    Outcome::Blocked(ticket) => self.tickets.borrow_mut().push((ticket, slot)),
                }
                self.settle();
                if cast {
                    self.schedule_delivery();
                }
            }
        }
    }

    fn reply(&self, slot: u32) {
        let waiter = {
            let mut slots = self.slots.borrow_mut();
            let Some(s) = slots[slot as usize].as_mut() else { return };
            s.arrived = true;
            if s.abandoned {
                drop(slots);
                self.free(slot);
                return;
            }
            s.waiter
        };
        if let Some(task) = waiter {
            self.ready.borrow_mut().push(task);
        }
    }

    fn kill_due(self: &Rc<Self>) {
        let kills = std::mem::take(&mut *self.kills.borrow_mut());
        for (process, incarnation, restart_after) in kills {
            let life = &self.lives[process as usize];
            if life.get().dead || life.get().incarnation != incarnation {
                continue;
            }
            life.set(Life { incarnation, dead: true });
            self.drop_tasks(process, incarnation);
            self.world.borrow_mut().kill(self.now(), process, incarnation);
            self.settle();
            self.break_connections(process, incarnation);
            if process == Process::NovaCompute {
                self.at(
                    self.now() + crate::prepare::SERVICE_DOWN_TIME,
                    Event::ServiceDown(incarnation),
                );
            }
            if let Some(after) = restart_after {
                self.at(self.now() + after, Event::Restart(process));
            }
        }
    }

    fn drop_tasks(&self, process: Process, incarnation: u32) {
        let mut dead = Vec::new();
        for (id, task) in self.tasks.borrow_mut().iter_mut().enumerate() {
            if task.as_ref().is_some_and(|t| t.process == process && t.incarnation == incarnation) {
                dead.extend(task.take());
                self.free_tasks.borrow_mut().push(id as u32);
                self.ready.borrow_mut().retain(|r| *r != id as u32);
            }
        }
        // Futures are dropped with no borrow held: they release their slots.
        drop(dead);
    }

    /// Whoever waited for the dead process sees the connection break.
    fn break_connections(&self, process: Process, incarnation: u32) {
        let waiting: Vec<u32> = self
            .slots
            .borrow()
            .iter()
            .enumerate()
            .filter(|(_, s)| s.as_ref().is_some_and(|s| s.handler == Some((process, incarnation))))
            .map(|(id, _)| id as u32)
            .collect();
        for slot in waiting {
            let failure = Failure::NoReply { system: process.to_string() };
            self.answer(slot, Err(failure), (0, 1000));
        }
    }

    /// Starts a dead process again, now.
    pub(super) fn restart(self: &Rc<Self>, process: Process) {
        let life = self.life(process);
        if !life.dead {
            return;
        }
        self.lives[process as usize].set(Life { incarnation: life.incarnation + 1, dead: false });
        let hooks = self.hooks.borrow().clone();
        if let Some(hooks) = hooks {
            hooks.restarted(self, process);
        }
        self.settle();
    }

    fn service_down(self: &Rc<Self>, incarnation: u32) {
        let life = self.life(Process::NovaCompute);
        if life.dead && life.incarnation == incarnation {
            let mut world = self.world.borrow_mut();
            let host = crate::prepare::compute_host();
            world.novadb.set_service_up(&host, false);
        }
    }

    fn poll_ready(self: &Rc<Self>) -> bool {
        let id = {
            let mut ready = self.ready.borrow_mut();
            match ready.len() {
                0 => return false,
                1 => ready.remove(0),
                n => {
                    // Which of several ready steps runs next is the seed's choice.
                    let i = self.rng.borrow_mut().index(n);
                    ready.swap_remove(i)
                }
            }
        };
        let future = self.tasks.borrow_mut()[id as usize].as_mut().and_then(|t| t.future.take());
        let Some(mut future) = future else { return true };
        self.current.set(id);
        let mut cx = Context::from_waker(Waker::noop());
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(()) => {
                self.tasks.borrow_mut()[id as usize] = None;
                self.free_tasks.borrow_mut().push(id);
            }
            Poll::Pending => {
                if let Some(task) = self.tasks.borrow_mut()[id as usize].as_mut() {
                    task.future = Some(future);
                }
            }
        }
        self.kill_due();
        true
    }

    /// Lets everything happen until nothing is left, or until `limit`.
    pub fn run_until_quiet(self: &Rc<Self>, limit: SimTime) -> Quiet {
        for _ in 0..MAX_STEPS {
            if self.poll_ready() {
                continue;
            }
            let next_event = self.heap.borrow().peek().map(|Reverse((at, ..))| *at);
            let next_timer = self.world.borrow().next_timer();
            let next = match (next_event, next_timer) {
                (None, None) => return Quiet::Quiet,
                (Some(a), Some(b)) => a.min(b),
                (Some(a), None) | (None, Some(a)) => a,
            };
            if next > limit {
                return Quiet::Limit;
            }
            self.now.set(next.max(self.now()));
            if next_timer == Some(next) {
                self.world.borrow_mut().advance(next);
                self.settle();
                continue;
            }
            let Some(Reverse((_, _, event))) = self.heap.borrow_mut().pop() else { continue };
            match event {
                Event::Effect(slot) => self.effect(slot),
                Event::Reply(slot) => self.reply(slot),
                Event::Restart(process) => self.restart(process),
                Event::ServiceDown(incarnation) => self.service_down(incarnation),
                Event::Deliver => {
                    let hooks = self.hooks.borrow().clone();
                    if let Some(hooks) = hooks {
                        hooks.deliver(self);
                    }
                    self.settle();
                }
            }
        }
        Quiet::Limit
    }
}

/// A call under way.
pub(super) struct CallFuture {
    core: Rc<Core>,
    slot: u32,
}

impl Future for CallFuture {
    type Output = Result<Reply, Failure>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.core.slots.borrow_mut();
        // The slot is freed by this future alone, when it is dropped.
        let Some(slot) = slots[self.slot as usize].as_mut() else { return Poll::Pending };
        match slot.reply.take_if(|_| slot.arrived) {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waiter = Some(self.core.current.get());
                Poll::Pending
            }
        }
    }
}

impl Drop for CallFuture {
    fn drop(&mut self) {
        let arrived = match self.core.slots.borrow_mut()[self.slot as usize].as_mut() {
            Some(slot) => {
                slot.abandoned = true;
                slot.arrived
            }
            None => return,
        };
        if arrived {
            self.core.free(self.slot);
        }
    }
}

/// The layered binding that tasks of the pipeline call.
pub(super) type Layered = Rc<dyn Binding>;
