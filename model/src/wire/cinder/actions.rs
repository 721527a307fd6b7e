//! `POST /volumes/{id}/action`: the body's first key names the action.

use castoff_ports::cinder::{
    Attach, AttachStatus, BeginDetaching, Call, Detach, InitializeConnection, Reply, Reserve,
    RollDetaching, TerminateConnection, Unreserve, VolumeStatus,
};
use castoff_ports::{AttachmentId, Refusal, VolumeId};
use http::StatusCode;
use serde_json::Value;

use super::super::message::empty;
use super::super::volume::{self, text};
use super::schema::{self, refused, required};
use super::{Answer, Cx, malformed, ok};
use crate::World;
use crate::cinder::AttachMode;

/// Every action that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    BeginDetaching,
    RollDetaching,
    Reserve,
    Unreserve,
    InitializeConnection,
    TerminateConnection,
    Attach,
    Detach,
    ForceDetach,
    ResetStatus,
    SetBootable,
}

const ACTIONS: [(&str, Action); 11] = [
    ("os-begin_detaching", Action::BeginDetaching),
    ("os-roll_detaching", Action::RollDetaching),
    ("os-reserve", Action::Reserve),
    ("os-unreserve", Action::Unreserve),
    ("os-initialize_connection", Action::InitializeConnection),
    ("os-terminate_connection", Action::TerminateConnection),
    ("os-attach", Action::Attach),
    ("os-detach", Action::Detach),
    ("os-force_detach", Action::ForceDetach),
    ("os-reset_status", Action::ResetStatus),
    ("os-set_bootable", Action::SetBootable),
];

impl Action {
    fn name(self) -> &'static str {
        let known = ACTIONS.iter().find(|(_, action)| *action == self);
        known.map_or("", |(name, _)| name)
    }
}

/// The action that a body names and its arguments.
pub(super) fn read(body: &[u8]) -> Result<(Action, Value), Refusal> {
    let (name, args) = first(body)?;
    let known = ACTIONS.iter().find(|(known, _)| *known == name);
    let (_, action) = known.ok_or_else(|| no_such_action(&name))?;
    Ok((*action, args))
}

/// The first key of a body and its value.
pub(super) fn first(body: &[u8]) -> Result<(String, Value), Refusal> {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return Err(malformed());
    };
    object.into_iter().next().ok_or_else(malformed)
}

pub(super) fn no_such_action(name: &str) -> Refusal {
    Refusal::http(
        400,
        format!(
            "There is no such action: {name}. Verify the request body and Content-Type header \
             and try again."
        ),
    )
}

/// Carries out an action on a volume.
pub(super) fn volume(
    world: &mut World,
    cx: &Cx,
    volume_id: VolumeId,
    action: Action,
    args: &Value,
) -> Answer {
    let field = action.name();
    let connector = || required(field, args, "connector").map(volume::decode_connector);
    let call = match action {
        Action::BeginDetaching => Call::BeginDetaching(BeginDetaching { volume_id }),
        Action::RollDetaching => Call::RollDetaching(RollDetaching { volume_id }),
        Action::Reserve => Call::Reserve(Reserve { volume_id }),
        Action::Unreserve => Call::Unreserve(Unreserve { volume_id }),
        Action::InitializeConnection => {
            let connector = connector()?;
            Call::InitializeConnection(InitializeConnection { volume_id, connector })
        }
        Action::TerminateConnection => {
            let connector = connector()?;
            Call::TerminateConnection(TerminateConnection { volume_id, connector })
        }
        Action::Attach => return attach(world, cx, volume_id, args),
        Action::Detach => Call::Detach(Detach { volume_id, attachment_id: attachment_id(args) }),
        Action::ForceDetach => return force_detach(world, cx, volume_id, args),
        Action::ResetStatus => return reset_status(world, cx, &volume_id, args),
        Action::SetBootable => return set_bootable(world, cx, &volume_id, args),
    };
    match cx.ask(world, call)? {
        Reply::InitializeConnection(info) => Ok(ok(&volume::encode_connection_info(&info))),
        _ => Ok(empty(StatusCode::ACCEPTED)),
    }
}

