//! Locks by name: a process's own semaphores and the compute host's file locks.
//!
//! Both wait without limit and first come, first served. They differ in what a death leaves: an
//! in-process lock (oslo lockutils semaphore) is forgotten with its process, and another process
//! never saw it; a file lock (fasteners) is released by the kernel, which hands it to the next
//! waiter. Neither is reentrant: who asks again for what it holds waits for itself for ever.

use std::collections::VecDeque;

use castoff_ports::runtime::{LockScope, Reply as RuntimeReply};
use castoff_ports::{CallCx, Process, Reply, RequestId};

use crate::fact::Fact;
use crate::world::{Outcome, Step, Ticket};

/// Which of the pipeline's locks a name is, in the order in which they may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockKind {
    /// The server's, named by its uuid (nova-compute).
    Instance,
    /// `multi_attach_volume_<volume>` (nova-compute, deletes).
    MultiattachVolume,
    /// `os-brick-<service_uuid>`: guard_connection of a shared target.
    Guard,
    /// `connect_volume`: every connect and disconnect of the host.
    ConnectVolume,
    /// `connect_to_iscsi_portal-<portal>-<iqn>`.
    Portal,
}

impl LockKind {
    /// The kind of the lock of this name; a name without a known form is a server's uuid.
    pub fn of(name: &str) -> LockKind {
        let bare = name.strip_prefix("os-brick-");
        match bare.unwrap_or(name) {
            "connect_volume" => LockKind::ConnectVolume,
            n if n.starts_with("connect_to_iscsi_portal") => LockKind::Portal,
            n if n.starts_with("multi_attach_volume_") => LockKind::MultiattachVolume,
            _ if bare.is_some() => LockKind::Guard,
            _ => LockKind::Instance,
        }
    }
}

/// Who holds or awaits a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The process.
    pub process: Process,
    /// How often that process has been started.
    pub incarnation: u32,
    /// The request that it serves.
    pub request: RequestId,
}

impl Owner {
    fn of(cx: &CallCx) -> Owner {
        Owner { process: cx.process, incarnation: cx.incarnation, request: cx.request }
    }

    fn is_of(&self, process: Process, incarnation: u32) -> bool {
        self.process == process && self.incarnation == incarnation
    }
}

/// A lock that is held. One that is free has no entry.
#[derive(Clone, Debug)]
pub struct HeldLock {
    /// Its name.
    pub name: String,
    /// Where it holds.
    pub scope: LockScope,
    /// Who holds it.
    pub owner: Owner,
    waiters: VecDeque<(Owner, Ticket)>,
}

impl HeldLock {
    /// Who waits for it, in order.
    pub fn waiting(&self) -> impl Iterator<Item = &Owner> {
        self.waiters.iter().map(|(owner, _)| owner)
    }

    /// Whether this is the lock that `asker` means: an in-process lock is its process's own.
    fn is(&self, name: &str, scope: LockScope, asker: &Owner) -> bool {
        self.scope == scope
            && self.name == name
            && match scope {
                LockScope::InProcess => self.owner.is_of(asker.process, asker.incarnation),
                LockScope::External => true,
            }
    }

    /// Gives the lock to the next waiter; false when nobody waits.
    fn hand_on(&mut self, step: &mut Step) -> bool {
        let Some((owner, ticket)) = self.waiters.pop_front() else {
            return false;
        };
        self.owner = owner;
        step.facts.push(Fact::LockTaken { owner, kind: LockKind::of(&self.name) });
        step.completed.push((ticket, Ok(locked())));
        true
    }
}

/// All locks of the compute host and of the processes.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    held: Vec<HeldLock>,
}

impl Locks {
    /// Nothing is locked.
    pub fn new() -> Locks {
        Locks::default()
    }

