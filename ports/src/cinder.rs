//! Cinder's volume API as nova uses it: volume actions and attachments.

use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{AttachmentId, HostName, InstanceId, Iqn, Lun, Portal, VolumeId};

/// `volumes.status` (cinder `objects/fields.py`, those that attach, detach and delete touch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeStatus {
    /// Free to be attached.
    Available,
    /// attachment_create has reserved it.
    Reserved,
    /// os-reserve, or attachment_update under way.
    Attaching,
    /// Attached.
    InUse,
    /// os-begin_detaching has been called.
    Detaching,
    /// Being deleted.
    Deleting,
    /// An administrator's maintenance.
    Maintenance,
    /// Failed.
    Error,
}

impl VolumeStatus {
    /// Cinder's text.
    pub fn as_str(self) -> &'static str {
        match self {
            VolumeStatus::Available => "available",
            VolumeStatus::Reserved => "reserved",
            VolumeStatus::Attaching => "attaching",
            VolumeStatus::InUse => "in-use",
            VolumeStatus::Detaching => "detaching",
            VolumeStatus::Deleting => "deleting",
            VolumeStatus::Maintenance => "maintenance",
            VolumeStatus::Error => "error",
        }
    }
}

/// `volume_attachment.attach_status` and `volumes.attach_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachStatus {
    /// Row made by attachment_create without a connector.
    Reserved,
    /// Connector given, not complete.
    Attaching,
    /// Complete.
    Attached,
    /// The driver failed while detaching.
    ErrorDetaching,
    /// The driver failed while attaching.
    ErrorAttaching,
    /// Gone.
    Detached,
}

impl AttachStatus {
    /// Cinder's text.
    pub fn as_str(self) -> &'static str {
        match self {
            AttachStatus::Reserved => "reserved",
            AttachStatus::Attaching => "attaching",
            AttachStatus::Attached => "attached",
            AttachStatus::ErrorDetaching => "error_detaching",
            AttachStatus::ErrorAttaching => "error_attaching",
            AttachStatus::Detached => "detached",
        }
    }
}

/// What os-brick tells of the host: `get_connector_properties`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connector {
    /// `my_block_storage_ip`.
    pub ip: String,
    /// `CONF.host`.
    pub host: HostName,
    /// Initiator name; absent (with a warning) when the file is missing.
    pub initiator: Option<Iqn>,
    /// `volume_use_multipath`.
    pub multipath: bool,
}

/// connection_info of the iSCSI driver: how to reach one volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// `iscsi` here; chooses the libvirt volume driver.
    pub driver_volume_type: String,
    /// The iSCSI part.
    pub data: IscsiData,
    /// Nova stores the volume id as `serial`.
    pub serial: Option<VolumeId>,
    /// pike stashes the connector that the export was made for (nova bug 1452032).
    pub connector: Option<Connector>,
    /// 2026.1 stores whether the volume is multiattach.
    pub multiattach: bool,
}

/// A LUN as a volume driver of cinder wrote it into `connection_info.data`. Some write it as a
/// text, and os-brick takes it as it comes: what Python makes of that differs from place to place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetLun {
    /// A number, as it ought to be.
    Number(Lun),
    /// A text: equal to no number, but the same in a path or a command.
    Text(String),
}

impl TargetLun {
    /// The LUN that a path of sysfs with this in it names.
    pub fn in_path(&self) -> Option<Lun> {
        match self {
            TargetLun::Number(lun) => Some(*lun),
            TargetLun::Text(text) => {
                text.parse().ok().map(Lun).filter(|lun| lun.to_string() == *text)
            }
        }
    }
}

impl From<Lun> for TargetLun {
    fn from(lun: Lun) -> Self {
        TargetLun::Number(lun)
    }
}

impl fmt::Display for TargetLun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetLun::Number(lun) => lun.fmt(f),
            TargetLun::Text(text) => text.fmt(f),
        }
    }
}

/// One of the ways to an iSCSI volume: an element of `target_portals`, `target_iqns` and
/// `target_luns`, which are lists of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IscsiPath {
    /// `ip:port`.
    pub portal: Portal,
    /// Target name.
    pub iqn: Iqn,
    /// LUN of the volume in that target.
    pub lun: TargetLun,
}

/// `connection_info.data` of an iSCSI volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IscsiData {
    /// `ip:port`.
    pub target_portal: Portal,
    /// Target name.
    pub target_iqn: Iqn,
    /// LUN of the volume in that target.
    pub target_lun: TargetLun,
    /// Every path, the one above first; empty where the backend gave no lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<IscsiPath>,
    /// The volume.
    pub volume_id: VolumeId,
    /// Path that connect_volume returned, saved by nova.
    pub device_path: Option<String>,
    /// dm-crypt or LUKS on top.
    pub encrypted: bool,
    /// CHAP, when the backend asks for it.
    pub auth: Option<Chap>,
}

/// CHAP credentials of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chap {
    /// auth_username.
    pub username: String,
    /// auth_password.
    pub password: crate::Secret,
}

