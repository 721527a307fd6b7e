//! What a client sends to nova-api, and what it makes of the answers.

use castoff_ports::InstanceId;
use castoff_ports::nova::{Call, Microversion, Reply, ServerAction};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{action, attachment};
use crate::wire::client::Parts;

/// The request for a call; none for what no client of ours asks.
pub(crate) fn encode(call: &Call) -> Option<Parts> {
    let version = |Microversion(minor): Microversion| format!("compute 2.{minor}");
    let newest = version(Microversion::ATTACHMENT_ID);
    let server = |server: &InstanceId, rest: &str| format!("/v2.1/servers/{server}/{rest}");
    let attachments = |id: &InstanceId| server(id, "os-volume_attachments");
    Some(match call {
        Call::DeleteVolumeAttachment(c) => {
            let path = format!("{}/{}", attachments(&c.server_id), c.volume_id);
            Parts::new(Method::DELETE, path).version(&version(c.microversion))
        }
        Call::CreateVolumeAttachment(c) => {
            let mut body = json!({"volumeId": c.volume_id});
            if let Some(tag) = &c.options.tag {
                body["tag"] = json!(tag);
            }
            if c.options.delete_on_termination {
                body["delete_on_termination"] = json!(true);
            }
            Parts::new(Method::POST, attachments(&c.server_id))
                .version(&version(c.microversion))
                .body(json!({"volumeAttachment": body}))
        }
        Call::UpdateVolumeAttachment(c) => {
            let mut body = json!({"volumeId": c.new_volume_id});
            if let Some(delete) = c.delete_on_termination {
                body["delete_on_termination"] = json!(delete);
            }
            let path = format!("{}/{}", attachments(&c.server_id), c.volume_id);
            Parts::new(Method::PUT, path)
                .version(&version(c.microversion))
                .body(json!({"volumeAttachment": body}))
        }
        Call::ListVolumeAttachments(c) => {
            Parts::new(Method::GET, attachments(&c.server_id)).version(&newest)
        }
        Call::ShowVolumeAttachment(c) => {
            let path = format!("{}/{}", attachments(&c.server_id), c.volume_id);
            Parts::new(Method::GET, path).version(&newest)
        }
        Call::ListInstanceActions(c) => {
            let path = server(&c.server_id, "os-instance-actions");
            Parts::new(Method::GET, path).version(&newest)
        }
        Call::ShowInstanceAction(c) => {
            let path = server(&c.server_id, &format!("os-instance-actions/{}", c.request_id));
            Parts::new(Method::GET, path).version(&newest)
        }
        Call::DeleteServer(c) => {
            let path = format!("/v2.1/servers/{}", c.server_id);
            Parts::new(Method::DELETE, path).version(&newest)
        }
        Call::PostServerAction(c) => {
            let body = json!({c.action.as_str(): arguments(&c.action)});
            Parts::new(Method::POST, server(&c.server_id, "action")).version(&newest).body(body)
        }
        Call::ListServers(_)
        | Call::ShowServer(_)
        | Call::ListServices(_)
        | Call::GetFlavors(_)
        | Call::GetVersions(_)
        | Call::RefuseRequest(_) => return None,
    })
}

fn arguments(action: &ServerAction) -> Value {
    match action {
        ServerAction::Lock { reason: Some(reason) } => json!({"locked_reason": reason}),
        ServerAction::Reboot { hard } => json!({"type": if *hard { "HARD" } else { "SOFT" }}),
        ServerAction::ResetState { active } => {
            json!({"state": if *active { "active" } else { "error" }})
        }
        ServerAction::Lock { reason: None }
        | ServerAction::Unlock
        | ServerAction::Pause
        | ServerAction::Unpause
        | ServerAction::Suspend
        | ServerAction::Resume
        | ServerAction::Stop
        | ServerAction::Start
        | ServerAction::Shelve
        | ServerAction::ShelveOffload
        | ServerAction::Unshelve => Value::Null,
    }
}

/// The reply in a successful response; none when it makes no sense.
pub(crate) fn decode(call: &Call, status: StatusCode, body: &[u8]) -> Option<Reply> {
    let json = || serde_json::from_slice::<Value>(body).ok();
    Some(match call {
        Call::DeleteVolumeAttachment(_) => Reply::DeleteVolumeAttachment(()),
        Call::CreateVolumeAttachment(_) if status == StatusCode::ACCEPTED => {
            Reply::CreateVolumeAttachment(None)
        }
        Call::CreateVolumeAttachment(_) => {
            let made = attachment::decode(json()?.get("volumeAttachment")?)?;
            Reply::CreateVolumeAttachment(Some(made))
        }
        Call::UpdateVolumeAttachment(_) => Reply::UpdateVolumeAttachment(()),
        Call::ListVolumeAttachments(_) => {
            Reply::ListVolumeAttachments(list(&json()?, "volumeAttachments", attachment::decode)?)
        }
        Call::ShowVolumeAttachment(_) => {
            Reply::ShowVolumeAttachment(attachment::decode(json()?.get("volumeAttachment")?)?)
        }
        Call::ListInstanceActions(_) => {
            Reply::ListInstanceActions(list(&json()?, "instanceActions", action::decode)?)
        }
        Call::ShowInstanceAction(_) => {
            Reply::ShowInstanceAction(action::decode(json()?.get("instanceAction")?)?)
        }
        Call::DeleteServer(_) => Reply::DeleteServer(()),
        Call::PostServerAction(_) => Reply::PostServerAction(()),
        Call::ListServers(_)
        | Call::ShowServer(_)
        | Call::ListServices(_)
        | Call::GetFlavors(_)
        | Call::GetVersions(_)
        | Call::RefuseRequest(_) => return None,
    })
}

fn list<T>(body: &Value, key: &str, row: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    body.get(key)?.as_array()?.iter().map(row).collect()
}
