//! Cinder: volumes, their attachments, and the one status that both generations fight over.
//!
//! cinder-api, cinder-volume and their database are one state machine here; what can come between
//! them (a lost reply, an RPC timeout with the effect done) is the fault layer's business. Every
//! call passes the door first, as keystonemiddleware guards the real one.
//!
//! - [`rows`]: the two tables, and the status that the rows of a volume make.
//! - `actions`: GET volume and the volume actions (`os-begin_detaching`, `os-detach`, …).
//! - `attachments`: the attachments API, which ocata does not have.
//! - `deletion`: who may take away an attachment that nova uses (CVE-2023-2088).
//! - `encryption`: what nova asks before it gives an encrypted volume to a host.
//! - `volumes`: create, delete, list and types; `admin`: what only the HTTP API offers.

#[cfg(test)]
mod action_tests;
mod actions;
mod admin;
#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod attachment_tests;
mod attachments;
mod deletion;
mod encryption;
pub mod rows;
#[cfg(test)]
mod state_machine;
#[cfg(test)]
mod status_tests;
#[cfg(test)]
mod tests;
mod volumes;

use castoff_ports::cinder::{AttachStatus, Call, Chap, Reply, VolumeStatus};
use castoff_ports::keystone::{Role, TokenInfo};
use castoff_ports::{AttachmentId, Auth, HostName, InstanceId, Iqn, Refusal, SimTime, VolumeId};

use crate::fact::{Fact, Facts};
use crate::keystone::{Keystone, UNAUTHORIZED};
use crate::novadb::NovaDb;
use crate::release::{CinderRelease, Fixes};
use crate::storage::Storage;
use crate::world::Step;

pub use rows::{AttachMode, AttachmentRow, VolumeRow, VolumeType};
pub use volumes::{Backend, NewVolume};

/// The cinder-volume service's uuid: os-brick names its guard lock after it.
pub(crate) const SERVICE_UUID: &str = "5e41ce00-0000-4000-8000-000000000001";

/// Cinder's API, its volume service and its database.
#[derive(Clone, Debug)]
pub struct Cinder {
    release: CinderRelease,
    volumes: Vec<VolumeRow>,
    /// Rows that are not soft-deleted, oldest first.
    attachments: Vec<AttachmentRow>,
    last_attachment: u32,
    /// os-begin_detaching compares and swaps ([`crate::Release::begin_detaching_swaps`]).
    pub begin_detaching_swaps: bool,
    /// Deleting a reserved attachment frees its volume
    /// ([`crate::Release::reserved_attachment_frees`]).
    pub reserved_attachment_frees: bool,
    /// What single fixes have brought ([`crate::Release::fixes`]).
    pub fixes: Fixes,
    /// The one backend.
    pub backend: Backend,
    /// What the backend's targets ask initiators for (`use_chap_auth`), in every connection_info.
    pub chap: Option<Chap>,
    /// `etc/cinder/resource_filters.json` is installed: from 3.31 on users may filter lists by what
    /// it names, and by nothing where it is missing, as it was in the recorded cloud.
    pub resource_filters: bool,
    types: Vec<VolumeType>,
    last_volume: u32,
    /// How many volumes cinder-volume is creating or deleting.
    busy: usize,
    /// The time of the call under way, for the rows' own times.
    now: SimTime,
}

/// Who calls, once the door has let them in.
pub(crate) struct Caller<'a> {
    pub(crate) info: &'a TokenInfo,
    /// The request carries a valid service token with the role `service`.
    service: bool,
}

impl Caller<'_> {
    pub(crate) fn is_admin(&self) -> bool {
        self.info.roles.contains(&Role::Admin)
    }

    /// A policy that only admins pass, in oslo.policy's words.
    pub(crate) fn needs_admin(&self, policy: &str) -> Result<(), Refusal> {
        match self.is_admin() {
            true => Ok(()),
            false => {
                Err(Refusal::http(403, format!("Policy doesn't allow {policy} to be performed.")))
            }
        }
    }
}

impl Cinder {
    /// A cinder of this release without volumes.
    pub fn new(release: CinderRelease) -> Cinder {
        Cinder {
            release,
            volumes: Vec::new(),
            attachments: Vec::new(),
            last_attachment: 0,
            begin_detaching_swaps: true,
            reserved_attachment_frees: true,
            fixes: Fixes::ALL,
            backend: Backend::default(),
            chap: None,
            resource_filters: true,
            types: vec![volumes::default_type()],
            last_volume: 0,
            busy: 0,
            now: SimTime::ZERO,
        }
    }

    /// Adds an available volume that any project may use.
    pub fn add_volume(&mut self, id: VolumeId, size: u32) {
        self.volumes.push(VolumeRow::available(id, size));
    }

