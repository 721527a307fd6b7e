//! castoff's journal on the compute host: a directory of files, which survives nova-compute.
//!
//! An entry is replaced or removed in one instant: the adapter renames a flushed file.

use castoff_ports::journal::JournalEntry;
use castoff_ports::{InstanceId, VolumeId};

use crate::fact::{Fact, Facts};

/// The files.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    entries: Vec<JournalEntry>,
}

impl Journal {
    /// Every entry, by volume and server.
    pub fn entries(&self) -> &[JournalEntry] {
        &self.entries
    }

    pub(super) fn write(&mut self, facts: &mut Facts, entry: JournalEntry) {
        facts.push(Fact::Journal { volume: entry.volume_id.clone(), step: Some(entry.step) });
        let key = |e: &JournalEntry| (e.volume_id.clone(), e.instance.clone());
        match self.entries.binary_search_by_key(&key(&entry), key) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    pub(super) fn remove(&mut self, facts: &mut Facts, volume: &VolumeId, instance: &InstanceId) {
        let at =
            self.entries.iter().position(|e| e.volume_id == *volume && e.instance == *instance);
        if let Some(at) = at {
            self.entries.remove(at);
            facts.push(Fact::Journal { volume: volume.clone(), step: None });
        }
    }
}
