//! What a fact says: to a column of the trace, to a property that asks whose it is, to a reader.

use std::fmt;

use castoff_ports::journal::JournalStep;
use castoff_ports::{InstanceId, VolumeId};

use super::Fact;

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
