//! The periodic task of nova-compute, and when a run that has one is quiet.
//!
//! Its timer never ends, so "nothing left" cannot mean an empty heap: a run is quiet when nothing
//! but such timers is left and two passes in a row have changed nothing.

use std::rc::Rc;
use std::time::Duration;

use castoff_ports::{Process, SimTime};

use super::{Core, Event};
use crate::standing::standing;

/// So many passes that change nothing are quiet: the first may wait for what the second finds old
/// enough.
const IDLE_PASSES: u32 = 2;

/// The timers, and what the last passes found.
#[derive(Debug, Default)]
pub(super) struct Periods {
    every: Option<Duration>,
    last: String,
    idle: u32,
}

impl Core {
    /// nova-compute has a periodic task from now on; its first pass is a period away.
    pub(in crate::direct) fn start_periods(&self, every: Duration) {
        self.periods.borrow_mut().every = Some(every);
        self.schedule_pass(every);
    }

    /// A pass in `after`, by the nova-compute that lives now.
    pub(in crate::direct) fn schedule_pass(&self, after: Duration) {
        if self.periods.borrow().every.is_some() {
            let incarnation = self.life(Process::NovaCompute).incarnation;
            self.at(self.now() + after, Event::Pass(incarnation));
        }
    }

    pub(super) fn pass(self: &Rc<Self>, incarnation: u32) {
        let life = self.life(Process::NovaCompute);
        let Some(every) = self.periods.borrow().every else { return };
        if life.dead || life.incarnation != incarnation {
            return;
        }
        let hooks = self.hooks.borrow().clone();
        if let Some(hooks) = hooks {
            hooks.pass(self);
        }
        self.schedule_pass(every);
    }

    /// A new stretch of the run begins: what was quiet may not be so any more.
    pub(super) fn wake(&self) {
        self.periods.borrow_mut().idle = 0;
    }

    /// A run is not over before this: a fault lasts. A pass that it strikes is not one that found
    /// nothing to do.
    pub(in crate::direct) fn lasts_until(&self, at: SimTime) {
        self.wake();
        if at > self.now() {
            self.observer.borrow_mut().disturbed(self.now(), at);
            self.at(at, Event::Over);
        }
    }

    /// Whether only timers of periodic tasks are left, and their passes change nothing. To be asked
    /// once a pass, before it.
    pub(super) fn passes_change_nothing(&self) -> bool {
        let life = self.life(Process::NovaCompute);
        let mut next_is_pass = false;
        {
            let heap = self.heap.borrow();
            if let Some(std::cmp::Reverse((_, _, Event::Pass(incarnation)))) = heap.peek() {
                next_is_pass = !life.dead && life.incarnation == *incarnation;
            }
            let only_passes = || heap.iter().all(|event| matches!(event.0.2, Event::Pass(_)));
            if !next_is_pass || self.world.borrow().next_timer().is_some() || !only_passes() {
                return false;
            }
        }
        let now = standing(&self.world.borrow());
        let mut periods = self.periods.borrow_mut();
        if periods.last == now {
            periods.idle += 1;
        } else {
            periods.idle = 0;
            periods.last = now;
        }
        periods.idle >= IDLE_PASSES
    }
}
