//! Nova's database as nova-api and nova-compute use it (compute through its conductor).

use serde::{Deserialize, Serialize};

use crate::cinder::ConnectionInfo;
use crate::libvirt::PowerState;
use crate::{
    AttachmentId, BdmId, HostName, InstanceId, ProjectId, RequestId, SimTime, UserId, VolumeId,
};

/// `instances.vm_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Running.
    Active,
    /// Paused.
    Paused,
    /// Powered off.
    Stopped,
    /// Suspended to disk.
    Suspended,
    /// Booted from a rescue image.
    Rescued,
    /// Resized, not confirmed.
    Resized,
    /// Deleted, may be restored.
    SoftDeleted,
    /// Shelved, still on its host.
    Shelved,
    /// Shelved, off its host.
    ShelvedOffloaded,
    /// Being built.
    Building,
    /// Failed.
    Error,
    /// Deleted.
    Deleted,
}

impl VmState {
    /// Nova's text.
    pub fn as_str(self) -> &'static str {
        match self {
            VmState::Active => "active",
            VmState::Paused => "paused",
            VmState::Stopped => "stopped",
            VmState::Suspended => "suspended",
            VmState::Rescued => "rescued",
            VmState::Resized => "resized",
            VmState::SoftDeleted => "soft-delete",
            VmState::Shelved => "shelved",
            VmState::ShelvedOffloaded => "shelved_offloaded",
            VmState::Building => "building",
            VmState::Error => "error",
            VmState::Deleted => "deleted",
        }
    }
}

/// A row of `instances`, the columns that detach looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The server.
    pub uuid: InstanceId,
    /// Its owner.
    pub project_id: ProjectId,
    /// Its compute host; none when shelved_offloaded.
    pub host: Option<HostName>,
    /// vm_state.
    pub vm_state: VmState,
    /// task_state; any value refuses a detach.
    pub task_state: Option<String>,
    /// launched_at is set.
    pub launched: bool,
    /// Locked by an owner or an admin.
    pub locked: bool,
}

/// `instances.locked_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockedBy {
    /// A user of its project.
    Owner,
    /// An administrator.
    Admin,
}

/// The columns of `instances` that only the API shows; kept apart, as no station of a detach
/// reads them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerDetails {
    /// display_name.
    pub name: String,
    /// Who made it.
    pub user_id: Option<UserId>,
    /// created_at.
    pub created_at: SimTime,
    /// updated_at: any write of the row.
    pub updated_at: SimTime,
    /// launched_at.
    pub launched_at: Option<SimTime>,
    /// power_state as nova last saw it; none is NOSTATE.
    pub power_state: Option<PowerState>,
    /// Who locked it.
    pub locked_by: Option<LockedBy>,
    /// Why.
    pub locked_reason: Option<String>,
}

/// What to change in an instance; `None` leaves the column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceUpdate {
    /// vm_state.
    pub vm_state: Option<VmState>,
    /// task_state.
    pub task_state: Option<Option<String>>,
    /// host (and node).
    pub host: Option<Option<HostName>>,
    /// power_state.
    pub power_state: Option<Option<PowerState>>,
    /// locked and locked_by.
    pub locked_by: Option<Option<LockedBy>>,
    /// locked_reason, written with locked_by.
    pub locked_reason: Option<String>,
}

impl InstanceUpdate {
    /// A change of task_state alone.
    pub fn task_state(task_state: Option<&str>) -> InstanceUpdate {
        InstanceUpdate {
            task_state: Some(task_state.map(str::to_owned)),
            ..InstanceUpdate::default()
        }
    }
    /// A change of vm_state that ends a task.
    pub fn vm_state(vm_state: VmState) -> InstanceUpdate {
        InstanceUpdate { vm_state: Some(vm_state), ..InstanceUpdate::task_state(None) }
    }
}

/// `block_device_mapping.source_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    /// An existing volume: `DriverVolumeBlockDevice`.
    Volume,
    /// A volume made from an image: `DriverVolImageBlockDevice`.
    Image,
    /// A volume made from a snapshot: `DriverVolSnapshotBlockDevice`.
    Snapshot,
    /// A blank volume: `DriverVolBlankBlockDevice`.
    Blank,
}

