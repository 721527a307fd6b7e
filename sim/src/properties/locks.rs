//! Locks: S22, L6, L7, L8.

use std::time::Duration;

use castoff_model::locks::{HeldLock, LockKind, Owner};
use castoff_model::{Fact, World};
use castoff_ports::{Process, RequestId, SimTime};

use super::Checker;
use super::track::Wait;

/// T_max + c: the longest that work on another volume may keep a detach waiting.
const LONGEST_WAIT: Duration = Duration::from_secs(590);

/// Judges one fact.
pub(super) fn judge(checker: &mut Checker, world: &World, now: SimTime, fact: &Fact) {
    match fact {
        Fact::LockTaken { owner, kind } => {
            order(checker, world, now, owner, *kind);
            let waits = &mut checker.history.waits;
            if let Some(at) = waits.iter().position(|w| w.owner == *owner) {
                let wait = waits.remove(at);
                isolation(checker, now, wait);
            }
        }
        Fact::LockAwaited { owner, kind } => {
            order(checker, world, now, owner, *kind);
            no_cycle(checker, world, now, owner);
            if let Some(lock) = awaited(world, owner) {
                let holder = lock.owner.request;
                let wait = Wait { owner: *owner, since: now, holder, kind: *kind };
                checker.history.waits.push(wait);
            }
        }
        Fact::ProcessDied { process, incarnation } => {
            checker.history.dead.push((*process, *incarnation));
            released(checker, world, now);
        }
        Fact::SessionUp { .. }
        | Fact::SessionDown { .. }
        | Fact::NodeDeleted { .. }
        | Fact::DeviceUp { .. }
        | Fact::DeviceGone { .. } => host_wide(checker, world, now, fact),
        _ => {}
    }
}

fn awaited<'w>(world: &'w World, owner: &Owner) -> Option<&'w HeldLock> {
    world.locks.held().iter().find(|l| l.waiting().any(|w| w == owner))
}

/// S22, the order: nothing is asked for under a lock that comes after it.
fn order(checker: &mut Checker, world: &World, now: SimTime, owner: &Owner, kind: LockKind) {
    if is_two(world, owner) {
        return;
    }
    // nova-compute's reconciler goes on with a detach in the name of its request, under a server's
    // lock of its own (request 0): a cast that comes late is another worker, and holds nothing yet.
    let late = |l: &HeldLock| {
        l.owner.request == RequestId(0)
            && LockKind::of(&l.name) == kind
            && l.waiting().any(|w| w == owner)
    };
    if world.locks.held().iter().any(late) {
        return;
    }
    let under = |l: &&HeldLock| l.owner == *owner && LockKind::of(&l.name) > kind;
    if let Some(lock) = world.locks.held().iter().find(under) {
        let (who, name) = (owner.request, &lock.name);
        let text = format!("{who} asked for the lock {kind:?} while it held {name}");
        checker.broken("S22", now, text);
    }
}

/// Two deliveries of one message are two workers, and locks know the request alone: which of them
/// holds one, nobody can tell here. L8 finds them should they wait for each other.
fn is_two(world: &World, owner: &Owner) -> bool {
    world.broker.in_flight().filter(|r| *r == owner.request).count() > 1
}

/// S22, the cycle.
fn no_cycle(checker: &mut Checker, world: &World, now: SimTime, owner: &Owner) {
    if is_two(world, owner) {
        return;
    }
    let mut at = *owner;
    // A chain without a cycle passes each lock once.
    for _ in 0..=world.locks.held().len() {
        let Some(lock) = awaited(world, &at) else { return };
        at = lock.owner;
        if at == *owner {
            let text = format!("{} waits for {}, and so for itself", owner.request, lock.name);
            checker.broken("S22", now, text);
            return;
        }
    }
}

/// S22, check and act: sessions and disks change under the host's connect_volume alone.
fn host_wide(checker: &mut Checker, world: &World, now: SimTime, fact: &Fact) {
    let Some(cause) = checker.cause.filter(|c| c.process == Process::NovaCompute) else { return };
    if checker.is_announced(fact) {
        return;
    }
    let me = cause.owner();
    if checker.history.dead.contains(&(me.process, me.incarnation)) {
        return;
    }
    let mut held = false;
    let mut other = None;
    for lock in world.locks.held() {
        if LockKind::of(&lock.name) == LockKind::ConnectVolume {
            held |= lock.owner == me;
            other = other.or((lock.owner != me).then_some(lock.owner.request));
        }
    }
    match (held, other) {
        (true, None) => {}
        (true, Some(other)) => {
            let text = format!("{fact}: {} and {other} both hold connect_volume", me.request);
            checker.broken("S22", now, text);
        }
        (false, _) => {
            let text = format!("{fact}: {} does not hold connect_volume", me.request);
            checker.broken("S22", now, text);
        }
    }
}

/// L6.
fn isolation(checker: &mut Checker, now: SimTime, wait: Wait) {
    let volume =
        |request| checker.watched.iter().find(|w| w.request == request).map(|w| w.volume.clone());
    // A network that is down keeps every detach waiting, whoever holds the lock.
    let waited = checker.history.undisturbed(wait.since, now);
    let Some(mine) = volume(wait.owner.request).filter(|_| waited > LONGEST_WAIT) else { return };
    let theirs = volume(wait.holder);
    // Under the server's own lock a reboot or a shelve works on all of its volumes, this one too.
    let whole_server = wait.kind == LockKind::Instance && theirs.is_none();
    if theirs.as_ref() != Some(&mine) && !whole_server {
        checker.broken(
            "L6",
            now,
            format!("the detach of volume {mine} waited {} s for a lock of {}, which works on another volume", waited.as_secs(), wait.holder),
        );
    }
}

/// L7.
fn released(checker: &mut Checker, world: &World, now: SimTime) {
    let dead = &checker.history.dead;
    let of_dead = |l: &&HeldLock| {
        dead.iter().any(|(p, i)| l.owner.process == *p && l.owner.incarnation == *i)
    };
    if let Some(lock) = world.locks.held().iter().find(of_dead) {
        let text = format!("{} is dead and holds {}", lock.owner.process, lock.name);
        checker.broken("L7", now, text);
    }
}

/// L8, and what of L6 and L7 shows only when nothing moves any more.
pub(super) fn nobody_waits(checker: &mut Checker, world: &World, now: SimTime) {
    for lock in world.locks.held() {
        if let Some(waiter) = lock.waiting().next() {
            let text = format!(
                "{} waits for {}, which {} holds",
                waiter.request, lock.name, lock.owner.request
            );
            checker.broken("L8", now, text);
        }
    }
    for wait in std::mem::take(&mut checker.history.waits) {
        if awaited(world, &wait.owner).is_some() {
            isolation(checker, now, wait);
        }
    }
    released(checker, world, now);
}
