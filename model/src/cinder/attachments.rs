//! The attachments API: reserve, connect, complete, delete. Ocata has none of it.

use castoff_ports::cinder::{
    AttachStatus, Attachment, AttachmentCreate, AttachmentList, AttachmentSummary,
    AttachmentUpdate, VolumeStatus,
};
use castoff_ports::{AttachmentId, Refusal};

use super::actions::{connection_info, host_of, initiator_of, paths};
use super::{AttachMode, AttachmentRow, Caller, Cinder};
use crate::fact::Facts;
use crate::novadb::NovaDb;
use crate::release::CinderRelease;
use crate::storage::Storage;

/// What cinder notes for the mountpoint when the connector names none.
const NO_MOUNTPOINT: &str = "na";

impl Cinder {
    pub(super) fn attachment_create(
        &mut self,
        facts: &mut Facts,
        caller: &Caller,
        c: &AttachmentCreate,
    ) -> Result<Attachment, Refusal> {
        self.has_attachments_api()?;
        let at = match self.volume_at(caller, &c.volume_id) {
            Ok(at) => at,
            // The schema is checked before the volume is looked for.
            Err(_) if !is_uuid(c.volume_id.as_str()) => {
                let id = &c.volume_id;
                return Err(Refusal::http(
                    400,
                    format!(
                        "Invalid input for field/attribute volume_uuid. Value: {id}. '{id}' is \
                         not a 'uuid'"
                    ),
                ));
            }
            Err(missing) => return Err(missing),
        };
        let row = &self.volumes[at];
        // Cinder bug 1785050.
        let in_error_too = row.status == VolumeStatus::Error;
        if in_error_too && self.fixes.error_volumes_refused {
            return Err(in_error(400, "created", row.id.as_str(), row.status));
        }
        let (free, expected) = match row.multiattach {
            true => (
                matches!(row.status, VolumeStatus::Available | VolumeStatus::InUse),
                "available, in-use or downloading",
            ),
            false => (row.status == VolumeStatus::Available, "available or downloading"),
        };
        // A second row for the same server is live migration's, or shelve's (nova 1694530).
        let again = matches!(row.status, VolumeStatus::InUse | VolumeStatus::Reserved)
            && self.rows_of(&row.id).any(|a| a.instance == c.instance);
        let free = free || in_error_too;
        if !free && !again {
            let (id, found) = (&row.id, row.status_text());
            return Err(Refusal::http(
                400,
                format!(
                    "Invalid volume: Volume {id} status must be {expected} to reserve, but the \
                     current status is {found}."
                ),
            ));
        }
        // The key's value is the text `False`, which Python takes for true.
        let readonly = row.about.readonly;
        self.insert(facts, &c.volume_id, &c.instance, AttachStatus::Reserved);
        if readonly && let Some(row) = self.attachments.last_mut() {
            row.attach_mode = AttachMode::Ro;
        }
        if free {
            let attach = self.volumes[at].attach_status;
            self.set(facts, at, VolumeStatus::Reserved, attach);
        }
        Ok(self.attachments[self.attachments.len() - 1].show())
    }

    pub(super) fn attachment_update(
        &mut self,
        facts: &mut Facts,
        storage: &mut Storage,
        caller: &Caller,
        c: AttachmentUpdate,
    ) -> Result<Attachment, Refusal> {
        self.has_attachments_api()?;
        let (at, volume) = self.attachment_at(caller, &c.attachment_id)?;
        let row = &self.volumes[volume];
        if row.status == VolumeStatus::Error {
            return Err(in_error(409, "updated", row.id.as_str(), row.status));
        }
        let connected = self.rows_of(&row.id).any(|a| a.connection_info.is_some());
        if !row.multiattach && connected && self.rows_of(&row.id).nth(1).is_some() {
            let id = &row.id;
            return Err(Refusal::http(
                409,
                format!("Invalid volume: duplicate connectors detected on volume {id}"),
            ));
        }
        let initiator = initiator_of(&c.connector)?;
        let address = storage.map(facts, &row.id, initiator);
        let mut info = connection_info(address, paths(storage, &c.connector), &row.id);
        info.data.auth = self.chap.clone();
        info.data.encrypted = row.encrypted;
        let mut shown = self.attachments[at].show();
        self.set_attachment(facts, at, AttachStatus::Attaching);
        let row = &mut self.attachments[at];
        row.attached_at = Some(self.now);
        row.host = host_of(&c.connector);
        row.mountpoint = Some(match c.mountpoint.is_empty() {
            true => NO_MOUNTPOINT.to_owned(),
            false => c.mountpoint,
        });
        row.connector = Some(c.connector);
        row.connection_info = Some(info.clone());
        // Also of a volume that other servers use: they cannot begin to detach meanwhile.
        self.set(facts, volume, VolumeStatus::Attaching, AttachStatus::Attaching);
        // The reply shows the row as it was before the driver's turn, with the driver's answer.
        shown.connection_info = Some(info);
        Ok(shown)
    }

