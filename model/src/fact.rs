//! What a transition changed: the only thing that properties and the trace look at.

use std::fmt;

use castoff_ports::cinder::{AttachStatus, VolumeStatus};
use castoff_ports::journal::JournalStep;
use castoff_ports::novadb::EventResult;
use castoff_ports::{
    AttachmentId, BdmId, CallCx, DeviceName, InstanceId, Iqn, Lun, Portal, Process, RequestId, Sid,
    VolumeId,
};

use crate::locks::{LockKind, Owner};

/// The call that made a transition: who did it. Timers and the environment have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The calling process.
    pub process: Process,
    /// How often that process has been started.
    pub incarnation: u32,
    /// The request that it serves.
    pub request: RequestId,
    /// `system::Operation`.
    pub operation: &'static str,
    /// The call carried a service token.
    pub service_token: bool,
}

impl Cause {
    /// The cause that this caller's call is.
    pub fn of(cx: &CallCx, operation: &'static str) -> Cause {
        Cause {
            process: cx.process,
            incarnation: cx.incarnation,
            request: cx.request,
            operation,
            service_token: cx.auth.service_token.is_some(),
        }
    }

    /// Who it is to the locks.
    pub fn owner(&self) -> Owner {
        Owner { process: self.process, incarnation: self.incarnation, request: self.request }
    }
}

