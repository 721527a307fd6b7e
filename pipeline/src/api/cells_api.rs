//! `ComputeCellsAPI`: nova.compute.api.API of a cell of type `api` (cells v1, removed in Train).
//!
//! The API cell checks by itself and then casts to the child cell, which does the whole of
//! `API.detach_volume` again: a refused os-begin_detaching is seen by nobody. The child cell's
//! nova-cells runs here within the request, so the client's 202 comes a little later than it did.

use castoff_ports::cinder::Volume;
use castoff_ports::novadb::Instance;

use super::compute_api::{self, check_instance_lock, check_instance_state};
use crate::context::Context;
use crate::error::NovaError;
use crate::middleware::auth_token::Caller;
use crate::volume_api;

/// `ComputeCellsAPI.detach_volume`.
pub async fn detach_volume(
    cx: &Context<'_>,
    caller: &Caller,
    instance: &Instance,
    volume: &Volume,
) -> Result<(), NovaError> {
    cx.station("nova.compute.cells_api.ComputeCellsAPI.detach_volume");
    check_instance_lock(caller, instance)?;
    check_instance_state(cx, instance, "detach_volume")?;
    volume_api::check_detach(volume, &instance.uuid)?;
    if let Err(e) = compute_api::detach_volume(cx, caller, instance, volume).await {
        cx.error(format!("child cell failed to {e}"));
    }
    Ok(())
}
