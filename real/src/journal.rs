//! castoff's journal as files in a directory of its own, one an entry.
//!
//! An entry is written beside its place, flushed, renamed over it, and the directory flushed
//! (rename(2) is atomic, fsync(2) of the directory makes it last): a crash at any line leaves the
//! old entry or the new one. A half-written file has another ending and is never read.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use castoff_ports::journal::JournalEntry;
use castoff_ports::{Failure, InstanceId, Refusal, VolumeId};

use crate::command;

/// The directory and what is in it.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
}

impl Journal {
    /// The journal in this directory, which is made when something is written.
    pub(crate) fn new(directory: PathBuf) -> Journal {
        Journal { directory }
    }

    /// Every entry, by file name.
    pub(crate) fn read(&self) -> Result<Vec<JournalEntry>, Failure> {
        let mut files = Vec::new();
        match fs::read_dir(&self.directory) {
            Ok(listed) => {
                for file in listed {
                    files.push(file.map_err(|e| refused(&self.directory, &e))?.path());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(refused(&self.directory, &e)),
        }
        files.retain(|f| f.extension().is_some_and(|e| e == "json"));
        // The directory's own order means nothing.
        files.sort();
        files.iter().map(|file| parse(file)).collect()
    }

    /// Replaces an entry.
    pub(crate) fn write(&self, entry: &JournalEntry) -> Result<(), Failure> {
        let file = self.file(&entry.volume_id, &entry.instance)?;
        let text = serde_json::to_string_pretty(entry)
            .map_err(|e| refused(&file, &io::Error::other(e)))?;
        let half = file.with_extension("half");
        let write = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            let mut options = File::options();
            let mut out =
                options.write(true).create(true).truncate(true).mode(0o600).open(&half)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            fs::rename(&half, &file)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|e| refused(&file, &e))
    }

    /// Removes an entry that may be there.
    pub(crate) fn remove(&self, volume: &VolumeId, instance: &InstanceId) -> Result<(), Failure> {
        let file = self.file(volume, instance)?;
        match fs::remove_file(&file) {
            Ok(()) => File::open(&self.directory)
                .and_then(|d| d.sync_all())
                .map_err(|e| refused(&file, &e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(refused(&file, &e)),
        }
    }

    /// Ids become a file name: they are UUIDs, and nothing that could leave the directory.
    fn file(&self, volume: &VolumeId, instance: &InstanceId) -> Result<PathBuf, Failure> {
        let name = format!("{volume}_{instance}");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !name.chars().all(plain) {
            let message = "an id of the journal holds letters, digits and - alone".to_owned();
            return Err(Refusal::Os { path: name, message }.into());
        }
        Ok(self.directory.join(format!("{name}.json")))
    }
}

fn parse(file: &Path) -> Result<JournalEntry, Failure> {
    let text = fs::read_to_string(file).map_err(|e| refused(file, &e))?;
    serde_json::from_str(&text).map_err(|e| refused(file, &io::Error::other(e)))
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    let path = path.display().to_string();
    Refusal::Os { path, message: command::errno_text(error) }.into()
}

#[cfg(test)]
mod tests {
    use castoff_ports::journal::JournalStep;
    use castoff_ports::{BdmId, RequestId};

    use super::*;

    fn entry(volume: &str, step: JournalStep) -> JournalEntry {
        JournalEntry {
            volume_id: volume.into(),
            instance: "i1".into(),
            bdm: BdmId(7),
            attachment_id: Some("a1".into()),
            request: RequestId(3),
            step,
            connection_info: None,
        }
    }

    fn journal(name: &str) -> Journal {
        let directory =
            std::env::temp_dir().join(format!("castoff-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        Journal::new(directory)
    }

    #[test]
    fn what_was_written_last_is_read_and_what_was_removed_is_gone() {
        let journal = journal("last");
        assert_eq!(journal.read().unwrap(), []);
        journal.write(&entry("v2", JournalStep::Unplugging)).unwrap();
        journal.write(&entry("v1", JournalStep::Unplugging)).unwrap();
        journal.write(&entry("v2", JournalStep::Released)).unwrap();
        let expected = [entry("v1", JournalStep::Unplugging), entry("v2", JournalStep::Released)];
        assert_eq!(journal.read().unwrap(), expected);
        journal.remove(&"v1".into(), &"i1".into()).unwrap();
        journal.remove(&"v1".into(), &"i1".into()).unwrap();
        assert_eq!(journal.read().unwrap(), expected[1..]);
        fs::remove_dir_all(&journal.directory).unwrap();
    }

    #[test]
    fn a_file_that_was_never_finished_is_not_read() {
        let journal = journal("half");
        journal.write(&entry("v1", JournalStep::Released)).unwrap();
        fs::write(journal.directory.join("v2_i1.half"), "{\"volume_id\": ").unwrap();
        assert_eq!(journal.read().unwrap(), [entry("v1", JournalStep::Released)]);
        fs::remove_dir_all(&journal.directory).unwrap();
    }

    #[test]
    fn an_entry_cannot_name_a_file_outside_the_directory() {
        let refused = journal("outside").write(&entry("../v1", JournalStep::Released));
        assert!(matches!(refused, Err(Failure::Refused(Refusal::Os { .. }))), "{refused:?}");
    }
}
