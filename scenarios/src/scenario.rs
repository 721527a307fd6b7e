//! What a scenario file says: the world before, what goes wrong, who does what, what must come of it.

use std::collections::BTreeMap;

use castoff_ports::plan::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One scenario.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name on the command line; the file is named after it.
    pub name: String,
    /// One line for tables.
    pub title: String,
    /// What happens and why it matters, with the bug or the reference.
    #[serde(default)]
    pub story: String,
    /// The volumes; all of one server unless said otherwise.
    #[serde(rename = "volume")]
    pub volumes: Vec<VolumeSpec>,
    /// The storage backend.
    #[serde(default)]
    pub storage: StorageSpec,
    /// The guest.
    #[serde(default)]
    pub guest: GuestSpec,
    /// The compute host.
    #[serde(default)]
    pub host: HostSpec,
    /// The user's token.
    #[serde(default)]
    pub token: TokenSpec,
    /// What an earlier failure has left behind.
    #[serde(default, rename = "leftover")]
    pub leftovers: Vec<Leftover>,
    /// Who does what, from the start of the run.
    #[serde(rename = "actor")]
    pub actors: Vec<Actor>,
    /// What strikes which operation.
    #[serde(default, rename = "fault")]
    #[schemars(with = "Vec<serde_json::Value>")]
    pub faults: Vec<Fault>,
    /// What must come of it, by policy name.
    pub expect: BTreeMap<String, Expectation>,
}

/// A volume.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Name within the file: `v1`.
    pub name: String,
    /// Attached at the start, by the attach pipeline.
    #[serde(default = "yes")]
    pub attached: bool,
}

fn yes() -> bool {
    true
}

/// The storage backend.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageSpec {
    /// All volumes are LUNs of one target; otherwise each has its own (LVM).
    #[serde(default)]
    pub shared_target: bool,
}

/// When the guest lets go of a disk after the first unplug request that reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LetsGo {
    /// Within half a second, as measured; the seed draws.
    #[default]
    Promptly,
    /// After so many milliseconds.
    AfterMs(u64),
    /// Never, until faults stop.
    Never,
}

/// The guest.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestSpec {
    /// How it answers unplug requests.
    #[serde(default)]
    pub lets_go: LetsGo,
}

/// The compute host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// Something on the host keeps SCSI disks from going away after their delete, for so many
    /// milliseconds; for ever (until faults stop) with `never`.
    #[serde(default)]
    pub device_lingers: Option<Linger>,
    /// Guest writes are held in the host's page cache (cache=writeback) until flushed.
    #[serde(default)]
    pub writeback: bool,
}

/// How long a deleted SCSI disk stays.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Linger {
    /// So many milliseconds.
    ForMs(u64),
    /// Until faults stop.
    Never,
}

/// The user's token.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Seconds from issue to expiry; keystone's default is 3600.
    #[serde(default = "hour")]
    pub lifetime_s: u64,
}

fn hour() -> u64 {
    3600
}

impl Default for TokenSpec {
    fn default() -> Self {
        TokenSpec { lifetime_s: hour() }
    }
}

/// What an earlier failure has left behind.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Leftover {
    /// Cinder has an `attached` row of this volume and server that no BDM names: an earlier
    /// attach whose rollback failed.
    StaleAttachment {
        /// The volume.
        volume: String,
    },
    /// The host has a SCSI disk whose volume was unmapped without it (nova bug 1727260), in the
    /// session to the target of this volume, under a LUN of its own.
    StaleScsiDevice {
        /// The volume whose target it is.
        volume: String,
    },
}

/// Who does what.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// What.
    pub action: Action,
    /// On which volume.
    pub volume: String,
    /// When, in milliseconds from the start.
    #[serde(default)]
    pub at_ms: u64,
}

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A user's `DELETE /servers/{id}/os-volume_attachments/{vol}`, then polling the list.
    Detach,
    /// A user's POST of the same.
    Attach,
}

/// How a volume stands when everything has become quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Available, no attachment, no BDM, no disk in the guest.
    Detached,
    /// In-use, with its BDM; the attempt ended with an error that the user can see.
    RolledBack,
    /// `detaching`, and nobody works on it.
    StuckDetaching,
    /// Nova has no BDM, cinder still has an attachment.
    Orphaned,
    /// Anything else: the report says what.
    Other,
}

/// What must come of a scenario under one policy.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The volume of the first actor when everything is quiet for the first time.
    pub end: End,
    /// The same, after the faults have stopped and the user has retried once.
    pub after_retry: End,
    /// Properties that this policy is known to break here; any other violation is unexpected,
    /// and so is one of these that no seed shows.
    #[serde(default)]
    pub violates: Vec<String>,
    /// Why, in one line.
    #[serde(default)]
    pub because: String,
}
