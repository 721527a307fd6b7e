//! All models together: one entry for every operation, timers, and tickets for what blocks.
//!
//! A call is a transition at one instant. Three things let an answer come later:
//! [`Outcome::Blocked`] hands out a [`Ticket`] that some later transition completes (a lock, a
//! device event, libvirt waiting for the guest), [`World::next_timer`] says when the world
//! changes by itself, and [`World::take_completed`] gives the answers that have become due.
//! How long a call takes on the way there and back is the binding's business, not the world's.

use castoff_ports::{Call, CallCx, Failure, Process, Refusal, Reply, SimTime, runtime};

use crate::broker::Broker;
use crate::cinder::Cinder;
use crate::fact::{Cause, Fact, Facts};
use crate::hypervisor::Hypervisor;
use crate::kernel::Kernel;
use crate::keystone::Keystone;
use crate::locks::Locks;
use crate::novadb::NovaDb;
use crate::release::Release;
use crate::storage::Storage;

/// Names a call that has not been answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a call comes to.
///
/// Nearly every outcome is `Done`, so boxing its reply would cost each call an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Answered at once.
    Done(Result<Reply, Failure>),
    /// Will be answered under this ticket.
    Blocked(Ticket),
}

/// Answers under tickets, in the order in which they became due.
pub type Completed = Vec<(Ticket, Result<Reply, Failure>)>;

/// What every model gets with a call: the time, and where to put what it did.
pub struct Step<'a> {
    /// The time of this transition.
    pub now: SimTime,
    /// What changed.
    pub facts: &'a mut Facts,
    /// Tickets that this transition answers.
    pub completed: &'a mut Completed,
    /// The next ticket to hand out.
    pub next_ticket: &'a mut u64,
}

impl Step<'_> {
    /// A new ticket.
    pub fn ticket(&mut self) -> Ticket {
        *self.next_ticket += 1;
        Ticket(*self.next_ticket)
    }
}

/// Everything outside the pipeline.
#[derive(Clone, Debug)]
pub struct World {
    /// How it behaves.
    pub release: Release,
    /// Keystone.
    pub keystone: Keystone,
    /// Cinder's API, volume service and database.
    pub cinder: Cinder,
    /// Nova's database.
    pub novadb: NovaDb,
    /// The message broker.
    pub broker: Broker,
    /// libvirtd, QEMU and the guests of the compute host.
    pub hypervisor: Hypervisor,
    /// The compute host's kernel and open-iscsi.
    pub kernel: Kernel,
    /// The storage backend.
    pub storage: Storage,
    /// Locks of the compute host and its processes.
    pub locks: Locks,
    /// What changed since the facts were last taken.
    pub facts: Facts,
    /// The call under way; whoever takes the facts takes it with them.
    pub cause: Option<Cause>,
    completed: Completed,
    next_ticket: u64,
}

macro_rules! step {
    ($world:ident, $now:expr) => {
        &mut Step {
            now: $now,
            facts: &mut $world.facts,
            completed: &mut $world.completed,
            next_ticket: &mut $world.next_ticket,
        }
    };
}

impl World {
    /// An empty world of this release.
    pub fn new(release: Release) -> World {
        let mut cinder = Cinder::new(release.cinder);
        cinder.begin_detaching_swaps = release.begin_detaching_swaps;
        cinder.reserved_attachment_frees = release.reserved_attachment_frees;
        cinder.fixes = release.fixes;
        World {
            keystone: Keystone::new(),
            cinder,
            novadb: NovaDb::new(),
            broker: Broker::new(),
            hypervisor: Hypervisor::new(&release),
            kernel: Kernel::new(&release),
            storage: Storage::new(),
            locks: Locks::new(),
            facts: Facts::new(),
            cause: None,
            completed: Completed::new(),
            next_ticket: 0,
            release,
        }
    }

