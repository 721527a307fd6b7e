//! `ComputeManager._delete_dangling_bdms`: before a reboot the two databases are made to agree.
//!
//! A BDM whose attachment cinder does not have is destroyed, and every attachment of the server
//! that no BDM names is deleted: also one that an attach under way has made and not saved yet (C).

use castoff_ports::novadb::{Bdm, BdmDestroy};
use castoff_ports::{AttachmentId, InstanceId};

use crate::context::Context;
use crate::error::NovaError;
use crate::volume_api;

/// Answers with the BDMs that are left. A cinder that does not answer the list is no reason not to
/// reboot; one that fails after it is.
pub(super) async fn delete_dangling_bdms(
    cx: &Context<'_>,
    instance: &InstanceId,
    bdms: Vec<Bdm>,
) -> Result<Vec<Bdm>, NovaError> {
    cx.station("nova.compute.manager.ComputeManager._delete_dangling_bdms");
    let Ok(listed) = volume_api::attachment_get_all(cx, instance).await else { return Ok(bdms) };
    let mut known: Vec<AttachmentId> = Vec::new();
    let mut left = Vec::with_capacity(bdms.len());
    for bdm in bdms {
        if let Some(attachment) = &bdm.attachment_id {
            match volume_api::attachment_get(cx, attachment).await {
                Ok(_) => known.push(attachment.clone()),
                Err(NovaError::VolumeAttachmentNotFound { .. }) => {
                    cx.warning(format!(
                        "Removing stale volume attachment '{attachment}' from instance for volume \
                         '{}'.",
                        bdm.volume_id
                    ));
                    cx.call(BdmDestroy { id: bdm.id }).await?;
                    continue;
                }
                Err(e) => return Err(e),
            }
        }
        left.push(bdm);
    }
    for stale in listed.iter().filter(|a| !known.contains(&a.id)) {
        cx.warning("Removing stale volume attachments of instance from Cinder".to_owned());
        volume_api::attachment_delete(cx, &stale.id).await?;
    }
    Ok(left)
}
