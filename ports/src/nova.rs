//! nova-api as a client sees it: os-volume_attachments and what tells that a detach is done.

use serde::{Deserialize, Serialize};

use crate::{AttachmentId, InstanceId, VolumeId};

/// A compute API microversion, `2.N`: the N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Microversion(pub u16);

impl Microversion {
    /// Detach of shelved servers needs 2.20.
    pub const SHELVED_DETACH: Microversion = Microversion(20);
    /// attachment_id and bdm_uuid are shown from 2.89 on.
    pub const ATTACHMENT_ID: Microversion = Microversion(89);
    /// Attach answers 202 without a body from 2.101 on.
    pub const ASYNC_ATTACH: Microversion = Microversion(101);
    /// The newest of nova 33.
    pub const LATEST: Microversion = Microversion(103);
}

/// One row of `GET /servers/{id}/os-volume_attachments`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeAttachment {
    /// The volume.
    pub volume_id: VolumeId,
    /// The server.
    pub server_id: InstanceId,
    /// Device name, for example `/dev/vdb`.
    pub device: Option<String>,
    /// Cinder's attachment id, from 2.89 on.
    pub attachment_id: Option<AttachmentId>,
}

/// One instance action as `GET /servers/{id}/os-instance-actions` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceAction {
    /// `detach_volume`, `attach_volume`.
    pub action: String,
    /// The request it belongs to.
    pub request_id: crate::RequestId,
    /// `Error` once an event of it has failed.
    pub message: Option<String>,
}

crate::operations!(Nova, "nova", {
    /// `DELETE /v2.1/servers/{server}/os-volume_attachments/{volume}`: 202.
    DeleteVolumeAttachment {
        /// The server.
        server_id: InstanceId,
        /// The volume (not the cinder attachment), in both generations.
        volume_id: VolumeId,
        /// OpenStack-API-Version: compute 2.N.
        microversion: Microversion,
    } -> ();
    /// `POST /v2.1/servers/{server}/os-volume_attachments`: 200 with the device, or 202 from 2.101 on.
    CreateVolumeAttachment {
        /// The server.
        server_id: InstanceId,
        /// The volume.
        volume_id: VolumeId,
        /// OpenStack-API-Version: compute 2.N.
        microversion: Microversion,
    } -> Option<VolumeAttachment>;
    /// `GET /v2.1/servers/{server}/os-volume_attachments`.
    ListVolumeAttachments {
        /// The server.
        server_id: InstanceId,
    } -> Vec<VolumeAttachment>;
    /// `GET /v2.1/servers/{server}/os-instance-actions`.
    ListInstanceActions {
        /// The server.
        server_id: InstanceId,
    } -> Vec<InstanceAction>;
});

impl Call {
    /// The call as nova-api's access log would show it.
    pub fn describe(&self) -> String {
        match self {
            Call::DeleteVolumeAttachment(c) => format!(
                "DELETE /v2.1/servers/{}/os-volume_attachments/{}",
                c.server_id, c.volume_id
            ),
            Call::CreateVolumeAttachment(c) => format!(
                "POST /v2.1/servers/{}/os-volume_attachments volumeId={}",
                c.server_id, c.volume_id
            ),
            Call::ListVolumeAttachments(c) => {
                format!("GET /v2.1/servers/{}/os-volume_attachments", c.server_id)
            }
            Call::ListInstanceActions(c) => {
                format!("GET /v2.1/servers/{}/os-instance-actions", c.server_id)
            }
        }
    }
}