    /// Carries out one operation at `now`.
    ///
    /// Calls to nova-api, RPC calls (which need a pipeline to answer them) and sleeps belong to
    /// the binding and are refused here as unsupported.
    pub fn call(&mut self, now: SimTime, cx: &CallCx, call: Call) -> Outcome {
        // Whoever carries a call to a service knows more of its caller than the service does.
        self.cause.get_or_insert_with(|| Cause::of(cx, call.name()));
        let step = step!(self, now);
        match call {
            Call::Keystone(c) => done(self.keystone.call(step, &cx.auth, c).map(Reply::Keystone)),
            Call::Cinder(c) => {
                let before = step.facts.len();
                let reply = self.cinder.call(
                    step,
                    &self.keystone,
                    &self.novadb,
                    &mut self.storage,
                    &cx.auth,
                    c,
                );
                self.announce_luns(before);
                done(reply.map(Reply::Cinder))
            }
            Call::NovaDb(c) => done(self.novadb.call(step, cx.request, c).map(Reply::NovaDb)),
            Call::Rpc(c) => done(self.broker.call(step, cx, c).map(Reply::Rpc)),
            Call::Libvirt(c) => {
                self.hypervisor.call(step, cx, &mut self.kernel, &mut self.storage, c)
            }
            Call::Iscsi(c) => {
                done(Ok(Reply::Iscsi(self.kernel.iscsi(step, &self.hypervisor, &self.storage, c))))
            }
            Call::Host(c) => done(Ok(Reply::Host(self.kernel.host(
                step,
                &self.hypervisor,
                &mut self.storage,
                c,
            )))),
            Call::Runtime(runtime::Call::Lock(c)) => self.locks.lock(step, cx, c.name, c.scope),
            Call::Runtime(runtime::Call::Unlock(c)) => {
                self.locks.unlock(step, cx, &c.name, c.scope);
                Outcome::Done(Ok(Reply::Runtime(runtime::Reply::Unlock(()))))
            }
            Call::Nova(_) | Call::Runtime(_) => {
                Outcome::Done(
                    Err(Refusal::Unsupported { operation: call.name().to_owned() }.into()),
                )
            }
        }
    }

    /// Tells the host's sessions of the LUNs that were mapped since so many facts.
    fn announce_luns(&mut self, before: usize) {
        let target = |fact: &Fact| match fact {
            Fact::Mapped { target, .. } => Some(target.clone()),
            _ => None,
        };
        let targets: Vec<_> = self.facts.iter().skip(before).filter_map(target).collect();
        for target in targets {
            self.kernel.lun_added(&mut self.facts, &self.storage, &target);
        }
    }

    /// The next message for nova-compute, acknowledged with that (at most once).
    pub fn deliver(&mut self, now: SimTime) -> Option<crate::broker::Message> {
        self.cause = None;
        self.broker.deliver(step!(self, now))
    }

    /// When the world next changes by itself.
    pub fn next_timer(&self) -> Option<SimTime> {
        [self.hypervisor.next_timer(), self.kernel.next_timer()].into_iter().flatten().min()
    }

    /// Lets everything happen that is due at `now` or before.
    pub fn advance(&mut self, now: SimTime) {
        self.cause = None;
        while let Some(at) = self.next_timer().filter(|at| *at <= now) {
            let step = step!(self, at);
            if self.kernel.next_timer() == Some(at) {
                self.kernel.advance(step, &self.hypervisor);
            } else {
                self.hypervisor.advance(step, &mut self.kernel, &mut self.storage);
            }
        }
    }

    /// Answers that have become due, oldest first; empties the list.
    pub fn take_completed(&mut self) -> Completed {
        std::mem::take(&mut self.completed)
    }

    /// Whether any answer has become due.
    pub fn has_completed(&self) -> bool {
        !self.completed.is_empty()
    }

    /// A process died: what the kernel and the services release then. In-process locks and
    /// waiters are forgotten, file locks are released; guests, sessions and rows stay.
    pub fn kill(&mut self, now: SimTime, process: Process, incarnation: u32) {
        self.cause = None;
        let step = step!(self, now);
        self.locks.kill(step, process, incarnation);
        self.hypervisor.kill(step, process, incarnation);
        if process == Process::NovaCompute {
            self.broker.consumer_died(step);
        }
        step.facts.push(Fact::ProcessDied { process, incarnation });
    }
}

fn done(result: Result<Reply, Refusal>) -> Outcome {
    Outcome::Done(result.map_err(Failure::from))
}
