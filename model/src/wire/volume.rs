//! Cinder's values as JSON: volumes, attachments, connectors and connection_info.

use castoff_ports::cinder::{
    Attachment, Chap, ConnectionInfo, Connector, IscsiData, Volume, VolumeAttachmentRow,
};
use castoff_ports::{Lun, ProjectId, Secret};
use serde_json::{Map, Value, json};

use super::token::date;
use castoff_ports::SimTime;

/// A volume as `GET /volumes/{id}` shows it at microversion `3.minor`.
pub(super) fn encode(volume: &Volume, project: &ProjectId, minor: u16) -> Value {
    let (id, project) = (volume.id.as_str(), project.as_str());
    // The model keeps no times of rows: everything happened when the run began.
    let began = date(SimTime::ZERO);
    let began = began.trim_end_matches('Z');
    let attachments: Vec<Value> = volume
        .attachments
        .iter()
        .map(|row| {
            json!({
                "id": id,
                "attachment_id": row.attachment_id,
                "volume_id": id,
                "server_id": row.server_id,
                "host_name": row.host_name,
                "device": row.device,
                "attached_at": began,
            })
        })
        .collect();
    let link = |rel: &str, path: String| json!({"rel": rel, "href": path});
    let mut body = json!({
        "id": id,
        "status": volume.status.as_str(),
        "size": volume.size,
        "availability_zone": "nova",
        "created_at": began,
        "updated_at": began,
        "name": id,
        "description": null,
        "volume_type": "lvm",
        "snapshot_id": null,
        "source_volid": null,
        "metadata": {},
        "links": [
            link("self", format!("http://cinder:8776/v3/{project}/volumes/{id}")),
            link("bookmark", format!("http://cinder:8776/{project}/volumes/{id}")),
        ],
        "user_id": project,
        "bootable": "false",
        "encrypted": false,
        "replication_status": null,
        "consistencygroup_id": null,
        "multiattach": volume.multiattach,
        "attachments": attachments,
        "migration_status": null,
        "os-vol-tenant-attr:tenant_id": project,
        "os-vol-mig-status-attr:migstat": null,
        "os-vol-mig-status-attr:name_id": null,
        "os-vol-host-attr:host": "cinder@lvm#lvm",
    });
    // The microversion from which on each field is shown.
    let later = [
        (13, "group_id", Value::Null),
        (21, "provider_id", Value::Null),
        (48, "shared_targets", json!(volume.shared_targets)),
        (48, "service_uuid", json!(volume.service_uuid)),
        (61, "cluster_name", Value::Null),
        (63, "volume_type_id", json!("00000000-0000-4000-8000-000000000001")),
        (65, "consumes_quota", json!(true)),
    ];
    for (since, key, value) in later {
        if minor >= since {
            body[key] = value;
        }
    }
    json!({"volume": body})
}

/// A volume from a response body.
pub(super) fn decode(body: &Value) -> Option<Volume> {
    let volume = body.get("volume")?;
    let attachments = volume.get("attachments")?.as_array()?.iter();
    Some(Volume {
        id: text(volume, "id")?.into(),
        status: serde_json::from_value(volume.get("status")?.clone()).ok()?,
        size: u32::try_from(volume.get("size")?.as_u64()?).ok()?,
        multiattach: flag(volume, "multiattach"),
        attachments: attachments
            .map(|row| {
                Some(VolumeAttachmentRow {
                    server_id: text(row, "server_id")?.into(),
                    attachment_id: text(row, "attachment_id")?.into(),
                    host_name: text(row, "host_name").map(Into::into),
                    device: text(row, "device").map(str::to_owned),
                })
            })
            .collect::<Option<_>>()?,
        shared_targets: volume.get("shared_targets").and_then(Value::as_bool),
        service_uuid: text(volume, "service_uuid").map(str::to_owned),
    })
}

