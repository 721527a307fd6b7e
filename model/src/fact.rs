//! What a transition changed: the only thing that properties and the trace look at.

mod words;

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
