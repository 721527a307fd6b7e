//! nova-compute: what an RPC message makes it do.
//!
//! - [`manager`]: `ComputeManager`: dispatch, decorators, lock and BDM.
//! - [`delete`], [`power`]: terminate_instance; reboot, stop and start, as far as volumes go.
//! - [`dangling`]: what a reboot mends between nova and cinder.
//! - [`shelve`]: a server leaves its host, and comes back to one.
//! - `offload`: leaving it for certain.
//! - [`pause`]: pause, unpause, suspend and resume.
//! - [`mod@init_host`]: what nova-compute takes up again when it starts: no attach and no detach.
//! - [`block_device`]: `DriverVolumeBlockDevice.detach`, the four steps.
//! - `fence`, `journal`, `rollback`: a cast counts once; how far it came; giving everything back.
//! - `attach`, `settle`: the same for an attach: a cast counts once; finished or undone.
//! - `tasks`, `homeless`: tasks of servers that nobody carries out; servers that no host has.
//! - `stale`: attachments of cinder that no BDM names.
//! - [`mod@reconcile`]: takes up what was left unfinished, where the policy has it, and `tell`s.
//! - [`block_device_attach`] is the way there: `DriverVolumeBlockDevice.attach`.

use castoff_ports::{Port, rpc};

use crate::context::{Context, NovaProcess};
use crate::error::NovaError;

pub use init_host::init_host;
pub use reconcile::reconcile;

mod attach;
pub mod block_device;
pub mod block_device_attach;
pub mod dangling;
pub mod delete;
mod fence;
mod homeless;
pub mod init_host;
mod journal;
pub mod manager;
mod multiattach;
mod offload;
pub mod pause;
pub mod power;
pub mod reconcile;
mod rollback;
mod settle;
pub mod shelve;
mod stale;
mod tasks;
mod tell;

/// Runs one message, in the name of the user whose request it carries.
///
/// A cast's error goes nowhere but into fault and action rows; a call's goes back to the caller
/// ([`NovaError::to_remote`]).
pub async fn nova_compute(
    process: &NovaProcess,
    port: &Port,
    method: rpc::Method,
) -> Result<rpc::Returned, NovaError> {
    manager::dispatch(&Context::new(process, port), method).await
}
