//! The two tables, `volumes` and `volume_attachment`, and what the second makes of the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use castoff_ports::cinder::{AttachStatus, Attachment, ConnectionInfo, Connector, VolumeStatus};
use castoff_ports::keystone::{Role, TokenInfo};
use castoff_ports::{
    AttachmentId, HostName, InstanceId, Iqn, ProjectId, SimTime, UserId, VolumeId,
};

use crate::release::CinderRelease;

/// A row of `volumes`.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeRow {
    /// The volume.
    pub id: VolumeId,
    /// Its status: the only lock that a detach holds.
    pub status: VolumeStatus,
    /// Whether it counts as attached; os-begin_detaching asks for this too.
    pub attach_status: AttachStatus,
    /// GiB.
    pub size: u32,
    /// May be attached more than once.
    pub multiattach: bool,
    /// Its type is encrypted (LUKS on the compute host).
    pub encrypted: bool,
    /// Whose it is; any project may use it when absent.
    pub project: Option<ProjectId>,
    /// What only the API shows.
    pub about: About,
}

/// What no transition of an attach or detach looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// `display_name`.
    pub name: Option<Arc<str>>,
    /// `display_description`.
    pub description: Option<Arc<str>>,
    /// Who made it.
    pub user: Option<UserId>,
    /// Its type: position in the list of types.
    pub volume_type: usize,
    /// A server can boot from it.
    pub bootable: bool,
    /// The user's own keys and values.
    pub metadata: BTreeMap<Arc<str>, Arc<str>>,
    /// Admin metadata `readonly`, always `False`: the first os-attach writes it and nothing ever
    /// takes it away. The attachments API then takes its mere presence for true.
    pub readonly: bool,
    /// Admin metadata `attached_mode`: from os-attach until a detach.
    pub attached_mode: Option<AttachMode>,
    /// When it was made.
    pub created_at: SimTime,
    /// When its row last changed; none while it is being created.
    pub updated_at: Option<SimTime>,
    /// What cinder-volume is busy with, and until when.
    pub work: Option<Work>,
}

/// cinder-volume's own work on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The ports know no `creating`: the row is `deleting` meanwhile, which no guard lets pass
    /// either, and the API says what it is.
    Creating(SimTime),
    /// It will be gone.
    Deleting(SimTime),
}

/// `attach_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// Nobody said: cinder stores the text `null`.
    Null,
    /// Read and write.
    Rw,
    /// Read only.
    Ro,
}

impl AttachMode {
    /// Cinder's text.
    pub fn as_str(self) -> &'static str {
        match self {
            AttachMode::Null => "null",
            AttachMode::Rw => "rw",
            AttachMode::Ro => "ro",
        }
    }

    /// The mode that a request names; none when it names no mode.
    pub fn named(text: &str) -> Option<AttachMode> {
        match text {
            "rw" => Some(AttachMode::Rw),
            "ro" => Some(AttachMode::Ro),
            _ => None,
        }
    }
}

/// A row of `volume_types`.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeType {
    /// Its id.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl VolumeRow {
    /// A volume that nobody uses.
    pub fn available(id: VolumeId, size: u32) -> VolumeRow {
        let about =
            About { name: Some(id.0.clone()), updated_at: Some(SimTime::ZERO), ..About::default() };
        VolumeRow {
            about,
            id,
            status: VolumeStatus::Available,
            attach_status: AttachStatus::Detached,
            size,
            multiattach: false,
            encrypted: false,
            project: None,
        }
    }

    /// The status as the API shows it.
    pub fn status_text(&self) -> &'static str {
        match self.about.work {
            Some(Work::Creating(_)) => "creating",
            Some(Work::Deleting(_)) | None => self.status.as_str(),
        }
    }

    /// Whether the bearer's project owns it, or an admin asks: to others it does not exist.
    pub fn is_visible_to(&self, bearer: &TokenInfo) -> bool {
        self.project
            .as_ref()
            .is_none_or(|owner| *owner == bearer.project_id || bearer.roles.contains(&Role::Admin))
    }
}

/// A live row of `volume_attachment`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachmentRow {
    /// The attachment.
    pub id: AttachmentId,
    /// Its volume.
    pub volume_id: VolumeId,
    /// Its server.
    pub instance: InstanceId,
    /// Its state.
    pub attach_status: AttachStatus,
    /// The host that the connector named.
    pub host: Option<HostName>,
    /// Where the guest sees it; `na` when nobody said.
    pub mountpoint: Option<String>,
    /// Whom it was mapped to; os-attach knows no connector.
    pub connector: Option<Connector>,
    /// How to connect.
    pub connection_info: Option<ConnectionInfo>,
    /// When the driver was done with it.
    pub attached_at: Option<SimTime>,
    /// How it may be used.
    pub attach_mode: AttachMode,
}

impl AttachmentRow {
    /// The initiator that the volume was mapped to for this attachment.
    pub fn initiator(&self) -> Option<&Iqn> {
        self.connector.as_ref().and_then(|c| c.initiator.as_ref())
    }

    /// The row as the attachments API shows it.
    pub fn show(&self) -> Attachment {
        Attachment {
            id: self.id.clone(),
            volume_id: self.volume_id.clone(),
            instance: self.instance.clone(),
            status: self.attach_status,
            connection_info: self.connection_info.clone(),
        }
    }
}

/// The status that a volume's remaining rows make when one has gone (`volume_detached`).
pub fn status<'a>(
    release: CinderRelease,
    rows: impl Iterator<Item = &'a AttachmentRow>,
) -> (VolumeStatus, AttachStatus) {
    let statuses = rows.map(|row| row.attach_status);
    match release {
        // Any row that is left keeps the volume in use, whatever its state.
        CinderRelease::Ocata => match { statuses }.next() {
            Some(_) => (VolumeStatus::InUse, AttachStatus::Attached),
            None => (VolumeStatus::Available, AttachStatus::Detached),
        },
        // attached before attaching before reserved; rows in error do not count, so that such a
        // volume is available with a live row.
        CinderRelease::V28 => statuses
            .filter_map(|status| match status {
                AttachStatus::Attached => Some((0, VolumeStatus::InUse, status)),
                AttachStatus::Attaching => Some((1, VolumeStatus::Attaching, status)),
                AttachStatus::Reserved => Some((2, VolumeStatus::Reserved, status)),
                AttachStatus::ErrorDetaching
                | AttachStatus::ErrorAttaching
                | AttachStatus::Detached => None,
            })
            .min()
            .map_or((VolumeStatus::Available, AttachStatus::Detached), |(_, status, attach)| {
                (status, attach)
            }),
    }
}
