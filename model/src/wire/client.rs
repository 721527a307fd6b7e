//! The caller's side of the wire: a call to a request, a response to its reply or failure.
//!
//! A response that makes no sense is a lost reply, not a refusal: the effect may have happened.

use castoff_ports::{Call, CallCx, Failure, Refusal, Reply, cinder, keystone};
use http::{HeaderMap, Method, Request, Response, Uri};
use serde_json::{Value, json};

use super::message::{
    API_VERSION, AUTH_TOKEN, REQUEST_ID, SERVICE_TOKEN, SUBJECT_TOKEN, error_message, header, set,
    set_secret,
};
use super::{token, volume};

/// Microversion at which nova calls the attachments API.
const ATTACHMENTS: u16 = 44;

/// The request for a call; none when the call is no HTTP service's, or an id fits in no path.
pub fn encode(call: &Call, cx: &CallCx) -> Option<Request<Vec<u8>>> {
    let parts = match call {
        Call::Keystone(c) => encode_keystone(c),
        Call::Cinder(c) => encode_cinder(c),
        Call::Nova(c) => super::nova::client::encode(c)?,
        Call::NovaDb(_)
        | Call::Rpc(_)
        | Call::Libvirt(_)
        | Call::Iscsi(_)
        | Call::Host(_)
        | Call::Runtime(_) => return None,
    };
    let mut request = Request::new(Vec::new());
    *request.uri_mut() = Uri::try_from(parts.path).ok()?;
    *request.method_mut() = parts.method;
    if let Some(body) = parts.body {
        *request.body_mut() = body.to_string().into_bytes();
        set(request.headers_mut(), http::header::CONTENT_TYPE, "application/json");
    }
    let headers = request.headers_mut();
    headers.extend(parts.headers);
    if let Some(token) = &cx.auth.token {
        set_secret(headers, AUTH_TOKEN, token);
    }
    if let Some(token) = &cx.auth.service_token {
        set_secret(headers, SERVICE_TOKEN, token);
    }
    set(headers, REQUEST_ID, &cx.request.to_string());
    Some(request)
}

/// What a response to `call` means.
pub fn decode(call: &Call, response: Response<Vec<u8>>) -> Result<Reply, Failure> {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        // A gateway's error page has no message that anyone could compare.
        let message = error_message(response.body())
            .unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_owned());
        return Err(Refusal::http(status.as_u16(), message).into());
    }
    let reply = match call {
        _ if !status.is_success() => None,
        Call::Keystone(c) => decode_keystone(c, &response).map(Reply::Keystone),
        Call::Cinder(c) => decode_cinder(c, response.body()).map(Reply::Cinder),
        Call::Nova(c) => super::nova::client::decode(c, status, response.body()).map(Reply::Nova),
        Call::NovaDb(_)
        | Call::Rpc(_)
        | Call::Libvirt(_)
        | Call::Iscsi(_)
        | Call::Host(_)
        | Call::Runtime(_) => None,
    };
    reply.ok_or_else(|| Failure::NoReply { system: call.system().to_owned() })
}

/// What differs from request to request.
pub(super) struct Parts {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Value>,
}

impl Parts {
    pub(super) fn new(method: Method, path: String) -> Parts {
        Parts { method, path, headers: HeaderMap::new(), body: None }
    }

    pub(super) fn body(mut self, body: Value) -> Parts {
        self.body = Some(body);
        self
    }

    pub(super) fn version(mut self, version: &str) -> Parts {
        set(&mut self.headers, API_VERSION, version);
        self
    }

    /// A volume action, at plain v3. No project in the path: the token has it.
    fn action(volume: &castoff_ports::VolumeId, name: &str, args: Value) -> Parts {
        Parts::new(Method::POST, format!("/v3/volumes/{volume}/action")).body(json!({name: args}))
    }

    fn attachment(method: Method, path: String) -> Parts {
        Parts::new(method, path).version(&format!("volume 3.{ATTACHMENTS}"))
    }
}

fn encode_keystone(call: &keystone::Call) -> Parts {
    let path = "/v3/auth/tokens".to_owned();
    match call {
        keystone::Call::CreateToken(c) => {
            let domain = json!({"id": "default"});
            let user = json!({
                "name": c.user,
                "domain": domain,
                "password": c.password.reveal(),
            });
            Parts::new(Method::POST, path).body(json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": c.project, "domain": domain}},
            }}))
        }
        keystone::Call::ValidateToken(c) => {
            let query = if c.allow_expired { "?allow_expired=1" } else { "" };
            let mut parts = Parts::new(Method::GET, path + query);
            set_secret(&mut parts.headers, SUBJECT_TOKEN, &c.subject);
            parts
        }
    }
}

fn decode_keystone(call: &keystone::Call, response: &Response<Vec<u8>>) -> Option<keystone::Reply> {
    Some(match call {
        keystone::Call::CreateToken(_) => keystone::Reply::CreateToken(token::issued(
            header(response.headers(), SUBJECT_TOKEN)?,
            response.body(),
        )?),
        keystone::Call::ValidateToken(_) => {
            keystone::Reply::ValidateToken(token::decode(response.body())?)
        }
    })
}

