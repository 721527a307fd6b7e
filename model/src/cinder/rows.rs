//! The two tables, `volumes` and `volume_attachment`, and what the second makes of the first.

use castoff_ports::cinder::{AttachStatus, Attachment, ConnectionInfo, Connector, VolumeStatus};
use castoff_ports::keystone::{Role, TokenInfo};
use castoff_ports::{AttachmentId, HostName, InstanceId, Iqn, ProjectId, VolumeId};

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
    /// Whose it is; any project may use it when absent.
    pub project: Option<ProjectId>,
}

impl VolumeRow {
    /// A volume that nobody uses.
    pub fn available(id: VolumeId, size: u32) -> VolumeRow {
        VolumeRow {
            id,
            status: VolumeStatus::Available,
            attach_status: AttachStatus::Detached,
            size,
            multiattach: false,
            project: None,
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
