//! The attachments API: list, show, create, update, complete, delete.

use castoff_ports::cinder::{
    AttachmentComplete, AttachmentCreate, AttachmentDelete, AttachmentUpdate, Call, Reply,
};
use castoff_ports::{AttachmentId, Refusal, SimTime};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::message::empty;
use super::super::volume::{self, Shown, text};
use super::schema::{of_body, required, text as schema_text};
use super::{Answer, Cx, actions, check_filters, ok};
use crate::World;
use crate::cinder::{AttachMode, AttachmentRow};

/// Microversions that brought the attachments API, os-complete, and the mode of an attachment.
pub(super) const SINCE: u16 = 27;
pub(super) const COMPLETE: u16 = 44;
const MODE: u16 = 54;

/// Filters of a list that users may use.
const FILTERS: [&str; 4] = ["volume_id", "status", "instance_id", "attach_status"];

pub(super) fn list(world: &World, cx: &Cx, detail: bool) -> Answer {
    let caller = cx.caller(world)?;
    check_filters(world, cx, &caller, &FILTERS)?;
    let wanted = |row: &AttachmentRow| {
        let of = |key, found: &str| cx.parameter(key).is_none_or(|wanted| wanted == found);
        of("volume_id", row.volume_id.as_str())
            && of("instance_id", row.instance.as_str())
            && of("status", row.attach_status.as_str())
            && of("attach_status", row.attach_status.as_str())
    };
    let rows: Vec<Value> = world
        .cinder
        .volumes_for(&caller, cx.all_tenants())
        .flat_map(|volume| world.cinder.attachments_of(&volume.id))
        .filter(|row| wanted(row))
        .map(|row| match detail {
            true => volume::encode_attachment(&row.show(), &times(row)),
            false => volume::encode_summary(&row.show()),
        })
        .collect();
    Ok(ok(&json!({"attachments": rows})))
}

pub(super) fn show(world: &World, cx: &Cx, id: &AttachmentId) -> Answer {
    let row = world.cinder.attachment_for(&cx.caller(world)?, id)?;
    Ok(ok(&json!({"attachment": volume::encode_attachment(&row.show(), &times(row))})))
}

pub(super) fn create(world: &mut World, cx: &Cx, body: &Value) -> Answer {
    let args = of_body(body, "attachment")?;
    let volume_id = schema_text("volume_uuid", required("attachment", args, "volume_uuid")?)?;
    let call = Call::AttachmentCreate(AttachmentCreate {
        volume_id: volume_id.into(),
        // A row of no server is cinder's own; the schema does not ask for one.
        instance: text(args, "instance_uuid").unwrap_or_default().into(),
    });
    let Reply::AttachmentCreate(made) = cx.ask(world, call)? else {
        unreachable!("the reply is the call's own");
    };
    if cx.minor >= MODE
        && let Some(mode) = text(args, "mode").and_then(AttachMode::named)
    {
        world.cinder.choose_mode(&made.id, mode);
    }
    if let Some(connector) = args.get("connector").filter(|c| c.is_object()) {
        return connect(world, cx, made.id, connector);
    }
    let shown = shown(world, &made.id, None);
    Ok(ok(&json!({"attachment": volume::encode_attachment(&made, &shown)})))
}

pub(super) fn update(world: &mut World, cx: &Cx, id: AttachmentId, body: &Value) -> Answer {
    let args = of_body(body, "attachment")?;
    let connector = required("attachment", args, "connector")?;
    connect(world, cx, id, connector)
}

fn connect(world: &mut World, cx: &Cx, id: AttachmentId, connector: &Value) -> Answer {
    let before = world.cinder.attachment(&id).and_then(|row| row.attached_at);
    let call = Call::AttachmentUpdate(AttachmentUpdate {
        attachment_id: id,
        mountpoint: text(connector, "mountpoint").unwrap_or_default().to_owned(),
        connector: volume::decode_connector(connector),
    });
    let Reply::AttachmentUpdate(updated) = cx.ask(world, call)? else {
        unreachable!("the reply is the call's own");
    };
    // As it was before the driver's turn, like the rest of the reply.
    let shown = shown(world, &updated.id, before);
    Ok(ok(&json!({"attachment": volume::encode_attachment(&updated, &shown)})))
}

pub(super) fn read_action(body: &[u8]) -> Result<(), Refusal> {
    match actions::first(body)? {
        (name, _) if name == "os-complete" => Ok(()),
        (name, _) => Err(actions::no_such_action(&name)),
    }
}

pub(super) fn complete(world: &mut World, cx: &Cx, attachment_id: AttachmentId) -> Answer {
    cx.ask(world, Call::AttachmentComplete(AttachmentComplete { attachment_id }))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Answers with the attachments that the volume has left.
pub(super) fn delete(world: &mut World, cx: &Cx, attachment_id: AttachmentId) -> Answer {
    let volume = world.cinder.attachment(&attachment_id).map(|row| row.volume_id.clone());
    cx.ask(world, Call::AttachmentDelete(AttachmentDelete { attachment_id }))?;
    let rows: Vec<Value> = volume
        .iter()
        .flat_map(|volume| world.cinder.attachments_of(volume))
        .map(|row| volume::encode_summary(&row.show()))
        .collect();
    Ok(ok(&json!({"attachments": rows})))
}

fn times(row: &AttachmentRow) -> Shown {
    Shown { attached_at: row.attached_at, mode: row.attach_mode }
}

fn shown(world: &World, id: &AttachmentId, attached_at: Option<SimTime>) -> Shown {
    let mode = world.cinder.attachment(id).map_or(AttachMode::Null, |row| row.attach_mode);
    Shown { attached_at, mode }
}
