//! What happens next: the ready tasks, then the next event in virtual time.

use std::cmp::Reverse;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use castoff_ports::SimTime;

use super::choice::{RACE_WINDOW, Thread};
use super::{Core, Event, Quiet};

/// Steps of one run at most: a run that needs more is a livelock of ours or of the pipeline.
const MAX_STEPS: u64 = 5_000_000;

impl Core {
    fn poll_ready(self: &Rc<Self>) -> bool {
        let id = {
            let mut ready = self.ready.borrow_mut();
            match ready.len() {
                0 => return false,
                1 => ready.remove(0),
                // What a task does up to its next call touches no other: their order is no choice.
                _ if self.chooser.borrow().is_some() => ready.remove(0),
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
        self.wake();
        for _ in 0..MAX_STEPS {
            if self.poll_ready() {
                continue;
            }
            if !self.pending.borrow().is_empty() {
                self.step_of_choice(limit);
                continue;
            }
            let Some(next) = self.next_instant() else { return Quiet::Quiet };
            if self.passes_change_nothing() {
                return Quiet::Quiet;
            }
            if next > limit {
                return Quiet::Limit;
            }
            self.go_on_to(next);
        }
        Quiet::Limit
    }

    /// When something next happens by itself.
    fn next_instant(&self) -> Option<SimTime> {
        let next_event = self.heap.borrow().peek().map(|Reverse((at, ..))| *at);
        let next_timer = self.world.borrow().next_timer();
        match (next_event, next_timer) {
            (None, None) => None,
            (Some(a), Some(b)) => Some(a.min(b)),
            (Some(a), None) | (None, Some(a)) => Some(a),
        }
    }

    /// Time goes on to `next`, the next instant, and one thing happens.
    fn go_on_to(self: &Rc<Self>, next: SimTime) {
        self.now.set(next.max(self.now()));
        if self.world.borrow().next_timer() == Some(next) {
            self.world.borrow_mut().advance(next);
            self.settle();
            return;
        }
        let event = self.heap.borrow_mut().pop();
        if let Some(Reverse((_, _, event))) = event {
            self.happen(event);
        }
    }

    fn happen(self: &Rc<Self>, event: Event) {
        match event {
            Event::Effect(slot) => self.effect(slot),
            Event::Reply(slot) => self.reply(slot),
            Event::Restart(process) => self.restart(process),
            Event::ServiceDown(incarnation) => self.service_down(incarnation),
            Event::Pass(incarnation) => self.pass(incarnation),
            Event::Over => {}
            Event::Deliver => {
                let hooks = self.hooks.borrow().clone();
                if let Some(hooks) = hooks {
                    hooks.deliver(self);
                }
                self.settle();
            }
        }
    }

    /// Calls are under way, and the schedule says which takes effect, or whether time goes on.
    fn step_of_choice(self: &Rc<Self>, limit: SimTime) {
        let instant = self.next_instant();
        if let Some(due) = instant.filter(|at| *at <= self.now()) {
            // Replies, and what is due now: it is nobody's choice.
            return self.go_on_to(due);
        }
        let mut options: Vec<(Thread, usize)> = Vec::with_capacity(4);
        let mut oldest = self.now();
        let mut delivers = false;
        for (i, pending) in self.pending.borrow().iter().enumerate() {
            oldest = oldest.min(pending.since);
            // One queue: whoever's message it is, the next delivery is of the oldest.
            let second = delivers && pending.event == Event::Deliver;
            delivers |= pending.event == Event::Deliver;
            let thread = Thread::Request(pending.request);
            if !second && !options.iter().any(|(t, _)| *t == thread) {
                options.push((thread, i));
            }
        }
        let instant = instant.filter(|at| *at <= limit && at.since(oldest) <= RACE_WINDOW);
        if instant.is_some() {
            options.push((Thread::Time, 0));
        }
        let chosen = {
            let mut chooser = self.chooser.borrow_mut();
            // Only a run with a chooser has calls that wait for a choice.
            let Some(chooser) = chooser.as_mut() else { return };
            chooser.sort(&mut options);
            options[chooser.choose(&mut self.rng.borrow_mut(), &options)]
        };
        match (chosen, instant) {
            ((Thread::Time, _), Some(instant)) => self.go_on_to(instant),
            ((Thread::Time, _), None) => {}
            ((Thread::Request(_), i), _) => {
                let event = self.pending.borrow_mut().remove(i).event;
                self.happen(event);
            }
        }
    }
}