/// A live row of `block_device_mapping`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bdm {
    /// Row id.
    pub id: BdmId,
    /// The server.
    pub instance_uuid: InstanceId,
    /// The volume.
    pub volume_id: VolumeId,
    /// Chooses the driver BDM.
    pub source_type: SourceType,
    /// `/dev/vdb`.
    pub device_name: Option<String>,
    /// 0 is the root device.
    pub boot_index: Option<i32>,
    /// Cinder's attachment; none for legacy volumes.
    pub attachment_id: Option<AttachmentId>,
    /// Saved when the guest has the disk.
    pub connection_info: Option<ConnectionInfo>,
    /// Whether the volume is deleted with the server.
    pub delete_on_termination: bool,
    /// The device's tag.
    pub tag: Option<String>,
}

impl Bdm {
    /// Whether this is the server's root device.
    pub fn is_root(&self) -> bool {
        self.boot_index == Some(0)
    }
}

/// A row of `services` for a nova-compute, with what the service group API makes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its host.
    pub host: HostName,
    /// Heartbeat within service_down_time (60 s) and not forced down.
    pub up: bool,
}

/// A row of `instance_actions_events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventResult {
    /// The event finished.
    Success,
    /// The event raised.
    Error,
}

/// A row of `instance_system_metadata`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemMetadata {
    /// Up to 255 characters.
    pub key: String,
    /// Up to 255 characters.
    pub value: String,
    /// created_at: by the database's clock, which the hosts of a cloud share.
    pub created_at: SimTime,
}

/// What to change in a BDM; `None` leaves the column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BdmUpdate {
    /// attachment_id.
    pub attachment_id: Option<AttachmentId>,
    /// connection_info; boxed, as it is far larger than the rest.
    pub connection_info: Option<Box<ConnectionInfo>>,
    /// device_name.
    pub device_name: Option<String>,
    /// delete_on_termination.
    pub delete_on_termination: Option<bool>,
    /// tag.
    pub tag: Option<String>,
}

crate::operations!(NovaDb, "novadb", {
    /// Instance.get_by_uuid.
    GetInstance {
        /// The server.
        uuid: InstanceId,
    } -> Instance;
    /// BlockDeviceMappingList.get_by_instance_uuid: live rows.
    BdmsByInstance {
        /// The server.
        instance: InstanceId,
    } -> Vec<Bdm>;
    /// BlockDeviceMapping.get_by_volume_and_instance: the first live row, or NotFound.
    BdmByVolumeAndInstance {
        /// The volume.
        volume_id: VolumeId,
        /// The server.
        instance: InstanceId,
    } -> Bdm;
    /// BlockDeviceMappingList for a volume: live rows of any server.
    BdmsByVolume {
        /// The volume.
        volume_id: VolumeId,
    } -> Vec<Bdm>;
    /// BlockDeviceMapping.create.
    BdmCreate {
        /// The server.
        instance: InstanceId,
        /// The volume.
        volume_id: VolumeId,
        /// `/dev/vdb`.
        device_name: Option<String>,
    } -> Bdm;
    /// BlockDeviceMapping.save.
    BdmSave {
        /// The row.
        id: BdmId,
        /// The columns to write.
        update: BdmUpdate,
    } -> ();
    /// BlockDeviceMapping.destroy: soft delete.
    BdmDestroy {
        /// The row.
        id: BdmId,
    } -> ();
    /// InstanceAction.action_start.
    ActionStart {
        /// The server.
        instance: InstanceId,
        /// `detach_volume`, `attach_volume`.
        action: String,
    } -> ();
    /// InstanceActionEvent.event_start on the action of this request.
    EventStart {
        /// The server.
        instance: InstanceId,
        /// `compute_detach_volume`, …
        event: String,
    } -> ();
    /// InstanceActionEvent.event_finish; an error marks the action `Error`.
    EventFinish {
        /// The server.
        instance: InstanceId,
        /// The event that was started.
        event: String,
        /// How it ended.
        result: EventResult,
    } -> ();
    /// InstanceFault.create.
    FaultCreate {
        /// The server.
        instance: InstanceId,
        /// The exception's text.
        message: String,
    } -> ();
    /// Instance.save; the update is refused (UnexpectedTaskStateError) unless the row's task_state
    /// is one of those expected, if any are.
    InstanceSave {
        /// The server.
        uuid: InstanceId,
        /// The columns to write.
        update: Box<InstanceUpdate>,
        /// Compare and swap: what task_state may be before; anything when empty.
        expected_task_state: Vec<Option<String>>,
    } -> ();
    /// Instance.destroy: soft-deletes the server and every BDM of it in one transaction.
    InstanceDestroy {
        /// The server.
        uuid: InstanceId,
    } -> ();
    /// The columns of a server that only the API shows.
    GetServerDetails {
        /// The server.
        uuid: InstanceId,
    } -> ServerDetails;
    /// InstanceList.get_by_filters: of one project, or of all; deleted ones are left out.
    InstancesByProject {
        /// The project.
        project: Option<ProjectId>,
    } -> Vec<Instance>;
    /// ServiceList.get_all: the nova-compute services.
    ServicesAll {} -> Vec<Service>;
    /// The instance's actions, newest first.
    ActionsByInstance {
        /// The server.
        instance: InstanceId,
    } -> Vec<crate::nova::InstanceAction>;
    /// The rows of instance_system_metadata of a server.
    SystemMetadataGet {
        /// The server.
        instance: InstanceId,
    } -> Vec<SystemMetadata>;
    /// Writes one row of instance_system_metadata, over the one of the same key.
    SystemMetadataSet {
        /// The server.
        instance: InstanceId,
        /// Up to 255 characters.
        key: String,
        /// Up to 255 characters.
        value: String,
    } -> ();
    /// Deletes one row of instance_system_metadata; it need not exist.
    SystemMetadataDelete {
        /// The server.
        instance: InstanceId,
        /// Its key.
        key: String,
    } -> ();
    /// Service.get_by_compute_host and servicegroup.service_is_up.
    ServiceByHost {
        /// The compute host.
        host: HostName,
    } -> Service;
});