/// One entry of a volume's `attachments` list: cinder shows only rows that are `attached`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeAttachmentRow {
    /// The server.
    pub server_id: InstanceId,
    /// The attachment.
    pub attachment_id: AttachmentId,
    /// The host that the volume is attached on.
    pub host_name: Option<HostName>,
    /// Mountpoint.
    pub device: Option<String>,
}

/// `GET /v3/{project}/volumes/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// The volume.
    pub id: VolumeId,
    /// Its status.
    pub status: VolumeStatus,
    /// GiB.
    pub size: u32,
    /// May be attached more than once.
    pub multiattach: bool,
    /// Attached attachments.
    pub attachments: SmallVec<[VolumeAttachmentRow; 1]>,
    /// Tri-state, from microversion 3.69 on: whether other volumes share the volume's target.
    pub shared_targets: Option<bool>,
    /// The backend's service, names os-brick's guard_connection lock; from 3.48 on.
    pub service_uuid: Option<String>,
}

/// An attachment as the attachments API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// The attachment.
    pub id: AttachmentId,
    /// Its volume.
    pub volume_id: VolumeId,
    /// Its server.
    pub instance: InstanceId,
    /// Its state.
    pub status: AttachStatus,
    /// How to connect, once a connector was given.
    pub connection_info: Option<ConnectionInfo>,
}

/// An attachment as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentSummary {
    /// The attachment.
    pub id: AttachmentId,
    /// Its volume.
    pub volume_id: VolumeId,
    /// Its server.
    pub instance: InstanceId,
}

/// `GET /v3/{project}/volumes/{id}/encryption`: how the volume's type encrypts it; every field is
/// absent for a volume that is not encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// The key's id in the key manager.
    pub encryption_key_id: Option<String>,
    /// `luks`, or the encryptor's class.
    pub provider: Option<String>,
    /// `aes-xts-plain64`.
    pub cipher: Option<String>,
    /// Bits.
    pub key_size: Option<u32>,
    /// `front-end`: the compute host decrypts.
    pub control_location: Option<String>,
}

crate::operations!(Cinder, "cinder", {
    /// GET volume: 200, 404.
    GetVolume {
        /// The volume.
        volume_id: VolumeId,
        /// Volume API microversion `3.N`; 0 is plain v3.
        microversion: u16,
    } -> Volume;
    /// os-begin_detaching: 202; CAS in-use to detaching, else 400.
    BeginDetaching {
        /// The volume.
        volume_id: VolumeId,
    } -> ();
    /// os-roll_detaching: 202; CAS detaching to in-use, a no-op otherwise.
    RollDetaching {
        /// The volume.
        volume_id: VolumeId,
    } -> ();
    /// os-reserve: 202; CAS available to attaching, else 400.
    Reserve {
        /// The volume.
        volume_id: VolumeId,
    } -> ();
    /// os-unreserve: 202; CAS attaching back, a no-op otherwise.
    Unreserve {
        /// The volume.
        volume_id: VolumeId,
    } -> ();
    /// os-initialize_connection: 200; exports the volume and maps it to the connector.
    InitializeConnection {
        /// The volume.
        volume_id: VolumeId,
        /// Whom to map it to.
        connector: Connector,
    } -> ConnectionInfo;
    /// os-terminate_connection: 202; unmaps the volume from the connector.
    TerminateConnection {
        /// The volume.
        volume_id: VolumeId,
        /// Whom to unmap it from.
        connector: Connector,
    } -> ();
    /// os-attach: 202; the attachment row and in-use.
    Attach {
        /// The volume.
        volume_id: VolumeId,
        /// The server.
        instance: InstanceId,
        /// `/dev/vdb`.
        mountpoint: String,
    } -> ();
    /// os-detach: 202; deletes the attachment row and recomputes the status.
    Detach {
        /// The volume.
        volume_id: VolumeId,
        /// Which attachment; may be absent when there is at most one.
        attachment_id: Option<AttachmentId>,
    } -> ();
    /// `DELETE /volumes/{id}`: 202; available or error only, else 400.
    DeleteVolume {
        /// The volume.
        volume_id: VolumeId,
    } -> ();
    /// os-reset_status, an administrator's: 202; writes what it is told and asks no backend.
    ResetStatus {
        /// The volume.
        volume_id: VolumeId,
        /// Its status from now on; as it is when absent.
        status: Option<VolumeStatus>,
        /// Its attach_status; `detached` deletes the attachment rows.
        attach_status: Option<AttachStatus>,
    } -> ();
    /// os-force_detach, an administrator's: 202; unmaps if a connector is given, deletes the row.
    ForceDetach {
        /// The volume.
        volume_id: VolumeId,
        /// Which attachment; may be absent when there is at most one.
        attachment_id: Option<AttachmentId>,
        /// Whom to unmap it from.
        connector: Option<Connector>,
    } -> ();
    /// `POST /attachments` (3.44): reserves the volume.
    AttachmentCreate {
        /// The volume.
        volume_id: VolumeId,
        /// The server.
        instance: InstanceId,
    } -> Attachment;
    /// `PUT /attachments/{id}` with a connector: exports and maps; the connection_info comes back.
    AttachmentUpdate {
        /// The attachment.
        attachment_id: AttachmentId,
        /// Whom to map it to.
        connector: Connector,
        /// `/dev/vdb`.
        mountpoint: String,
    } -> Attachment;
    /// os-complete of an attachment: 204; attached, in-use.
    AttachmentComplete {
        /// The attachment.
        attachment_id: AttachmentId,
    } -> ();
    /// `DELETE /attachments/{id}`: 200; unmaps, deletes the row, recomputes the status.
    AttachmentDelete {
        /// The attachment.
        attachment_id: AttachmentId,
    } -> ();
    /// `GET /attachments/{id}` (3.44): 200, 404.
    AttachmentGet {
        /// The attachment.
        attachment_id: AttachmentId,
    } -> Attachment;
    /// `GET /attachments?instance_id=…` (3.44): 200; 400 where cinder lets users filter by less.
    AttachmentList {
        /// The server.
        instance: InstanceId,
        /// `all_tenants=1`: an administrator sees those of every project; nobody else is refused.
        all_tenants: bool,
    } -> Vec<AttachmentSummary>;
    /// `GET /volumes/{id}/encryption`: 200, 404.
    GetEncryption {
        /// The volume.
        volume_id: VolumeId,
    } -> Encryption;
});