    /// A volume's row, for scenarios that set what no operation sets (multiattach, an owner).
    pub fn volume_mut(&mut self, id: &VolumeId) -> Option<&mut VolumeRow> {
        self.volumes.iter_mut().find(|v| v.id == *id)
    }

    /// Leaves an attached row behind that nobody names: no BDM, no connector, an id of its own.
    pub fn add_stale_attachment(
        &mut self,
        facts: &mut Facts,
        volume: &VolumeId,
        instance: &InstanceId,
        host: HostName,
    ) -> AttachmentId {
        let id = self.insert(facts, volume, instance, AttachStatus::Attached);
        if let Some(row) = self.attachments.last_mut() {
            row.host = Some(host);
        }
        // A second row changes no status: not even a detach that is under way.
        if let Some(at) = self.position(volume)
            && self.volumes[at].attach_status != AttachStatus::Attached
        {
            self.set(facts, at, VolumeStatus::InUse, AttachStatus::Attached);
        }
        id
    }

    /// A volume's row.
    pub fn volume(&self, id: &VolumeId) -> Option<&VolumeRow> {
        self.volumes.iter().find(|v| v.id == *id)
    }

    /// Every volume, in the order in which they were added.
    pub fn volumes(&self) -> &[VolumeRow] {
        &self.volumes
    }

    /// Attachments that are not deleted, oldest first.
    pub fn live_attachments(&self) -> impl Iterator<Item = &AttachmentRow> {
        self.attachments.iter()
    }

    /// A live attachment.
    pub fn attachment(&self, id: &AttachmentId) -> Option<&AttachmentRow> {
        self.attachments.iter().find(|a| a.id == *id)
    }

    /// The newest microversion that this release speaks: `3.N`.
    pub fn max_microversion(&self) -> u16 {
        match self.release {
            CinderRelease::Ocata => 27,
            CinderRelease::V28 => 71,
        }
    }

    /// Answers one operation.
    pub fn call(
        &mut self,
        step: &mut Step,
        keystone: &Keystone,
        novadb: &NovaDb,
        storage: &mut Storage,
        auth: &Auth,
        call: Call,
    ) -> Result<Reply, Refusal> {
        self.settle(step.now);
        let caller = &self.admit(step.now, keystone, auth)?;
        let facts = &mut *step.facts;
        match call {
            Call::GetVolume(c) => {
                self.get_volume(caller, storage.shared_target, &c).map(Reply::GetVolume)
            }
            Call::BeginDetaching(c) => {
                self.begin_detaching(facts, caller, &c.volume_id).map(Reply::BeginDetaching)
            }
            Call::RollDetaching(c) => {
                self.roll_detaching(facts, caller, &c.volume_id).map(Reply::RollDetaching)
            }
            Call::Reserve(c) => self.reserve(facts, caller, &c.volume_id).map(Reply::Reserve),
            Call::Unreserve(c) => {
                let at = self.volume_at(caller, &c.volume_id)?;
                self.unreserve(facts, at);
                Ok(Reply::Unreserve(()))
            }
            Call::InitializeConnection(c) => self
                .initialize_connection(facts, storage, caller, &c)
                .map(Reply::InitializeConnection),
            Call::TerminateConnection(c) => self
                .terminate_connection(facts, storage, novadb, caller, &c)
                .map(Reply::TerminateConnection),
            Call::Attach(c) => self.attach(facts, caller, c, AttachMode::Rw).map(Reply::Attach),
            Call::Detach(c) => self.detach(facts, storage, novadb, caller, &c).map(Reply::Detach),
            Call::DeleteVolume(c) => {
                self.delete_volume(facts, caller, &c.volume_id).map(Reply::DeleteVolume)
            }
            Call::ResetStatus(c) => self
                .reset_status(facts, caller, &c.volume_id, c.status, c.attach_status)
                .map(Reply::ResetStatus),
            Call::ForceDetach(c) => {
                let (volume_id, attachment_id) = (c.volume_id, c.attachment_id);
                let which = castoff_ports::cinder::Detach { volume_id, attachment_id };
                self.force_detach(facts, storage, novadb, caller, c.connector.as_ref(), &which)
                    .map(Reply::ForceDetach)
            }
            Call::AttachmentCreate(c) => {
                self.attachment_create(facts, caller, &c).map(Reply::AttachmentCreate)
            }
            Call::AttachmentUpdate(c) => {
                self.attachment_update(facts, storage, caller, c).map(Reply::AttachmentUpdate)
            }
            Call::AttachmentComplete(c) => self
                .attachment_complete(facts, caller, &c.attachment_id)
                .map(Reply::AttachmentComplete),
            Call::AttachmentDelete(c) => self
                .attachment_delete(facts, storage, novadb, caller, &c.attachment_id)
                .map(Reply::AttachmentDelete),
            Call::AttachmentGet(c) => self
                .attachment_for(caller, &c.attachment_id)
                .map(|row| Reply::AttachmentGet(row.show())),
            Call::AttachmentList(c) => {
                self.attachments_of_server(caller, &c).map(Reply::AttachmentList)
            }
            Call::GetEncryption(c) => {
                self.encryption(caller, &c.volume_id).map(Reply::GetEncryption)
            }
        }
    }

