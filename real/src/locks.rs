//! Named locks: in this process, and of the whole host.
//!
//! Both are first come, first served among this process's callers. An external lock is then also
//! a POSIX record lock on `<lock_path>/<name>`, which is what fasteners takes for oslo
//! (`fcntl.lockf`, not flock(2): the two do not see each other). So with os-brick's own lock path
//! castoff and a nova-compute on the same host exclude each other. The kernel gives it back when
//! this process ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use castoff_ports::runtime::LockScope;
use castoff_ports::{CallCx, Failure, Process, Refusal};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::command::errno_text;

/// fasteners asks again after 10 ms and then ever later, up to 100 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

type Key = (LockScope, Rc<str>);

/// The locks of one host as its processes hold them.
pub(crate) struct Locks {
    directory: PathBuf,
    /// One a name, kept: there are as many as os-brick and nova have lock names.
    queues: RefCell<BTreeMap<Key, Arc<Mutex<()>>>>,
    held: RefCell<BTreeMap<Key, Held>>,
}

struct Held {
    holder: (Process, u32),
    // Closing the file gives the record lock back; then the next caller of this process has it.
    _file: Option<File>,
    _turn: OwnedMutexGuard<()>,
}

impl Locks {
    /// Lock files go into this directory.
    pub(crate) fn new(directory: PathBuf) -> Locks {
        Locks { directory, queues: RefCell::default(), held: RefCell::default() }
    }

    /// Takes a lock, waiting for it without limit.
    pub(crate) async fn lock(
        &self,
        cx: &CallCx,
        name: &str,
        scope: LockScope,
    ) -> Result<(), Failure> {
        let key = (scope, Rc::from(name));
        let queue = self.queues.borrow_mut().entry(key.clone()).or_default().clone();
        // tokio's mutex is fair; a caller that is dropped here leaves the queue.
        let turn = queue.lock_owned().await;
        let file = match scope {
            LockScope::InProcess => None,
            LockScope::External => Some(lock_file(&self.file(name)).await?),
        };
        let holder = (cx.process, cx.incarnation);
        self.held.borrow_mut().insert(key, Held { holder, _file: file, _turn: turn });
        Ok(())
    }

    /// Gives a lock back.
    pub(crate) fn unlock(&self, name: &str, scope: LockScope) -> Result<(), Failure> {
        match self.held.borrow_mut().remove(&(scope, Rc::from(name))) {
            Some(held) => {
                drop(held);
                Ok(())
            }
            None => Err(Refusal::not_found("held lock", name).into()),
        }
    }

    /// Gives back what a process held when it died.
    pub(crate) fn release(&self, process: Process, incarnation: u32) {
        self.held.borrow_mut().retain(|_, held| held.holder != (process, incarnation));
    }

    fn file(&self, name: &str) -> PathBuf {
        // oslo_concurrency.lockutils does the same to a name with a separator in it.
        self.directory.join(name.replace('/', "_"))
    }
}

async fn lock_file(path: &Path) -> Result<File, Failure> {
    let refused =
        |message: String| Failure::from(Refusal::Os { path: path.display().to_string(), message });
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| refused(errno_text(&e)))?;
    let mut pause = FIRST_PAUSE;
    loop {
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // fcntl(2): which of the two says "held by another process" is the system's choice.
            Err(Errno::AGAIN | Errno::ACCESS) => tokio::time::sleep(pause).await,
            Err(e) => return Err(refused(errno_text(&e.into()))),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use castoff_ports::RequestId;
    use futures::future::join_all;

    use super::*;

    fn cx(incarnation: u32) -> CallCx {
        CallCx {
            process: Process::NovaCompute,
            incarnation,
            request: RequestId(1),
            auth: castoff_ports::Auth::default(),
            deadline: None,
        }
    }

    fn run<T>(f: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
    }

    /// Whether the kernel lists a record lock of this process on the file (proc_locks(5)).
    fn kernel_lists(path: &Path) -> bool {
        let inode = format!(":{} ", fs::metadata(path).unwrap().ino());
        let pid = format!(" {} ", std::process::id());
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|l| l.contains(" POSIX ") && l.contains(&inode) && l.contains(&pid))
    }

    #[test]
    fn callers_get_a_lock_in_the_order_in_which_they_asked() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::new(dir.path().to_owned());
        for scope in [LockScope::InProcess, LockScope::External] {
            let order = RefCell::new(Vec::new());
            run(async {
                locks.lock(&cx(0), "connect_volume", scope).await.unwrap();
                let waiting = (0..5).map(|n| {
                    let (locks, order) = (&locks, &order);
                    async move {
                        locks.lock(&cx(0), "connect_volume", scope).await.unwrap();
                        order.borrow_mut().push(n);
                        tokio::task::yield_now().await;
                        locks.unlock("connect_volume", scope).unwrap();
                    }
                });
                let first = async {
                    tokio::task::yield_now().await;
                    assert!(order.borrow().is_empty(), "taken while another holds it");
                    locks.unlock("connect_volume", scope).unwrap();
                };
                futures::future::join(join_all(waiting), first).await;
            });
            assert_eq!(*order.borrow(), [0, 1, 2, 3, 4], "{scope:?}");
        }
    }

    #[test]
    fn an_external_lock_is_a_record_lock_that_other_processes_see() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::new(dir.path().to_owned());
        let file = dir.path().join("os-brick-connect_volume");
        run(async {
            locks.lock(&cx(0), "os-brick-connect_volume", LockScope::External).await.unwrap();
            assert!(kernel_lists(&file));
            locks.unlock("os-brick-connect_volume", LockScope::External).unwrap();
            assert!(!kernel_lists(&file));
        });
    }

    #[test]
    fn the_two_scopes_of_a_name_are_two_locks() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::new(dir.path().to_owned());
        run(async {
            locks.lock(&cx(0), "a/b", LockScope::InProcess).await.unwrap();
            locks.lock(&cx(0), "a/b", LockScope::External).await.unwrap();
        });
        assert!(dir.path().join("a_b").exists());
    }

    #[test]
    fn a_dead_processs_locks_are_given_back_and_its_successors_are_kept() {
        let locks = Locks::new(PathBuf::new());
        run(async {
            locks.lock(&cx(0), "old", LockScope::InProcess).await.unwrap();
            locks.lock(&cx(1), "new", LockScope::InProcess).await.unwrap();
            locks.release(Process::NovaCompute, 0);
            locks.lock(&cx(1), "old", LockScope::InProcess).await.unwrap();
            let again = cx(1);
            let again = locks.lock(&again, "new", LockScope::InProcess);
            assert!(tokio::time::timeout(FIRST_PAUSE, again).await.is_err());
        });
    }

    #[test]
    fn a_lock_that_is_not_held_cannot_be_given_back() {
        let locks = Locks::new(PathBuf::new());
        assert!(locks.unlock("x", LockScope::InProcess).is_err());
    }

    #[test]
    fn a_lock_file_that_cannot_be_made_is_an_error_of_its_path() {
        let locks = Locks::new(PathBuf::from("/proc/no/such"));
        let error = run(locks.lock(&cx(0), "x", LockScope::External)).unwrap_err();
        assert_eq!(error.to_string(), "/proc/no/such/x: No such file or directory");
        // The turn is given back with the error.
        assert!(run(locks.lock(&cx(0), "x", LockScope::External)).is_err());
    }
}
