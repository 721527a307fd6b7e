//! Volumes, their types and cinder's services: what the API offers besides actions.

use castoff_ports::{Refusal, VolumeId};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::message::{empty, json as json_response};
use super::super::token::date;
use super::super::volume::{self, links, text};
use super::schema::{of_body, refused, required};
use super::{Answer, Cx, check_filters, ok};
use crate::World;
use crate::cinder::{Caller, NewVolume, VolumeRow, VolumeType};

/// Filters of a list that users may use.
const FILTERS: [&str; 10] = [
    "name",
    "status",
    "metadata",
    "bootable",
    "migration_status",
    "availability_zone",
    "group_id",
    "size",
    "created_at",
    "updated_at",
];

pub(super) fn list(world: &World, cx: &Cx, detail: bool) -> Answer {
    let caller = cx.caller(world)?;
    check_filters(world, cx, &caller, &FILTERS)?;
    let wanted = |row: &VolumeRow| {
        let of = |key, found: &str| cx.parameter(key).is_none_or(|wanted| wanted == found);
        of("name", row.about.name.as_deref().unwrap_or_default())
            && of("status", row.status_text())
            && of("bootable", if row.about.bootable { "true" } else { "false" })
            && of("size", &row.size.to_string())
            && of("availability_zone", volume::AVAILABILITY_ZONE)
    };
    let rows: Vec<Value> = world
        .cinder
        .volumes_for(&caller, cx.all_tenants())
        .filter(|row| wanted(row))
        .map(|row| match detail {
            true => volume::encode_extended(world, row, &caller, cx.minor),
            false => json!({
                "id": row.id,
                "name": row.about.name,
                "links": links(&caller.info.project_id, &row.id),
            }),
        })
        .collect();
    Ok(ok(&json!({"volumes": rows})))
}

pub(super) fn show(world: &World, cx: &Cx, id: &VolumeId) -> Answer {
    let caller = cx.caller(world)?;
    let row = world.cinder.volume_for(&caller, id)?;
    Ok(ok(&json!({"volume": volume::encode_extended(world, row, &caller, cx.minor)})))
}

pub(super) fn encryption(world: &World, cx: &Cx, id: &VolumeId) -> Answer {
    let found = world.cinder.encryption(&cx.caller(world)?, id)?;
    Ok(ok(&volume::encode_encryption(&found)))
}

pub(super) fn create(world: &mut World, cx: &Cx, body: &Value) -> Answer {
    let new = new_volume(of_body(body, "volume")?)?;
    let caller = world.cinder.admit(cx.now, &world.keystone, &cx.auth)?;
    let id = world.cinder.create_volume(&caller, new)?.id.clone();
    let row = world.cinder.volume_for(&caller, &id)?;
    // The extensions' fields (`os-vol-…`) come with the show only.
    let shown = volume::encode(world, row, &caller, cx.minor);
    Ok(json_response(StatusCode::ACCEPTED, &json!({"volume": shown})))
}

fn new_volume(args: &Value) -> Result<NewVolume, Refusal> {
    let size = match args.get("size") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let size = number.and_then(|n| u32::try_from(n).ok());
            Some(size.ok_or_else(|| {
                let rule = format!(
                    "{} is not valid under any of the given schemas",
                    super::super::python::repr(value)
                );
                refused("size", value, &rule)
            })?)
        }
    };
    let optional = |key| text(args, key).map(Into::into);
    let metadata = args.get("metadata").and_then(Value::as_object);
    let metadata = metadata.into_iter().flatten();
    Ok(NewVolume {
        size,
        name: optional("name").or_else(|| optional("display_name")),
        description: optional("description").or_else(|| optional("display_description")),
        volume_type: text(args, "volume_type").map(str::to_owned),
        metadata: metadata
            .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
            .collect(),
        multiattach: args.get("multiattach").and_then(Value::as_bool).unwrap_or(false),
    })
}

pub(super) fn delete(world: &mut World, cx: &Cx, id: &VolumeId) -> Answer {
    let caller = world.cinder.admit(cx.now, &world.keystone, &cx.auth)?;
    world.cinder.delete_volume(&mut world.facts, &caller, id)?;
    Ok(empty(StatusCode::ACCEPTED))
}

pub(super) fn types(world: &World, cx: &Cx) -> Answer {
    let caller = cx.caller(world)?;
    let rows: Vec<Value> = world.cinder.types().iter().map(|t| show_row(t, &caller)).collect();
    Ok(ok(&json!({"volume_types": rows})))
}

pub(super) fn show_type(world: &World, cx: &Cx, id: &str) -> Answer {
    let named = match id {
        // The type of a volume that names none.
        "default" => world.cinder.types().first(),
        id => world.cinder.types().iter().find(|t| *t.id == *id),
    };
    let row =
        named.ok_or_else(|| Refusal::http(404, format!("Volume type {id} could not be found.")))?;
    Ok(ok(&json!({"volume_type": show_row(row, &cx.caller(world)?)})))
}

pub(super) fn create_type(world: &mut World, cx: &Cx, body: &Value) -> Answer {
    let caller = cx.caller(world)?;
    caller.needs_admin("volume_extension:type_create")?;
    let args = of_body(body, "volume_type")?;
    let name = super::schema::text("name", required("volume_type", args, "name")?)?;
    let caller = world.cinder.admit(cx.now, &world.keystone, &cx.auth)?;
    let Some(made) = world.cinder.add_type(name) else {
        let message = format!("Volume Type {name} already exists.");
        return Err(Refusal::http(409, message));
    };
    Ok(ok(&json!({"volume_type": show_row(made, &caller)})))
}

fn show_row(row: &VolumeType, caller: &Caller) -> Value {
    let mut shown = json!({
        "id": row.id,
        "name": row.name,
        "is_public": true,
        "description": null,
        "extra_specs": Map::new(),
        "os-volume-type-access:is_public": true,
    });
    if caller.is_admin() {
        shown["qos_specs_id"] = Value::Null;
    }
    shown
}

pub(super) fn services(world: &World, cx: &Cx) -> Answer {
    const CLUSTER: u16 = 7;
    const BACKEND_STATE: u16 = 49;
    cx.caller(world)?.needs_admin("volume_extension:services:index")?;
    let service = |binary: &str, host: &str| {
        let mut service = json!({
            "binary": binary,
            "host": host,
            "zone": volume::AVAILABILITY_ZONE,
            "status": "enabled",
            "state": "up",
            "updated_at": date(cx.now).trim_end_matches('Z'),
            "disabled_reason": null,
        });
        if cx.minor >= CLUSTER {
            service["cluster"] = Value::Null;
        }
        service
    };
    let backend = &world.cinder.backend;
    let mut volume = service("cinder-volume", backend.host.as_str());
    volume["replication_status"] = json!("disabled");
    volume["active_backend_id"] = Value::Null;
    volume["frozen"] = json!(false);
    if cx.minor >= BACKEND_STATE {
        volume["backend_state"] = json!("up");
    }
    let scheduler = service("cinder-scheduler", backend.scheduler.as_str());
    Ok(ok(&json!({"services": [volume, scheduler]})))
}
