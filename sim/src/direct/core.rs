//! The executor's state: tasks, events in virtual time, and calls under way.
//!
//! - [`choice`]: who goes on, where a schedule chooses.
//! - [`slots`]: a call from its making to the arrival of its reply.
//! - [`lives`]: death and restart of processes.
//! - [`periods`]: the periodic task of nova-compute.
//! - [`steps`]: what happens next.

mod choice;
mod lives;
mod periods;
mod slots;
mod steps;

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use castoff_model::{Outcome, Ticket, World};
use castoff_ports::schedule::Schedule;
use castoff_ports::{Binding, Call, CallCx, Process, Reply, RequestId, SimTime};
use futures::future::LocalBoxFuture;

use crate::latency::{self, profile::Profile};
use crate::observe::Observer;
use crate::rng::SimRng;
use choice::Chooser;
pub use choice::{Choice, PCT_POINTS, RACE_WINDOW};
use lives::Life;
use periods::Periods;
pub(super) use slots::CallFuture;
use slots::Slot;

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
    /// The periodic task of this incarnation of nova-compute is due.
    Pass(u32),
    /// A fault that lasts is over.
    Over,
}

/// What takes effect when the schedule says so.
struct Pending {
    since: SimTime,
    request: RequestId,
    event: Event,
}

struct Task {
    process: Process,
    incarnation: u32,
    future: Option<LocalBoxFuture<'static, ()>>,
}

/// The executor's state, shared by the binding and the tasks.
pub struct Core {
    /// The world outside the pipeline.
    pub world: RefCell<World>,
    /// Who looks at every change.
    pub observer: RefCell<Observer>,
    rng: RefCell<SimRng>,
    chooser: RefCell<Option<Chooser>>,
    pending: RefCell<Vec<Pending>>,
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
    periods: RefCell<Periods>,
    profile: Option<Rc<Profile>>,
}

/// What the executor asks the binding to do: run pipeline code for a call that needs it.
pub(super) trait Hooks {
    /// A call that another process of the pipeline answers takes effect.
    fn serve(&self, core: &Rc<Core>, slot: u32, cx: CallCx, call: Call);
    /// The broker may have a message for nova-compute.
    fn deliver(&self, core: &Rc<Core>);
    /// A process starts again: its memory is empty.
    fn restarted(&self, core: &Rc<Core>, process: Process);
    /// nova-compute's periodic task is due.
    fn pass(&self, core: &Rc<Core>);
}

impl Core {
    pub(super) fn new(
        world: World,
        observer: Observer,
        seed: u64,
        now: SimTime,
        profile: Option<Rc<Profile>>,
    ) -> Rc<Core> {
        Rc::new(Core {
            world: RefCell::new(world),
            observer: RefCell::new(observer),
            rng: RefCell::new(SimRng::new(seed)),
            chooser: RefCell::new(None),
            pending: RefCell::default(),
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
            periods: RefCell::default(),
            profile,
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

    fn draw(&self, (lo, hi): (u32, u32)) -> Duration {
        // Where a schedule chooses the order, a latency is no more than a way to draw one: only
        // what is fixed (a timeout) takes time.
        if hi == 0 || (lo != hi && self.chooser.borrow().is_some()) {
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
        self.observer.borrow_mut().begun(cx.request, call.name());
        let local =
            matches!(call, Call::Nova(_) | Call::Rpc(castoff_ports::rpc::Call::CallMethod(_)));
        let after = match &call {
            Call::Runtime(castoff_ports::runtime::Call::Sleep(s)) => Some(s.duration),
            // Its effect is a task that begins, which touches nothing before its own first call.
            _ if local && self.chooser.borrow().is_some() => Some(Duration::ZERO),
            _ if self.chooser.borrow().is_some() => None,
            call => Some(self.draw(latency::under(self.profile.as_deref(), call).there)),
        };
        let id = self.open(Slot::new(cx.clone(), call));
        match after {
            Some(after) => self.at(self.now() + after, Event::Effect(id)),
            None => self.wait_for_choice(cx.request, Event::Effect(id)),
        }
        CallFuture::new(self.clone(), id)
    }

    /// The broker has something: it arrives a delivery's time from now.
    pub(super) fn schedule_delivery(&self, request: RequestId) {
        if self.chooser.borrow().is_some() {
            return self.wait_for_choice(request, Event::Deliver);
        }
        self.at(self.now() + self.draw(latency::DELIVERY), Event::Deliver);
    }

    fn wait_for_choice(&self, request: RequestId, event: Event) {
        self.pending.borrow_mut().push(Pending { since: self.now(), request, event });
    }

    /// From the beginning on, this schedule chooses.
    pub(super) fn follow(&self, schedule: &Schedule) {
        *self.chooser.borrow_mut() = Chooser::new(schedule, &mut self.rng.borrow_mut());
    }

    /// The faults stop, and so does the schedule.
    pub(super) fn rest(&self) {
        if let Some(chooser) = self.chooser.borrow_mut().as_mut() {
            chooser.rest();
        }
    }

    /// The choices that the schedule made; none by virtual time.
    pub fn choices(&self) -> Vec<Choice> {
        self.chooser.borrow().as_ref().map(|c| c.made().to_vec()).unwrap_or_default()
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
        let life = self.life(cx.process);
        if matches!(call, Call::Runtime(_)) && (life.dead || life.incarnation != cx.incarnation) {
            // What another system was asked goes on; what the process itself was to do died with it.
            return self.free(slot);
        }
        let back = latency::under(self.profile.as_deref(), &call).back;
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
                let request = cx.request;
                let cast = matches!(call, Call::Rpc(castoff_ports::rpc::Call::Cast(_)));
                let outcome = self.world.borrow_mut().call(self.now(), &cx, call);
                match outcome {
                    Outcome::Done(result) => self.answer(slot, result, back),
                    Outcome::Blocked(ticket) => self.tickets.borrow_mut().push((ticket, slot)),
                }
                self.settle();
                if cast {
                    self.schedule_delivery(request);
                }
            }
        }
    }
}

/// The layered binding that tasks of the pipeline call.
pub(super) type Layered = Rc<dyn Binding>;
