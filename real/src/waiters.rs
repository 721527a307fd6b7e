//! Who waits for which device event: nova's AsyncDeviceEventsHandler.
//!
//! A waiter is made before the detach is sent, so an event that comes while
//! detachDeviceFlags still blocks is kept for it. Events arrive on libvirt's event thread, waits
//! happen on castoff's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castoff_ports::libvirt::{DeviceEvent, WaiterId};
use castoff_ports::{Alias, InstanceId};
use tokio::sync::oneshot;

/// All waiters of one host.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Registry>);

#[derive(Default)]
struct Registry {
    next: u32,
    waiters: BTreeMap<WaiterId, Waiter>,
}

struct Waiter {
    instance: InstanceId,
    alias: Alias,
    /// Taken by the first event.
    event: Option<oneshot::Sender<DeviceEvent>>,
    /// Taken by the wait.
    arrived: Option<oneshot::Receiver<DeviceEvent>>,
}

impl Waiters {
    /// A waiter for the next event of this device.
    pub(crate) fn create(&self, instance: InstanceId, alias: Alias) -> WaiterId {
        let mut registry = self.lock();
        // A caller that was dropped in the middle of its wait has left its waiter behind.
        registry.waiters.retain(|_, w| w.event.as_ref().is_none_or(|e| !e.is_closed()));
        let id = WaiterId(registry.next);
        registry.next += 1;
        let (event, arrived) = oneshot::channel();
        let (event, arrived) = (Some(event), Some(arrived));
        registry.waiters.insert(id, Waiter { instance, alias, event, arrived });
        id
    }

    /// The event, or none after the timeout; the waiter is used up either way. A waiter that is
    /// not there has no event to give.
    pub(crate) async fn wait(&self, id: WaiterId, timeout: Duration) -> Option<DeviceEvent> {
        let arrived = self.lock().waiters.get_mut(&id).and_then(|w| w.arrived.take())?;
        let event = tokio::time::timeout(timeout, arrived).await;
        self.lock().waiters.remove(&id);
        // The inner error is a waiter that was deleted under the wait: no event will come.
        event.ok().and_then(Result::ok)
    }

    /// Forgets a waiter.
    pub(crate) fn delete(&self, id: WaiterId) {
        self.lock().waiters.remove(&id);
    }

    /// Hands an event to everyone who waits for that device; nobody is fine.
    pub(crate) fn deliver(&self, instance: &str, alias: &str, event: DeviceEvent) {
        for w in self.lock().waiters.values_mut() {
            if w.instance.as_str() == instance
                && w.alias.as_str() == alias
                && let Some(sender) = w.event.take()
            {
                // The waiting side may have been dropped; the event is then nobody's.
                let _ = sender.send(event);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // Nothing panics with the registry half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn run<T>(f: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(f)
    }

    #[test]
    fn an_event_that_comes_before_the_wait_begins_is_not_lost() {
        let waiters = Waiters::default();
        let id = waiters.create("i1".into(), "ua-v1".into());
        waiters.deliver("i1", "ua-v1", DeviceEvent::Removed);
        assert_eq!(run(waiters.wait(id, SOON)), Some(DeviceEvent::Removed));
    }

    #[test]
    fn an_event_from_another_thread_wakes_the_wait() {
        let waiters = std::sync::Arc::new(Waiters::default());
        let id = waiters.create("i1".into(), "ua-v1".into());
        let events = waiters.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(SOON);
            events.deliver("i1", "ua-v1", DeviceEvent::RemovalFailed);
        });
        let got = run(waiters.wait(id, Duration::from_secs(30)));
        thread.join().unwrap();
        assert_eq!(got, Some(DeviceEvent::RemovalFailed));
    }

    #[test]
    fn another_domains_or_another_devices_event_does_not_end_the_wait() {
        let waiters = Waiters::default();
        let id = waiters.create("i1".into(), "ua-v1".into());
        waiters.deliver("i2", "ua-v1", DeviceEvent::Removed);
        waiters.deliver("i1", "ua-v2", DeviceEvent::Removed);
        assert_eq!(run(waiters.wait(id, SOON)), None);
    }

    #[test]
    fn the_first_of_two_events_counts() {
        let waiters = Waiters::default();
        let id = waiters.create("i1".into(), "ua-v1".into());
        waiters.deliver("i1", "ua-v1", DeviceEvent::RemovalFailed);
        waiters.deliver("i1", "ua-v1", DeviceEvent::Removed);
        assert_eq!(run(waiters.wait(id, SOON)), Some(DeviceEvent::RemovalFailed));
    }

    #[test]
    fn a_waiter_is_used_up_by_its_wait_and_by_its_deletion() {
        let waiters = Waiters::default();
        let waited = waiters.create("i1".into(), "ua-v1".into());
        waiters.deliver("i1", "ua-v1", DeviceEvent::Removed);
        assert_eq!(run(waiters.wait(waited, SOON)), Some(DeviceEvent::Removed));
        waiters.deliver("i1", "ua-v1", DeviceEvent::Removed);
        assert_eq!(run(waiters.wait(waited, SOON)), None);
        let deleted = waiters.create("i1".into(), "ua-v1".into());
        waiters.delete(deleted);
        waiters.deliver("i1", "ua-v1", DeviceEvent::Removed);
        assert_eq!(run(waiters.wait(deleted, SOON)), None);
    }

    #[test]
    fn the_waiter_of_a_dropped_wait_is_cleared_away() {
        let waiters = Waiters::default();
        let id = waiters.create("i1".into(), "ua-v1".into());
        run(async {
            let wait = waiters.wait(id, Duration::from_secs(30));
            assert!(tokio::time::timeout(SOON, wait).await.is_err());
        });
        waiters.create("i1".into(), "ua-v1".into());
        assert_eq!(waiters.lock().waiters.len(), 1);
    }
}
