//! Storage, guest, host and token: numbers that can be meant.
//!
//! A time has an upper bound, so that no sum of times leaves what a clock can show, and a run comes
//! to its end: a phase of it is given up after an hour.

use super::{Place, Problem, Problems};
use crate::scenario::{GuestSpec, HostEvent, LetsGo, Linger, StorageSpec, TokenSpec};

/// The longest time of a scenario, in milliseconds: a day.
pub const MAX_MS: u64 = 86_400_000;

/// The longest lifetime of a token, in seconds: a year.
pub const MAX_LIFETIME_S: u64 = 31_536_000;

/// The most portals of a storage backend.
pub const MAX_PORTALS: u8 = 8;

/// Every problem of how a guest answers.
pub fn check_guest(guest: &GuestSpec) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.guest(guest);
    problems.0
}

/// Every problem of how long deleted SCSI disks stay.
pub fn check_device_lingers(lingers: Option<Linger>) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.device_lingers(lingers);
    problems.0
}

/// Every problem of what happens to the host by itself.
pub fn check_host_events(events: &[HostEvent]) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.host_events(events);
    problems.0
}

/// Every problem of a token's lifetime.
pub fn check_token(token: &TokenSpec) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.token(token);
    problems.0
}

/// Every problem of a crash that comes without a fault: when the process is started again.
pub fn check_restart(restart_after_ms: Option<u64>) -> Vec<Problem> {
    let mut problems = Problems::default();
    let place = Place::default().then("crash").then("restart_after_ms");
    problems.time(place, restart_after_ms.unwrap_or_default());
    problems.0
}

impl Problems {
    /// A time in milliseconds.
    pub(super) fn time(&mut self, place: Place, ms: u64) {
        if ms > MAX_MS {
            self.add(place, format!("{ms} ms is too long; expected 0 to {MAX_MS} (a day)"));
        }
    }

    pub(super) fn storage(&mut self, storage: &StorageSpec) {
        let place = Place::default().then("storage");
        let StorageSpec { portals, lost_portals, .. } = *storage;
        if !(1..=MAX_PORTALS).contains(&portals) {
            self.add(
                place.then("portals"),
                format!("{portals} portals; expected 1 to {MAX_PORTALS}"),
            );
        } else if lost_portals >= portals {
            // The run would begin without any path: that is a backend that is not there.
            let most = portals - 1;
            self.add(
                place.then("lost_portals"),
                format!("{lost_portals} of {portals} portals lost; expected 0 to {most}"),
            );
        }
    }

    pub(super) fn guest(&mut self, guest: &GuestSpec) {
        if let LetsGo::AfterMs(ms) = guest.lets_go {
            self.time(Place::default().then("guest").then("lets_go").then("after_ms"), ms);
        }
    }

    /// What happens to the host by itself.
    pub(super) fn host_events(&mut self, events: &[HostEvent]) {
        for (i, event) in events.iter().enumerate() {
            let place = Place::default().then("host").then("event").then(i);
            let (at_ms, for_ms) = match *event {
                HostEvent::LibvirtdRestarts { at_ms, for_ms }
                | HostEvent::GuestReboots { at_ms, for_ms } => (at_ms, for_ms),
                HostEvent::QemuDies { at_ms } => (at_ms, 0),
                HostEvent::GuestPauses { at_ms, for_ms } => (at_ms, for_ms.unwrap_or_default()),
            };
            self.time(place.then("at_ms"), at_ms);
            self.time(place.then("for_ms"), for_ms);
        }
    }

    pub(super) fn device_lingers(&mut self, lingers: Option<Linger>) {
        if let Some(Linger::ForMs(ms)) = lingers {
            self.time(Place::default().then("host").then("device_lingers").then("for_ms"), ms);
        }
    }

    pub(super) fn token(&mut self, token: &TokenSpec) {
        let lifetime = token.lifetime_s;
        if !(1..=MAX_LIFETIME_S).contains(&lifetime) {
            self.add(
                Place::default().then("token").then("lifetime_s"),
                format!(
                    "a token that lives {lifetime} s; expected 1 to {MAX_LIFETIME_S} (a year), \
                     keystone's default is 3600"
                ),
            );
        }
    }
}
