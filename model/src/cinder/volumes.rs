//! Volumes and types beside attach and detach: create, delete, list, and who sees what.
//!
//! cinder-volume's part takes time: a volume is `creating` before it is `available`. No operation
//! of a pipeline waits for that, so it is no timer of the world: whoever asks next finds it done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use castoff_ports::cinder::{AttachStatus, VolumeStatus};
use castoff_ports::{HostName, Refusal, SimTime, VolumeId};

use super::rows::{About, Work};
use super::{AttachmentRow, Caller, Cinder, VolumeRow, VolumeType};
use crate::fact::Facts;

/// How long cinder-volume is busy with a new volume, or with one that goes: what was measured on
/// one machine was between 350 and 500 ms.
const WORK: Duration = Duration::from_millis(500);

/// Where the volumes are.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// `host@backend` of the cinder-volume service.
    pub host: HostName,
    /// Its pool.
    pub pool: Arc<str>,
    /// Host of the scheduler.
    pub scheduler: HostName,
}

impl Default for Backend {
    fn default() -> Backend {
        Backend {
            host: HostName::new("cinder@lvm"),
            pool: "lvm".into(),
            scheduler: HostName::new("cinder"),
        }
    }
}

/// What a user asks for in a new volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewVolume {
    /// GiB; cinder refuses its absence itself.
    pub size: Option<u32>,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Its description.
    pub description: Option<Arc<str>>,
    /// Name or id of its type; the default type when absent.
    pub volume_type: Option<String>,
    /// The user's own keys and values.
    pub metadata: BTreeMap<Arc<str>, Arc<str>>,
    /// May be attached more than once.
    pub multiattach: bool,
}

/// The type that a volume has when nobody says which.
pub(super) fn default_type() -> VolumeType {
    VolumeType { id: "00000000-0000-4000-8000-000000000001".into(), name: "lvm".into() }
}

impl Cinder {
    /// Lets cinder-volume finish what is due by now.
    pub fn settle(&mut self, now: SimTime) {
        self.now = now;
        if self.busy > 0 {
            self.finish_work();
        }
    }

    fn finish_work(&mut self) {
        for row in &mut self.volumes {
            if let Some(Work::Creating(until)) = row.about.work
                && until <= self.now
            {
                row.status = VolumeStatus::Available;
                row.about.work = None;
                row.about.updated_at = Some(until);
                self.busy -= 1;
            }
        }
        let before = self.volumes.len();
        let now = self.now;
        self.volumes
            .retain(|row| !matches!(row.about.work, Some(Work::Deleting(until)) if until <= now));
        self.busy -= before - self.volumes.len();
    }

    /// The volumes that a list shows: the caller's project's, or everybody's to an admin who asks.
    pub(crate) fn volumes_for<'a>(
        &'a self,
        caller: &'a Caller,
        all_tenants: bool,
    ) -> impl Iterator<Item = &'a VolumeRow> {
        let all = all_tenants && caller.is_admin();
        self.volumes.iter().filter(move |row| {
            all || row.project.as_ref().is_none_or(|owner| *owner == caller.info.project_id)
        })
    }

    /// A volume, if the caller may see it.
    pub(crate) fn volume_for(&self, caller: &Caller, id: &VolumeId) -> Result<&VolumeRow, Refusal> {
        self.volume_at(caller, id).map(|at| &self.volumes[at])
    }

    /// The live attachments of a volume, oldest first.
    pub fn attachments_of<'a>(
        &'a self,
        volume: &'a VolumeId,
    ) -> impl Iterator<Item = &'a AttachmentRow> {
        self.rows_of(volume)
    }

    /// `POST /volumes`: the row is there at once, the volume a little later.
    pub(crate) fn create_volume(
        &mut self,
        caller: &Caller,
        new: NewVolume,
    ) -> Result<&VolumeRow, Refusal> {
        let volume_type = match &new.volume_type {
            None => 0,
            Some(named) => self.type_position(named).ok_or_else(|| {
                let message = format!("Volume type with name {named} could not be found.");
                Refusal::http(404, message)
            })?,
        };
        let size = match new.size {
            Some(size) if size > 0 => size,
            size => {
                let size = size.map_or_else(|| "None".to_owned(), |size| size.to_string());
                return Err(Refusal::http(
                    400,
                    format!(
                        "Invalid input received: Invalid volume size provided for create \
                         request: {size} (size argument must be an integer (or string \
                         representation of an integer) and greater than zero)."
                    ),
                ));
            }
        };
        self.last_volume += 1;
        self.busy += 1;
        self.volumes.push(VolumeRow {
            id: VolumeId::new(format!("c1de4000-0000-4000-8000-{:012}", self.last_volume)),
            status: VolumeStatus::Deleting,
            attach_status: AttachStatus::Detached,
            size,
            multiattach: new.multiattach,
            encrypted: false,
            project: Some(caller.info.project_id.clone()),
            about: About {
                name: new.name,
                description: new.description,
                user: Some(caller.info.user_id.clone()),
                volume_type,
                metadata: new.metadata,
                created_at: self.now,
                work: Some(Work::Creating(self.now + WORK)),
                ..About::default()
            },
        });
        Ok(&self.volumes[self.volumes.len() - 1])
    }

    /// `DELETE /volumes/{id}`: also nova's, of a volume with delete_on_termination.
    pub(crate) fn delete_volume(
        &mut self,
        facts: &mut Facts,
        caller: &Caller,
        id: &VolumeId,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, id)?;
        let row = &self.volumes[at];
        let free = matches!(row.status, VolumeStatus::Available | VolumeStatus::Error)
            && row.attach_status != AttachStatus::Attached;
        if !free {
            return Err(Refusal::http(
                400,
                "Invalid volume: Volume status must be available or error or error_restoring or \
                 error_extending or error_managing and must not be migrating, attached, belong \
                 to a group, have snapshots, awaiting a transfer, or be disassociated from \
                 snapshots after volume transfer.",
            ));
        }
        let attach = row.attach_status;
        self.set(facts, at, VolumeStatus::Deleting, attach);
        self.volumes[at].about.work = Some(Work::Deleting(self.now + WORK));
        self.busy += 1;
        Ok(())
    }

    /// `os-set_bootable`.
    pub(crate) fn set_bootable(
        &mut self,
        caller: &Caller,
        id: &VolumeId,
        bootable: bool,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, id)?;
        let about = &mut self.volumes[at].about;
        about.bootable = bootable;
        about.updated_at = Some(self.now);
        Ok(())
    }

    /// Every type, the default one first.
    pub fn types(&self) -> &[VolumeType] {
        &self.types
    }

    /// A type by its name or id.
    pub fn type_named(&self, named: &str) -> Option<&VolumeType> {
        self.type_position(named).map(|at| &self.types[at])
    }

    /// Makes a type; none when there is one of this name.
    pub fn add_type(&mut self, name: &str) -> Option<&VolumeType> {
        if self.types.iter().any(|t| *t.name == *name) {
            return None;
        }
        let id = format!("00000000-0000-4000-8000-{:012}", self.types.len() + 1);
        self.types.push(VolumeType { id: id.into(), name: name.into() });
        self.types.last()
    }

    fn type_position(&self, named: &str) -> Option<usize> {
        self.types.iter().position(|t| *t.name == *named || *t.id == *named)
    }
}
