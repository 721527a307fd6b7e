//! The envelope of oslo.messaging 2.0: what a cast to nova-compute is on the wire.
//!
//! A message is JSON twice: `{"oslo.version": "2.0", "oslo.message": "<JSON>"}`. The inner object
//! holds the method, its arguments, the RPC version, and the caller's request context flattened
//! into `_context_…` keys, the user's token in clear among them: it leaves this module on the
//! wire only, as a [`Secret`] it shows nowhere else. Whatever we have no name for is kept, so that
//! a message that is read and written again is the same document.
//!
//! `detach_volume` has the arguments that nova sends from RPC 4.7 on. The server travels as a
//! versioned `Instance` object with its key alone, where nova sends every loaded field; other
//! methods have the fields of [`Method`].

pub mod answer;

use std::fmt;

use castoff_ports::cinder::ConnectionInfo;
use castoff_ports::novadb::Bdm;
use castoff_ports::rpc::Method;
use castoff_ports::{AttachmentId, Auth, HostName, InstanceId, RequestId, Secret, VolumeId};
use serde_json::{Map, Value, json};

use super::message::parse_request_id;
use crate::broker::Message;
use crate::release::CinderRelease;

/// The envelope's version since oslo.messaging knows one.
const OSLO_VERSION: &str = "2.0";

const CONTEXT: &str = "_context_";

/// A message of oslo.messaging.
///
/// Its `Debug` has the names of arguments, context and what else there is, and no value of them:
/// a BDM holds a CHAP password, in a text of its own when nova wrote it, and what a newer nova puts
/// into its context is not known here.
#[derive(Clone, PartialEq)]
pub struct Envelope {
    /// The method's name.
    pub method: String,
    /// Its arguments.
    pub args: Map<String, Value>,
    /// The RPC API's version that the caller speaks.
    pub version: Option<String>,
    /// The RPC API's namespace; none for nova-compute's own methods.
    pub namespace: Option<String>,
    /// `_unique_id`: consumers drop what they have seen.
    pub unique_id: Option<String>,
    /// `_msg_id`: a call's, which its reply names.
    pub msg_id: Option<String>,
    /// `_reply_q`: where a call's caller listens.
    pub reply_q: Option<String>,
    /// The user's token, `_context_auth_token`.
    pub auth_token: Option<Secret>,
    /// The rest of the request context, keys without their prefix.
    pub context: Map<String, Value>,
    /// Fields that have no name here.
    pub rest: Map<String, Value>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        f.debug_struct("Envelope")
            .field("method", &self.method)
            .field("args", &names(&self.args))
            .field("version", &self.version)
            .field("namespace", &self.namespace)
            .field("unique_id", &self.unique_id)
            .field("msg_id", &self.msg_id)
            .field("reply_q", &self.reply_q)
            .field("auth_token", &self.auth_token)
            .field("context", &names(&self.context))
            .field("rest", &names(&self.rest))
            .finish()
    }
}

/// Why a body is no message, or a message no method of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or not an object.
    #[error("{what} is no JSON object: {found}")]
    Malformed {
        /// The body, or the message inside.
        what: &'static str,
        /// What the parser says.
        found: String,
    },
    /// Another envelope.
    #[error("envelope version {found:?}, needs to be {OSLO_VERSION:?}")]
    Version {
        /// `oslo.version`.
        found: String,
    },
    /// A field that must be there.
    #[error("message of method {method:?} without {field}")]
    Missing {
        /// The method, if that is there.
        method: String,
        /// The field.
        field: &'static str,
    },
    /// A method or arguments that nova-compute does not have here.
    #[error("method {method:?} (version {version}) is none of nova-compute's: {reason}")]
    Unsupported {
        /// Its name.
        method: String,
        /// The RPC version.
        version: String,
        /// Why.
        reason: String,
    },
}

/// The RPC API that a nova of the release's time speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// Version that detach_volume is sent with.
    pub version: &'static str,
    /// Version of the `Instance` object.
    pub instance: &'static str,
}

impl Api {
    /// The API of the nova that goes with this cinder.
    pub fn of(release: CinderRelease) -> Api {
        match release {
            // 4.7 gave detach_volume its attachment_id.
            CinderRelease::Ocata => Api { version: "4.7", instance: "2.3" },
            CinderRelease::V28 => Api { version: "6.0", instance: "2.8" },
        }
    }
}

