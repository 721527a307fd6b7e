//! Cinder's values as JSON: volumes, attachments, connectors and connection_info.

use castoff_ports::cinder::{
    AttachStatus, Attachment, AttachmentSummary, Chap, ConnectionInfo, Connector, Encryption,
    IscsiData, IscsiPath, TargetLun, Volume, VolumeAttachmentRow, VolumeStatus,
};
use castoff_ports::{Lun, ProjectId, Secret, SimTime, VolumeId};
use serde_json::{Map, Value, json};

use super::message::CINDER;
use super::token::date;
use crate::World;
use crate::cinder::rows::{About, Work};
use crate::cinder::{AttachMode, AttachmentRow, Caller, SERVICE_UUID, VolumeRow};

/// The one availability zone.
pub(super) const AVAILABILITY_ZONE: &str = "nova";

/// A volume as `GET /volumes/{id}` shows it at microversion `3.minor`: with the extensions' fields.
pub(super) fn encode_extended(
    world: &World,
    row: &VolumeRow,
    caller: &Caller,
    minor: u16,
) -> Value {
    let mut body = encode(world, row, caller, minor);
    body["os-vol-tenant-attr:tenant_id"] = json!(owner(row, caller));
    if caller.is_admin() {
        let backend = &world.cinder.backend;
        body["os-vol-mig-status-attr:migstat"] = Value::Null;
        body["os-vol-mig-status-attr:name_id"] = Value::Null;
        body["os-vol-host-attr:host"] = json!(format!("{}#{}", backend.host, backend.pool));
    }
    body
}

/// A volume as `POST /volumes` answers.
pub(super) fn encode(world: &World, row: &VolumeRow, caller: &Caller, minor: u16) -> Value {
    let about = &row.about;
    let creating = matches!(about.work, Some(Work::Creating(_)));
    let volume_type = &world.cinder.types()[about.volume_type];
    let mut body = json!({
        "id": row.id,
        "status": row.status_text(),
        "size": row.size,
        "availability_zone": AVAILABILITY_ZONE,
        "created_at": moment(about.created_at),
        "updated_at": about.updated_at.map(moment),
        "name": about.name,
        "description": about.description,
        "volume_type": volume_type.name,
        "snapshot_id": null,
        "source_volid": null,
        "metadata": metadata(about),
        "links": links(&caller.info.project_id, &row.id),
        "user_id": about.user.as_ref().unwrap_or(&caller.info.user_id),
        "bootable": if about.bootable { "true" } else { "false" },
        "encrypted": row.encrypted,
        "replication_status": null,
        "consistencygroup_id": null,
        "multiattach": row.multiattach,
        "attachments": attachments(world, row, caller),
    });
    let admin = caller.is_admin();
    // The microversion from which on each field is shown, and whether to admins only. A row has
    // its service, and knows of its target, once cinder-volume is done with it.
    let later = [
        (0, true, "migration_status", Value::Null),
        (13, false, "group_id", Value::Null),
        (21, true, "provider_id", Value::Null),
        (48, false, "shared_targets", json!(creating || world.storage.shared_target)),
        (48, false, "service_uuid", json!((!creating).then_some(SERVICE_UUID))),
        (61, true, "cluster_name", Value::Null),
        (63, false, "volume_type_id", json!(volume_type.id)),
        (65, false, "consumes_quota", json!(true)),
    ];
    for (since, for_admins, key, value) in later {
        if minor >= since && (admin || !for_admins) {
            body[key] = value;
        }
    }
    body
}

/// Whose a volume is; whoever asks, when it is everybody's.
fn owner<'a>(row: &'a VolumeRow, caller: &'a Caller) -> &'a ProjectId {
    row.project.as_ref().unwrap_or(&caller.info.project_id)
}

/// The user's metadata with the admin metadata that everybody sees.
fn metadata(about: &About) -> Value {
    let mut shown = json!(about.metadata);
    if about.readonly {
        shown["readonly"] = json!("False");
    }
    if let Some(mode) = about.attached_mode {
        shown["attached_mode"] = json!(mode.as_str());
    }
    shown
}

fn attachments(world: &World, row: &VolumeRow, caller: &Caller) -> Value {
    let shows_host = world.cinder.shows_host(caller);
    let attached = world
        .cinder
        .attachments_of(&row.id)
        .filter(|attachment| attachment.attach_status == AttachStatus::Attached);
    let show = |attachment: &AttachmentRow| {
        json!({
            "id": row.id,
            "attachment_id": attachment.id,
            "volume_id": row.id,
            "server_id": attachment.instance,
            "host_name": attachment.host.as_ref().filter(|_| shows_host),
            "device": attachment.mountpoint,
            "attached_at": attachment.attached_at.map(moment),
        })
    };
    Value::Array(attached.map(show).collect())
}

