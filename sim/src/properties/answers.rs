//! nova-api's answers to a DELETE of an attachment, against the table of what it may say (S19),
//! and what a refusal has changed (S20).

use castoff_model::{Cause, World};
use castoff_ports::novadb::VmState;
use castoff_ports::plan::{EnvironmentEvent, Fault, FaultKind};
use castoff_ports::{Failure, Process, RequestId, SimTime, VolumeId};
use castoff_scenarios::Standing;

use super::{Checker, Watched};

/// Judges one answer, as it reaches the client.
pub(super) fn judge(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    request: RequestId,
    result: &Result<(), Failure>,
) {
    let status = match result {
        Ok(()) => 202,
        Err(failure) => match failure.http_status() {
            Some(status) => status,
            None => return,
        },
    };
    if status >= 500 && !checker.history.actions.contains(&request) {
        let text =
            format!("{request} was answered {status}, and nothing that nova-api needs is down");
        checker.history.errors.push((request, text));
    }
    checker.history.actions.retain(|r| *r != request);
    let Some(i) = checker.watched.iter().position(|w| w.request == request) else { return };
    let (w, progress) = (&checker.watched[i], &checker.progress[i]);
    let wrong = match status {
        202 => (!progress.began || !progress.queued).then_some("and no detach task exists"),
        400 => wrong_400(checker, world, w),
        404 => wrong_404(checker, world, w),
        409 => wrong_409(checker, world, w, progress.ever_locked),
        401 | 403 | 500.. => None,
        _ => Some("which the table does not have"),
    };
    let shelved = progress.found == Some(VmState::ShelvedOffloaded);
    let wrong = wrong.filter(|_| !(status == 202 && shelved));
    let changed = matches!(status, 401 | 403 | 404 | 409) && progress.changed;
    let volume = w.volume.clone();
    if let Some(wrong) = wrong {
        let text =
            format!("{request}: the DELETE of volume {volume} was answered {status}, {wrong}");
        checker.broken("S19", now, text);
    }
    if changed {
        let text =
            format!("{request} was refused with {status} and has changed something all the same");
        checker.broken("S20", now, text);
    }
    cross_project(checker, world, now, i);
}

fn instance<'w>(world: &'w World, w: &Watched) -> Option<&'w castoff_ports::novadb::Instance> {
    world.novadb.instances().iter().find(|i| i.uuid == w.instance)
}

/// nova-api works on a request: a lock counts that was there before it looked at the server and
/// is there still when it asks cinder. What came or went in between it need not have seen.
pub(super) fn begins(checker: &mut Checker, world: &World, cause: Cause) {
    if cause.process != Process::NovaApi {
        return;
    }
    if cause.operation == "novadb::InstanceSave" {
        // A server's own action: where two meet nova answers 500, and no table of a detach has it.
        checker.history.actions.push(cause.request);
        for (w, progress) in checker.watched.iter().zip(&mut checker.progress) {
            match is_locked(world, w) {
                true => progress.ever_locked |= progress.locked.is_some(),
                false => progress.locked = progress.locked.map(|_| false),
            }
        }
    }
    let Some(i) = checker.watched.iter().position(|w| w.request == cause.request) else { return };
    if checker.progress[i].locked.is_none() {
        let locked = is_locked(world, &checker.watched[i]);
        checker.progress[i].locked = Some(locked);
        checker.progress[i].ever_locked = locked;
        checker.progress[i].found = instance(world, &checker.watched[i]).map(|s| s.vm_state);
    }
}

fn is_locked(world: &World, w: &Watched) -> bool {
    instance(world, w).is_some_and(|s| s.locked)
}

/// S19: what os-begin_detaching is never asked for, whoever asks.
pub(super) fn begins_rightly(
    checker: &mut Checker,
    world: &World,
    now: SimTime,
    volume: &VolumeId,
) {
    let Some(i) = checker.by_cause() else { return };
    let (w, request) = (&checker.watched[i], checker.watched[i].request);
    let root = world.novadb.bdm(volume, &w.instance).is_some_and(|b| b.is_root());
    let state = instance(world, w).map(|s| s.vm_state);
    let locked = checker.progress[i].locked == Some(true) && w.by != Standing::Admin;
    let wrong = match state {
        _ if root => "which is the root disk",
        _ if locked => "whose server is locked",
        // One that became so since nova-api looked is nova-compute's to refuse.
        Some(VmState::Suspended | VmState::Rescued) if checker.progress[i].found == state => {
            "whose server is suspended or rescued"
        }
        _ => return,
    };
    checker.broken("S19", now, format!("{request} began to detach volume {volume}, {wrong}"));
}