impl Call {
    /// The call as an object method of nova.
    pub fn describe(&self) -> String {
        match self {
            Call::GetInstance(c) => format!("Instance.get_by_uuid {}", c.uuid),
            Call::BdmsByInstance(c) => {
                format!("BlockDeviceMappingList.get_by_instance_uuid {}", c.instance)
            }
            Call::BdmByVolumeAndInstance(c) => format!(
                "BlockDeviceMapping.get_by_volume_and_instance {} {}",
                c.volume_id, c.instance
            ),
            Call::BdmsByVolume(c) => {
                format!("BlockDeviceMappingList.get_by_volume {}", c.volume_id)
            }
            Call::BdmCreate(c) => format!(
                "BlockDeviceMapping.create {} {} {}",
                c.volume_id,
                c.instance,
                c.device_name.as_deref().unwrap_or("-")
            ),
            Call::BdmSave(c) => format!("BlockDeviceMapping.save id={}", c.id),
            Call::BdmDestroy(c) => format!("BlockDeviceMapping.destroy id={}", c.id),
            Call::ActionStart(c) => format!("InstanceAction.action_start {}", c.action),
            Call::EventStart(c) => format!("InstanceActionEvent.event_start {}", c.event),
            Call::EventFinish(c) => {
                format!("InstanceActionEvent.event_finish {} {:?}", c.event, c.result)
            }
            Call::FaultCreate(c) => format!("InstanceFault.create {:?}", c.message),
            Call::ActionsByInstance(c) => {
                format!("InstanceActionList.get_by_instance_uuid {}", c.instance)
            }
            Call::ServiceByHost(c) => format!("Service.get_by_compute_host {}", c.host),
            Call::InstanceSave(c) => {
                let state = c.update.vm_state.map_or("", VmState::as_str);
                let task = match &c.update.task_state {
                    None => "",
                    Some(None) => "none",
                    Some(Some(task)) => task.as_str(),
                };
                format!("Instance.save {} vm_state={state} task_state={task}", c.uuid)
            }
            Call::InstanceDestroy(c) => format!("Instance.destroy {}", c.uuid),
            Call::GetServerDetails(c) => format!("Instance.get_by_uuid {} joined", c.uuid),
            Call::InstancesByProject(c) => format!(
                "InstanceList.get_by_filters project={}",
                c.project.as_ref().map_or("-", ProjectId::as_str)
            ),
            Call::ServicesAll(_) => "ServiceList.get_all".to_owned(),
            Call::SystemMetadataGet(c) => format!("Instance.system_metadata {}", c.instance),
            Call::SystemMetadataSet(c) => format!("Instance.system_metadata[{}] =", c.key),
            Call::SystemMetadataDelete(c) => format!("del Instance.system_metadata[{}]", c.key),
        }
    }
}

/// A row of the instance_actions table as the model keeps it and properties read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionEvent {
    /// The request.
    pub request: RequestId,
    /// Event name.
    pub event: String,
    /// None while it runs, or for ever when its process died.
    pub result: Option<EventResult>,
}
