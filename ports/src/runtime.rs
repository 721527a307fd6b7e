//! Time and locks: operations too, so that the pipeline never calls a runtime of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a lock holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LockScope {
    /// Within this process (oslo lockutils semaphore): a restart forgets it.
    InProcess,
    /// A file lock (fasteners) of the whole host: the kernel releases it when its holder dies.
    External,
}

crate::operations!(Runtime, "runtime", {
    /// Sleeps.
    Sleep {
        /// How long.
        duration: Duration,
    } -> ();
    /// Takes a lock, waiting for it without limit; first come, first served.
    Lock {
        /// Name, for example `os-brick-connect_volume`.
        name: String,
        /// Where it holds.
        scope: LockScope,
    } -> ();
    /// Gives a lock back.
    Unlock {
        /// Name.
        name: String,
        /// Where it holds.
        scope: LockScope,
    } -> ();
});

impl Call {
    /// The call in words.
    pub fn describe(&self) -> String {
        match self {
            Call::Sleep(c) => format!("sleep {} s", c.duration.as_secs_f64()),
            Call::Lock(c) => format!("lock {} ({:?})", c.name, c.scope),
            Call::Unlock(c) => format!("unlock {}", c.name),
        }
    }
}
