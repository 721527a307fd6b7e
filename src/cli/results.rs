//! Results of a campaign in a folder: `results.jsonl`, a line a finished chunk, on the disk before
//! the next one is written.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use castoff_sim::campaign::chunks::chunks;
use castoff_sim::campaign::results::{self, Done, Header, LineError, VERSION};
use castoff_sim::campaign::{Known, Row};

use super::Problem;

/// The file's name in its folder.
const NAME: &str = "results.jsonl";

/// The longest line that is read: a chunk that broke everything in every way is far below.
const LONGEST: u64 = 64 << 20;

/// The file of a campaign that is going on.
pub(super) struct Store {
    path: PathBuf,
    file: Mutex<File>,
    failed: Mutex<Option<io::Error>>,
}

/// What a file holds.
pub(super) struct Loaded {
    /// What the results are of.
    pub(super) header: Header,
    /// The chunks.
    pub(super) known: Known,
    /// Where the last whole line ends.
    end: u64,
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Problem {
    Problem::usage(
        format!("cannot {what} {}: {error}", path.display()),
        "give a folder that you may read and write, with room on its disk",
    )
}

fn damaged(path: &Path, line: usize, why: &str) -> Problem {
    Problem::usage(
        format!("{} is damaged: line {line}: {why}", path.display()),
        "only a last line can be torn by a crash; take a copy, or run again into another folder",
    )
}

impl Store {
    /// Begins a campaign in this folder.
    pub(super) fn create(dir: &Path, header: &Header) -> Result<Store, Problem> {
        let path = dir.join(NAME);
        if path.exists() {
            return Err(Problem::usage(
                format!("{} has results already", dir.display()),
                "go on with them: --resume instead of --out; or give another folder",
            ));
        }
        std::fs::create_dir_all(dir).map_err(|e| failed("make", dir, &e))?;
        let store = Store::open(path)?;
        store.write(&results::line(header)).map_err(|e| failed("write", &store.path, &e))?;
        // The file's name is in the folder only when the folder is on the disk.
        let synced = File::open(dir).and_then(|d| d.sync_all());
        synced.map_err(|e| failed("write", dir, &e))?;
        Ok(store)
    }

    /// Goes on with the campaign in this folder, which must be this one.
    pub(super) fn resume(dir: &Path, header: &Header) -> Result<(Store, Known), Problem> {
        let path = dir.join(NAME);
        if !path.exists() {
            return Err(Problem::usage(
                format!("{} has no results", dir.display()),
                "begin with --out; --resume goes on with what it wrote",
            ));
        }
        let store = Store::open(path)?;
        let Some(loaded) = load_file(&store.path)? else {
            // It died before its header was on the disk: nothing was done.
            store.cut(0)?;
            store.write(&results::line(header)).map_err(|e| failed("write", &store.path, &e))?;
            return Ok((store, Known::default()));
        };
        let other = header.differs(&loaded.header).or_else(|| {
            let (mine, its) = (header.shard, loaded.header.shard);
            (mine != its).then(|| format!("shard {its}, here {mine}"))
        });
        if let Some(other) = other {
            return Err(Problem::usage(
                format!("{} is of another campaign: {other}", dir.display()),
                "give the arguments and the castoff that it was begun with, or another folder",
            ));
        }
        store.cut(loaded.end)?;
        Ok((store, loaded.known))
    }

    fn open(path: PathBuf) -> Result<Store, Problem> {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|e| failed("write", &path, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Problem::usage(
                    format!("another castoff writes to {}", path.display()),
                    "wait for it, or give another folder",
                ));
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock", &path, &e)),
        }
        Ok(Store { path, file: Mutex::new(file), failed: Mutex::new(None) })
    }

    fn cut(&self, end: u64) -> Result<(), Problem> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = file.set_len(end).and_then(|()| file.sync_all());
        cut.map_err(|e| failed("write", &self.path, &e))
    }

    fn write(&self, line: &str) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }

    /// Keeps a chunk; false when that failed, which [`Store::close`] tells.
    pub(super) fn keep(&self, chunk: usize, row: &Row) -> bool {
        let line = results::line(&Done { chunk, row: row.clone() });
        match self.write(&line) {
            Ok(()) => true,
            Err(error) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
                false
            }
        }
    }

    /// Whether everything was kept.
    pub(super) fn close(self) -> Result<(), Problem> {
        match self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(failed("write", &self.path, &error)),
            None => Ok(()),
        }
    }
}

/// The results in this folder.
pub(super) fn load(dir: &Path) -> Result<Loaded, Problem> {
    let path = dir.join(NAME);
    load_file(&path)?.ok_or_else(|| {
        Problem::usage(
            format!("{} holds no results yet", path.display()),
            "run that part again with --resume",
        )
    })
}

fn load_file(path: &Path) -> Result<Option<Loaded>, Problem> {
    let wrong = |e: io::Error| failed("read", path, &e);
    let mut reader = BufReader::new(File::open(path).map_err(wrong)?);
    let mut loaded: Option<Loaded> = None;
    let mut cut = Vec::new();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        reader.by_ref().take(LONGEST).read_until(b'\n', &mut bytes).map_err(wrong)?;
        if bytes.is_empty() {
            break;
        }
        let whole = bytes.strip_suffix(b"\n").and_then(|b| std::str::from_utf8(b).ok());
        let result = match (&mut loaded, whole) {
            (_, None) => Err(LineError::Torn),
            (None, Some(line)) => header(path, line)?.map(|header| {
                cut = chunks(&header.cells);
                loaded = Some(Loaded { header, known: Known::default(), end: 0 });
            }),
            (Some(loaded), Some(line)) => results::read::<Done>(line).and_then(|done| {
                let chunk = cut.get(done.chunk).filter(|_| loaded.header.shard.has(done.chunk));
                let none = || LineError::Other(format!("{} is no chunk of it", done.chunk));
                loaded.known.add(done.chunk, chunk.ok_or_else(none)?.cell, done.row);
                Ok(())
            }),
        };
        match result {
            Ok(()) => {
                if let Some(loaded) = &mut loaded {
                    loaded.end = reader.stream_position().map_err(wrong)?;
                }
            }
            Err(LineError::Torn) if reader.fill_buf().map_err(wrong)?.is_empty() => break,
            Err(error) => return Err(damaged(path, number, &error.to_string())),
        }
    }
    Ok(loaded)
}

