//! GET volume and the volume actions: what nova calls for a volume without an attachment id.

use castoff_ports::cinder::{
    Attach, AttachStatus, ConnectionInfo, Connector, Detach, GetVolume, InitializeConnection,
    IscsiData, IscsiPath, TerminateConnection, Volume, VolumeAttachmentRow, VolumeStatus,
};
use castoff_ports::{HostName, Iqn, Portal, Refusal, VolumeId};

use super::{AttachMode, Caller, Cinder, SERVICE_UUID};
use crate::fact::{Fact, Facts};
use crate::novadb::NovaDb;
use crate::release::CinderRelease;
use crate::storage::{IscsiAddress, Storage};

/// Microversion from which on a volume shows its service and whether targets are shared.
const SERVICE_FIELDS: u16 = 48;

const CANNOT_BEGIN: &str = "Invalid volume: Unable to detach volume. Volume status must be \
    'in-use' and attach_status must be 'attached' to detach.";

impl Cinder {
    pub(super) fn get_volume(
        &self,
        caller: &Caller,
        shared_target: bool,
        c: &GetVolume,
    ) -> Result<Volume, Refusal> {
        let max = self.max_microversion();
        if c.microversion > max {
            return Err(Refusal::http(406, version_not_supported(c.microversion, max)));
        }
        let row = &self.volumes[self.volume_at(caller, &c.volume_id)?];
        let service_fields = c.microversion >= SERVICE_FIELDS;
        let shows_host = self.shows_host(caller);
        Ok(Volume {
            id: row.id.clone(),
            status: row.status,
            size: row.size,
            multiattach: row.multiattach,
            attachments: self
                .rows_of(&row.id)
                .filter(|a| a.attach_status == AttachStatus::Attached)
                .map(|a| VolumeAttachmentRow {
                    server_id: a.instance.clone(),
                    attachment_id: a.id.clone(),
                    host_name: a.host.clone().filter(|_| shows_host),
                    device: a.mountpoint.clone(),
                })
                .collect(),
            shared_targets: service_fields
                .then_some(shared_target && self.fixes.shared_targets_told),
            service_uuid: service_fields.then(|| SERVICE_UUID.to_owned()),
        })
    }

