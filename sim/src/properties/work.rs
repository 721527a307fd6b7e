//! Who works when, and what is told of it: S12, S26, and what other judgements need to know.

use castoff_model::locks::{HeldLock, LockKind, Owner};
use castoff_model::{Fact, World};
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::novadb::EventResult;
use castoff_ports::{Process, RequestId, SimTime, VolumeId};

use super::Checker;

/// The notification of a detach.
const DETACHED: &str = "volume.detach";

/// Judges one fact.
pub(super) fn judge(checker: &mut Checker, world: &World, now: SimTime, fact: &Fact) {
    detach_exclusion(checker, world, now, fact);
    match fact {
        Fact::VolumeStatus { volume, to: VolumeStatus::Detaching, .. } => {
            begins_once(checker, world, now, volume);
            super::answers::begins_rightly(checker, world, now, volume);
        }
        Fact::VolumeStatus { volume, from: VolumeStatus::Detaching, to: VolumeStatus::InUse } => {
            let own = |c: &castoff_model::Cause| {
                c.operation == "cinder::RollDetaching"
                    && checker.history.owner(volume) == Some(c.request)
            };
            if checker.cause.as_ref().is_some_and(own) {
                checker.history.rolled_back.push(volume.clone());
            }
        }
        Fact::MessageQueued { request, .. } => {
            if let Some(i) = position(checker, *request) {
                checker.progress[i].queued = true;
            }
        }
        // What nova-compute finds by itself is a task too, and a lasting one.
        Fact::SystemMetadata { present: true, .. } => {
            if let Some(i) = checker.by_cause() {
                checker.progress[i].queued = true;
            }
        }
        Fact::MessageLost { request, .. } => {
            if let Some(i) = position(checker, *request) {
                let progress = &mut checker.progress[i];
                (progress.lost, progress.acted, progress.intruder) = (true, None, None);
            }
        }
        Fact::LockTaken { owner, kind: LockKind::Instance } => taken_over(checker, world, owner),
        // Its locks are free, and whoever goes on with a detach begins anew.
        Fact::ProcessDied { process: Process::NovaCompute, .. } => {
            for progress in &mut checker.progress {
                (progress.acted, progress.intruder) = (None, None);
            }
        }
        Fact::DiskUnplugged { instance, volume, .. } => {
            checker.history.let_go.note((instance, volume), checker.step);
            let at_work = |r: RequestId| world.broker.in_flight().any(|w| w == r);
            let mine = |w: &super::Watched| w.volume == *volume && w.instance == *instance;
            let nobody = !checker.watched.iter().any(|w| mine(w) && at_work(w.request));
            for (w, progress) in checker.watched.iter().zip(&mut checker.progress) {
                progress.late |= nobody && mine(w) && progress.began;
            }
        }
        Fact::Notified { request, event } if *event == DETACHED => {
            notified(checker, world, now, *request);
        }
        Fact::BdmCreated { volume, instance, .. } => {
            checker.history.attached.note((instance, volume), checker.step);
        }
        Fact::BdmDestroyed { volume, .. } => {
            let op = checker.cause.map(|c| c.operation);
            let Some(i) = checker.by_cause().filter(|_| op == Some("novadb::BdmDestroy")) else {
                return;
            };
            checker.progress[i].destroyed = true;
            if checker.progress[i].notified == 0 {
                let text = format!("the BDM of volume {volume} went, and no {DETACHED} was sent");
                checker.broken("S26", now, text);
            }
        }
        Fact::FaultCreated { request, .. } => failure(checker, now, *request, "an instance fault"),
        Fact::EventFinished { request, event, result, .. } if event == "compute_detach_volume" => {
            match result {
                EventResult::Error => failure(checker, now, *request, "action event Error"),
                EventResult::Success => success(checker, world, now, *request),
            }
        }
        _ => {}
    }
}

fn position(checker: &Checker, request: RequestId) -> Option<usize> {
    checker.watched.iter().position(|w| w.request == request)
}