    pub(super) fn attachment_complete(
        &mut self,
        facts: &mut Facts,
        caller: &Caller,
        id: &AttachmentId,
    ) -> Result<(), Refusal> {
        self.has_attachments_api()?;
        let (at, volume) = self.attachment_at(caller, id)?;
        self.set_attachment(facts, at, AttachStatus::Attached);
        // Written without looking: this turns detaching back into in-use.
        self.set(facts, volume, VolumeStatus::InUse, AttachStatus::Attached);
        Ok(())
    }

    pub(super) fn attachment_delete(
        &mut self,
        facts: &mut Facts,
        storage: &mut Storage,
        novadb: &NovaDb,
        caller: &Caller,
        id: &AttachmentId,
    ) -> Result<(), Refusal> {
        self.has_attachments_api()?;
        let (at, volume) = self.attachment_at(caller, id)?;
        self.deletion_allowed(caller, novadb, &self.volumes[volume].id, Some(id))?;
        let row = &self.attachments[at];
        let reserved = row.attach_status == AttachStatus::Reserved;
        // Cinder bug 1738254.
        if !reserved && row.connector.is_none() && !self.fixes.missing_connector_skipped {
            return Err(driver_failed());
        }
        // A reserved row never met the driver; a row without a connector has nothing to take back.
        if !reserved && let Some(initiator) = row.initiator() {
            self.unmap(facts, storage, &row.volume_id, initiator);
        }
        if reserved && !self.reserved_attachment_frees {
            self.set_attachment(facts, at, AttachStatus::Detached);
            self.attachments.remove(at);
            return Ok(());
        }
        self.finish_detach(facts, volume, Some(at));
        Ok(())
    }

    /// `GET /attachments?instance_id=…`: of the caller's own project, or an administrator's of all.
    pub(super) fn attachments_of_server(
        &self,
        caller: &Caller,
        AttachmentList { instance, all_tenants }: &AttachmentList,
    ) -> Result<Vec<AttachmentSummary>, Refusal> {
        self.has_attachments_api()?;
        if !self.resource_filters && !caller.is_admin() {
            let message = "Invalid filters instance_id are found in query options.";
            return Err(Refusal::http(400, message));
        }
        let rows = self.volumes_for(caller, *all_tenants).flat_map(|v| self.rows_of(&v.id));
        let summary = |row: &AttachmentRow| AttachmentSummary {
            id: row.id.clone(),
            volume_id: row.volume_id.clone(),
            instance: row.instance.clone(),
        };
        Ok(rows.filter(|row| row.instance == *instance).map(summary).collect())
    }

    /// An attachment, if the caller may see it.
    pub(crate) fn attachment_for(
        &self,
        caller: &Caller,
        id: &AttachmentId,
    ) -> Result<&AttachmentRow, Refusal> {
        self.has_attachments_api()?;
        self.attachment_at(caller, id).map(|(at, _)| &self.attachments[at])
    }

    /// Says how an attachment that was just made may be used, unless the volume says `readonly`.
    pub(crate) fn choose_mode(&mut self, id: &AttachmentId, mode: AttachMode) {
        if let Some(row) = self.attachments.iter_mut().find(|a| a.id == *id)
            && row.attach_mode == AttachMode::Null
        {
            row.attach_mode = mode;
        }
    }

    /// The attachment and its volume, if the caller may see them.
    fn attachment_at(&self, caller: &Caller, id: &AttachmentId) -> Result<(usize, usize), Refusal> {
        self.attachments
            .iter()
            .position(|a| a.id == *id)
            .and_then(|at| {
                let volume = self.volume_at(caller, &self.attachments[at].volume_id);
                volume.ok().map(|volume| (at, volume))
            })
            .ok_or_else(|| {
                // Cinder bugs 1449870 and 1450431.
                if !self.fixes.missing_attachment_is_404 {
                    return driver_failed();
                }
                let filter = "Volume attachment could not be found with filter";
                Refusal::http(404, format!("{filter}: attachment_id = {id}."))
            })
    }

    fn has_attachments_api(&self) -> Result<(), Refusal> {
        match self.release {
            CinderRelease::Ocata => Err(Refusal::http(404, "The resource could not be found.")),
            CinderRelease::V28 => Ok(()),
        }
    }
}

/// An exception of cinder-volume that cinder-api does not know (`RemoteError`).
pub(super) fn driver_failed() -> Refusal {
    Refusal::http(
        500,
        "The server has either erred or is incapable of performing the requested operation.",
    )
}

fn in_error(code: u16, what: &str, id: &str, status: VolumeStatus) -> Refusal {
    let status = status.as_str();
    // The blank at the end is cinder's.
    Refusal::http(
        code,
        format!(
            "Invalid volume: Volume attachments can not be {what} if the volume is in an error \
             state. The Volume {id} currently has a status of: {status} "
        ),
    )
}

/// Whether the schema takes this for a uuid: 32 hex digits, hyphens wherever.
fn is_uuid(text: &str) -> bool {
    let mut digits = 0;
    text.chars().all(|c| {
        digits += usize::from(c != '-');
        c == '-' || c.is_ascii_hexdigit()
    }) && digits == 32
}