    pub(super) fn begin_detaching(
        &mut self,
        facts: &mut Facts,
        caller: &Caller,
        id: &VolumeId,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, id)?;
        let row = &self.volumes[at];
        // Compare and swap, the whole volume's: while one server detaches a multiattach volume no
        // other can.
        let in_use = row.status == VolumeStatus::InUse || !self.begin_detaching_swaps;
        if !in_use || row.attach_status != AttachStatus::Attached {
            return Err(Refusal::http(400, CANNOT_BEGIN));
        }
        self.set(facts, at, VolumeStatus::Detaching, AttachStatus::Attached);
        Ok(())
    }

    pub(super) fn roll_detaching(
        &mut self,
        facts: &mut Facts,
        caller: &Caller,
        id: &VolumeId,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, id)?;
        // No token says whose detach it is: this rolls back another's just as well.
        if self.volumes[at].status == VolumeStatus::Detaching {
            let attach = self.volumes[at].attach_status;
            self.set(facts, at, VolumeStatus::InUse, attach);
        }
        Ok(())
    }

    pub(super) fn reserve(
        &mut self,
        facts: &mut Facts,
        caller: &Caller,
        id: &VolumeId,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, id)?;
        let row = &self.volumes[at];
        let (free, expected) = match row.multiattach {
            true => (
                matches!(row.status, VolumeStatus::Available | VolumeStatus::InUse),
                "available or in-use",
            ),
            false => (row.status == VolumeStatus::Available, "available"),
        };
        if !free {
            let found = row.status_text();
            return Err(Refusal::http(
                400,
                format!(
                    "Invalid volume: Volume status must be {expected} to reserve, but the \
                     status is {found}."
                ),
            ));
        }
        let attach = row.attach_status;
        self.set(facts, at, VolumeStatus::Attaching, attach);
        Ok(())
    }

    /// Also the end of every os-terminate_connection, after the driver is done (cinder 1488857).
    pub(super) fn unreserve(&mut self, facts: &mut Facts, at: usize) {
        let row = &self.volumes[at];
        if row.status == VolumeStatus::Attaching {
            let attach = row.attach_status;
            let to = match self.rows_of(&row.id).next() {
                Some(_) => VolumeStatus::InUse,
                None => VolumeStatus::Available,
            };
            self.set(facts, at, to, attach);
        }
    }

    pub(super) fn initialize_connection(
        &mut self,
        facts: &mut Facts,
        storage: &mut Storage,
        caller: &Caller,
        c: &InitializeConnection,
    ) -> Result<ConnectionInfo, Refusal> {
        let at = self.volume_at(caller, &c.volume_id)?;
        self.not_in_maintenance(at, "The volume connection cannot be initialized")?;
        let initiator = initiator_of(&c.connector)?;
        let address = storage.map(facts, &c.volume_id, initiator);
        let mut info = connection_info(address, paths(storage, &c.connector), &c.volume_id);
        info.data.auth = self.chap.clone();
        info.data.encrypted = self.volumes[at].encrypted;
        Ok(info)
    }

    pub(super) fn terminate_connection(
        &mut self,
        facts: &mut Facts,
        storage: &mut Storage,
        novadb: &NovaDb,
        caller: &Caller,
        c: &TerminateConnection,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, &c.volume_id)?;
        self.deletion_allowed(caller, novadb, &c.volume_id, None)?;
        let initiator = c.connector.initiator.clone();
        // Cinder bug 1966513.
        if initiator.is_none() && !self.fixes.missing_initiator_skipped {
            return Err(super::attachments::driver_failed());
        }
        let mapped = initiator.as_ref().is_some_and(|i| storage.mapping(&c.volume_id, i).is_some());
        facts.push(Fact::Terminated { volume: c.volume_id.clone(), initiator, mapped });
        // Terminating what is not connected succeeds, and so does a connector of nobody.
        if let Some(initiator) = &c.connector.initiator {
            self.unmap(facts, storage, &c.volume_id, initiator);
        }
        self.unreserve(facts, at);
        Ok(())
    }

    pub(crate) fn attach(
        &mut self,
        facts: &mut Facts,
        caller: &Caller,
        c: Attach,
        mode: AttachMode,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, &c.volume_id)?;
        self.not_in_maintenance(at, "The volume cannot be attached")?;
        let row = &self.volumes[at];
        let refused = row.status == VolumeStatus::InUse && !row.multiattach;
        let known = self.rows_of(&c.volume_id).any(|a| a.instance == c.instance);
        // Cinder 28 looks for the server's own row first, ocata after the status.
        let known_first = known && self.release == CinderRelease::V28;
        if refused && !known_first {
            return Err(Refusal::http(
                400,
                "Error attaching volume - InvalidVolume: Invalid volume: volume is already \
                 attached",
            ));
        }
        if !known {
            // No action checks that os-reserve came first.
            self.insert(facts, &c.volume_id, &c.instance, AttachStatus::Attached);
            if let Some(row) = self.attachments.last_mut() {
                row.mountpoint = Some(c.mountpoint);
                row.attached_at = Some(self.now);
                row.attach_mode = mode;
            }
        }
        let about = &mut self.volumes[at].about;
        about.readonly = true;
        about.attached_mode = Some(mode);
        self.set(facts, at, VolumeStatus::InUse, AttachStatus::Attached);
        Ok(())
    }

    pub(super) fn detach(
        &mut self,
        facts: &mut Facts,
        storage: &mut Storage,
        novadb: &NovaDb,
        caller: &Caller,
        c: &Detach,
    ) -> Result<(), Refusal> {
        let at = self.volume_at(caller, &c.volume_id)?;
        self.not_in_maintenance(at, "The volume cannot be detached")?;
        self.deletion_allowed(caller, novadb, &c.volume_id, c.attachment_id.as_ref())?;
        self.detach_row(facts, storage, at, c)
    }

    /// cinder-volume's `detach_volume`.
    pub(super) fn detach_row(
        &mut self,
        facts: &mut Facts,
        storage: &mut Storage,
        at: usize,
        c: &Detach,
    ) -> Result<(), Refusal> {
        let Some(row) = self.row_to_detach(c)? else {
            // Nothing to detach, but the status may have been left at detaching (cinder 1484194).
            self.finish_detach(facts, at, None);
            return Ok(());
        };
        if !self.volumes[at].multiattach {
            remove_export(facts, storage, &c.volume_id);
        }
        self.finish_detach(facts, at, Some(row));
        Ok(())
    }

    /// The row that os-detach means: the one that is named, or the only one.
    fn row_to_detach(&self, c: &Detach) -> Result<Option<usize>, Refusal> {
        let mut rows = self
            .attachments
            .iter()
            .enumerate()
            .filter(|(_, a)| a.volume_id == c.volume_id)
            .filter(|(_, a)| c.attachment_id.as_ref().is_none_or(|id| a.id == *id));
        let first = rows.next();
        if rows.next().is_some() {
            return Err(Refusal::http(
                400,
                // The API's own words for a remote error are for exceptions that are not cinder's:
                // a real cinder 28 answers with the exception's text (and its traceback).
                "Invalid volume: Detach volume failed: \
                 More than one attachment, but no attachment_id provided.",
            ));
        }
        Ok(first.map(|(at, _)| at))
    }

    /// Whether a volume's attachments show their hosts: cinder 28 keeps them from users.
    pub(crate) fn shows_host(&self, caller: &Caller) -> bool {
        self.release == CinderRelease::Ocata || caller.is_admin()
    }

    fn not_in_maintenance(&self, at: usize, what: &str) -> Result<(), Refusal> {
        if self.volumes[at].status == VolumeStatus::Maintenance {
            let message = format!("Invalid volume: {what} in maintenance mode.");
            return Err(Refusal::http(400, message));
        }
        Ok(())
    }
}