fn encode_cinder(call: &cinder::Call) -> Parts {
    use cinder::Call as C;
    let connector = |c| json!({"connector": volume::encode_connector(c)});
    match call {
        C::GetVolume(c) => {
            let parts = Parts::new(Method::GET, format!("/v3/volumes/{}", c.volume_id));
            match c.microversion {
                0 => parts,
                minor => parts.version(&format!("volume 3.{minor}")),
            }
        }
        C::BeginDetaching(c) => Parts::action(&c.volume_id, "os-begin_detaching", Value::Null),
        C::RollDetaching(c) => Parts::action(&c.volume_id, "os-roll_detaching", Value::Null),
        C::Reserve(c) => Parts::action(&c.volume_id, "os-reserve", Value::Null),
        C::Unreserve(c) => Parts::action(&c.volume_id, "os-unreserve", Value::Null),
        C::InitializeConnection(c) => {
            Parts::action(&c.volume_id, "os-initialize_connection", connector(&c.connector))
        }
        C::TerminateConnection(c) => {
            Parts::action(&c.volume_id, "os-terminate_connection", connector(&c.connector))
        }
        C::Attach(c) => {
            let args = json!({
                "instance_uuid": c.instance,
                "mountpoint": c.mountpoint,
                "mode": "rw",
            });
            Parts::action(&c.volume_id, "os-attach", args)
        }
        C::Detach(c) => {
            let args = json!({"attachment_id": c.attachment_id});
            Parts::action(&c.volume_id, "os-detach", args)
        }
        C::DeleteVolume(c) => Parts::new(Method::DELETE, format!("/v3/volumes/{}", c.volume_id)),
        C::ResetStatus(c) => {
            let mut args = json!({});
            if let Some(status) = c.status {
                args["status"] = json!(status.as_str());
            }
            if let Some(status) = c.attach_status {
                args["attach_status"] = json!(status.as_str());
            }
            Parts::action(&c.volume_id, "os-reset_status", args)
        }
        C::ForceDetach(c) => {
            let connector = c.connector.as_ref().map(volume::encode_connector);
            let args = json!({"attachment_id": c.attachment_id, "connector": connector});
            Parts::action(&c.volume_id, "os-force_detach", args)
        }
        C::AttachmentCreate(c) => {
            let args = json!({"volume_uuid": c.volume_id, "instance_uuid": c.instance});
            Parts::attachment(Method::POST, "/v3/attachments".to_owned())
                .body(json!({"attachment": args}))
        }
        C::AttachmentUpdate(c) => {
            let mut connector = volume::encode_connector(&c.connector);
            // Nova puts the mountpoint into the connector, and none when it has none.
            if !c.mountpoint.is_empty() {
                connector["mountpoint"] = json!(c.mountpoint);
            }
            Parts::attachment(Method::PUT, format!("/v3/attachments/{}", c.attachment_id))
                .body(json!({"attachment": {"connector": connector}}))
        }
        C::AttachmentComplete(c) => {
            let path = format!("/v3/attachments/{}/action", c.attachment_id);
            Parts::attachment(Method::POST, path).body(json!({"os-complete": null}))
        }
        C::AttachmentDelete(c) => {
            Parts::attachment(Method::DELETE, format!("/v3/attachments/{}", c.attachment_id))
        }
        C::AttachmentGet(c) => {
            Parts::attachment(Method::GET, format!("/v3/attachments/{}", c.attachment_id))
        }
        C::AttachmentList(c) => {
            let all = if c.all_tenants { "&all_tenants=1" } else { "" };
            let path = format!("/v3/attachments?instance_id={}{all}", c.instance);
            Parts::attachment(Method::GET, path)
        }
        C::GetEncryption(c) => {
            Parts::new(Method::GET, format!("/v3/volumes/{}/encryption", c.volume_id))
        }
    }
}

fn decode_cinder(call: &cinder::Call, body: &[u8]) -> Option<cinder::Reply> {
    use cinder::{Call as C, Reply as R};
    let json = || serde_json::from_slice::<Value>(body).ok();
    Some(match call {
        C::GetVolume(_) => R::GetVolume(volume::decode(&json()?)?),
        C::InitializeConnection(_) => {
            R::InitializeConnection(volume::decode_connection_info(&json()?)?)
        }
        C::AttachmentCreate(_) => R::AttachmentCreate(volume::decode_attachment(&json()?)?),
        C::AttachmentUpdate(_) => R::AttachmentUpdate(volume::decode_attachment(&json()?)?),
        C::BeginDetaching(_) => R::BeginDetaching(()),
        C::RollDetaching(_) => R::RollDetaching(()),
        C::Reserve(_) => R::Reserve(()),
        C::Unreserve(_) => R::Unreserve(()),
        C::TerminateConnection(_) => R::TerminateConnection(()),
        C::Attach(_) => R::Attach(()),
        C::Detach(_) => R::Detach(()),
        C::DeleteVolume(_) => R::DeleteVolume(()),
        C::ResetStatus(_) => R::ResetStatus(()),
        C::ForceDetach(_) => R::ForceDetach(()),
        C::AttachmentComplete(_) => R::AttachmentComplete(()),
        C::AttachmentDelete(_) => R::AttachmentDelete(()),
        C::AttachmentGet(_) => R::AttachmentGet(volume::decode_attachment(&json()?)?),
        C::AttachmentList(_) => {
            let body = json()?;
            let rows = body.get("attachments")?.as_array()?.iter();
            R::AttachmentList(rows.map(volume::decode_summary).collect::<Option<_>>()?)
        }
        C::GetEncryption(_) => R::GetEncryption(serde_json::from_slice(body).ok()?),
    })
}
