//! oslo.messaging between nova-api and nova-compute: casts and calls.

use serde::{Deserialize, Serialize};

use crate::novadb::Bdm;
use crate::{AttachmentId, HostName, InstanceId, VolumeId};

/// A method of nova-compute with its arguments (compute RPC API 4.x and 5.x).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "args", rename_all = "snake_case")]
pub enum Method {
    /// `detach_volume(instance, volume_id, attachment_id)`.
    DetachVolume {
        /// The server.
        instance: InstanceId,
        /// The volume.
        volume_id: VolumeId,
        /// From the volume's attachments, keyed by server (nova-api's GET).
        attachment_id: Option<AttachmentId>,
    },
    /// `attach_volume(instance, bdm)`.
    AttachVolume {
        /// The server.
        instance: InstanceId,
        /// The row that reserve_block_device_name made.
        bdm: Box<Bdm>,
    },
    /// `reserve_block_device_name(instance, volume_id)`: a call, answers the BDM.
    ReserveBlockDeviceName {
        /// The server.
        instance: InstanceId,
        /// The volume.
        volume_id: VolumeId,
    },
}

impl Method {
    /// The method's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Method::DetachVolume { .. } => "detach_volume",
            Method::AttachVolume { .. } => "attach_volume",
            Method::ReserveBlockDeviceName { .. } => "reserve_block_device_name",
        }
    }
}

/// What a nova-compute method gives back to an RPC call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Returned {
    /// Nothing.
    None,
    /// A BDM.
    Bdm(Box<Bdm>),
}

crate::operations!(Rpc, "rpc", {
    /// A cast to topic `compute`, server `host`: at most once, no reply.
    Cast {
        /// The compute host.
        server: HostName,
        /// What to do there.
        method: Method,
    } -> ();
    /// A call to topic `compute`, server `host`; MessagingTimeout after rpc_response_timeout (60 s).
    CallMethod {
        /// The compute host.
        server: HostName,
        /// What to do there.
        method: Method,
    } -> Returned;
});

impl Call {
    /// The call as oslo.messaging's debug log would show it.
    pub fn describe(&self) -> String {
        match self {
            Call::Cast(c) => format!("CAST compute.{} {}", c.server, c.method.name()),
            Call::CallMethod(c) => format!("CALL compute.{} {}", c.server, c.method.name()),
        }
    }
}
