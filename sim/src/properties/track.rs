//! What a checker remembers of a run: who set, made, asked and awaited what.

use std::time::Duration;

use castoff_model::locks::{LockKind, Owner};
use castoff_ports::novadb::VmState;
use castoff_ports::{DeviceName, InstanceId, Iqn, Process, RequestId, SimTime, VolumeId};
use castoff_scenarios::{End, Standing};

/// How far a watched detach is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The state of its server when nova-api began with it.
    pub(super) found: Option<VmState>,
    /// Whether its server has been locked ever since nova-api began with it.
    pub(super) locked: Option<bool>,
    /// Whether it was at any time since then.
    pub(super) ever_locked: bool,
    /// It has changed something.
    pub(super) changed: bool,
    /// os-begin_detaching was its own.
    pub(super) began: bool,
    /// Its message is in the queue, or was.
    pub(super) queued: bool,
    /// nova-compute first changed something for it.
    pub(super) acted: Option<SimTime>,
    /// Who acted on its server or volume since its last act.
    pub(super) intruder: Option<RequestId>,
    /// Its worker is dead, or was never there.
    pub(super) lost: bool,
    /// The guest let go when nobody worked on it any more.
    pub(super) late: bool,
    /// How many notifications it has sent.
    pub(super) notified: u32,
    /// It destroyed the BDM.
    pub(super) destroyed: bool,
    /// An instance fault or an action Error tells of it.
    pub(super) failed: bool,
}

/// A connect that made a session or a node record.
#[derive(Clone, Debug)]
pub(super) struct Connecting {
    pub(super) owner: Owner,
    pub(super) target: Iqn,
}

/// A wait for a lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) owner: Owner,
    pub(super) since: SimTime,
    pub(super) holder: RequestId,
    pub(super) kind: LockKind,
}

/// A disk of a guest: whether its unplug was asked for since it was plugged.
#[derive(Clone, Debug)]
pub(super) struct Plugged {
    pub(super) instance: InstanceId,
    pub(super) volume: VolumeId,
    pub(super) asked: bool,
}

/// How the first attempt had left things when the user tried again.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    pub(super) volume: VolumeId,
    pub(super) instance: InstanceId,
    pub(super) by: Standing,
    pub(super) before: End,
    pub(super) step: u64,
}

/// At which step something last happened to a server's volume.
#[derive(Clone, Debug, Default)]
pub(super) struct Moments(Vec<(InstanceId, VolumeId, u64)>);

impl Moments {
    /// It happens now.
    pub(super) fn note(&mut self, (instance, volume): (&InstanceId, &VolumeId), step: u64) {
        match self.0.iter_mut().find(|(i, v, _)| i == instance && v == volume) {
            Some((_, _, last)) => *last = step,
            None => self.0.push((instance.clone(), volume.clone(), step)),
        }
    }

    fn last(&self, (instance, volume): (&InstanceId, &VolumeId)) -> Option<u64> {
        let found = self.0.iter().find(|(i, v, _)| i == instance && v == volume);
        found.map(|(_, _, step)| *step)
    }
}

/// What a run has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Whose os-begin_detaching set `detaching`, the last one a volume.
    pub(super) owners: Vec<(VolumeId, RequestId)>,
    /// Volumes that their owner has rolled back, until somebody begins again.
    pub(super) rolled_back: Vec<VolumeId>,
    /// Volumes that were seen in a status other than in-use.
    pub(super) not_in_use: Vec<VolumeId>,
    /// Volumes whose state an administrator has written.
    pub(super) admin: Vec<VolumeId>,
    /// Volumes and servers of which an attachment has gone.
    pub(super) released: Vec<(VolumeId, InstanceId)>,
    pub(super) connecting: Vec<Connecting>,
    /// Host disks that appeared, by whose request, and when.
    pub(super) created: Vec<(DeviceName, RequestId, SimTime)>,
    pub(super) plugged: Vec<Plugged>,
    pub(super) waits: Vec<Wait>,
    /// Processes that have died.
    pub(super) dead: Vec<(Process, u32)>,
    /// Answers of 5xx that nothing explains yet.
    pub(super) errors: Vec<(RequestId, String)>,
    /// Requests that write to a server's own row: no attach or detach.
    pub(super) actions: Vec<RequestId>,
    pub(super) retry: Option<Retry>,
    /// When a part of the network was down, from and until.
    pub(super) disturbed: Vec<(SimTime, SimTime)>,
    /// The last call of a request that judges look back to, and at which step it was made.
    pub(super) begun: Vec<(RequestId, &'static str, u64)>,
    /// Disks that their guest has let go of, and at which step.
    pub(super) let_go: Moments,
    /// BDMs that came into being, and at which step.
    pub(super) attached: Moments,
}