/// Whether a fact is work on guest, host, cinder or a BDM, and no record of it.
fn is_act(fact: &Fact) -> bool {
    !matches!(
        fact,
        Fact::EventFinished { .. }
            | Fact::FaultCreated { .. }
            | Fact::MessageQueued { .. }
            | Fact::MessageDelivered { .. }
            | Fact::MessageLost { .. }
            | Fact::Notified { .. }
            | Fact::SystemMetadata { .. }
            | Fact::Journal { .. }
            | Fact::LockTaken { .. }
            | Fact::LockAwaited { .. }
            | Fact::ProcessDied { .. }
    )
}

/// Whoever has the server's lock now begins anew with what nobody is at work on: its last worker
/// has gone, with a word of how it ended or, if the database was away, without.
fn taken_over(checker: &mut Checker, world: &World, owner: &Owner) {
    let mine = |l: &&HeldLock| l.owner == *owner && LockKind::of(&l.name) == LockKind::Instance;
    let Some(lock) = world.locks.held().iter().find(mine) else { return };
    for (w, progress) in checker.watched.iter().zip(&mut checker.progress) {
        let at_work = || world.broker.in_flight().any(|r| r == w.request);
        if w.instance.as_str() == lock.name && progress.acted.is_some() && !at_work() {
            (progress.acted, progress.intruder) = (None, None);
        }
    }
}

/// S12: between two acts of a detach nobody else acts on its server or volume.
fn detach_exclusion(checker: &mut Checker, world: &World, now: SimTime, fact: &Fact) {
    let is_act = is_act(fact) && !checker.is_announced(fact);
    let Some(cause) = checker.cause.filter(|_| is_act) else { return };
    let me = cause.request;
    let mine = checker.by_cause();
    if let Some(i) = mine {
        checker.progress[i].changed = true;
    }
    if cause.process != Process::NovaCompute {
        return;
    }
    if let Some(i) = mine {
        let first = checker.progress[i].acted.is_none();
        if first {
            checker.progress[i].acted = Some(now);
        }
        if let Some(other) = checker.progress[i].intruder.take() {
            let w = &checker.watched[i];
            let text = format!(
                "{other} worked on server {} or volume {} between two steps of {me}",
                w.instance, w.volume
            );
            checker.broken("S12", now, text);
        }
        let twice = world.broker.in_flight().filter(|r| *r == me).count() > 1;
        if twice && !holds(world, &cause.owner(), LockKind::Instance) {
            checker.broken("S12", now, format!("two workers carry out {me} at once"));
        }
    }
    if checker.watched.is_empty() || checker.watched.len() == 1 && mine.is_some() {
        return;
    }
    // What belongs to another server, its guest, BDM or attachment, is no part of this detach; nor is
    // a multiattach volume that it has left to another.
    let left = |w: &super::Watched| {
        let mut rows = world.cinder.live_attachments();
        world.cinder.volume(&w.volume).is_some_and(|v| v.multiattach)
            && !rows.any(|a| a.volume_id == w.volume && a.instance == w.instance)
    };
    let touches = |w: &super::Watched| match fact.instance() {
        Some(instance) => *instance == w.instance,
        None => fact.volume() == Some(&w.volume) && !left(w),
    };
    for at in 0..checker.watched.len() {
        let w = &checker.watched[at];
        // Detaches of different volumes need not exclude each other.
        let another = mine.is_some_and(|i| checker.watched[i].volume != w.volume);
        let touched = touches(w);
        let progress = &mut checker.progress[at];
        if w.request != me && touched && !another && progress.acted.is_some() {
            progress.intruder.get_or_insert(me);
        }
    }
}

fn holds(world: &World, owner: &castoff_model::locks::Owner, kind: LockKind) -> bool {
    world.locks.held().iter().any(|l| l.owner == *owner && LockKind::of(&l.name) == kind)
}

