//! os-roll_detaching whose outcome is not known (F06).
//!
//! cinderclient asks again when a connection broke. Meanwhile another request may have begun to detach
//! the volume that the first call gave back, and the second call takes it away from that one
//! (property S13).

use castoff_ports::cinder::VolumeStatus;
use castoff_ports::{Failure, VolumeId};

use crate::context::Context;
use crate::error::NovaError;
use crate::volume_api;

/// Gives the volume back, once. Whoever cannot be certain of it leaves it to the reconciler.
///
/// # Errors
/// When cinder refuses, or nobody can tell.
pub(crate) async fn roll_detaching(cx: &Context<'_>, volume: &VolumeId) -> Result<(), NovaError> {
    if !cx.policy().detach_intent {
        return volume_api::roll_detaching(cx, volume).await;
    }
    let Err(failure) = volume_api::roll_detaching_once(cx, volume).await else { return Ok(()) };
    let unknown = matches!(failure, Failure::NoReply { .. })
        || failure.http_status().is_some_and(|s| s >= 500);
    let error = volume_api::volume_error(volume, failure);
    if !unknown {
        return Err(error);
    }
    match volume_api::get(cx, volume, 0).await {
        Ok(now) if now.status != VolumeStatus::Detaching => {
            cx.warning(format!("os-roll_detaching of volume {volume} was not answered, but done"));
            Ok(())
        }
        Ok(_) | Err(_) => Err(error),
    }
}
