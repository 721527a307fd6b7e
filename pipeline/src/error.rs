//! NovaError: the exceptions that decide what happens next, under nova's names.
//!
//! `Display` is a fragment that fits after "failed to …" and tells id, state found and state
//! needed. What a client, a fault row or an RPC reply sees is nova's own sentence:
//! [`NovaError::format_message`], with the class [`NovaError::class_name`].

use castoff_ports::{AttachmentId, Failure, HostName, InstanceId, Refusal, VolumeId};

use crate::brick::BrickError;

/// An exception of nova.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NovaError {
    /// No such server, or another project's; libvirt's NO_DOMAIN on a compute host.
    #[error("find server {instance}")]
    InstanceNotFound {
        /// The server.
        instance: InstanceId,
    },
    /// Locked, and the caller is no admin.
    #[error("act on server {instance}: it is locked, needs to be unlocked")]
    InstanceIsLocked {
        /// The server.
        instance: InstanceId,
    },
    /// vm_state, task_state or launched_at forbids the call.
    #[error("{method} on server {instance}: {attr} is {state}, needs {needed}")]
    InstanceInvalidState {
        /// The server.
        instance: InstanceId,
        /// Which column.
        attr: &'static str,
        /// What it holds.
        state: String,
        /// What it would have to hold.
        needed: &'static str,
        /// The API method.
        method: &'static str,
    },
    /// The server has no host yet.
    #[error("reach server {instance}: it has no host, needs one")]
    InstanceNotReady {
        /// The server.
        instance: InstanceId,
    },
    /// No nova-compute is up that could take the server.
    #[error("find a host for server {instance}: no nova-compute is up, needs one")]
    NoValidHost {
        /// The server.
        instance: InstanceId,
    },
    /// The server's nova-compute is down.
    #[error("reach nova-compute on {host}: its service is down, needs to be up")]
    ServiceUnavailable {
        /// The compute host.
        host: HostName,
    },
    /// Policy or cinder forbids it.
    #[error("act: {message}")]
    Forbidden {
        /// The refusal.
        message: String,
    },
    /// cinder does not know the volume.
    #[error("find volume {volume}")]
    VolumeNotFound {
        /// The volume.
        volume: VolumeId,
    },
    /// No live BDM joins volume and server.
    #[error("find a BDM of volume {volume} and server {instance}")]
    VolumeBDMNotFound {
        /// The volume.
        volume: VolumeId,
        /// The server.
        instance: InstanceId,
    },
    /// All is done but nova's own row; the reconciler ends it, and tells the user.
    #[error("destroy the BDM of volume {volume}: it may still stand, needs to be gone")]
    LeftToReconciler {
        /// The volume.
        volume: VolumeId,
    },
    /// The volume's attachments do not name the server (check_detach).
    #[error("detach volume {volume}: cinder lists no attachment to server {instance}")]
    VolumeUnattached {
        /// The volume.
        volume: VolumeId,
        /// The server.
        instance: InstanceId,
    },
    /// cinder does not know the attachment.
    #[error("find attachment {attachment}")]
    VolumeAttachmentNotFound {
        /// The attachment.
        attachment: AttachmentId,
    },
    /// The volume's state forbids it.
    #[error("use volume {volume}: {reason}")]
    InvalidVolume {
        /// The volume.
        volume: VolumeId,
        /// nova's or cinder's words.
        reason: String,
    },
    /// cinder answered 400.
    #[error("use volume {volume}: {reason}")]
    InvalidInput {
        /// The volume or attachment that the call named.
        volume: String,
        /// cinder's words.
        reason: String,
    },
    /// A multiattach volume needs microversion 2.60.
    #[error("attach multiattach volume {volume}: microversion 2.{found}, needs 2.60")]
    MultiattachNotSupportedOldMicroversion {
        /// The volume.
        volume: VolumeId,
        /// The request's.
        found: u16,
    },
    /// A multiattach volume cannot be attached to a shelved server.
    #[error("attach multiattach volume {volume}: the server is shelved_offloaded, needs a host")]
    MultiattachToShelvedNotSupported {
        /// The volume.
        volume: VolumeId,
    },
    /// cinder answered 413.
    #[error("stay within quota: {message}")]
    OverQuota {
        /// cinder's words.
        message: String,
    },
    /// cinder, or keystone on the way to it, gave no answer.
    #[error("reach cinder: {reason}")]
    CinderConnectionFailed {
        /// What became of the connection.
        reason: String,
    },
    /// Any other answer of cinder: nova translates no more than the above.
    #[error("call cinder: {0}")]
    Cinder(Refusal),
    /// The guest does not have the disk, in the words of the driver's caller.
    #[error("find disk {location} in server {instance}")]
    DiskNotFound {
        /// Target device.
        location: String,
        /// The server.
        instance: InstanceId,
    },
    /// The guest does not have the device.
    #[error("find device {device} in server {instance}")]
    DeviceNotFound {
        /// Target device.
        device: String,
        /// The server.
        instance: InstanceId,
    },
    /// The guest did not let go.
    #[error("detach device {device} from server {instance}: {reason}")]
    DeviceDetachFailed {
        /// Target device.
        device: String,
        /// The server.
        instance: InstanceId,
        /// Why it was given up.
        reason: &'static str,
    },
    /// libvirt refused to attach.
    #[error("attach device {device} to server {instance}: libvirt says the device is busy")]
    DeviceIsBusy {
        /// Target device.
        device: String,
        /// The server.
        instance: InstanceId,
    },
    /// libvirt's XML shows no alias, which the wait for its event needs.
    #[error("wait for device {device}: it has no alias, needs one")]
    DeviceWithoutAlias {
        /// Target device.
        device: String,
    },
    /// The guest could not be killed in time.
    #[error("power off server {instance}: QEMU has not ended, needs to")]
    InstancePowerOffFailure {
        /// The server.
        instance: InstanceId,
    },
    /// libvirt raised.
    #[error("call libvirt: {0}")]
    Libvirt(Refusal),
    /// connection_info names a protocol without a driver, or there is none.
    #[error("find a volume driver for {driver_type} of volume {volume}")]
    VolumeDriverNotFound {
        /// driver_volume_type.
        driver_type: String,
        /// The volume.
        volume: VolumeId,
    },
    /// os-brick raised.
    #[error(transparent)]
    Brick(#[from] BrickError),
    /// Anything else: the database, the broker, a lock.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl NovaError {
    /// The exception's class, as an RPC reply or an API fault names it.
    pub fn class_name(&self) -> &'static str {
        match self {
            NovaError::InstanceNotFound { .. } => "InstanceNotFound",
            NovaError::InstanceIsLocked { .. } => "InstanceIsLocked",
            NovaError::InstanceInvalidState { .. } => "InstanceInvalidState",
            NovaError::InstanceNotReady { .. } => "InstanceNotReady",
            NovaError::NoValidHost { .. } => "NoValidHost",
            NovaError::ServiceUnavailable { .. } => "ServiceUnavailable",
            NovaError::Forbidden { .. } => "Forbidden",
            NovaError::VolumeNotFound { .. } => "VolumeNotFound",
            NovaError::VolumeBDMNotFound { .. } => "VolumeBDMNotFound",
            NovaError::LeftToReconciler { .. } => "LeftToReconciler",
            NovaError::VolumeUnattached { .. } => "VolumeUnattached",
            NovaError::VolumeAttachmentNotFound { .. } => "VolumeAttachmentNotFound",
            NovaError::InvalidVolume { .. } => "InvalidVolume",
            NovaError::InvalidInput { .. } => "InvalidInput",
            NovaError::MultiattachNotSupportedOldMicroversion { .. } => {
                "MultiattachNotSupportedOldMicroversion"
            }
            NovaError::MultiattachToShelvedNotSupported { .. } => {
                "MultiattachToShelvedNotSupported"
            }
            NovaError::OverQuota { .. } => "OverQuota",
            NovaError::CinderConnectionFailed { .. } => "CinderConnectionFailed",
            NovaError::Cinder(_) => "ClientException",
            NovaError::DiskNotFound { .. } => "DiskNotFound",
            NovaError::DeviceNotFound { .. } => "DeviceNotFound",
            NovaError::DeviceDetachFailed { .. } => "DeviceDetachFailed",
            NovaError::DeviceIsBusy { .. } => "DeviceIsBusy",
            NovaError::DeviceWithoutAlias { .. } => "InternalError",
            NovaError::InstancePowerOffFailure { .. } => "InstancePowerOffFailure",
            NovaError::Libvirt(_) => "libvirtError",
            NovaError::VolumeDriverNotFound { .. } => "VolumeDriverNotFound",
            NovaError::Brick(e) => e.class_name(),
            NovaError::Failure(Failure::Refused(Refusal::MessagingTimeout { .. })) => {
                "MessagingTimeout"
            }
            NovaError::Failure(Failure::Refused(Refusal::Remote { .. })) => "RemoteError",
            NovaError::Failure(Failure::Refused(Refusal::NotFound { .. })) => "NotFound",
            NovaError::Failure(Failure::Refused(_)) => "NovaException",
            NovaError::Failure(Failure::Unreachable { .. } | Failure::NoReply { .. }) => {
                "ConnectionError"
            }
        }
    }

    /// nova's own text (`format_message`).
    pub fn format_message(&self) -> String {
        match self {
            NovaError::InstanceNotFound { instance } => {
                format!("Instance {instance} could not be found.")
            }
            NovaError::InstanceIsLocked { instance } => format!("Instance {instance} is locked"),
            NovaError::InstanceInvalidState { instance, attr, state, method, .. } => format!(
                "Instance {instance} in {attr} {state}. Cannot {method} while the instance is in \
                 this state."
            ),
            NovaError::InstanceNotReady { instance } => format!("Instance {instance} is not ready"),
            NovaError::NoValidHost { .. } => {
                "No valid host was found. There are not enough hosts available.".to_owned()
            }
            NovaError::ServiceUnavailable { .. } => {
                "Service is unavailable at this time.".to_owned()
            }
            NovaError::Forbidden { message } | NovaError::OverQuota { message } => message.clone(),
            NovaError::VolumeNotFound { volume } => format!("Volume {volume} could not be found."),
            NovaError::LeftToReconciler { volume } => {
                format!("The detach of volume {volume} is not finished yet.")
            }
            NovaError::VolumeBDMNotFound { volume, .. } => {
                format!("No volume Block Device Mapping with id {volume}.")
            }
            NovaError::VolumeUnattached { volume, .. } => {
                format!("Volume {volume} is not attached to anything")
            }
            NovaError::VolumeAttachmentNotFound { attachment } => {
                format!("Volume attachment {attachment} could not be found.")
            }
            NovaError::InvalidVolume { reason, .. } => format!("Invalid volume: {reason}"),
            NovaError::InvalidInput { reason, .. } => format!("Invalid input received: {reason}"),
            NovaError::MultiattachNotSupportedOldMicroversion { .. } => {
                "Multiattach volumes are only supported starting with compute API version 2.60."
                    .to_owned()
            }
            NovaError::MultiattachToShelvedNotSupported { .. } => {
                "Attaching multiattach volumes is not supported for shelved-offloaded instances."
                    .to_owned()
            }
            NovaError::CinderConnectionFailed { reason } => {
                format!("Connection to cinder host failed: {reason}")
            }
            NovaError::DiskNotFound { location, .. } => format!("No disk at {location}"),
            NovaError::DeviceNotFound { device, .. } => format!("Device '{device}' not found."),
            NovaError::DeviceDetachFailed { device, reason, .. } => {
                format!("Device detach failed for {device}: {reason}")
            }
            NovaError::DeviceIsBusy { device, .. } => {
                format!("The supplied device ({device}) is busy.")
            }
            NovaError::DeviceWithoutAlias { device } => {
                format!("Device {device} has no alias. This should not happen.")
            }
            NovaError::InstancePowerOffFailure { .. } => {
                "Failed to power off instance: timed out".to_owned()
            }
            NovaError::VolumeDriverNotFound { driver_type, .. } => {
                format!("Could not find a handler for {driver_type} volume.")
            }
            NovaError::Cinder(refusal) | NovaError::Libvirt(refusal) => refusal.to_string(),
            NovaError::Brick(e) => e.to_string(),
            NovaError::Failure(e) => e.to_string(),
        }
    }

    /// What the caller of an RPC method gets instead of a return value.
    pub fn to_remote(&self) -> Refusal {
        Refusal::Remote { exception: self.class_name().to_owned(), message: self.format_message() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_novas_own_and_a_display_names_the_state_needed() {
        let e = NovaError::InstanceIsLocked { instance: "i1".into() };
        assert_eq!(e.format_message(), "Instance i1 is locked");
        assert_eq!(e.to_string(), "act on server i1: it is locked, needs to be unlocked");
        assert_eq!(
            e.to_remote(),
            Refusal::Remote {
                exception: "InstanceIsLocked".to_owned(),
                message: "Instance i1 is locked".to_owned()
            }
        );
    }

    #[test]
    fn an_error_stays_small_enough_to_be_returned_by_value() {
        assert!(size_of::<NovaError>() <= 128, "{}", size_of::<NovaError>());
    }
}
