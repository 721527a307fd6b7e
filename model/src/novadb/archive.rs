//! What a long-lived cloud drops of its past.

use std::collections::BTreeSet;

use castoff_ports::RequestId;

use super::NovaDb;

impl NovaDb {
    /// Drops all but the newest `keep` actions, with their events, and as many faults; those of
    /// requests that are `wanted` still stay.
    ///
    /// Nova archives these rows with their server (`nova-manage db archive_deleted_rows`), so a
    /// server that lives for years keeps them all. A model that is to live as long in memory cannot;
    /// what a user sees at once of `os-instance-actions` is a page, `[api]max_limit` (1000) rows.
    pub fn archive(&mut self, keep: usize, wanted: impl Fn(RequestId) -> bool) {
        let mut old = self.actions.len().saturating_sub(keep);
        self.actions.retain(|row| is_kept(&mut old, wanted(row.request)));
        let kept: BTreeSet<RequestId> = self.actions.iter().map(|row| row.request).collect();
        self.events.retain(|row| kept.contains(&row.request));
        let mut old = self.faults.len().saturating_sub(keep);
        self.faults
            .retain(|row| is_kept(&mut old, wanted(row.request) || kept.contains(&row.request)));
    }
}

/// Whether a row stays: it is wanted, or the `old` ones before the newest have been passed.
fn is_kept(old: &mut usize, wanted: bool) -> bool {
    let is_new = *old == 0;
    *old = old.saturating_sub(1);
    is_new || wanted
}

#[cfg(test)]
mod tests {
    use castoff_ports::SimTime;
    use castoff_ports::novadb::{ActionStart, Call, EventStart, FaultCreate};

    use super::*;
    use crate::Facts;
    use crate::world::{Completed, Step};

    /// Five requests, each with an action, an event and a fault.
    fn five() -> NovaDb {
        let mut db = NovaDb::new();
        let (action, event) = ("detach_volume".to_owned(), "compute_detach_volume".to_owned());
        for request in (1..=5).map(RequestId) {
            for call in [
                Call::ActionStart(ActionStart { instance: "i".into(), action: action.clone() }),
                Call::EventStart(EventStart { instance: "i".into(), event: event.clone() }),
                Call::FaultCreate(FaultCreate { instance: "i".into(), message: String::new() }),
            ] {
                let (facts, completed) = (&mut Facts::new(), &mut Completed::new());
                let now = SimTime::ZERO;
                let mut step = Step { now, facts, completed, next_ticket: &mut 0 };
                db.call(&mut step, request, call).unwrap();
            }
        }
        db
    }

    fn requests(db: &NovaDb) -> [Vec<u32>; 3] {
        [
            db.actions().iter().map(|row| row.request.0).collect(),
            db.events().iter().map(|row| row.request.0).collect(),
            db.faults().iter().map(|row| row.request.0).collect(),
        ]
    }

    #[test]
    fn the_newest_and_the_wanted_stay_with_their_events_and_faults() {
        let mut db = five();
        db.archive(2, |request| request == RequestId(1));
        assert_eq!(requests(&db), [[1, 4, 5], [1, 4, 5], [1, 4, 5]]);
    }

    #[test]
    fn fewer_than_are_kept_all_stay() {
        let mut db = five();
        db.archive(5, |_| false);
        assert_eq!(requests(&db).map(|rows| rows.len()), [5, 5, 5]);
    }
}
