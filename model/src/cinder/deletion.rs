//! Who may take away an attachment that nova uses: cinder's answer to CVE-2023-2088.
//!
//! A user who deleted the attachment of a running server had the volume unmapped under it, and
//! the host's leftover device then reached whatever volume got the LUN next. Since then only nova
//! itself may, and it shows that it is nova with a service token (cinder 2004555).

use castoff_ports::{AttachmentId, Refusal, VolumeId};

use super::{Caller, Cinder};
use crate::novadb::NovaDb;
use crate::release::CinderRelease;

impl Cinder {
    /// `attachment_deletion_allowed`: of a named attachment, or of whatever a volume has.
    ///
    /// Nova is asked through its API in truth; its database gives the same answer here.
    pub(super) fn deletion_allowed(
        &self,
        caller: &Caller,
        novadb: &NovaDb,
        volume: &VolumeId,
        attachment: Option<&AttachmentId>,
    ) -> Result<(), Refusal> {
        let unchecked = !self.fixes.attachment_deletion_checked;
        if self.release == CinderRelease::Ocata || caller.service || unchecked {
            return Ok(());
        }
        let row = match attachment {
            Some(id) => self.attachment(id),
            None => {
                let mut rows = self.rows_of(volume);
                match (rows.next(), rows.next()) {
                    (None, _) => return Ok(()),
                    (only, None) => only,
                    (Some(_), Some(_)) => None,
                }
            }
        };
        // Nobody knows which server it would be: cinder refuses, and names none.
        let Some(row) = row else {
            return Err(conflict(""));
        };
        if row.volume_id != *volume {
            return Err(Refusal::http(
                400,
                "Invalid input received: Mismatched volume and attachment",
            ));
        }
        // Never connected: no host can have a device of it.
        if row.connection_info.is_none() {
            return Ok(());
        }
        // Nova says it does not have it, or has it by another attachment: a leftover.
        let in_use = novadb
            .bdm(volume, &row.instance)
            .is_some_and(|bdm| bdm.attachment_id.as_ref() == Some(&row.id));
        match in_use {
            true => Err(conflict(row.instance.as_str())),
            false => Ok(()),
        }
    }
}

fn conflict(instance: &str) -> Refusal {
    Refusal::http(
        409,
        format!(
            "ConflictNovaUsingAttachment: Detach volume from instance {instance} using the \
             Compute API"
        ),
    )
}
