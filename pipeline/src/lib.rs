//! The system under test: nova-api, nova-compute and os-brick, detaching and attaching a volume.
//!
//! Everything outside is an operation of `castoff_ports` on a [`Port`](castoff_ports::Port); so
//! the same code runs on models, over a network and on real systems. Two generations of nova are
//! one code and two [`policy`] values. The stations of a detach, in the order they are passed:
//!
//! 1. [`client`]: the user: token, DELETE, polling until the attachment is gone.
//! 2. [`middleware::auth_token`]: keystonemiddleware validates the token.
//! 3. [`api::volume_attachments`]: `VolumeAttachmentController.delete`, every check and status.
//! 4. [`api::compute_api`]: `nova.compute.api.API.detach_volume` (or [`api::cells_api`]):
//!    os-begin_detaching, then the cast; [`api::attach`] is its attach half.
//! 5. [`compute::manager`]: `ComputeManager.detach_volume`: lock, BDM, and its destruction last.
//! 6. [`compute::block_device`]: `DriverVolumeBlockDevice.detach`, the four steps
//!    ([`compute::block_device_attach`] the other way).
//! 7. [`virt::driver`]: chosen by `compute_driver`; [`virt::libvirt::driver`] and
//!    [`virt::libvirt::guest`] make the guest let go.
//! 8. [`virt::libvirt::volume::iscsi`]: `LibvirtISCSIVolumeDriver`, chosen by
//!    `driver_volume_type`.
//! 9. [`brick`]: os-brick flushes, deletes, logs out.
//! 10. [`volume_api`]: `nova.volume.cinder.API`, what nova makes of cinder's answers.
//!
//! | station | its compensation | found half done |
//! |---|---|---|
//! | begin_detaching | roll_detaching, if driver_detach fails | stays `detaching`: nobody resumes it |
//! | cast | none | lost with its consumer: at most once |
//! | driver_detach | roll_detaching, though the guest may have let go | a second detach finds less |
//! | terminate_connection, detach (or attachment_delete) | none: stays `detaching` | 404 is done |
//! | bdm.destroy | none | stays: a reboot of nova 2023.2 and later would destroy it (not written yet) |
//!
//! [`conf`] is nova.conf, [`context`] what every station is given, [`error`] what it may raise.

pub mod api;
pub mod brick;
pub mod client;
pub mod compute;
pub mod conf;
pub mod context;
pub mod error;
pub mod intent;
pub mod middleware;
pub mod policy;
mod roll;
pub mod virt;
pub mod volume_api;

pub use api::nova_api;
pub use compute::{init_host, nova_compute, reconcile};
pub use conf::{ComputeDriver, Conf, ServiceUser};
pub use context::{Context, NovaProcess};
pub use error::NovaError;
pub use policy::Policy;