/// Cinder's answer to a microversion that it does not speak.
pub(crate) fn version_not_supported(asked: u16, max: u16) -> String {
    format!("Version 3.{asked} is not supported by the API. Minimum is 3.0 and maximum is 3.{max}.")
}

/// The iSCSI drivers' `validate_connector`: without an initiator there is nobody to map to.
pub(super) fn initiator_of(connector: &Connector) -> Result<&Iqn, Refusal> {
    connector.initiator.as_ref().ok_or_else(|| {
        Refusal::http(
            400,
            "Invalid input received: Connector doesn't have required information: initiator",
        )
    })
}

/// What the driver answers: where the initiator finds the volume. Nova adds the rest.
pub(super) fn connection_info(
    address: IscsiAddress,
    portals: Vec<Portal>,
    volume: &VolumeId,
) -> ConnectionInfo {
    let path = |portal| IscsiPath { portal, iqn: address.iqn.clone(), lun: address.lun.into() };
    let paths = portals.into_iter().map(path).collect();
    ConnectionInfo {
        driver_volume_type: "iscsi".to_owned(),
        data: IscsiData {
            target_portal: address.portal,
            target_iqn: address.iqn,
            target_lun: address.lun.into(),
            paths,
            volume_id: volume.clone(),
            device_path: None,
            encrypted: false,
            auth: None,
        },
        serial: None,
        connector: None,
        multiattach: false,
    }
}

/// The portals that the driver lists: all of them where there are several or the host asked for
/// multipath (`_get_iscsi_properties` of cinder's targets), else none.
pub(super) fn paths(storage: &Storage, connector: &Connector) -> Vec<Portal> {
    let several = storage.portals().nth(1).is_some();
    let listed = storage.lists_portals && (several || connector.multipath);
    if listed { storage.portals().cloned().collect() } else { Vec::new() }
}

/// The host that a connector names, for the row.
pub(super) fn host_of(connector: &Connector) -> Option<HostName> {
    Some(connector.host.clone()).filter(|host| !host.as_str().is_empty())
}

/// The driver deletes the target: whoever is still mapped loses the volume.
fn remove_export(facts: &mut Facts, storage: &mut Storage, volume: &VolumeId) {
    // Every turn removes one mapping, so there are no more turns than mappings.
    while let Some(initiator) =
        storage.mappings().iter().find(|m| m.volume == *volume).map(|m| m.initiator.clone())
    {
        if !storage.unmap(facts, volume, &initiator) {
            break;
        }
    }
}
