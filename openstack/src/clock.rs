//! The run's time against the calendar.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use castoff_model::wire::{date, parse_date};
use castoff_ports::SimTime;

/// 2026-01-01 in seconds since 1970: the day of the wire's calendar on which time begins.
const CALENDAR_BEGINS: Duration = Duration::from_secs(1_767_225_600);

/// Says when, on the calendar, a moment of the run is; nova's tables and keystone's tokens have
/// dates, a run has microseconds since it began.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: SimTime,
}

impl Clock {
    /// The clock of a run whose time is `now` at this moment.
    pub fn of_run(now: SimTime) -> Clock {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let today = SimTime::ZERO + since_1970.saturating_sub(CALENDAR_BEGINS);
        Clock { began: SimTime::ZERO + today.since(now) }
    }

    /// The clock of a run that began at this date.
    #[cfg(test)]
    pub(crate) fn beginning(at: &str) -> Clock {
        Clock { began: parse_date(at).unwrap() }
    }

    /// A moment as a column of type DATETIME takes it, in UTC: `2026-11-23 04:45:03.000000`.
    pub fn date(&self, moment: SimTime) -> String {
        let mut text = date(self.began + moment.since_start());
        text.pop();
        text.replace('T', " ")
    }

    /// The moment of a date, in either spelling; what was before the run is its beginning.
    pub fn moment(&self, date: &str) -> Option<SimTime> {
        parse_date(date).map(|at| self.in_run(at))
    }

    /// A moment of the wire's calendar, as a token's expiry has it, in the run's time.
    pub fn in_run(&self, calendar: SimTime) -> SimTime {
        SimTime::ZERO + calendar.since(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_and_read_on_one_calendar() {
        let clock = Clock::beginning("2026-11-23T04:45:00.500000Z");
        assert_eq!(clock.date(SimTime(2_600_000)), "2026-11-23 04:45:03.100000");
        assert_eq!(clock.moment("2026-11-23 04:45:03.100000"), Some(SimTime(2_600_000)));
        assert_eq!(clock.moment("2026-11-23 04:45:01"), Some(SimTime(500_000)));
        assert_eq!(clock.moment("2026-11-22 04:45:01"), Some(SimTime::ZERO));
        assert_eq!(clock.moment(""), None);
    }

    #[test]
    fn a_run_that_is_under_way_began_before() {
        let (old, new) = (Clock::of_run(SimTime::from_secs(60)), Clock::of_run(SimTime::ZERO));
        let between = new.began.since(old.began);
        assert!(between >= Duration::from_secs(60) && between < Duration::from_secs(90));
    }
}
