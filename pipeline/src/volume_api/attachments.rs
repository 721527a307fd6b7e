//! The attachments of volume API 3.44, as nova calls them.

use castoff_ports::cinder::{
    Attachment, AttachmentComplete, AttachmentCreate, AttachmentDelete, AttachmentGet,
    AttachmentList, AttachmentSummary, AttachmentUpdate, Connector,
};
use castoff_ports::{AttachmentId, Failure, InstanceId, VolumeId};

use super::{About, cinderclient, once, retrying};
use crate::context::Context;
use crate::error::NovaError;

/// `API.attachment_create` without a connector: reserves the volume.
pub async fn attachment_create(
    cx: &Context<'_>,
    volume_id: &VolumeId,
    instance: &InstanceId,
) -> Result<Attachment, NovaError> {
    let request = || AttachmentCreate { volume_id: volume_id.clone(), instance: instance.clone() };
    cinderclient(cx, request).await.map_err(|e| About::Volume(volume_id).translate(e))
}

/// `API.attachment_get`.
pub async fn attachment_get(
    cx: &Context<'_>,
    attachment_id: &AttachmentId,
) -> Result<Attachment, NovaError> {
    cinderclient(cx, || AttachmentGet { attachment_id: attachment_id.clone() })
        .await
        .map_err(|e| About::Attachment(attachment_id).translate(e))
}

/// `API.attachment_get_all` of a server: the only call whose errors nobody translates.
pub async fn attachment_get_all(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<Vec<AttachmentSummary>, Failure> {
    attachment_list(cx, instance, false).await
}

/// The same for an administrator too, who has no volumes of his own.
pub async fn attachments_of_server(
    cx: &Context<'_>,
    instance: &InstanceId,
) -> Result<Vec<AttachmentSummary>, Failure> {
    attachment_list(cx, instance, true).await
}

async fn attachment_list(
    cx: &Context<'_>,
    instance: &InstanceId,
    all_tenants: bool,
) -> Result<Vec<AttachmentSummary>, Failure> {
    let list = || AttachmentList { instance: instance.clone(), all_tenants };
    let listed = cinderclient(cx, list).await;
    if let Err(e) = &listed {
        cx.error(format!("Get all attachment failed. Error: {e}"));
    }
    listed
}

/// `API.attachment_update`: the volume is exported to this host.
pub async fn attachment_update(
    cx: &Context<'_>,
    attachment_id: &AttachmentId,
    connector: &Connector,
    mountpoint: &str,
) -> Result<Attachment, NovaError> {
    let request = || AttachmentUpdate {
        attachment_id: attachment_id.clone(),
        connector: connector.clone(),
        mountpoint: mountpoint.to_owned(),
    };
    retrying(cx, &[500, 504], request)
        .await
        .map_err(|e| About::Attachment(attachment_id).translate(e))
}

/// `API.attachment_complete`: attached, in-use.
pub async fn attachment_complete(
    cx: &Context<'_>,
    attachment_id: &AttachmentId,
) -> Result<(), NovaError> {
    cinderclient(cx, || AttachmentComplete { attachment_id: attachment_id.clone() })
        .await
        .map_err(|e| About::Attachment(attachment_id).translate(e))
}

/// `API.attachment_delete`: one that is already gone is deleted (nova bug 1937084).
pub async fn attachment_delete(
    cx: &Context<'_>,
    attachment_id: &AttachmentId,
) -> Result<(), NovaError> {
    let request = || AttachmentDelete { attachment_id: attachment_id.clone() };
    match retrying(cx, &[500, 504], request).await {
        Ok(()) => Ok(()),
        Err(e) if e.http_status() == Some(404) && cx.policy().ignore_missing_attachment => {
            cx.warning(format!("Attachment {attachment_id} does not exist. Ignoring."));
            Ok(())
        }
        Err(e) => {
            cx.error(format!("Delete attachment failed for attachment {attachment_id}: {e}"));
            Err(About::Attachment(attachment_id).translate(e))
        }
    }
}

/// [`attachment_create`], asked again only where it cannot have taken effect: each time that it
/// does it makes another attachment.
pub(crate) async fn attachment_create_once(
    cx: &Context<'_>,
    volume_id: &VolumeId,
    instance: &InstanceId,
) -> Result<Attachment, Failure> {
    once(cx, || AttachmentCreate { volume_id: volume_id.clone(), instance: instance.clone() }).await
}