impl Envelope {
    /// Reads a message's body.
    pub fn decode(body: &[u8]) -> Result<Envelope, EnvelopeError> {
        let mut outer = object("body", body)?;
        let oslo_version = take_text(&mut outer, "oslo.version").unwrap_or_default();
        if oslo_version != OSLO_VERSION {
            return Err(EnvelopeError::Version { found: oslo_version });
        }
        let inner = take_text(&mut outer, "oslo.message").unwrap_or_default();
        let mut inner = object("oslo.message", inner.as_bytes())?;
        let missing = |method: &str, field| EnvelopeError::Missing { method: method.into(), field };
        let method = take_text(&mut inner, "method").ok_or_else(|| missing("", "method"))?;
        let Some(Value::Object(args)) = inner.remove("args") else {
            return Err(missing(&method, "args"));
        };
        let mut text = |key| take_text(&mut inner, key);
        let (version, namespace) = (text("version"), text("namespace"));
        let (unique_id, msg_id) = (text("_unique_id"), text("_msg_id"));
        let (reply_q, auth_token) = (text("_reply_q"), text("_context_auth_token"));
        let (mut context, mut rest) = (Map::new(), Map::new());
        for (key, value) in inner {
            match key.strip_prefix(CONTEXT) {
                Some(key) => context.insert(key.to_owned(), value),
                None => rest.insert(key, value),
            };
        }
        Ok(Envelope {
            method,
            args,
            version,
            namespace,
            unique_id,
            msg_id,
            reply_q,
            auth_token: auth_token.map(Secret::new),
            context,
            rest,
        })
    }

    /// Writes the body: the same document that was read.
    pub fn encode(&self) -> Vec<u8> {
        let mut inner = self.rest.clone();
        inner.insert("method".to_owned(), json!(self.method));
        inner.insert("args".to_owned(), Value::Object(self.args.clone()));
        let named = [
            ("version", &self.version),
            ("namespace", &self.namespace),
            ("_unique_id", &self.unique_id),
            ("_msg_id", &self.msg_id),
            ("_reply_q", &self.reply_q),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                inner.insert(key.to_owned(), json!(value));
            }
        }
        for (key, value) in &self.context {
            inner.insert(format!("{CONTEXT}{key}"), value.clone());
        }
        if let Some(token) = &self.auth_token {
            inner.insert("_context_auth_token".to_owned(), json!(token.reveal()));
        }
        wrapped(&Value::Object(inner))
    }

    /// The message that a caller casts.
    pub fn cast(message: &Message, api: Api, unique: u64) -> Envelope {
        let mut context = Map::new();
        context.insert("request_id".to_owned(), json!(message.request.to_string()));
        Envelope {
            method: message.method.name().to_owned(),
            args: args(&message.method, api),
            version: Some(api.version.to_owned()),
            namespace: None,
            unique_id: Some(format!("{unique:032x}")),
            msg_id: None,
            reply_q: None,
            auth_token: message.auth.token.clone(),
            context,
            rest: Map::new(),
        }
    }

    /// The message as nova-compute on `server` takes it from its queue.
    pub fn message(&self, server: HostName) -> Result<Message, EnvelopeError> {
        let request = self.context.get("request_id").and_then(Value::as_str);
        Ok(Message {
            server,
            // A request that was not one of ours has no number.
            request: request.and_then(parse_request_id).unwrap_or(RequestId(0)),
            auth: Auth { token: self.auth_token.clone(), service_token: None },
            method: self.method()?,
        })
    }

    /// The method of nova-compute that is meant, with its arguments.
    pub fn method(&self) -> Result<Method, EnvelopeError> {
        let unsupported = |reason: String| EnvelopeError::Unsupported {
            method: self.method.clone(),
            version: self.version.clone().unwrap_or_else(|| "absent".to_owned()),
            reason,
        };
        let major = self.version.as_deref().and_then(|v| v.split('.').next());
        if !matches!(major, Some("4" | "5" | "6")) || self.namespace.is_some() {
            return Err(unsupported("the compute API is 4.x to 6.x, without a namespace".into()));
        }
        let missing = |field| EnvelopeError::Missing { method: self.method.clone(), field };
        let uuid = self.args.get("instance").and_then(object_uuid);
        let uuid = uuid.ok_or_else(|| missing("an Instance object"))?;
        if self.method == "detach_volume" {
            let text = |key: &str| self.args.get(key).and_then(Value::as_str);
            return Ok(Method::DetachVolume {
                instance: InstanceId::new(uuid),
                volume_id: VolumeId::new(text("volume_id").ok_or_else(|| missing("volume_id"))?),
                // Absent before 4.7, null for a legacy volume.
                attachment_id: text("attachment_id").map(AttachmentId::new),
            });
        }
        let mut args = self.args.clone();
        args.insert("instance".to_owned(), json!(uuid));
        let method = json!({"method": self.method, "args": args});
        serde_json::from_value(method).map_err(|e| unsupported(without_values(&e)))
    }
}

