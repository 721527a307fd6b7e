//! Request bodies of nova-api, and what jsonschema says of a wrong one.
//!
//! Nova reports the first error it finds: of each property in the schema's order, then a missing
//! one, then one too many. Values are printed as Python prints them.

use castoff_ports::Refusal;
use castoff_ports::VolumeId;
use castoff_ports::nova::{AttachOptions, Microversion, ServerAction};
use serde_json::{Map, Value};

use crate::wire::python::{self, repr};

/// Microversions that added keys to the bodies of os-volume_attachments and lock.
const TAG: u16 = 49;
const DELETE_ON_TERMINATION: u16 = 79;
const UPDATE: u16 = 85;
const LOCKED_REASON: u16 = 73;

/// A PUT of os-volume_attachments.
pub(super) struct Update {
    pub(super) volume_id: VolumeId,
    pub(super) delete_on_termination: Option<bool>,
}

/// The body of a POST to os-volume_attachments.
pub(super) fn create(
    body: &[u8],
    Microversion(minor): Microversion,
) -> Result<(VolumeId, AttachOptions), Refusal> {
    let body = parse(body)?;
    let object = object_in(&body, "volumeAttachment")?;
    let id = volume_id(object)?;
    nullable_text(object, "device")?;
    let mut known = vec!["volumeId", "device"];
    let mut options = AttachOptions::default();
    if minor >= TAG {
        known.push("tag");
        options.tag = tag(object)?;
    }
    if minor >= DELETE_ON_TERMINATION {
        known.push("delete_on_termination");
        options.delete_on_termination = boolean(object, "delete_on_termination")?.unwrap_or(false);
    }
    let id = required("volumeAttachment", object, "volumeId", id)?;
    no_others("volumeAttachment", object, &known)?;
    Ok((id, options))
}

/// The body of a PUT to os-volume_attachments.
pub(super) fn update(body: &[u8], Microversion(minor): Microversion) -> Result<Update, Refusal> {
    let body = parse(body)?;
    let object = object_in(&body, "volumeAttachment")?;
    let id = volume_id(object)?;
    let mut known = vec!["volumeId"];
    let mut delete_on_termination = None;
    if minor >= UPDATE {
        known.extend(["device", "tag", "delete_on_termination", "serverId", "id"]);
        nullable_text(object, "device")?;
        tag(object)?;
        delete_on_termination = boolean(object, "delete_on_termination")?;
    }
    let volume_id = required("volumeAttachment", object, "volumeId", id)?;
    no_others("volumeAttachment", object, &known)?;
    Ok(Update { volume_id, delete_on_termination })
}

/// The body of a POST to a server's action.
pub(super) fn action(
    body: &[u8],
    Microversion(minor): Microversion,
) -> Result<ServerAction, Refusal> {
    // The action is looked for before any schema: its key must be the only one.
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else { return Err(malformed()) };
    let mut keys = body.iter();
    let (Some((name, args)), None) = (keys.next(), keys.next()) else { return Err(malformed()) };
    Ok(match name.as_str() {
        "lock" => ServerAction::Lock { reason: locked_reason(args, minor)? },
        "unlock" => ServerAction::Unlock,
        "pause" => ServerAction::Pause,
        "unpause" => ServerAction::Unpause,
        "suspend" => ServerAction::Suspend,
        "resume" => ServerAction::Resume,
        "os-stop" => ServerAction::Stop,
        "os-start" => ServerAction::Start,
        "shelve" => ServerAction::Shelve,
        "shelveOffload" => ServerAction::ShelveOffload,
        "unshelve" => ServerAction::Unshelve,
        "reboot" => {
            let object = inner("reboot", args)?;
            let text = choice(object, "type", &["HARD", "Hard", "hard", "SOFT", "Soft", "soft"])?;
            let text = required("reboot", object, "type", text)?;
            no_others("reboot", object, &["type"])?;
            ServerAction::Reboot { hard: text.eq_ignore_ascii_case("hard") }
        }
        "os-resetState" => {
            let object = inner("os-resetState", args)?;
            let text = choice(object, "state", &["active", "error"])?;
            let text = required("os-resetState", object, "state", text)?;
            no_others("os-resetState", object, &["state"])?;
            ServerAction::ResetState { active: text == "active" }
        }
        _ => return Err(Refusal::http(400, format!("There is no such action: {name}"))),
    })
}

fn locked_reason(args: &Value, minor: u16) -> Result<Option<String>, Refusal> {
    if minor < LOCKED_REASON || args.is_null() {
        return Ok(None);
    }
    let object = inner("lock", args)?;
    let reason = match object.get("locked_reason") {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => return Err(wrong_type("locked_reason", other, "string")),
    };
    no_others("lock", object, &["locked_reason"])?;
    Ok(reason)
}