impl History {
    /// The time since `from` in which the whole network was up.
    pub(super) fn undisturbed(&self, from: SimTime, now: SimTime) -> Duration {
        let mut cuts: Vec<_> =
            self.disturbed.iter().map(|(a, b)| (*a.max(&from), *b.min(&now))).collect();
        cuts.sort();
        let (mut up, mut at) = (Duration::ZERO, from);
        for (down, again) in cuts.into_iter().filter(|(down, again)| down < again) {
            up += down.since(at);
            at = at.max(again);
        }
        up + now.since(at)
    }

    /// The step at which `request` last made this call; none if it is not remembered.
    pub(super) fn begun(&self, request: RequestId, operation: &str) -> Option<u64> {
        let mut last = self.begun.iter().rev();
        last.find(|(r, o, _)| *r == request && *o == operation).map(|(_, _, step)| *step)
    }

    /// Whether the last of these moments came when `request` had already made this call, so that it
    /// could not know.
    pub(super) fn since(
        &self,
        moments: &Moments,
        of: (&InstanceId, &VolumeId),
        request: RequestId,
        operation: &str,
    ) -> bool {
        let Some(begun) = self.begun(request, operation) else { return false };
        moments.last(of).is_some_and(|step| step > begun)
    }

    /// Who set the status `detaching` of this volume last.
    pub(super) fn owner(&self, volume: &VolumeId) -> Option<RequestId> {
        self.owners.iter().find(|(v, _)| v == volume).map(|(_, request)| *request)
    }

    /// Whether an administrator has had a hand in this volume's state.
    pub(super) fn is_admins(&self, volume: &VolumeId) -> bool {
        self.admin.contains(volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SimTime {
        SimTime::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn time_in_which_the_network_is_down_does_not_count() {
        let mut history = History::default();
        assert_eq!(history.undisturbed(at(10), at(110)).as_secs(), 100);
        history.disturbed = vec![(at(60), at(80)), (at(70), at(90)), (at(0), at(20))];
        // Up from 20 to 60 and from 90 to 110.
        assert_eq!(history.undisturbed(at(10), at(110)).as_secs(), 60);
        history.disturbed.push((at(200), at(300)));
        assert_eq!(history.undisturbed(at(10), at(110)).as_secs(), 60);
        history.disturbed.push((at(0), at(800)));
        assert_eq!(history.undisturbed(at(10), at(110)).as_secs(), 0);
    }

    #[test]
    fn a_guest_lets_go_since_a_call_only_if_after_it() {
        let (server, volume) = (InstanceId::new("server"), VolumeId::new("volume"));
        let roll = "cinder::RollDetaching";
        let mut history = History::default();
        history.let_go.note((&server, &volume), 2);
        history.let_go.note((&server, &volume), 5);
        let since = |h: &History| h.since(&h.let_go, (&server, &volume), RequestId(1), roll);
        assert!(!since(&history), "no such call");
        history.begun.push((RequestId(1), roll, 5));
        assert!(!since(&history), "it was gone when the call was made");
        history.begun.insert(0, (RequestId(1), roll, 4));
        assert!(!since(&history), "the last call counts");
        history.begun.pop();
        assert!(since(&history));
    }
}
