//! nova-compute: what an RPC message makes it do.
//!
//! - [`manager`]: `ComputeManager`: dispatch, decorators, lock and BDM.
//! - [`block_device`]: `DriverVolumeBlockDevice.detach`, the four steps.
//! - [`block_device_attach`] is the way there: `DriverVolumeBlockDevice.attach`.

use castoff_ports::{Port, rpc};

use crate::context::{Context, NovaProcess};
use crate::error::NovaError;

pub mod block_device;
pub mod block_device_attach;
pub mod manager;

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
