//! What an administrator mends volumes with: os-force_detach and os-reset_status.
//!
//! The first does what nova's two calls do, under the same rule for attachments that nova uses.
//! The second writes what it is told and asks no backend: a mapping that is there stays.

use castoff_ports::cinder::{AttachStatus, Connector, Detach, VolumeStatus};
use castoff_ports::{Refusal, VolumeId};

use super::{Caller, Cinder};
use crate::fact::{Fact, Facts};
use crate::novadb::NovaDb;
use crate::storage::Storage;

impl Cinder {
    /// os-force_detach: terminate_connection, then detach; the connector may be absent.
    pub(crate) fn force_detach(
        &mut self,
        facts: &mut Facts,
        storage: &mut Storage,
        novadb: &NovaDb,
        caller: &Caller,
        connector: Option<&Connector>,
        c: &Detach,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, &c.volume_id)?;
        caller.needs_admin("volume_extension:volume_admin_actions:force_detach")?;
        self.deletion_allowed(caller, novadb, &c.volume_id, c.attachment_id.as_ref())?;
        facts.push(Fact::AdminReset { volume: c.volume_id.clone() });
        if let Some(initiator) = connector.and_then(|c| c.initiator.as_ref()) {
            self.unmap(facts, storage, &c.volume_id, initiator);
        }
        self.unreserve(facts, at);
        self.detach_row(facts, storage, at, c)
    }

    /// os-reset_status: what is asked for is written.
    pub(crate) fn reset_status(
        &mut self,
        facts: &mut Facts,
        caller: &Caller,
        id: &VolumeId,
        status: Option<VolumeStatus>,
        attach_status: Option<AttachStatus>,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, id)?;
        caller.needs_admin("volume_extension:volume_admin_actions:reset_status")?;
        if status == Some(VolumeStatus::InUse) && self.rows_of(id).next().is_none() {
            return Err(Refusal::http(
                400,
                "Invalid volume: cannot reset the status to in-use without an attachment",
            ));
        }
        facts.push(Fact::AdminReset { volume: id.clone() });
        if attach_status == Some(AttachStatus::Detached) {
            // There are as many turns as rows.
            while let Some(row) = self.attachments.iter().position(|a| a.volume_id == *id) {
                self.set_attachment(facts, row, AttachStatus::Detached);
                self.attachments.remove(row);
            }
            self.volumes[at].about.attached_mode = None;
        }
        let row = &self.volumes[at];
        let (status, attach) =
            (status.unwrap_or(row.status), attach_status.unwrap_or(row.attach_status));
        self.set(facts, at, status, attach);
        Ok(())
    }
}
