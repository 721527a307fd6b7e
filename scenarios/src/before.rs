//! What a scenario finds: its volumes, the user's token, and what an earlier failure has left behind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A volume.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Name within the file: `v1`.
    #[schemars(regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub name: String,
    /// Attached at the start, by the attach pipeline.
    #[serde(default = "yes")]
    pub attached: bool,
    /// Its type is encrypted (LUKS): the guest lets go before the passphrase goes, and that goes
    /// before the host's disk.
    #[serde(default)]
    pub encrypted: bool,
    /// It is its server's root disk.
    #[serde(default, skip_serializing_if = "no")]
    pub root: bool,
    /// The server that it is attached to, by a name within the file: `s2`. Absent: the first
    /// server, which is always there; each other name is one more on the same host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub server: Option<String>,
    /// Several servers may have it at once.
    #[serde(default, skip_serializing_if = "no")]
    pub multiattach: bool,
}

fn yes() -> bool {
    true
}

fn no(value: &bool) -> bool {
    !value
}

/// The user's token.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Seconds from issue to expiry; keystone's default is 3600.
    #[serde(default = "hour")]
    #[schemars(range(min = 1))]
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
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
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
    /// open-iscsi's database has a record without target (os-brick bug 1886855).
    CorruptNodeRecord,
}