    /// keystonemiddleware at the API's door.
    pub(crate) fn admit<'k>(
        &self,
        now: SimTime,
        keystone: &'k Keystone,
        auth: &Auth,
    ) -> Result<Caller<'k>, Refusal> {
        let service = match self.release {
            CinderRelease::Ocata => false,
            CinderRelease::V28 => auth
                .service_token
                .as_ref()
                .and_then(|token| keystone.bearer(now, token, false))
                .is_some_and(|info| info.roles.contains(&Role::Service)),
        };
        // Only a service may act for a user whose token has expired meanwhile.
        auth.token
            .as_ref()
            .and_then(|token| keystone.bearer(now, token, service))
            .map(|info| Caller { info, service })
            .ok_or_else(|| Refusal::http(401, UNAUTHORIZED))
    }

    fn position(&self, id: &VolumeId) -> Option<usize> {
        self.volumes.iter().position(|v| v.id == *id)
    }

    /// The volume, if the caller may see it.
    fn volume_at(&self, caller: &Caller, id: &VolumeId) -> Result<usize, Refusal> {
        self.position(id)
            .filter(|at| self.volumes[*at].is_visible_to(caller.info))
            .ok_or_else(|| Refusal::http(404, format!("Volume {id} could not be found.")))
    }

    fn rows_of<'a>(&'a self, volume: &'a VolumeId) -> impl Iterator<Item = &'a AttachmentRow> {
        self.attachments.iter().filter(move |a| a.volume_id == *volume)
    }

    fn set(&mut self, facts: &mut Facts, at: usize, to: VolumeStatus, attach: AttachStatus) {
        let row = &mut self.volumes[at];
        row.attach_status = attach;
        row.about.updated_at = Some(self.now);
        if row.status != to {
            facts.push(Fact::VolumeStatus { volume: row.id.clone(), from: row.status, to });
            row.status = to;
        }
    }

    fn insert(
        &mut self,
        facts: &mut Facts,
        volume: &VolumeId,
        instance: &InstanceId,
        status: AttachStatus,
    ) -> AttachmentId {
        self.last_attachment += 1;
        let id = AttachmentId::new(format!("a77ac400-0000-4000-8000-{:012}", self.last_attachment));
        facts.push(Fact::Attachment {
            attachment: id.clone(),
            volume: volume.clone(),
            instance: instance.clone(),
            to: status,
        });
        self.attachments.push(AttachmentRow {
            id: id.clone(),
            volume_id: volume.clone(),
            instance: instance.clone(),
            attach_status: status,
            host: None,
            mountpoint: None,
            connector: None,
            connection_info: None,
            attached_at: None,
            attach_mode: AttachMode::Null,
        });
        id
    }

    fn set_attachment(&mut self, facts: &mut Facts, at: usize, to: AttachStatus) {
        let row = &mut self.attachments[at];
        if row.attach_status != to {
            row.attach_status = to;
            facts.push(Fact::Attachment {
                attachment: row.id.clone(),
                volume: row.volume_id.clone(),
                instance: row.instance.clone(),
                to,
            });
        }
    }

    /// `volume_detached`: the row goes, and the rows that remain make the volume's status.
    fn finish_detach(&mut self, facts: &mut Facts, volume: usize, row: Option<usize>) {
        if let Some(at) = row {
            self.set_attachment(facts, at, AttachStatus::Detached);
            self.attachments.remove(at);
        }
        let (status, attach) = rows::status(self.release, self.rows_of(&self.volumes[volume].id));
        self.volumes[volume].about.attached_mode = None;
        self.set(facts, volume, status, attach);
    }

    /// Takes an initiator's access back, unless another attachment of the volume came with the
    /// same one (cinder c1388ce1c: two servers on one host share the mapping).
    fn unmap(&self, facts: &mut Facts, storage: &mut Storage, volume: &VolumeId, initiator: &Iqn) {
        let users = self.rows_of(volume).filter(|a| a.initiator() == Some(initiator)).count();
        if users <= 1 {
            storage.unmap(facts, volume, initiator);
        }
    }
}
