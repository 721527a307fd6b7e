//! What a scenario finds: the user's token, and what an earlier failure has left behind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