    /// Takes a lock, or waits for it under a ticket.
    pub fn lock(
        &mut self,
        step: &mut Step,
        cx: &CallCx,
        name: String,
        scope: LockScope,
    ) -> Outcome {
        let owner = Owner::of(cx);
        let kind = LockKind::of(&name);
        match self.held.iter_mut().find(|l| l.is(&name, scope, &owner)) {
            Some(lock) => {
                let ticket = step.ticket();
                lock.waiters.push_back((owner, ticket));
                step.facts.push(Fact::LockAwaited { owner, kind });
                Outcome::Blocked(ticket)
            }
            None => {
                self.held.push(HeldLock { name, scope, owner, waiters: VecDeque::new() });
                step.facts.push(Fact::LockTaken { owner, kind });
                Outcome::Done(Ok(locked()))
            }
        }
    }

    /// Gives a lock back, to the next waiter if there is one.
    pub fn unlock(&mut self, step: &mut Step, cx: &CallCx, name: &str, scope: LockScope) {
        let owner = Owner::of(cx);
        let held = self.held.iter().position(|l| l.is(name, scope, &owner) && l.owner == owner);
        debug_assert!(held.is_some(), "{owner:?} unlocks {name}, which it does not hold");
        if let Some(at) = held
            && !self.held[at].hand_on(step)
        {
            self.held.remove(at);
        }
    }

    /// A process died: it holds and awaits nothing any more. Its waiters get no answer.
    pub fn kill(&mut self, step: &mut Step, process: Process, incarnation: u32) {
        self.held.retain_mut(|lock| {
            lock.waiters.retain(|(owner, _)| !owner.is_of(process, incarnation));
            // An in-process lock has no waiters left by now: they were all of this process.
            !lock.owner.is_of(process, incarnation) || lock.hand_on(step)
        });
    }

    /// Every lock that is held, in the order in which they were first taken.
    pub fn held(&self) -> &[HeldLock] {
        &self.held
    }
}