/// One change of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// cinder: `volumes.status` changed.
    VolumeStatus {
        /// The volume.
        volume: VolumeId,
        /// Before.
        from: VolumeStatus,
        /// After.
        to: VolumeStatus,
    },
    /// cinder: an attachment row was made or changed its attach_status.
    Attachment {
        /// The row.
        attachment: AttachmentId,
        /// Its volume.
        volume: VolumeId,
        /// Its server.
        instance: InstanceId,
        /// Its new state; `Detached` when it was soft-deleted.
        to: AttachStatus,
    },
    /// cinder: an administrator wrote the volume's state by hand.
    AdminReset {
        /// The volume.
        volume: VolumeId,
    },
    /// cinder: a connection was terminated by a connector, mapped or not.
    Terminated {
        /// The volume.
        volume: VolumeId,
        /// The connector's initiator.
        initiator: Option<Iqn>,
        /// It had the volume.
        mapped: bool,
    },
    /// storage: a volume was mapped to an initiator (export and ACL in place).
    Mapped {
        /// The volume.
        volume: VolumeId,
        /// Whom it was mapped to.
        initiator: Iqn,
        /// In which target.
        target: Iqn,
        /// Under which number.
        lun: Lun,
    },
    /// storage: a volume was unmapped from an initiator.
    Unmapped {
        /// The volume.
        volume: VolumeId,
        /// Whom it was mapped to.
        initiator: Iqn,
        /// In which target.
        target: Iqn,
        /// Under which number.
        lun: Lun,
    },
    /// nova database: a BDM row was made.
    BdmCreated {
        /// The row.
        id: BdmId,
        /// Its volume.
        volume: VolumeId,
        /// Its server.
        instance: InstanceId,
    },
    /// nova database: a BDM row was soft-deleted.
    BdmDestroyed {
        /// The row.
        id: BdmId,
        /// Its volume.
        volume: VolumeId,
        /// Its server.
        instance: InstanceId,
        /// The attachment that it named.
        attachment: Option<AttachmentId>,
    },
    /// nova database: an instance action event finished.
    EventFinished {
        /// The request it belongs to.
        request: RequestId,
        /// `compute_detach_volume`, …
        event: String,
        /// Its server.
        instance: InstanceId,
        /// How it ended.
        result: EventResult,
    },
    /// nova database: an instance fault row was written.
    FaultCreated {
        /// The request that failed.
        request: RequestId,
        /// The server.
        instance: InstanceId,
        /// The exception's text.
        message: String,
    },
    /// broker: a message was put into a compute host's queue.
    MessageQueued {
        /// The request it carries.
        request: RequestId,
        /// RPC method.
        method: &'static str,
    },
    /// broker: a message was handed to nova-compute, and acknowledged by that.
    MessageDelivered {
        /// The request it carries.
        request: RequestId,
        /// RPC method.
        method: &'static str,
    },
    /// broker: a message was acknowledged, then lost with its consumer.
    MessageLost {
        /// The request it carried.
        request: RequestId,
        /// RPC method.
        method: &'static str,
    },
    /// kernel: an iSCSI session was made.
    SessionUp {
        /// Its number.
        sid: Sid,
        /// Portal.
        portal: Portal,
        /// Target.
        target: Iqn,
    },
    /// kernel: an iSCSI session is gone.
    SessionDown {
        /// Its number.
        sid: Sid,
        /// Target.
        target: Iqn,
    },
    /// open-iscsi: a node record was made.
    NodeNew {
        /// Portal.
        portal: Portal,
        /// Target.
        target: Iqn,
    },
    /// open-iscsi: a node record was deleted.
    NodeDeleted {
        /// Portal.
        portal: Portal,
        /// Target.
        target: Iqn,
    },
    /// kernel: a SCSI disk appeared.
    DeviceUp {
        /// Its name.
        device: DeviceName,
        /// Its session.
        sid: Sid,
        /// Its LUN.
        lun: Lun,
        /// The volume that it showed when it was probed.
        volume: VolumeId,
    },
    /// kernel: a SCSI disk is gone.
    DeviceGone {
        /// Its name.
        device: DeviceName,
        /// The volume that it showed when it was probed.
        volume: VolumeId,
        /// Writes that it had accepted and not yet brought to the LUN.
        dirty: u32,
        /// Whether a guest's live disk still had it open.
        in_use: bool,
        /// It worked until now: nobody had deleted it, it went with its session.
        running: bool,
    },
    /// kernel: a flush of a SCSI disk ended.
    Flushed {
        /// The disk.
        device: DeviceName,
        /// Whether it succeeded.
        ok: bool,
    },
    /// libvirt: a disk is in a guest's live config now.
    DiskPlugged {
        /// The guest.
        instance: InstanceId,
        /// `vdb`.
        target: String,
        /// The volume it is meant to be.
        volume: VolumeId,
        /// The host device it opened.
        device: DeviceName,
    },
    /// QEMU: the guest was asked to let go of a disk (`device_del`).
    UnplugRequested {
        /// The guest.
        instance: InstanceId,
        /// `vdb`.
        target: String,
    },
    /// libvirt: a disk left a guest's live config.
    DiskUnplugged {
        /// The guest.
        instance: InstanceId,
        /// `vdb`.
        target: String,
        /// The volume it was meant to be.
        volume: VolumeId,
    },
    /// QEMU: a guest was stopped, and one of its disks is closed with it.
    DiskClosed {
        /// The guest.
        instance: InstanceId,
        /// `vdb`.
        target: String,
        /// The volume it was meant to be.
        volume: VolumeId,
    },
    /// libvirt: the passphrase of an encrypted volume is there, or is there no more.
    Secret {
        /// The volume.
        volume: VolumeId,
        /// True when it is there now.
        present: bool,
    },
    /// kernel: a LUKS mapping was opened over a disk, or closed.
    Crypt {
        /// Its name in device-mapper.
        name: String,
        /// True when it is open now.
        open: bool,
    },
    /// libvirt: the persistent config of a guest gained or lost a disk.
    DiskConfigured {
        /// The guest.
        instance: InstanceId,
        /// `vdb`.
        target: String,
        /// True when it is there now.
        present: bool,
    },
    /// nova: a notification was sent.
    Notified {
        /// The request that it tells of.
        request: RequestId,
        /// `volume.detach`.
        event: &'static str,
    },
    /// A lock was taken.
    LockTaken {
        /// By whom.
        owner: Owner,
        /// Which of nova's locks it is.
        kind: LockKind,
    },
    /// A lock is held by another, and waited for.
    LockAwaited {
        /// By whom.
        owner: Owner,
        /// Which of nova's locks it is.
        kind: LockKind,
    },
    /// A process died, with everything that it had in memory.
    ProcessDied {
        /// The process.
        process: Process,
        /// How often it had been started.
        incarnation: u32,
    },
    /// nova database: a row of instance_system_metadata was written or deleted.
    SystemMetadata {
        /// The server.
        instance: InstanceId,
        /// The row's key.
        key: String,
        /// True when it is there now.
        present: bool,
    },
    /// host: castoff's journal.
    Journal {
        /// The volume.
        volume: VolumeId,
        /// How far its detach has come; none when the entry was removed.
        step: Option<JournalStep>,
    },
    /// A guest's write was acknowledged to it, or failed.
    GuestWrite {
        /// The guest.
        instance: InstanceId,
        /// The volume that the guest means.
        volume: VolumeId,
        /// Where it went; none when it failed.
        served_by: Option<VolumeId>,
        /// Held in the host's cache, not yet on the LUN.
        cached: bool,
        /// The write's stamp.
        seq: u32,
    },
}

/// The facts of one or more transitions, in order.
pub type Facts = Vec<Fact>;