impl Call {
    /// The volume that the call names, if it names one.
    pub fn volume_id(&self) -> Option<&VolumeId> {
        match self {
            Call::GetVolume(c) => Some(&c.volume_id),
            Call::BeginDetaching(c) => Some(&c.volume_id),
            Call::RollDetaching(c) => Some(&c.volume_id),
            Call::Reserve(c) => Some(&c.volume_id),
            Call::Unreserve(c) => Some(&c.volume_id),
            Call::InitializeConnection(c) => Some(&c.volume_id),
            Call::TerminateConnection(c) => Some(&c.volume_id),
            Call::Attach(c) => Some(&c.volume_id),
            Call::Detach(c) => Some(&c.volume_id),
            Call::DeleteVolume(c) => Some(&c.volume_id),
            Call::ResetStatus(c) => Some(&c.volume_id),
            Call::ForceDetach(c) => Some(&c.volume_id),
            Call::AttachmentCreate(c) => Some(&c.volume_id),
            Call::GetEncryption(c) => Some(&c.volume_id),
            Call::AttachmentUpdate(_)
            | Call::AttachmentComplete(_)
            | Call::AttachmentDelete(_)
            | Call::AttachmentGet(_)
            | Call::AttachmentList(_) => None,
        }
    }

    /// The call as cinder-api's access log would show it.
    pub fn describe(&self) -> String {
        let action = |id: &VolumeId, name: &str| format!("POST /v3/volumes/{id}/action {name}");
        match self {
            Call::GetVolume(c) => format!("GET /v3/volumes/{}", c.volume_id),
            Call::BeginDetaching(c) => action(&c.volume_id, "os-begin_detaching"),
            Call::RollDetaching(c) => action(&c.volume_id, "os-roll_detaching"),
            Call::Reserve(c) => action(&c.volume_id, "os-reserve"),
            Call::Unreserve(c) => action(&c.volume_id, "os-unreserve"),
            Call::InitializeConnection(c) => action(&c.volume_id, "os-initialize_connection"),
            Call::TerminateConnection(c) => action(&c.volume_id, "os-terminate_connection"),
            Call::Attach(c) => action(&c.volume_id, "os-attach"),
            Call::Detach(c) => action(&c.volume_id, "os-detach"),
            Call::DeleteVolume(c) => format!("DELETE /v3/volumes/{}", c.volume_id),
            Call::ResetStatus(c) => {
                let mut text = action(&c.volume_id, "os-reset_status");
                if let Some(status) = c.status {
                    text.push_str(&format!(" status={}", status.as_str()));
                }
                if let Some(status) = c.attach_status {
                    text.push_str(&format!(" attach_status={}", status.as_str()));
                }
                text
            }
            Call::ForceDetach(c) => action(&c.volume_id, "os-force_detach"),
            Call::AttachmentCreate(c) => format!("POST /v3/attachments volume={}", c.volume_id),
            Call::AttachmentUpdate(c) => format!("PUT /v3/attachments/{}", c.attachment_id),
            Call::AttachmentComplete(c) => {
                format!("POST /v3/attachments/{}/action os-complete", c.attachment_id)
            }
            Call::AttachmentDelete(c) => format!("DELETE /v3/attachments/{}", c.attachment_id),
            Call::AttachmentGet(c) => format!("GET /v3/attachments/{}", c.attachment_id),
            Call::AttachmentList(c) => {
                let all = if c.all_tenants { "&all_tenants=1" } else { "" };
                format!("GET /v3/attachments?instance_id={}{all}", c.instance)
            }
            Call::GetEncryption(c) => format!("GET /v3/volumes/{}/encryption", c.volume_id),
        }
    }
}
