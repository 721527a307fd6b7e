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
    /// `terminate_instance(instance, bdms)`.
    TerminateInstance {
        /// The server.
        instance: InstanceId,
        /// Its BDMs as nova-api read them: whatever comes later is not in here (B5).
        bdms: Vec<Bdm>,
    },
    /// `reboot_instance(instance, block_device_info, reboot_type)`.
    RebootInstance {
        /// The server.
        instance: InstanceId,
        /// HARD, not SOFT.
        hard: bool,
    },
    /// `stop_instance(instance, clean_shutdown)`.
    StopInstance {
        /// The server.
        instance: InstanceId,
    },
    /// `pause_instance(instance)`.
    PauseInstance {
        /// The server.
        instance: InstanceId,
    },
    /// `unpause_instance(instance)`.
    UnpauseInstance {
        /// The server.
        instance: InstanceId,
    },
    /// `suspend_instance(instance)`.
    SuspendInstance {
        /// The server.
        instance: InstanceId,
    },
    /// `resume_instance(instance)`.
    ResumeInstance {
        /// The server.
        instance: InstanceId,
    },
    /// `start_instance(instance)`.
    StartInstance {
        /// The server.
        instance: InstanceId,
    },
    /// `shelve_instance(instance, image_id, clean_shutdown)`.
    ShelveInstance {
        /// The server.
        instance: InstanceId,
        /// Whether the guest is asked to go off by itself first.
        clean_shutdown: bool,
    },
    /// `shelve_offload_instance(instance, clean_shutdown)`.
    ShelveOffloadInstance {
        /// The server.
        instance: InstanceId,
        /// As of shelve_instance.
        clean_shutdown: bool,
    },
    /// `unshelve_instance(instance, …)`: to a host that the scheduler chose.
    UnshelveInstance {
        /// The server.
        instance: InstanceId,
    },
}

impl Method {
    /// The method's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Method::DetachVolume { .. } => "detach_volume",
            Method::AttachVolume { .. } => "attach_volume",
            Method::ReserveBlockDeviceName { .. } => "reserve_block_device_name",
            Method::TerminateInstance { .. } => "terminate_instance",
            Method::RebootInstance { .. } => "reboot_instance",
            Method::StopInstance { .. } => "stop_instance",
            Method::PauseInstance { .. } => "pause_instance",
            Method::UnpauseInstance { .. } => "unpause_instance",
            Method::SuspendInstance { .. } => "suspend_instance",
            Method::ResumeInstance { .. } => "resume_instance",
            Method::StartInstance { .. } => "start_instance",
            Method::ShelveInstance { .. } => "shelve_instance",
            Method::ShelveOffloadInstance { .. } => "shelve_offload_instance",
            Method::UnshelveInstance { .. } => "unshelve_instance",
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
