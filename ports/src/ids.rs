//! Identifiers: one type each, so that a volume's id is never passed for a server's.
//!
//! All are cheap to clone (a shared string). The text form is the owner's own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        impl $name {
            /// The id with this text.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }
            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    )*};
}

id! {
    /// Cinder's volume id (a UUID); also the `{volume_id}` of nova's os-volume_attachments.
    VolumeId,
    /// Cinder's attachment id (a UUID), not the volume id that nova's API calls an attachment.
    AttachmentId,
    /// Nova's instance (server) UUID.
    InstanceId,
    /// Keystone project id (32 hex digits, or `admin`).
    ProjectId,
    /// Keystone user id.
    UserId,
    /// A host's name as nova and cinder know it (`CONF.host`).
    HostName,
    /// iSCSI qualified name of a target or an initiator (RFC 7143 section 4.2.7).
    Iqn,
    /// iSCSI portal: `ip:port`.
    Portal,
    /// Kernel block device name without `/dev/`, for example `sdb`.
    DeviceName,
    /// libvirt device alias, for example `ua-<volume id>`.
    Alias,
}

/// SCSI logical unit number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lun(pub u32);

impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// open-iscsi session number, as in `/sys/class/iscsi_session/session<sid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sid(pub u32);

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SCSI address of a device: host, channel, target, lun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hctl {
    /// SCSI host number.
    pub host: u32,
    /// Channel on that host.
    pub channel: u32,
    /// Target on that channel.
    pub target: u32,
    /// Logical unit of that target.
    pub lun: Lun,
}

impl fmt::Display for Hctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.host, self.channel, self.target, self.lun)
    }
}

/// Row id of a block_device_mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BdmId(pub u32);

impl fmt::Display for BdmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One request of one user, from the client to the last effect: nova's `req-…`.
///
/// It travels with the RPC cast, so an operation of nova-compute names the request it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u32);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req-{}", self.0)
    }
}
