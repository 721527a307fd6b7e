//! The journal of nova-compute: what an attach or a detach has come to on this host, kept beside nova's
//! database because only this host needs it and only it may write it.
//!
//! One entry a detach. It is written as a whole (a file beside it, flushed, renamed over it), so
//! that a crash leaves the old entry or the new one.

use serde::{Deserialize, Serialize};

use crate::cinder::ConnectionInfo;
use crate::{AttachmentId, BdmId, InstanceId, RequestId, VolumeId};

/// How far an attach or a detach has come for certain; what comes after may have been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JournalStep {
    /// An attach: cinder exports the volume to this host, which may have begun to connect it.
    Attaching,
    /// The guest is being asked. It may let go at any time from now on.
    Unplugging,
    /// The guest did not let go: what was changed is given back, in the guest's config and in
    /// cinder.
    GivenUp,
    /// Everything has been given back. The guest may let go later all the same.
    RolledBack,
    /// The guest has let go: from here on there is only the way forward.
    Released,
    /// The host has let go: nothing of the host is touched any more.
    Disconnected,
    /// Cinder has let go and nova has said so: only the row is left.
    Unmapped,
}

impl JournalStep {
    /// Its name in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            JournalStep::Attaching => "attaching",
            JournalStep::Unplugging => "unplugging",
            JournalStep::GivenUp => "given-up",
            JournalStep::RolledBack => "rolled-back",
            JournalStep::Released => "released",
            JournalStep::Disconnected => "disconnected",
            JournalStep::Unmapped => "unmapped",
        }
    }
}

/// One attach or detach on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The volume.
    pub volume_id: VolumeId,
    /// The server.
    pub instance: InstanceId,
    /// The row that is being detached: a later attach of the same volume has another.
    pub bdm: BdmId,
    /// Its attachment.
    pub attachment_id: Option<AttachmentId>,
    /// Whose request it is.
    pub request: RequestId,
    /// How far it has come.
    pub step: JournalStep,
    /// How the volume was connected, without credentials: a disconnect needs none.
    pub connection_info: Option<Box<ConnectionInfo>>,
}