/// 400: the volume is not in-use, or is the root disk.
fn wrong_400(checker: &Checker, world: &World, w: &Watched) -> Option<&'static str> {
    let root = world.novadb.bdm(&w.volume, &w.instance).is_some_and(|b| b.is_root());
    let status = world.cinder.volume(&w.volume).map(|v| v.status);
    let in_use = status == Some(castoff_ports::cinder::VolumeStatus::InUse);
    let always = in_use && !checker.history.not_in_use.contains(&w.volume);
    (always && !root).then_some("and the volume has been in-use all along")
}

/// 404: server, volume, BDM or cinder's attachment is missing.
fn wrong_404(checker: &Checker, world: &World, w: &Watched) -> Option<&'static str> {
    let attached = || {
        let mut rows = world.cinder.live_attachments();
        rows.any(|a| a.volume_id == w.volume && a.instance == w.instance)
    };
    let bdm = world.novadb.bdm(&w.volume, &w.instance).is_some();
    // An attach that came to its end while the DELETE was under way: it may have looked before.
    let (history, of) = (&checker.history, (&w.instance, &w.volume));
    if history.since(&history.attached, of, w.request, "nova::DeleteVolumeAttachment") {
        return None;
    }
    let volume = world.cinder.volume(&w.volume).is_some();
    (w.by != Standing::Stranger && instance(world, w).is_some() && bdm && volume && attached())
        .then_some("and server, volume, BDM and attachment are there")
}

/// 409: locked, in the wrong state or with a task, never launched, or its host is down.
fn wrong_409(
    checker: &Checker,
    world: &World,
    w: &Watched,
    ever_locked: bool,
) -> Option<&'static str> {
    let server = instance(world, w)?;
    let unlocked = !(server.locked || ever_locked) || w.by == Standing::Admin;
    let ready = unlocked && server.task_state.is_none() && server.launched;
    let state = matches!(
        server.vm_state,
        VmState::Active
            | VmState::Paused
            | VmState::Stopped
            | VmState::Resized
            | VmState::SoftDeleted
    );
    // The state may have passed since: with others about, or a process that died, it is believed.
    let calm = checker.history.dead.is_empty()
        && checker.calls.iter().all(|(process, request, _)| {
            *process != Process::NovaCompute
                || checker.watched.iter().any(|w| w.request == *request)
        });
    (ready && state && calm && world.novadb.services_up())
        .then_some("and the server is active, unlocked and idle, its host up")
}

/// S20: nothing of a server changes for a user of another project.
fn cross_project(checker: &mut Checker, world: &World, now: SimTime, i: usize) {
    let w = &checker.watched[i];
    if w.by == Standing::Stranger && checker.progress[i].began {
        let text = format!(
            "{} began to detach volume {} for a user of another project",
            w.request, w.volume
        );
        return checker.broken("S20", now, text);
    }
    let Some(project) = world.cinder.volume(&w.volume).and_then(|v| v.project.as_ref()) else {
        return;
    };
    let Some(server) = instance(world, w) else { return };
    if server.project_id != *project && checker.progress[i].began {
        let text = format!(
            "{} began to detach volume {} of project {project} from a server of project {}",
            w.request, w.volume, server.project_id
        );
        checker.broken("S20", now, text);
    }
}

/// A fault on nova-api's or the client's way explains what nova-api answered afterwards. A detach
/// is a cast and needs nobody else; an attach is a call before it is a cast, so what struck it in
/// nova-compute, and nova-compute's death, explain it too.
pub(super) fn excuse(checker: &mut Checker, struck: &[Fault]) {
    // A token that has expired has done so for every process.
    let everywhere = FaultKind::Environment { event: EnvironmentEvent::TokensExpired };
    let here = |f: &Fault| f.at.process != Process::NovaCompute || f.strike == everywhere;
    // A service that forbids something is not down: what it says is the user's to hear.
    let forbids = |f: &&Fault| matches!(f.strike, FaultKind::HttpError { status: 403 });
    let struck: Vec<Fault> = struck.iter().filter(|f| !forbids(f)).cloned().collect();
    if struck.iter().any(here) {
        checker.history.errors.clear();
    }
    // Any request but a watched detach may be an attach: the checker does not know which.
    let watched = &checker.watched;
    let asked = |request: RequestId| !watched.iter().any(|w| w.request == request);
    let there = |f: &Fault, request: RequestId| {
        f.at.request == Some(request)
            || matches!(
                f.strike,
                FaultKind::CrashBefore { .. }
                    | FaultKind::CrashAfter { .. }
                    | FaultKind::CutOff { .. }
            )
    };
    checker
        .history
        .errors
        .retain(|(request, _)| !(asked(*request) && struck.iter().any(|f| there(f, *request))));
}

/// S19: answers of 5xx that no fault explains.
pub(super) fn judge_errors(checker: &mut Checker, now: SimTime) {
    for (_, text) in std::mem::take(&mut checker.history.errors) {
        checker.broken("S19", now, text);
    }
}