fn attachment_id(args: &Value) -> Option<AttachmentId> {
    text(args, "attachment_id").map(AttachmentId::new)
}

fn attach(world: &mut World, cx: &Cx, volume_id: VolumeId, args: &Value) -> Answer {
    let field = Action::Attach.name();
    let mountpoint = schema::text("mountpoint", required(field, args, "mountpoint")?)?;
    let instance = schema::text("instance_uuid", required(field, args, "instance_uuid")?)?;
    let mode = match args.get("mode") {
        None => AttachMode::Rw,
        Some(mode) => mode.as_str().and_then(AttachMode::named).ok_or_else(|| {
            let rule = format!("{} is not one of ['rw', 'ro']", super::super::python::repr(mode));
            refused("mode", mode, &rule)
        })?,
    };
    let call = Attach { volume_id, instance: instance.into(), mountpoint: mountpoint.to_owned() };
    // The operation of the ports knows one mode only.
    if mode == AttachMode::Rw {
        cx.ask(world, Call::Attach(call))?;
    } else {
        let caller = world.cinder.admit(cx.now, &world.keystone, &cx.auth)?;
        world.cinder.attach(&mut world.facts, &caller, call, mode)?;
    }
    Ok(empty(StatusCode::ACCEPTED))
}

fn force_detach(world: &mut World, cx: &Cx, volume_id: VolumeId, args: &Value) -> Answer {
    let connector = args.get("connector").filter(|c| c.is_object()).map(volume::decode_connector);
    let call = Detach { volume_id, attachment_id: attachment_id(args) };
    let caller = world.cinder.admit(cx.now, &world.keystone, &cx.auth)?;
    let (facts, storage, novadb) = (&mut world.facts, &mut world.storage, &world.novadb);
    world.cinder.force_detach(facts, storage, novadb, &caller, connector.as_ref(), &call)?;
    Ok(empty(StatusCode::ACCEPTED))
}

fn reset_status(world: &mut World, cx: &Cx, id: &VolumeId, args: &Value) -> Answer {
    // Statuses that no attach or detach touches are not among the model's.
    const STATUSES: [VolumeStatus; 6] = [
        VolumeStatus::Available,
        VolumeStatus::Error,
        VolumeStatus::Attaching,
        VolumeStatus::InUse,
        VolumeStatus::Detaching,
        VolumeStatus::Maintenance,
    ];
    const ATTACH_STATUSES: [AttachStatus; 2] = [AttachStatus::Attached, AttachStatus::Detached];
    let status = one_of(args, "status", &STATUSES, VolumeStatus::as_str)?;
    let attach = one_of(args, "attach_status", &ATTACH_STATUSES, AttachStatus::as_str)?;
    let caller = world.cinder.admit(cx.now, &world.keystone, &cx.auth)?;
    world.cinder.reset_status(&mut world.facts, &caller, id, status, attach)?;
    Ok(empty(StatusCode::ACCEPTED))
}

fn one_of<T: Copy>(
    args: &Value,
    key: &str,
    known: &[T],
    name: fn(T) -> &'static str,
) -> Result<Option<T>, Refusal> {
    let Some(value) = args.get(key).filter(|v| !v.is_null()) else {
        return Ok(None);
    };
    let found = known.iter().find(|k| value.as_str().is_some_and(|v| v == name(**k)));
    found.copied().map(Some).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|k| name(*k)).collect();
        let names = super::super::python::repr(&Value::from(names));
        let value_text = super::super::python::repr(value);
        refused(key, value, &format!("{value_text} is not one of {names}"))
    })
}

fn set_bootable(world: &mut World, cx: &Cx, id: &VolumeId, args: &Value) -> Answer {
    let value = required(Action::SetBootable.name(), args, "bootable")?;
    let bootable = match value {
        Value::Bool(bootable) => *bootable,
        Value::String(text) => matches!(text.to_lowercase().as_str(), "true" | "1" | "yes"),
        other => other.as_i64() == Some(1),
    };
    let caller = world.cinder.admit(cx.now, &world.keystone, &cx.auth)?;
    world.cinder.set_bootable(&caller, id, bootable)?;
    Ok(empty(StatusCode::OK))
}