/// An attachment in detail, as create and update answer.
pub(super) fn encode_attachment(attachment: &Attachment) -> Value {
    let info = match &attachment.connection_info {
        None => json!({}),
        // Flat, unlike os-initialize_connection's.
        Some(info) => {
            let mut flat = encode_data(&info.data);
            flat["driver_volume_type"] = json!(info.driver_volume_type);
            flat["attachment_id"] = json!(attachment.id);
            flat
        }
    };
    let mut body = encode_summary(attachment);
    body["attached_at"] = json!("");
    body["detached_at"] = json!("");
    body["attach_mode"] = json!("rw");
    body["connection_info"] = info;
    json!({"attachment": body})
}

/// An attachment as lists show it.
pub(super) fn encode_summary(attachment: &Attachment) -> Value {
    json!({
        "id": attachment.id,
        "status": attachment.status.as_str(),
        "instance": attachment.instance,
        "volume_id": attachment.volume_id,
    })
}

/// An attachment from a response body.
pub(super) fn decode_attachment(body: &Value) -> Option<Attachment> {
    let attachment = body.get("attachment")?;
    let info = attachment.get("connection_info")?;
    Some(Attachment {
        id: text(attachment, "id")?.into(),
        volume_id: text(attachment, "volume_id")?.into(),
        instance: text(attachment, "instance")?.into(),
        status: serde_json::from_value(attachment.get("status")?.clone()).ok()?,
        connection_info: match info.as_object().is_none_or(Map::is_empty) {
            true => None,
            false => Some(connection_info(info, info)?),
        },
    })
}

/// os-initialize_connection's answer.
pub(super) fn encode_connection_info(info: &ConnectionInfo) -> Value {
    json!({"connection_info": {
        "driver_volume_type": info.driver_volume_type,
        "data": encode_data(&info.data),
        "enforce_multipath": false,
    }})
}

/// connection_info from os-initialize_connection's answer.
pub(super) fn decode_connection_info(body: &Value) -> Option<ConnectionInfo> {
    let info = body.get("connection_info")?;
    connection_info(info, info.get("data")?)
}

fn connection_info(info: &Value, data: &Value) -> Option<ConnectionInfo> {
    Some(ConnectionInfo {
        driver_volume_type: text(info, "driver_volume_type")?.to_owned(),
        data: IscsiData {
            target_portal: text(data, "target_portal")?.into(),
            target_iqn: text(data, "target_iqn")?.into(),
            target_lun: Lun(u32::try_from(data.get("target_lun")?.as_u64()?).ok()?),
            volume_id: text(data, "volume_id")?.into(),
            device_path: text(data, "device_path").map(str::to_owned),
            encrypted: flag(data, "encrypted"),
            auth: chap(data),
        },
        // These three are nova's own additions, in its database.
        serial: None,
        connector: None,
        multiattach: false,
    })
}

fn chap(data: &Value) -> Option<Chap> {
    Some(Chap {
        username: text(data, "auth_username")?.to_owned(),
        password: Secret::new(text(data, "auth_password")?),
    })
}

fn encode_data(data: &IscsiData) -> Value {
    let mut body = json!({
        "access_mode": "rw",
        "target_discovered": false,
        "target_portal": data.target_portal,
        "target_iqn": data.target_iqn,
        "target_lun": data.target_lun,
        "volume_id": data.volume_id,
        "encrypted": data.encrypted,
        "qos_specs": null,
        "discard": false,
        "cacheable": false,
        "enforce_multipath": false,
    });
    if let Some(auth) = &data.auth {
        body["auth_method"] = json!("CHAP");
        body["auth_username"] = json!(auth.username);
        body["auth_password"] = json!(auth.password.reveal());
    }
    body
}

/// A connector as os-brick makes it.
pub(super) fn encode_connector(connector: &Connector) -> Value {
    json!({
        "ip": connector.ip,
        "host": connector.host,
        "initiator": connector.initiator,
        "multipath": connector.multipath,
        "platform": "x86_64",
        "os_type": "linux",
    })
}

/// A connector from a request body. Cinder leaves it to the driver what must be in it.
pub(super) fn decode_connector(connector: &Value) -> Connector {
    Connector {
        ip: text(connector, "ip").unwrap_or_default().to_owned(),
        host: text(connector, "host").unwrap_or_default().into(),
        initiator: text(connector, "initiator").map(Into::into),
        multipath: flag(connector, "multipath"),
    }
}

pub(super) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}
