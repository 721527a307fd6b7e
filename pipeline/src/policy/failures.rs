//! What the pipeline makes of a failure: a reply that was lost, a look that failed, work half done.

use serde::{Deserialize, Serialize};

/// What nova-api makes of an os-begin_detaching that was not answered, or with 500 or 504.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostReply {
    /// cinderclient asks again, and is refused with what it has done itself (F06).
    Repeat,
    /// Looks at the volume before it says anything.
    LookUp,
}

/// When a failed detach is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rollback {
    /// Whenever guest or host fail: the volume may be `in-use` with nothing left of it (S14).
    AnyFailure,
    /// Only while the guest is known to have the disk, and its config is given back too; once the
    /// guest has let go there is only the way forward.
    DiskInGuest,
}

/// What a failed attach takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedAttach {
    /// Each step what it has done itself, whether the guest has the disk or not (A4): the LUN may
    /// be unmapped under it, and what cannot be taken back stays for ever.
    EachStep,
    /// The guest decides: if it has the disk the attach is finished, and all is taken back if not.
    GuestDecides,
}

/// What nova makes of a look that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedLook {
    /// What was looked for is not there.
    NotThere,
    /// Nothing is known, which is an error.
    Error,
}