/// A message in its envelope.
fn wrapped(message: &Value) -> Vec<u8> {
    let message = message.to_string();
    json!({"oslo.version": OSLO_VERSION, "oslo.message": message}).to_string().into_bytes()
}

/// The arguments of a method: its fields, with the server as a versioned object.
fn args(method: &Method, api: Api) -> Map<String, Value> {
    let instance = |id: &str| {
        json!({
            "nova_object.name": "Instance",
            "nova_object.namespace": "nova",
            "nova_object.version": api.instance,
            "nova_object.data": {"uuid": id},
        })
    };
    if let Method::DetachVolume { instance: id, volume_id, attachment_id } = method {
        let mut args = Map::new();
        args.insert("instance".to_owned(), instance(id.as_str()));
        args.insert("volume_id".to_owned(), json!(volume_id));
        args.insert("attachment_id".to_owned(), json!(attachment_id));
        return args;
    }
    // Methods hold strings, numbers and lists: they always serialise.
    let mut whole = serde_json::to_value(method).unwrap_or_default();
    let Some(Value::Object(mut args)) = whole.get_mut("args").map(Value::take) else {
        return Map::new();
    };
    if let Some(server) = args.get_mut("instance") {
        let id = server.as_str().unwrap_or_default().to_owned();
        *server = instance(&id);
    }
    match method {
        Method::AttachVolume { bdm, .. } => reveal(args.get_mut("bdm"), bdm),
        Method::TerminateInstance { bdms, .. } => {
            for (i, bdm) in bdms.iter().enumerate() {
                reveal(args.get_mut("bdms").and_then(|l| l.get_mut(i)), bdm);
            }
        }
        _ => {}
    }
    args
}

/// A BDM's CHAP password goes in clear, as nova's does.
fn reveal(row: Option<&mut Value>, bdm: &Bdm) {
    let auth =
        bdm.connection_info.as_ref().and_then(|ConnectionInfo { data, .. }| data.auth.as_ref());
    if let (Some(row), Some(auth)) = (row, auth)
        && let Some(password) = row.pointer_mut("/connection_info/data/auth/password")
    {
        *password = json!(auth.password.reveal());
    }
}

/// The uuid of a versioned `Instance` object.
fn object_uuid(object: &Value) -> Option<&str> {
    let name = object.get("nova_object.name")?.as_str()?;
    (name == "Instance").then_some(())?;
    object.get("nova_object.data")?.get("uuid")?.as_str()
}

fn object(what: &'static str, text: &[u8]) -> Result<Map<String, Value>, EnvelopeError> {
    serde_json::from_slice(text)
        .map_err(|e| EnvelopeError::Malformed { what, found: without_values(&e) })
}

/// What serde says, without the text that it quotes: that may be a password in the wrong place.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match (text.find('"'), text.rfind('"')) {
        (Some(from), Some(to)) if from < to => format!("{}***{}", &text[..from], &text[to + 1..]),
        _ => text,
    }
}

/// Takes a text out; a null or anything else stays, to be written again as it was.
fn take_text(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    match map.get_mut(key)? {
        Value::String(text) => {
            let text = std::mem::take(text);
            map.remove(key);
            Some(text)
        }
        _ => None,
    }
}
