//! os-volume_attachments as JSON, and back.

use castoff_ports::nova::{Microversion, VolumeAttachment};
use serde_json::{Value, json};

use crate::wire::volume::text;

/// Microversions from which on an attachment shows its tag, and its delete_on_termination.
const TAG: u16 = 70;
const DELETE_ON_TERMINATION: u16 = 79;

/// The answer to a POST: never with the attachment's own ids.
pub(super) fn created(minor: u16, row: &VolumeAttachment) -> Value {
    let mut body = common(minor, row);
    body["id"] = json!(row.volume_id);
    body
}

/// One row of a list, or a single attachment: from 2.89 on its ids replace `id`.
pub(super) fn shown(minor: u16, row: &VolumeAttachment) -> Value {
    let mut body = common(minor, row);
    if minor >= Microversion::ATTACHMENT_ID.0 {
        body["attachment_id"] = json!(row.attachment_id);
        // The row's uuid: the models number their rows.
        let id = row.bdm.map_or(0, |id| id.0);
        body["bdm_uuid"] = json!(format!("b10cde51-0000-4000-8000-{id:012x}"));
    } else {
        body["id"] = json!(row.volume_id);
    }
    body
}

fn common(minor: u16, row: &VolumeAttachment) -> Value {
    let mut body = json!({
        "volumeId": row.volume_id,
        "serverId": row.server_id,
    });
    // A device that has no name yet (a shelved server's) is left out.
    if let Some(device) = &row.device {
        body["device"] = json!(device);
    }
    if minor >= TAG {
        body["tag"] = json!(row.tag);
    }
    if minor >= DELETE_ON_TERMINATION {
        body["delete_on_termination"] = json!(row.delete_on_termination);
    }
    body
}

/// An attachment from a response body.
pub(super) fn decode(row: &Value) -> Option<VolumeAttachment> {
    let bdm = text(row, "bdm_uuid").and_then(|uuid| uuid.get(24..));
    Some(VolumeAttachment {
        volume_id: text(row, "volumeId")?.into(),
        server_id: text(row, "serverId")?.into(),
        device: text(row, "device").map(str::to_owned),
        attachment_id: text(row, "attachment_id").map(Into::into),
        bdm: bdm.and_then(|id| u32::from_str_radix(id, 16).ok()).map(castoff_ports::BdmId),
        tag: text(row, "tag").map(str::to_owned),
        delete_on_termination: row["delete_on_termination"].as_bool().unwrap_or_default(),
    })
}
