//! nova-api as a client sees it: os-volume_attachments, servers and their actions, services.

use serde::{Deserialize, Serialize};

use crate::novadb::{EventResult, Instance, ServerDetails};
use crate::{AttachmentId, BdmId, HostName, InstanceId, RequestId, SimTime, VolumeId};

/// A compute API microversion, `2.N`: the N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Microversion(pub u16);

impl Microversion {
    /// The oldest of every nova 2.1 API; what a request without a version gets.
    pub const MIN: Microversion = Microversion(1);
    /// Detach of shelved servers needs 2.20.
    pub const SHELVED_DETACH: Microversion = Microversion(20);
    /// Multiattach volumes are attached from 2.60 on.
    pub const MULTIATTACH: Microversion = Microversion(60);
    /// PUT changes delete_on_termination from 2.85 on, and only swaps volumes before.
    pub const UPDATE_ATTACHMENT: Microversion = Microversion(85);
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
    /// The BDM row, shown by its uuid from 2.89 on.
    pub bdm: Option<BdmId>,
    /// The device's tag, from 2.70 on.
    pub tag: Option<String>,
    /// Whether the volume goes with the server, from 2.79 on.
    pub delete_on_termination: bool,
}

/// One instance action as `GET /servers/{id}/os-instance-actions` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceAction {
    /// `detach_volume`, `attach_volume`.
    pub action: String,
    /// The request it belongs to.
    pub request_id: RequestId,
    /// `Error` once an event of it has failed.
    pub message: Option<String>,
    /// When it was asked for.
    pub start_time: SimTime,
    /// When its last event started or ended.
    pub updated_at: SimTime,
    /// Its events, oldest first.
    pub events: Vec<ActionEvent>,
}

/// One event of an instance action, as `os-instance-actions/{request}` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionEvent {
    /// `compute_detach_volume`, …
    pub event: String,
    /// When it started.
    pub start_time: SimTime,
    /// When it ended; none while it runs, or for ever when its process died.
    pub finish_time: Option<SimTime>,
    /// How it ended.
    pub result: Option<EventResult>,
}

/// A server as `GET /servers/{id}` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The row.
    pub instance: Instance,
    /// Its columns that only the API shows.
    pub details: ServerDetails,
    /// Its volumes, and whether each goes with it.
    pub volumes_attached: Vec<(VolumeId, bool)>,
    /// Whether an administrator asked, who is shown more.
    pub for_admin: bool,
    /// host_status: whether the service of its host is up; none without a host.
    pub host_up: Option<bool>,
}

/// One row of `GET /os-services`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// `nova-compute`, …
    pub binary: String,
    /// Its host.
    pub host: HostName,
    /// Whether its heartbeat is fresh.
    pub up: bool,
}

/// `POST /servers/{id}/action`: what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ServerAction {
    /// lock.
    Lock {
        /// locked_reason, from 2.73 on.
        reason: Option<String>,
    },
    /// unlock.
    Unlock,
    /// pause.
    Pause,
    /// unpause.
    Unpause,
    /// suspend.
    Suspend,
    /// resume.
    Resume,
    /// os-stop.
    Stop,
    /// os-start.
    Start,
    /// reboot.
    Reboot {
        /// HARD, not SOFT.
        hard: bool,
    },
    /// shelve.
    Shelve,
    /// shelveOffload, for administrators.
    ShelveOffload,
    /// unshelve. There is one availability zone and one host to go to: its arguments choose none.
    Unshelve,
    /// os-resetState, for administrators.
    ResetState {
        /// active; error otherwise.
        active: bool,
    },
}

impl ServerAction {
    /// The key of the request's body.
    pub fn as_str(&self) -> &'static str {
        match self {
            ServerAction::Lock { .. } => "lock",
            ServerAction::Unlock => "unlock",
            ServerAction::Pause => "pause",
            ServerAction::Unpause => "unpause",
            ServerAction::Suspend => "suspend",
            ServerAction::Resume => "resume",
            ServerAction::Stop => "os-stop",
            ServerAction::Start => "os-start",
            ServerAction::Reboot { .. } => "reboot",
            ServerAction::Shelve => "shelve",
            ServerAction::ShelveOffload => "shelveOffload",
            ServerAction::Unshelve => "unshelve",
            ServerAction::ResetState { .. } => "os-resetState",
        }
    }
}

