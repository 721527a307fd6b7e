//! os-brick: what connects a volume to the host and takes it away again.
//!
//! - [`connector`]: what cinder is told of the host, and the two algorithms behind one name.
//! - [`iscsi_v1_12`]: os-brick 1.12, by-path links (policy `pike`).
//! - [`iscsi_v7`]: os-brick 7, the session's sysfs tree (policy `2026.1`).
//! - [`scsi`]: flush and delete of a SCSI disk, and the logout, which both share.
//! - [`execute`]: commands with accepted exit codes, retries and limits.
//! - [`parse`]: the text that iscsiadm prints.
//! - [`error`]: what os-brick raises.

pub mod connector;
pub mod error;
pub mod execute;
pub mod iscsi_v1_12;
pub mod iscsi_v7;
pub mod iscsi_v7_connect;
pub mod parse;
pub mod scsi;

pub use error::BrickError;