fn locked() -> Reply {
    Reply::Runtime(RuntimeReply::Lock(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Facts;
    use crate::world::Completed;
    use castoff_ports::{Auth, SimTime};
    use proptest::prelude::*;

    struct Bench {
        locks: Locks,
        completed: Completed,
        next_ticket: u64,
    }

    fn cx(incarnation: u32, request: u32) -> CallCx {
        CallCx {
            process: Process::NovaCompute,
            incarnation,
            request: RequestId(request),
            auth: Auth::default(),
            deadline: None,
        }
    }

    impl Bench {
        fn new() -> Bench {
            Bench { locks: Locks::new(), completed: Completed::new(), next_ticket: 0 }
        }
        fn with<T>(&mut self, body: impl FnOnce(&mut Locks, &mut Step) -> T) -> T {
            let mut step = Step {
                now: SimTime::ZERO,
                facts: &mut Facts::new(),
                completed: &mut self.completed,
                next_ticket: &mut self.next_ticket,
            };
            body(&mut self.locks, &mut step)
        }
        /// The ticket when it blocks.
        fn lock(&mut self, cx: &CallCx, scope: LockScope) -> Option<Ticket> {
            match self.with(|l, s| l.lock(s, cx, "connect_volume".to_owned(), scope)) {
                Outcome::Done(result) => {
                    assert_eq!(result, Ok(locked()));
                    None
                }
                Outcome::Blocked(ticket) => Some(ticket),
            }
        }
        fn unlock(&mut self, cx: &CallCx, scope: LockScope) {
            self.with(|l, s| l.unlock(s, cx, "connect_volume", scope));
        }
        fn kill(&mut self, incarnation: u32) {
            self.with(|l, s| l.kill(s, Process::NovaCompute, incarnation));
        }
        fn answered(&mut self) -> Vec<Ticket> {
            std::mem::take(&mut self.completed).into_iter().map(|(ticket, _)| ticket).collect()
        }
    }

    #[test]
    fn waiters_get_a_lock_in_the_order_in_which_they_asked() {
        for scope in [LockScope::InProcess, LockScope::External] {
            let mut b = Bench::new();
            assert_eq!(b.lock(&cx(0, 1), scope), None);
            let second = b.lock(&cx(0, 2), scope).unwrap();
            let third = b.lock(&cx(0, 3), scope).unwrap();
            assert_eq!(b.answered(), []);
            b.unlock(&cx(0, 1), scope);
            assert_eq!(b.answered(), [second]);
            b.unlock(&cx(0, 2), scope);
            assert_eq!(b.answered(), [third]);
            b.unlock(&cx(0, 3), scope);
            assert!(b.locks.held().is_empty());
        }
    }

    #[test]
    fn an_in_process_lock_of_the_dead_is_forgotten_with_its_waiters() {
        let mut b = Bench::new();
        assert_eq!(b.lock(&cx(0, 1), LockScope::InProcess), None);
        assert!(b.lock(&cx(0, 2), LockScope::InProcess).is_some());
        b.kill(0);
        assert_eq!(b.answered(), []);
        assert!(b.locks.held().is_empty());
    }

    #[test]
    fn a_new_incarnation_does_not_see_the_in_process_locks_of_the_old() {
        let mut b = Bench::new();
        assert_eq!(b.lock(&cx(0, 1), LockScope::InProcess), None);
        assert_eq!(b.lock(&cx(1, 2), LockScope::InProcess), None);
        b.unlock(&cx(1, 2), LockScope::InProcess);
        assert_eq!(b.locks.held().len(), 1);
    }

    #[test]
    fn a_file_lock_of_the_dead_goes_to_the_next_living_waiter() {
        let mut b = Bench::new();
        assert_eq!(b.lock(&cx(0, 1), LockScope::External), None);
        b.lock(&cx(0, 2), LockScope::External).unwrap();
        let living = b.lock(&cx(1, 3), LockScope::External).unwrap();
        b.kill(0);
        assert_eq!(b.answered(), [living]);
        assert_eq!(b.locks.held()[0].owner.request, RequestId(3));
    }

    #[test]
    fn a_dead_waiter_is_passed_over() {
        let mut b = Bench::new();
        assert_eq!(b.lock(&cx(1, 1), LockScope::External), None);
        b.lock(&cx(0, 2), LockScope::External).unwrap();
        let third = b.lock(&cx(1, 3), LockScope::External).unwrap();
        b.kill(0);
        b.unlock(&cx(1, 1), LockScope::External);
        assert_eq!(b.answered(), [third]);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Lock(u32, bool),
        Unlock(usize),
        Kill(u32),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            5 => (0..2_u32, any::<bool>()).prop_map(|(i, external)| Act::Lock(i, external)),
            4 => (0..4_usize).prop_map(Act::Unlock),
            1 => (0..2_u32).prop_map(Act::Kill),
        ]
    }

    proptest! {
        #[test]
        fn every_ask_of_the_living_is_held_waiting_or_given_back_and_never_answered_twice(
            acts in prop::collection::vec(act(), 0..60),
        ) {
            let mut b = Bench::new();
            let mut request = 0;
            let mut tickets: Vec<Ticket> = Vec::new();
            for act in acts {
                match act {
                    Act::Lock(incarnation, external) => {
                        request += 1;
                        let scope = if external { LockScope::External } else { LockScope::InProcess };
                        b.lock(&cx(incarnation, request), scope);
                    }
                    Act::Unlock(n) => {
                        if let Some(lock) = b.locks.held().get(n).cloned() {
                            let owner = lock.owner;
                            b.unlock(&cx(owner.incarnation, owner.request.0), lock.scope);
                        }
                    }
                    Act::Kill(incarnation) => {
                        b.kill(incarnation);
                        let left = b.locks.held().iter().any(|l| {
                            l.owner.incarnation == incarnation
                                || l.waiting().any(|w| w.incarnation == incarnation)
                        });
                        prop_assert!(!left);
                    }
                }
                tickets.extend(b.answered());
                // One file lock at most, and one in-process lock an incarnation.
                prop_assert!(b.locks.held().len() <= 3);
                for lock in b.locks.held() {
                    let order: Vec<u32> = lock.waiting().map(|w| w.request.0).collect();
                    prop_assert!(order.is_sorted());
                    prop_assert!(order.iter().all(|r| *r > lock.owner.request.0));
                }
            }
            let answers = tickets.len();
            tickets.sort();
            tickets.dedup();
            prop_assert_eq!(tickets.len(), answers);
        }
    }
}
