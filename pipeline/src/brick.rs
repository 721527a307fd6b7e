//! os-brick: what connects a volume to the host and takes it away again.
//!
//! - [`connector`]: what cinder is told of the host, and the two algorithms behind one name.
//! - [`iscsi_v1_12`]: os-brick 1.12, by-path links (policy `pike`), one path.
//! - [`iscsi_v1_12_multipath`]: the same with `volume_use_multipath`.
//! - [`iscsi_v7`]: os-brick 7, the session's sysfs tree (policy `2026.1`): disconnect.
//! - [`iscsi_v7_connect`]: its connect; [`iscsi_v7_multipath`]: with several paths at once.
//! - [`discovery`]: which targets a volume has.
//! - [`scsi`]: flush and delete of a SCSI disk, and the logout, which both share.
//! - [`multipath`]: maps, and the paths that multipathd watches.
//! - [`execute`]: commands with accepted exit codes, retries and limits.
//! - [`parse`]: the text that iscsiadm prints; [`parse_multipath`]: that multipath and lsblk print.
//! - [`error`]: what os-brick raises.

pub mod connector;
mod discovery;
pub mod error;
pub mod execute;
pub mod iscsi_v1_12;
pub mod iscsi_v1_12_multipath;
pub mod iscsi_v7;
pub mod iscsi_v7_connect;
mod iscsi_v7_multipath;
mod multipath;
pub mod parse;
pub mod parse_multipath;
pub mod scsi;

pub use error::BrickError;
