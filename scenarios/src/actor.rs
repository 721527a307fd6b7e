//! Who does what in a scenario.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who does what.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// What.
    pub action: Action,
    /// On which volume.
    pub volume: String,
    /// On which server; the volume's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub server: Option<String>,
    /// Who; an administrator anyway where cinder lets nobody else do it.
    #[serde(default, skip_serializing_if = "Standing::is_member")]
    pub by: Standing,
    /// The compute API's microversion at which the client attaches or detaches, `2.N`: the N.
    /// Absent: 20, or 60 for a multiattach volume where nova knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 103))]
    pub microversion: Option<u16>,
    /// When, in milliseconds from the start.
    #[serde(default)]
    pub at_ms: u64,
}

/// What a user is to the project that has the servers and the volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// A member of the project that has servers and volumes.
    #[default]
    Member,
    /// A user of that project who may look at things only (the role `reader`).
    Reader,
    /// A member of another project.
    Stranger,
    /// An administrator, of a project of its own.
    Admin,
}

impl Standing {
    fn is_member(&self) -> bool {
        *self == Standing::Member
    }
}

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A user's `DELETE /servers/{id}/os-volume_attachments/{vol}`, then polling the list.
    Detach,
    /// A user's POST of the same.
    Attach,
    /// A user's POST of the same, as soon as cinder shows the volume `available`: polled every second.
    AttachWhenAvailable,
    /// A user's `DELETE /volumes/{id}` to cinder, as soon as it shows the volume `available`.
    DeleteVolume,
    /// An administrator's os-reset_status: `available`, and attach_status `detached`.
    ResetToAvailable,
    /// An administrator's os-reset_status: `in-use`, and attach_status `attached`.
    ResetToInUse,
    /// An administrator's os-reset_status: `error`; attach_status stays.
    ResetToError,
    /// An administrator's os-force_detach, without a connector.
    ForceDetach,
    /// A user's `DELETE /servers/{id}`: of the server that has the volume.
    DeleteServer,
    /// A user's `reboot` of it, HARD.
    HardReboot,
    /// A user's `reboot` of it, SOFT.
    SoftReboot,
    /// nova-compute is stopped, and started ten seconds later: a package update.
    RestartCompute,
    /// A user's `os-stop` of it.
    Stop,
    /// A user's `os-start` of it.
    Start,
    /// A user's `shelve` of it; it leaves its host.
    Shelve,
    /// A user's `unshelve` of it.
    Unshelve,
    /// A user's `suspend` of it.
    Suspend,
    /// A user's `resume` of it.
    Resume,
    /// A user's `lock` of it: only an administrator changes it then.
    Lock,
    /// A user's `unlock` of it.
    Unlock,
    /// A user's `DELETE /attachments/{id}` to cinder, past nova: of the server's attachment.
    DeleteAttachment,
}