/// A header, whose version is read before anything else.
fn header(path: &Path, line: &str) -> Result<Result<Header, LineError>, Problem> {
    let document = match results::read::<serde_json::Value>(line) {
        Ok(document) => document,
        Err(error) => return Ok(Err(error)),
    };
    match document.get("castoff-results").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => Ok(results::read(line)),
        Some(version) => Err(Problem::usage(
            format!("{} has results of version {version}", path.display()),
            format!("this castoff reads version {VERSION}"),
        )),
        None => Ok(Err(LineError::Other("it is no header of results".to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

    use castoff_sim::campaign::{CellId, Faults, Shard};
    use castoff_sim::run::BindingKind;

    use super::*;

    fn header(seeds: std::ops::Range<u64>) -> Header {
        let cell = CellId {
            scenario: "s".to_owned(),
            argument: "s".to_owned(),
            binding: BindingKind::Direct,
            policy: "p".to_owned(),
            release: "r".to_owned(),
            seeds,
            schedule: castoff_ports::schedule::Schedule::Fifo,
            violates: Vec::new(),
            sum: String::new(),
        };
        Header::new(vec![cell], Faults::Swarm, Shard::WHOLE)
    }

    fn row(runs: u64) -> Row {
        Row { runs, ..Row::default() }
    }

    /// A folder with chunks 0 and 2 of four, and the bytes of its file.
    fn folder() -> (tempfile::TempDir, Header, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let header = header(0..1024);
        let store = Store::create(dir.path(), &header).unwrap();
        assert!(store.keep(2, &row(256)) && store.keep(0, &row(256)));
        store.close().unwrap();
        let bytes = std::fs::read(dir.path().join(NAME)).unwrap();
        (dir, header, bytes)
    }

    fn refused<T>(result: Result<T, Problem>, words: &str) {
        let error = result.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }

    #[test]
    fn wherever_the_file_is_torn_what_is_whole_is_kept_and_the_rest_goes_on() {
        let (dir, header, bytes) = folder();
        let path = dir.path().join(NAME);
        let ends: Vec<usize> =
            bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        assert_eq!(ends.len(), 3);
        for length in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let (store, known) = Store::resume(dir.path(), &header).unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(known.chunks.len(), whole.saturating_sub(1), "cut at {length}");
            assert!(store.keep(3, &row(256)));
            store.close().unwrap();
            let again = load(dir.path()).unwrap();
            assert!(again.known.chunks.contains(&3), "cut at {length}");
            assert_eq!(again.known.rows[0].runs, 256 * whole.max(1) as u64, "cut at {length}");
        }
    }

    #[test]
    fn a_chunk_that_is_written_twice_counts_once() {
        let (dir, header, _) = folder();
        let (store, _) = Store::resume(dir.path(), &header).unwrap();
        assert!(store.keep(2, &row(256)));
        store.close().unwrap();
        let known = load(dir.path()).unwrap().known;
        assert_eq!((known.chunks.len(), known.rows[0].runs), (2, 512));
    }

    #[test]
    fn a_line_that_is_damaged_before_the_last_is_refused_with_its_number() {
        let (dir, header, mut bytes) = folder();
        let second = bytes.iter().position(|b| *b == b'\n').unwrap() + 10;
        bytes[second] ^= 1;
        std::fs::write(dir.path().join(NAME), &bytes).unwrap();
        refused(load(dir.path()), "is damaged: line 2: its checksum is wrong");
        refused(Store::resume(dir.path(), &header), "is damaged: line 2");
    }

    #[test]
    fn a_chunk_that_the_campaign_has_not_is_refused() {
        let (dir, header, _) = folder();
        let (store, _) = Store::resume(dir.path(), &header).unwrap();
        assert!(store.keep(4, &row(256)));
        store.close().unwrap();
        refused(load(dir.path()), "line 4: 4 is no chunk of it");
    }

    #[test]
    fn results_of_another_campaign_or_version_are_refused() {
        let (dir, _, _) = folder();
        let other = header(0..1025);
        refused(Store::resume(dir.path(), &other), "is of another campaign: s under p");
        refused(Store::create(dir.path(), &other), "has results already");
        let newer = Header { version: VERSION + 1, ..header(0..1024) };
        std::fs::write(dir.path().join(NAME), results::line(&newer)).unwrap();
        refused(load(dir.path()), "has results of version 2");
        std::fs::write(dir.path().join(NAME), results::line(&Done { chunk: 0, row: row(1) }))
            .unwrap();
        refused(load(dir.path()), "it is no header of results");
    }

    #[test]
    fn two_castoffs_do_not_write_to_one_folder() {
        let (dir, header, _) = folder();
        let (store, _) = Store::resume(dir.path(), &header).unwrap();
        refused(Store::resume(dir.path(), &header), "another castoff writes to");
        store.close().unwrap();
        assert!(Store::resume(dir.path(), &header).is_ok());
    }
}
