//! Nova's waiters for device events (AsyncDeviceEventsHandler): memory of nova-compute.
//!
//! An event that nobody waits for is dropped: that is how a guest that lets go after nova has
//! given up is never noticed (L4).

use std::time::Duration;

use castoff_ports::libvirt::{DeviceEvent, Reply, WaiterId};
use castoff_ports::{Alias, CallCx, InstanceId, Process, SimTime};

use super::happening::Libvirtd;
use super::{Hypervisor, done};
use crate::world::{Outcome, Step, Ticket};

/// One waiter, from its creation until it is waited for or deleted.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    id: WaiterId,
    /// In whose memory it is.
    pub(super) owner: (Process, u32),
    instance: InstanceId,
    alias: Alias,
    /// What has happened since it was made.
    event: Option<DeviceEvent>,
    /// The call that waits, and until when.
    waiting: Option<(Ticket, SimTime)>,
}

impl Waiter {
    pub(super) fn deadline(&self) -> Option<SimTime> {
        self.waiting.map(|(_, deadline)| deadline)
    }
}

impl Hypervisor {
    pub(super) fn create_waiter(
        &mut self,
        cx: &CallCx,
        instance: InstanceId,
        alias: Alias,
    ) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        let owner = (cx.process, cx.incarnation);
        self.waiters.push(Waiter { id, owner, instance, alias, event: None, waiting: None });
        id
    }

    /// The event if it has happened since the waiter was made, else a wait; a waiter that does
    /// not exist (deleted, or of a process that died) has no event to give.
    pub(super) fn wait_for_event(
        &mut self,
        step: &mut Step<'_>,
        id: WaiterId,
        timeout: Duration,
    ) -> Outcome {
        let at = self.waiters.iter().position(|w| w.id == id && w.waiting.is_none());
        let Some(at) = at else {
            return done(Ok(Reply::WaitForEvent(None)));
        };
        if let Some(event) = self.waiters[at].event {
            self.waiters.remove(at);
            return done(Ok(Reply::WaitForEvent(Some(event))));
        }
        let ticket = step.ticket();
        self.waiters[at].waiting = Some((ticket, step.now + timeout));
        Outcome::Blocked(ticket)
    }

    /// Forgets a waiter; one that is being waited for stays until the wait ends.
    pub(super) fn delete_waiter(&mut self, id: WaiterId) {
        self.waiters.retain(|w| w.id != id || w.waiting.is_some());
    }

    /// Hands an event to whoever waits, or has made a waiter, for this device.
    pub(super) fn emit(
        &mut self,
        step: &mut Step<'_>,
        instance: &InstanceId,
        alias: &Alias,
        event: DeviceEvent,
    ) {
        if self.events_lost || self.libvirtd != Libvirtd::Up {
            return;
        }
        self.waiters.retain_mut(|w| {
            if w.instance != *instance || w.alias != *alias || w.event.is_some() {
                return true;
            }
            match w.waiting {
                Some((ticket, _)) => {
                    step.completed.push((ticket, answer(Some(event))));
                    false
                }
                None => {
                    w.event = Some(event);
                    true
                }
            }
        });
    }

    /// A guest was destroyed: whoever waits for its devices hears that nothing comes.
    pub(super) fn cleanup_waiters(&mut self, step: &mut Step<'_>, instance: &InstanceId) {
        self.waiters.retain(|w| {
            if w.instance != *instance {
                return true;
            }
            if let Some((ticket, _)) = w.waiting {
                step.completed.push((ticket, answer(None)));
            }
            false
        });
    }

    pub(super) fn end_due_waits(&mut self, step: &mut Step<'_>) {
        self.waiters.retain(|w| match w.waiting {
            Some((ticket, deadline)) if deadline <= step.now => {
                step.completed.push((ticket, answer(None)));
                false
            }
            _ => true,
        });
    }
}

fn answer(event: Option<DeviceEvent>) -> Result<castoff_ports::Reply, castoff_ports::Failure> {
    Ok(castoff_ports::Reply::Libvirt(Reply::WaitForEvent(event)))
}
