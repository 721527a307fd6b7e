//! Real time as the models see it: microseconds since 2026 began, running N times faster.
//!
//! Dates on the wire (a token's `expires_at`) count from the models' epoch. Clients compare them
//! with their own clock, so the caller says where on that axis the serving begins.

use std::time::Duration;

use castoff_ports::SimTime;
use tokio::time::Instant;

/// The clock of a served cloud.
pub(super) struct Clock {
    started: Instant,
    start: SimTime,
    speed: u32,
}

impl Clock {
    /// A clock that shows `start` now and runs `speed` times as fast as the machine's.
    pub(super) fn new(start: SimTime, speed: u32) -> Clock {
        Clock { started: Instant::now(), start, speed: speed.max(1) }
    }

    /// The time now.
    pub(super) fn now(&self) -> SimTime {
        self.start + self.started.elapsed() * self.speed
    }

    /// Sleeps so long on this clock.
    pub(super) async fn sleep(&self, duration: Duration) {
        let real = duration / self.speed;
        // Below the timer's resolution a sleep would last longer than what it stands for.
        if real >= Duration::from_millis(1) {
            tokio::time::sleep(real).await;
        }
    }

    /// Sleeps until this clock shows `at`.
    pub(super) async fn sleep_until(&self, at: SimTime) {
        let real = at.since(self.start) / self.speed + Duration::from_micros(1);
        tokio::time::sleep_until(self.started + real).await;
    }

    /// Real time of so long on this clock.
    pub(super) fn real(&self, duration: Duration) -> Duration {
        duration / self.speed
    }
}
