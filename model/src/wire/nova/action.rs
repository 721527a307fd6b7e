//! os-instance-actions as JSON, and back.

use castoff_ports::nova::{ActionEvent, InstanceAction};
use castoff_ports::novadb::EventResult;
use castoff_ports::{RequestId, SimTime};
use serde_json::{Value, json};

use crate::wire::message::parse_request_id;
use crate::wire::token::{date, parse_date};
use crate::wire::volume::text;

/// Microversions from which on events are shown to everybody, and updated_at.
const EVENTS: u16 = 51;
const UPDATED_AT: u16 = 58;
/// Microversions from which on an event has its host's id, and its details.
const HOST_ID: u16 = 62;
const DETAILS: u16 = 84;

/// One row of the list. user_id and project_id are left out: the models' rows have neither.
pub(super) fn listed(minor: u16, row: &InstanceAction) -> Value {
    let mut body = json!({
        "action": row.action,
        "request_id": row.request_id.to_string(),
        "message": row.message,
        "start_time": time(row.start_time),
    });
    if minor >= UPDATED_AT {
        body["updated_at"] = json!(time(row.updated_at));
    }
    body
}

/// One action with its events.
pub(super) fn shown(minor: u16, row: &InstanceAction) -> Value {
    let mut body = listed(minor, row);
    if minor >= EVENTS {
        let events: Vec<Value> = row.events.iter().map(|e| event(minor, e)).collect();
        body["events"] = json!(events);
    }
    body
}

fn event(minor: u16, row: &ActionEvent) -> Value {
    let result = row.result.map(|result| match result {
        EventResult::Success => "Success",
        EventResult::Error => "Error",
    });
    let mut body = json!({
        "event": row.event,
        "start_time": time(row.start_time),
        "finish_time": row.finish_time.map(time),
        "result": result,
    });
    if minor >= HOST_ID {
        body["hostId"] = json!("");
    }
    if minor >= DETAILS {
        body["details"] = Value::Null;
    }
    body
}

/// Times of nova's rows have no zone.
fn time(at: SimTime) -> String {
    date(at).trim_end_matches('Z').to_owned()
}

/// An action from a response body.
pub(super) fn decode(row: &Value) -> Option<InstanceAction> {
    let start_time = parse_date(text(row, "start_time")?)?;
    let events = row["events"].as_array().map(|rows| rows.iter().map(decode_event).collect());
    Some(InstanceAction {
        action: text(row, "action")?.to_owned(),
        // A request that was not one of ours has no number.
        request_id: parse_request_id(text(row, "request_id")?).unwrap_or(RequestId(0)),
        message: text(row, "message").map(str::to_owned),
        start_time,
        updated_at: text(row, "updated_at").and_then(parse_date).unwrap_or(start_time),
        events: events.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

fn decode_event(row: &Value) -> Option<ActionEvent> {
    Some(ActionEvent {
        event: text(row, "event")?.to_owned(),
        start_time: parse_date(text(row, "start_time")?)?,
        finish_time: text(row, "finish_time").and_then(parse_date),
        result: match text(row, "result") {
            Some("Success") => Some(EventResult::Success),
            Some("Error") => Some(EventResult::Error),
            _ => None,
        },
    })
}