/// Where a volume is found.
pub(super) fn links(project: &ProjectId, id: &VolumeId) -> Value {
    json!([
        {"rel": "self", "href": format!("{CINDER}/v3/{project}/volumes/{id}")},
        {"rel": "bookmark", "href": format!("{CINDER}/{project}/volumes/{id}")},
    ])
}

/// A row's time as cinder writes it: without a zone.
fn moment(time: SimTime) -> String {
    let mut text = date(time);
    text.pop();
    text
}

/// A volume from a response body.
pub(super) fn decode(body: &Value) -> Option<Volume> {
    let volume = body.get("volume")?;
    let attachments = volume.get("attachments")?.as_array()?.iter();
    Some(Volume {
        id: text(volume, "id")?.into(),
        status: status(text(volume, "status")?)?,
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

fn status(text: &str) -> Option<VolumeStatus> {
    match text {
        // The ports know no `creating`: to nova it is one more status that admits nothing.
        "creating" => Some(VolumeStatus::Deleting),
        text => serde_json::from_value(json!(text)).ok(),
    }
}

/// What an attachment shows besides what the ports know of it.
pub(super) struct Shown {
    pub(super) attached_at: Option<SimTime>,
    pub(super) mode: AttachMode,
}

/// An attachment in detail, as show, create and update answer.
pub(super) fn encode_attachment(attachment: &Attachment, shown: &Shown) -> Value {
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
    body["attached_at"] = json!(shown.attached_at.map(moment).unwrap_or_default());
    body["detached_at"] = json!("");
    body["attach_mode"] = json!(shown.mode.as_str());
    body["connection_info"] = info;
    body
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

/// An attachment from a list.
pub(super) fn decode_summary(row: &Value) -> Option<AttachmentSummary> {
    Some(AttachmentSummary {
        id: text(row, "id")?.into(),
        volume_id: text(row, "volume_id")?.into(),
        instance: text(row, "instance")?.into(),
    })
}

/// Encryption metadata: a volume that is not encrypted has but an absent key.
pub(super) fn encode_encryption(encryption: &Encryption) -> Value {
    let mut body = json!({"encryption_key_id": encryption.encryption_key_id});
    if encryption.provider.is_some() {
        body["provider"] = json!(encryption.provider);
        body["cipher"] = json!(encryption.cipher);
        body["key_size"] = json!(encryption.key_size);
        body["control_location"] = json!(encryption.control_location);
    }
    body
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

pub(super) fn connection_info(info: &Value, data: &Value) -> Option<ConnectionInfo> {
    Some(ConnectionInfo {
        driver_volume_type: text(info, "driver_volume_type")?.to_owned(),
        data: IscsiData {
            target_portal: text(data, "target_portal")?.into(),
            target_iqn: text(data, "target_iqn")?.into(),
            target_lun: lun(data.get("target_lun")?)?,
            paths: paths(data)?,
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

/// `target_portals`, `target_iqns` and `target_luns`: absent, or three lists of one length.
fn paths(data: &Value) -> Option<Vec<IscsiPath>> {
    let list = |key: &str| data.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (portals, iqns, luns) = (list("target_portals"), list("target_iqns"), list("target_luns"));
    let path = |((portal, iqn), number): ((&Value, &Value), &Value)| {
        let lun = lun(number)?;
        Some(IscsiPath { portal: portal.as_str()?.into(), iqn: iqn.as_str()?.into(), lun })
    };
    portals.iter().zip(iqns).zip(luns).map(path).collect()
}

/// A number, or the text that some drivers make of it.
fn lun(value: &Value) -> Option<TargetLun> {
    match value {
        Value::String(text) => Some(TargetLun::Text(text.clone())),
        number => Some(TargetLun::Number(Lun(u32::try_from(number.as_u64()?).ok()?))),
    }
}

fn chap(data: &Value) -> Option<Chap> {
    Some(Chap {
        username: text(data, "auth_username")?.to_owned(),
        password: Secret::new(text(data, "auth_password")?),
    })
}

pub(super) fn encode_data(data: &IscsiData) -> Value {
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
    if !data.paths.is_empty() {
        let each = |value: fn(&IscsiPath) -> Value| data.paths.iter().map(value).collect::<Value>();
        body["target_portals"] = each(|p| json!(p.portal));
        body["target_iqns"] = each(|p| json!(p.iqn));
        body["target_luns"] = each(|p| json!(p.lun));
    }
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

pub(super) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}