fn parse(body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() {
        // No body reaches the schema as Python's None.
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|_| malformed())
}

fn malformed() -> Refusal {
    Refusal::http(400, "Malformed request body")
}

/// The one object of a body, `{"key": {…}}`.
fn object_in<'a>(body: &'a Value, key: &str) -> Result<&'a Map<String, Value>, Refusal> {
    let Value::Object(outer) = body else {
        return Err(Refusal::http(400, format!("{} is not of type 'object'", repr(body))));
    };
    let value = match outer.get(key) {
        None => return Err(Refusal::http(400, format!("'{key}' is a required property"))),
        Some(value) => value,
    };
    let object = inner(key, value)?;
    match outer.keys().find(|other| *other != key) {
        None => Ok(object),
        Some(other) => Err(Refusal::http(400, unexpected(other))),
    }
}

fn inner<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| wrong_type(key, value, "object"))
}

fn invalid(field: &str, value: &str, message: &str) -> Refusal {
    Refusal::http(
        400,
        format!("Invalid input for field/attribute {field}. Value: {value}. {message}"),
    )
}

fn wrong_type(field: &str, value: &Value, wanted: &str) -> Refusal {
    invalid(field, &python::str(value), &format!("{} is not of type '{wanted}'", repr(value)))
}

fn unexpected(key: &str) -> String {
    format!("Additional properties are not allowed ('{key}' was unexpected)")
}

fn required<T>(
    field: &str,
    object: &Map<String, Value>,
    key: &str,
    value: Option<T>,
) -> Result<T, Refusal> {
    let shown = || repr(&Value::Object(object.clone()));
    value.ok_or_else(|| invalid(field, &shown(), &format!("'{key}' is a required property")))
}

fn no_others(field: &str, object: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(invalid(field, &repr(&Value::Object(object.clone())), &unexpected(key))),
    }
}

fn volume_id(object: &Map<String, Value>) -> Result<Option<VolumeId>, Refusal> {
    match object.get("volumeId") {
        None => Ok(None),
        Some(Value::String(id)) if is_uuid(id) => Ok(Some(VolumeId::new(id))),
        Some(value @ Value::String(_)) => {
            let message = format!("{} is not a 'uuid'", repr(value));
            Err(invalid("volumeId", &python::str(value), &message))
        }
        Some(other) => Err(wrong_type("volumeId", other, "string")),
    }
}

/// oslo's is_uuid_like: hyphens are not asked for.
fn is_uuid(text: &str) -> bool {
    let digits = text.bytes().filter(|b| *b != b'-');
    let (mut count, mut hex) = (0, true);
    for digit in digits {
        count += 1;
        hex &= digit.is_ascii_hexdigit();
    }
    hex && count == 32
}

fn nullable_text(object: &Map<String, Value>, key: &str) -> Result<(), Refusal> {
    match object.get(key) {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(other) => {
            let message = format!("{} is not of type 'string', 'null'", repr(other));
            Err(invalid(key, &python::str(other), &message))
        }
    }
}

fn tag(object: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    match object.get("tag") {
        None => Ok(None),
        Some(Value::String(tag)) => Ok(Some(tag.clone())),
        Some(other) => Err(wrong_type("tag", other, "string")),
    }
}

/// oslo's strict booleans: also as words.
fn boolean(object: &Map<String, Value>, key: &str) -> Result<Option<bool>, Refusal> {
    match object.get(key) {
        None => Ok(None),
        Some(Value::Bool(b)) => Ok(Some(*b)),
        Some(Value::String(s)) if ["true", "1", "on", "yes"].contains(&&*s.to_lowercase()) => {
            Ok(Some(true))
        }
        Some(Value::String(s)) if ["false", "0", "off", "no"].contains(&&*s.to_lowercase()) => {
            Ok(Some(false))
        }
        Some(other) => {
            let message = format!(
                "{} is not one of [True, 'True', 'TRUE', 'true', '1', 'ON', 'On', 'on', 'YES', \
                 'Yes', 'yes', 'y', 't', False, 'False', 'FALSE', 'false', '0', 'OFF', 'Off', \
                 'off', 'NO', 'No', 'no', 'n', 'f']",
                repr(other)
            );
            Err(invalid(key, &python::str(other), &message))
        }
    }
}

fn choice<'a>(
    object: &'a Map<String, Value>,
    key: &str,
    known: &[&str],
) -> Result<Option<&'a str>, Refusal> {
    match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if known.contains(&text.as_str()) => Ok(Some(text)),
        Some(other) => {
            let known: Vec<String> = known.iter().map(|k| format!("'{k}'")).collect();
            let message = format!("{} is not one of [{}]", repr(other), known.join(", "));
            Err(invalid(key, &python::str(other), &message))
        }
    }
}
