//! Intents: who is detaching what, as rows of instance_system_metadata.
//!
//! nova-api writes one before os-begin_detaching, nova-compute deletes it when the detach has ended
//! in either way. While it stands, somebody has to end it: a cast may be lost, a process may die,
//! but the row is found again. Each request has a row of its own, so that two requests for one
//! volume never write over each other; which of them cinder let win is cinder's word.

use castoff_ports::novadb::{SystemMetadataDelete, SystemMetadataGet, SystemMetadataSet};
use castoff_ports::{InstanceId, RequestId, SimTime, VolumeId};

use crate::context::Context;
use crate::error::NovaError;

/// What all keys begin with.
const PREFIX: &str = "castoff_detach_";

/// One intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// What is to be detached.
    pub volume: VolumeId,
    /// Whose request it is.
    pub request: RequestId,
    /// When it was written, by the database's clock.
    pub since: SimTime,
}

fn key(volume: &VolumeId, request: RequestId) -> String {
    format!("{PREFIX}{volume}_{request}")
}

/// The volume and the request that a key names; none of a key that is not ours.
fn parse(key: &str) -> Option<(VolumeId, RequestId)> {
    let (volume, request) = key.strip_prefix(PREFIX)?.rsplit_once('_')?;
    let number = request.strip_prefix("req-")?.parse().ok()?;
    Some((VolumeId::new(volume), RequestId(number)))
}

/// Writes this request's intent.
pub async fn write(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<(), NovaError> {
    if !cx.policy().detach_intent {
        return Ok(());
    }
    let (instance, key) = (instance.clone(), key(volume, cx.port.cx.request));
    let value = format!("detach volume {volume}");
    Ok(cx.call(SystemMetadataSet { instance, key, value }).await?)
}

/// Every intent of a server, oldest first.
pub async fn all(cx: &Context<'_>, instance: &InstanceId) -> Result<Vec<Intent>, NovaError> {
    if !cx.policy().detach_intent {
        return Ok(Vec::new());
    }
    let rows = cx.call(SystemMetadataGet { instance: instance.clone() }).await?;
    let ours = rows.into_iter().filter_map(|row| {
        let (volume, request) = parse(&row.key)?;
        Some(Intent { volume, request, since: row.created_at })
    });
    Ok(ours.collect())
}

/// Those of one volume.
pub async fn of_volume(
    cx: &Context<'_>,
    instance: &InstanceId,
    volume: &VolumeId,
) -> Result<Vec<Intent>, NovaError> {
    let mut intents = all(cx, instance).await?;
    intents.retain(|i| i.volume == *volume);
    Ok(intents)
}

/// Deletes one. What cannot be deleted now is found by the reconciler, so this raises nothing.
pub async fn clear(cx: &Context<'_>, instance: &InstanceId, volume: &VolumeId, request: RequestId) {
    if !cx.policy().detach_intent {
        return;
    }
    let delete = SystemMetadataDelete { instance: instance.clone(), key: key(volume, request) };
    if let Err(e) = cx.call(delete).await {
        cx.warning(format!("The intent to detach volume {volume} stays for now: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_volume_and_request_and_fits_its_column() {
        let volume = VolumeId::new("30d72547-9316-4c2a-84c9-6ebc30912e01");
        let key = key(&volume, RequestId(7));
        assert_eq!(parse(&key), Some((volume, RequestId(7))));
        // A real request id is req- and a UUID.
        assert!(key.len() + 36 < 255);
    }

    #[test]
    fn rows_of_others_are_no_intents() {
        for key in
            ["image_min_ram", "castoff_detach_", "castoff_detach_v1_req-x", "castoff_detach_v1"]
        {
            assert_eq!(parse(key), None, "{key}");
        }
    }
}