/// S12: a second detach does not begin while the worker of the first lives.
fn begins_once(checker: &mut Checker, world: &World, now: SimTime, volume: &VolumeId) {
    let Some(cause) = checker.cause else { return };
    if let Some(i) = checker.by_cause() {
        checker.progress[i].began = true;
    }
    let request = cause.request;
    // All that is left to the first is to record how it ended.
    let over = checker.history.rolled_back.contains(volume);
    checker.history.rolled_back.retain(|v| v != volume);
    match checker.history.owners.iter_mut().find(|(v, _)| v == volume) {
        None => checker.history.owners.push((volume.clone(), request)),
        Some((_, owner)) => {
            let first = std::mem::replace(owner, request);
            let alive = world.broker.queued_requests().chain(world.broker.in_flight());
            if first != request && !over && alive.into_iter().any(|r| r == first) {
                let text = format!(
                    "{request} began to detach volume {volume}, and the worker of {first} is not done"
                );
                checker.broken("S12", now, text);
            }
        }
    }
}

/// S26: one notification, after cinder's final state, before the BDM goes.
fn notified(checker: &mut Checker, world: &World, now: SimTime, request: RequestId) {
    let Some(i) = position(checker, request) else { return };
    let w = &checker.watched[i];
    let early = world.cinder.volume(&w.volume).is_some_and(|v| v.status == VolumeStatus::Detaching);
    let late = checker.progress[i].destroyed;
    checker.progress[i].notified += 1;
    // Between a notification and the note of it a process can die: nobody can tell then. Nor can
    // nova-compute of what nova-api has come to.
    let api_s = world.novadb.instances().iter().any(|s| s.uuid == w.instance && s.host.is_none());
    let taken_up = api_s || checker.history.dead.iter().any(|(p, _)| *p == Process::NovaCompute);
    let twice = checker.progress[i].notified > 1 && !taken_up;
    let wrong = [
        (early, "while cinder still calls the volume detaching"),
        (late, "after the BDM had gone"),
        (twice, "a second time"),
    ];
    for (_, how) in wrong.into_iter().filter(|(is, _)| *is) {
        checker.broken("S26", now, format!("{request}: {DETACHED} was sent {how}"));
    }
}

fn failure(checker: &mut Checker, now: SimTime, request: RequestId, what: &str) {
    let Some(i) = position(checker, request) else { return };
    checker.progress[i].failed = true;
    // That attempt has ended: what takes the detach up again is another one.
    (checker.progress[i].acted, checker.progress[i].intruder) = (None, None);
    if checker.progress[i].destroyed {
        let text = format!("{request}: {what} was recorded, and the volume is detached");
        checker.broken("S26", now, text);
    }
}

fn success(checker: &mut Checker, world: &World, now: SimTime, request: RequestId) {
    let Some(i) = position(checker, request) else { return };
    let progress = &checker.progress[i];
    let w = &checker.watched[i];
    // The row of a volume that cinder has let go of may be destroyed by a reboot as dangling.
    let detached = progress.destroyed || world.novadb.bdm(&w.volume, &w.instance).is_none();
    // An attempt that failed before and was recorded so does not matter: this one went through.
    if !detached || progress.notified == 0 {
        let text = format!("{request}: action event Success, and the volume is not detached");
        checker.broken("S26", now, text);
    }
}

/// S26: a detach that was accepted and rolled back says so.
pub(super) fn failures_are_told(checker: &mut Checker, world: &World, now: SimTime) {
    let untold = |i: &usize| {
        let (w, p) = (&checker.watched[*i], &checker.progress[*i]);
        let in_use =
            world.cinder.volume(&w.volume).is_some_and(|v| v.status == VolumeStatus::InUse);
        let bdm = world.novadb.bdm(&w.volume, &w.instance).is_some();
        w.accepted == Some(true) && p.began && !p.failed && !p.destroyed && in_use && bdm
    };
    let untold: Vec<usize> = (0..checker.watched.len()).filter(untold).collect();
    for i in untold {
        let w = &checker.watched[i];
        let text =
            format!("{}: volume {} was rolled back, and no error is recorded", w.request, w.volume);
        checker.broken("S26", now, text);
    }
}