/// What a `POST os-volume_attachments` says beyond the volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachOptions {
    /// The device's tag, from 2.49 on.
    pub tag: Option<String>,
    /// From 2.79 on.
    pub delete_on_termination: bool,
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
        /// What else it asks for.
        options: AttachOptions,
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
    /// `GET /v2.1/servers/{server}/os-instance-actions/{request}`.
    ShowInstanceAction {
        /// The server.
        server_id: InstanceId,
        /// The request that began it.
        request_id: RequestId,
    } -> InstanceAction;
    /// `GET /v2.1/servers/{server}/os-volume_attachments/{volume}`.
    ShowVolumeAttachment {
        /// The server.
        server_id: InstanceId,
        /// The volume.
        volume_id: VolumeId,
    } -> VolumeAttachment;
    /// `PUT /v2.1/servers/{server}/os-volume_attachments/{volume}`: 202. Swaps the volume, or,
    /// from 2.85 on, changes delete_on_termination.
    UpdateVolumeAttachment {
        /// The server.
        server_id: InstanceId,
        /// The volume in the path.
        volume_id: VolumeId,
        /// The volume in the body: the same where only the flag changes.
        new_volume_id: VolumeId,
        /// delete_on_termination, from 2.85 on.
        delete_on_termination: Option<bool>,
        /// OpenStack-API-Version: compute 2.N.
        microversion: Microversion,
    } -> ();
    /// `GET /v2.1/servers` and `/servers/detail`.
    ListServers {
        /// Of every project; administrators only.
        all_tenants: bool,
    } -> Vec<Server>;
    /// `GET /v2.1/servers/{server}`.
    ShowServer {
        /// The server.
        server_id: InstanceId,
    } -> Server;
    /// `POST /v2.1/servers/{server}/action`: 202.
    PostServerAction {
        /// The server.
        server_id: InstanceId,
        /// What to do.
        action: ServerAction,
    } -> ();
    /// `DELETE /v2.1/servers/{server}`: 204.
    DeleteServer {
        /// The server.
        server_id: InstanceId,
    } -> ();
    /// `GET /v2.1/os-services`, administrators only.
    ListServices {} -> Vec<ServiceRow>;
    /// `GET /v2.1/flavors`, `/flavors/detail` and `/flavors/{id}`: every server has the one flavor.
    GetFlavors {} -> ();
    /// `GET /` and `GET /v2.1`: what nova-api speaks; asks for no token.
    GetVersions {} -> ();
    /// A request that nova-api refuses by its form, once it has accepted the token.
    RefuseRequest {
        /// Status.
        status: u16,
        /// The error body's message.
        message: String,
    } -> ();
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
            Call::ShowInstanceAction(c) => {
                format!("GET /v2.1/servers/{}/os-instance-actions/{}", c.server_id, c.request_id)
            }
            Call::ShowVolumeAttachment(c) => {
                format!("GET /v2.1/servers/{}/os-volume_attachments/{}", c.server_id, c.volume_id)
            }
            Call::UpdateVolumeAttachment(c) => format!(
                "PUT /v2.1/servers/{}/os-volume_attachments/{} volumeId={}",
                c.server_id, c.volume_id, c.new_volume_id
            ),
            Call::ListServers(_) => "GET /v2.1/servers/detail".to_owned(),
            Call::ShowServer(c) => format!("GET /v2.1/servers/{}", c.server_id),
            Call::PostServerAction(c) => {
                format!("POST /v2.1/servers/{}/action {}", c.server_id, c.action.as_str())
            }
            Call::DeleteServer(c) => format!("DELETE /v2.1/servers/{}", c.server_id),
            Call::ListServices(_) => "GET /v2.1/os-services".to_owned(),
            Call::GetFlavors(_) => "GET /v2.1/flavors".to_owned(),
            Call::GetVersions(_) => "GET /v2.1".to_owned(),
            Call::RefuseRequest(c) => format!("a request that is refused: {}", c.status),
        }
    }
}
