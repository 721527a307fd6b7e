//! What happens next: the ready tasks, then the next event in virtual time.

use std::cmp::Reverse;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use castoff_ports::SimTime;

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
