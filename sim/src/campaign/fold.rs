//! Adding up chunks in the order in which they were to be done, whatever order they end in, so
//! that a campaign which its first finding ends has the same rows with any number of threads.

use std::collections::BTreeMap;

use super::{CellId, Finding, Known, Row};
use crate::prepare::PrepareError;

/// Rows so far.
pub(super) struct Fold<'a> {
    cells: &'a [CellId],
    ends: &'a (dyn Fn(&CellId, &Finding) -> bool + Sync),
    rows: Vec<Row>,
    done: usize,
    /// The place in the order that is added next.
    next: usize,
    /// What was finished before its turn: about as many as there are threads.
    early: BTreeMap<usize, (usize, Result<Row, PrepareError>)>,
    failed: Option<PrepareError>,
    ended: bool,
}

impl<'a> Fold<'a> {
    /// Begins with what was done before.
    pub(super) fn new(
        cells: &'a [CellId],
        ends: &'a (dyn Fn(&CellId, &Finding) -> bool + Sync),
        known: &Known,
    ) -> Fold<'a> {
        let mut rows = known.rows.clone();
        rows.resize_with(cells.len(), Row::default);
        let ended =
            rows.iter().zip(cells).any(|(row, id)| row.unexpected.iter().any(|f| ends(id, f)));
        Fold {
            cells,
            ends,
            rows,
            done: known.chunks.len(),
            next: 0,
            early: BTreeMap::new(),
            failed: None,
            ended,
        }
    }

    /// Whether no further chunk will be added.
    pub(super) fn ended(&self) -> bool {
        self.ended || self.failed.is_some()
    }

    /// Takes the chunk at this place of the order.
    pub(super) fn put(&mut self, place: usize, cell: usize, result: Result<Row, PrepareError>) {
        self.early.insert(place, (cell, result));
        while !self.ended()
            && let Some((cell, result)) = self.early.remove(&self.next)
        {
            self.next += 1;
            match result {
                Err(error) => self.failed = Some(error),
                Ok(row) => {
                    self.ended = row.unexpected.iter().any(|f| (self.ends)(&self.cells[cell], f));
                    self.rows[cell].merge(row);
                    self.done += 1;
                }
            }
        }
    }

    /// The rows, how many chunks are in them, and whether a finding ended the campaign.
    pub(super) fn close(self) -> Result<(Vec<Row>, usize, bool), PrepareError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok((self.rows, self.done, self.ended)),
        }
    }
}