impl Fact {
    /// The system that changed, for the trace's column.
    pub fn system(&self) -> &'static str {
        match self {
            Fact::VolumeStatus { .. }
            | Fact::Attachment { .. }
            | Fact::AdminReset { .. }
            | Fact::Terminated { .. } => "cinder",
            Fact::Mapped { .. } | Fact::Unmapped { .. } => "storage",
            Fact::BdmCreated { .. }
            | Fact::BdmDestroyed { .. }
            | Fact::EventFinished { .. }
            | Fact::SystemMetadata { .. }
            | Fact::FaultCreated { .. } => "nova-db",
            Fact::MessageQueued { .. }
            | Fact::MessageDelivered { .. }
            | Fact::MessageLost { .. }
            | Fact::Notified { .. } => "broker",
            Fact::SessionUp { .. }
            | Fact::SessionDown { .. }
            | Fact::NodeNew { .. }
            | Fact::NodeDeleted { .. } => "iscsi",
            Fact::Crypt { .. }
            | Fact::Journal { .. }
            | Fact::DeviceUp { .. }
            | Fact::DeviceGone { .. }
            | Fact::LockTaken { .. }
            | Fact::LockAwaited { .. }
            | Fact::Flushed { .. } => "host",
            Fact::DiskPlugged { .. }
            | Fact::UnplugRequested { .. }
            | Fact::DiskUnplugged { .. }
            | Fact::DiskClosed { .. }
            | Fact::Secret { .. }
            | Fact::DiskConfigured { .. } => "libvirt",
            Fact::GuestWrite { .. } => "guest",
            Fact::ProcessDied { process, .. } => process.as_str(),
        }
    }

    /// Whether a trace shows it: what a call and its reply say already is left out.
    pub fn is_traced(&self) -> bool {
        !matches!(
            self,
            Fact::LockTaken { .. }
                | Fact::LockAwaited { .. }
                | Fact::Terminated { .. }
                | Fact::Notified { .. }
        )
    }

    /// The volume that changed, or that what changed belongs to.
    pub fn volume(&self) -> Option<&VolumeId> {
        match self {
            Fact::VolumeStatus { volume, .. }
            | Fact::Attachment { volume, .. }
            | Fact::AdminReset { volume }
            | Fact::Terminated { volume, .. }
            | Fact::Mapped { volume, .. }
            | Fact::Unmapped { volume, .. }
            | Fact::BdmCreated { volume, .. }
            | Fact::BdmDestroyed { volume, .. }
            | Fact::DeviceUp { volume, .. }
            | Fact::DeviceGone { volume, .. }
            | Fact::DiskPlugged { volume, .. }
            | Fact::DiskUnplugged { volume, .. }
            | Fact::DiskClosed { volume, .. }
            | Fact::Secret { volume, .. }
            | Fact::GuestWrite { volume, .. } => Some(volume),
            Fact::EventFinished { .. }
            | Fact::FaultCreated { .. }
            | Fact::MessageQueued { .. }
            | Fact::MessageDelivered { .. }
            | Fact::MessageLost { .. }
            | Fact::SessionUp { .. }
            | Fact::SessionDown { .. }
            | Fact::NodeNew { .. }
            | Fact::NodeDeleted { .. }
            | Fact::Flushed { .. }
            | Fact::UnplugRequested { .. }
            | Fact::Crypt { .. }
            | Fact::DiskConfigured { .. }
            | Fact::Notified { .. }
            | Fact::LockTaken { .. }
            | Fact::LockAwaited { .. }
            | Fact::SystemMetadata { .. }
            | Fact::Journal { .. }
            | Fact::ProcessDied { .. } => None,
        }
    }

    /// The server that changed, or that what changed belongs to.
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Fact::Attachment { instance, .. }
            | Fact::BdmCreated { instance, .. }
            | Fact::BdmDestroyed { instance, .. }
            | Fact::EventFinished { instance, .. }
            | Fact::FaultCreated { instance, .. }
            | Fact::DiskPlugged { instance, .. }
            | Fact::UnplugRequested { instance, .. }
            | Fact::DiskUnplugged { instance, .. }
            | Fact::DiskClosed { instance, .. }
            | Fact::DiskConfigured { instance, .. }
            | Fact::GuestWrite { instance, .. } => Some(instance),
            Fact::VolumeStatus { .. }
            | Fact::AdminReset { .. }
            | Fact::Terminated { .. }
            | Fact::Mapped { .. }
            | Fact::Unmapped { .. }
            | Fact::MessageQueued { .. }
            | Fact::MessageDelivered { .. }
            | Fact::MessageLost { .. }
            | Fact::SessionUp { .. }
            | Fact::SessionDown { .. }
            | Fact::NodeNew { .. }
            | Fact::NodeDeleted { .. }
            | Fact::DeviceUp { .. }
            | Fact::DeviceGone { .. }
            | Fact::Flushed { .. }
            | Fact::Secret { .. }
            | Fact::Crypt { .. }
            | Fact::Notified { .. }
            | Fact::LockTaken { .. }
            | Fact::LockAwaited { .. }
            | Fact::SystemMetadata { .. }
            | Fact::Journal { .. }
            | Fact::ProcessDied { .. } => None,
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::VolumeStatus { volume, from, to } => {
                write!(f, "volume {volume} status {} -> {}", from.as_str(), to.as_str())
            }
            Fact::Attachment { attachment, volume, to, .. } => {
                write!(f, "attachment {attachment} of volume {volume} is {}", to.as_str())
            }
            Fact::AdminReset { volume } => write!(f, "volume {volume} reset by an administrator"),
            Fact::Terminated { volume, mapped, .. } => {
                let what = if *mapped { "connection" } else { "no connection" };
                write!(f, "{what} of volume {volume} terminated")
            }
            Fact::Notified { event, .. } => write!(f, "{event} notified"),
            Fact::LockTaken { kind, .. } => write!(f, "lock {kind:?} taken"),
            Fact::LockAwaited { kind, .. } => write!(f, "lock {kind:?} awaited"),
            Fact::ProcessDied { process, .. } => write!(f, "{process} is dead"),
            Fact::Mapped { volume, initiator, target, lun } => {
                write!(f, "{target} lun {lun} = volume {volume} mapped to {initiator}")
            }
            Fact::Unmapped { volume, initiator, target, lun } => {
                write!(f, "{target} lun {lun} = volume {volume} unmapped from {initiator}")
            }
            Fact::BdmCreated { id, volume, instance } => {
                write!(f, "BDM {id} of volume {volume} and server {instance} created")
            }
            Fact::BdmDestroyed { id, volume, .. } => {
                write!(f, "BDM {id} of volume {volume} deleted")
            }
            Fact::EventFinished { event, result, .. } => {
                write!(f, "action event {event} {result:?}")
            }
            Fact::FaultCreated { message, .. } => write!(f, "instance fault: {message}"),
            Fact::MessageQueued { method, .. } => write!(f, "{method} queued"),
            Fact::MessageDelivered { method, .. } => write!(f, "{method} delivered"),
            Fact::MessageLost { method, .. } => write!(f, "{method} lost"),
            Fact::SessionUp { sid, portal, target } => {
                write!(f, "session {sid} to {target} at {portal} logged in")
            }
            Fact::SessionDown { sid, target } => {
                write!(f, "session {sid} to {target} gone")
            }
            Fact::NodeNew { portal, target } => {
                write!(f, "node record {target} at {portal} created")
            }
            Fact::NodeDeleted { portal, target } => {
                write!(f, "node record {target} at {portal} deleted")
            }
            Fact::DeviceUp { device, sid, lun, volume } => {
                write!(f, "{device} is lun {lun} of session {sid}, volume {volume}")
            }
            Fact::DeviceGone { device, volume, dirty, in_use, .. } => {
                write!(f, "{device} of volume {volume} gone")?;
                if *dirty > 0 {
                    write!(f, ", {dirty} writes not flushed")?;
                }
                if *in_use {
                    write!(f, ", still in use by a guest")?;
                }
                Ok(())
            }
            Fact::Flushed { device, ok } => {
                write!(f, "{device} {}", if *ok { "flushed" } else { "flush failed" })
            }
            Fact::DiskPlugged { target, device, volume, .. } => {
                write!(f, "guest has {target} = {device}, volume {volume}")
            }
            Fact::UnplugRequested { target, .. } => write!(f, "device_del {target}"),
            Fact::DiskUnplugged { target, volume, .. } => {
                write!(f, "guest let go of {target}, volume {volume}: DEVICE_REMOVED")
            }
            Fact::DiskClosed { target, volume, .. } => {
                write!(f, "guest stopped: {target}, volume {volume} closed")
            }
            Fact::Secret { volume, present } => {
                write!(f, "secret of volume {volume} {}", if *present { "defined" } else { "gone" })
            }
            Fact::Crypt { name, open } => {
                write!(f, "{name} {}", if *open { "opened" } else { "closed" })
            }
            Fact::DiskConfigured { target, present, .. } => {
                write!(f, "persistent config {} {target}", if *present { "has" } else { "lost" })
            }
            Fact::SystemMetadata { key, present, .. } => {
                write!(f, "system_metadata {key} {}", if *present { "written" } else { "deleted" })
            }
            Fact::Journal { volume, step } => {
                write!(f, "journal: volume {volume} {}", step.map_or("done", JournalStep::as_str))
            }
            Fact::GuestWrite { volume, served_by, seq, cached, .. } => match served_by {
                Some(v) if v == volume && !cached => write!(f, "guest write {seq} to {volume}"),
                Some(v) if v == volume => write!(f, "guest write {seq} to {volume} (cached)"),
                Some(v) => write!(f, "guest write {seq} to {volume} REACHED VOLUME {v}"),
                None => write!(f, "guest write {seq} to {volume} failed"),
            },
        }
    }
}
