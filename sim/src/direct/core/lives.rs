//! Death and restart of the pipeline's processes.

use std::rc::Rc;
use std::time::Duration;

use castoff_ports::{CallCx, Failure, Process};

use super::{Core, Event};

/// The state of one process: how often it was started, whether it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::direct) struct Life {
    /// Started so often, less one.
    pub(in crate::direct) incarnation: u32,
    /// Not running now.
    pub(in crate::direct) dead: bool,
}

impl Core {
    pub(in crate::direct) fn life(&self, process: Process) -> Life {
        self.lives[process as usize].get()
    }

    /// nova-compute is stopped as soon as the running task gives way, and started so much later.
    pub fn stop_compute(&self, start_after: Duration) {
        let process = Process::NovaCompute;
        let incarnation = self.life(process).incarnation;
        self.kills.borrow_mut().push((process, incarnation, Some(start_after)));
    }

    /// A process dies as soon as the running task gives way.
    pub(in crate::direct) fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        self.kills.borrow_mut().push((cx.process, cx.incarnation, restart_after));
    }

    pub(super) fn kill_due(self: &Rc<Self>) {
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
    pub(in crate::direct) fn restart(self: &Rc<Self>, process: Process) {
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

    pub(super) fn service_down(self: &Rc<Self>, incarnation: u32) {
        let life = self.life(Process::NovaCompute);
        if life.dead && life.incarnation == incarnation {
            let mut world = self.world.borrow_mut();
            let host = crate::prepare::compute_host();
            world.novadb.set_service_up(&host, false);
        }
    }
}
