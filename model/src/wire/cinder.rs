//! Cinder's side of the wire: volumes, their actions, and attachments, at microversion `3.N`.

use castoff_ports::cinder::{
    Attach, AttachmentComplete, AttachmentCreate, AttachmentDelete, AttachmentUpdate,
    BeginDetaching, Call, Detach, GetVolume, InitializeConnection, Reply, Reserve, RollDetaching,
    TerminateConnection, Unreserve,
};
use castoff_ports::{AttachmentId, ProjectId, Refusal, SimTime, VolumeId};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::message::{
    API_VERSION, NO_RESOURCE, Versions, auth, empty, fault, header, json as json_response,
    request_id, set, unauthorized,
};
use super::volume;
use crate::World;
use crate::release::CinderRelease;

/// Microversion that brought the attachments API, and the one that brought os-complete.
const ATTACHMENTS: u16 = 27;
const COMPLETE: u16 = 44;

/// Answers a request as cinder-api does.
pub fn cinder(world: &mut World, now: SimTime, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    let headers = request.headers();
    let auth = auth(headers);
    let Ok(project) = world.cinder.project_of(now, &world.keystone, &auth) else {
        return unauthorized();
    };
    let project = project.clone();
    let path = Path::of(request.uri().path());
    if world.release.cinder == CinderRelease::Ocata && path.is_attachments() {
        return fault(&Refusal::http(404, NO_RESOURCE));
    }
    let versions =
        Versions { service: "volume", major: 3, min: 0, max: world.cinder.max_microversion() };
    let minor = match versions.asked(headers) {
        Ok(minor) => minor,
        Err(refusal) => {
            let mut response = fault(&refusal);
            if response.status() == StatusCode::NOT_ACCEPTABLE
                && let Some(asked) = header(headers, API_VERSION)
            {
                versioned(&mut response, asked);
            }
            return response;
        }
    };
    let mut response = path
        .call(request, minor)
        .and_then(|call| path.check_project(&project).map(|()| call))
        .and_then(|call| {
            let remaining = remaining_list(world, &call);
            let id = request_id(headers);
            let reply = super::ask(world, now, auth, id, castoff_ports::Call::Cinder(call))?;
            Ok(respond(world, reply, remaining, &project, minor))
        })
        .unwrap_or_else(|refusal| fault(&refusal));
    versioned(&mut response, &versions.text(minor));
    response
}

fn versioned(response: &mut Response<Vec<u8>>, version: &str) {
    let headers = response.headers_mut();
    set(headers, API_VERSION, version);
    headers.insert(http::header::VARY, HeaderValue::from_static("OpenStack-API-Version"));
}

/// The volume whose attachments remain to be listed when one of them has been deleted.
fn remaining_list(world: &World, call: &Call) -> Option<VolumeId> {
    match call {
        Call::AttachmentDelete(c) => {
            world.cinder.attachment(&c.attachment_id).map(|row| row.volume_id.clone())
        }
        _ => None,
    }
}

fn respond(
    world: &World,
    reply: castoff_ports::Reply,
    remaining: Option<VolumeId>,
    project: &ProjectId,
    minor: u16,
) -> Response<Vec<u8>> {
    let castoff_ports::Reply::Cinder(reply) = reply else {
        unreachable!("cinder answers its own calls, not {reply:?}");
    };
    let ok = |body: Value| json_response(StatusCode::OK, &body);
    match reply {
        Reply::GetVolume(v) => ok(volume::encode(&v, project, minor)),
        Reply::InitializeConnection(info) => ok(volume::encode_connection_info(&info)),
        Reply::AttachmentCreate(a) | Reply::AttachmentUpdate(a) => {
            ok(volume::encode_attachment(&a))
        }
        Reply::AttachmentDelete(()) => {
            let rows: Vec<Value> = world
                .cinder
                .live_attachments()
                .filter(|row| Some(&row.volume_id) == remaining.as_ref())
                .map(|row| volume::encode_summary(&row.show()))
                .collect();
            ok(json!({"attachments": rows}))
        }
        Reply::AttachmentComplete(()) => empty(StatusCode::NO_CONTENT),
        Reply::BeginDetaching(())
        | Reply::RollDetaching(())
        | Reply::Reserve(())
        | Reply::Unreserve(())
        | Reply::TerminateConnection(())
        | Reply::Attach(())
        | Reply::Detach(()) => empty(StatusCode::ACCEPTED),
    }
}

/// `/v3[/{project}]/{collection}[/{id}[/action]]`.
struct Path<'a> {
    project: Option<&'a str>,
    rest: Vec<&'a str>,
}

impl<'a> Path<'a> {
    fn of(path: &'a str) -> Path<'a> {
        let mut segments = path.split('/').filter(|s| !s.is_empty());
        let v3 = segments.next() == Some("v3");
        let mut rest: Vec<&str> = if v3 { segments.collect() } else { Vec::new() };
        let is_collection = |s: &&str| matches!(*s, "volumes" | "attachments");
        let project = match rest.first() {
            Some(first) if !is_collection(first) => Some(rest.remove(0)),
            _ => None,
        };
        Path { project, rest }
    }

    fn is_attachments(&self) -> bool {
        self.rest.first() == Some(&"attachments")
    }

    /// A project in the URL must be the token's.
    fn check_project(&self, project: &ProjectId) -> Result<(), Refusal> {
        match self.project {
            Some(named) if named != project.as_str() => {
                Err(Refusal::http(400, "Malformed request url"))
            }
            _ => Ok(()),
        }
    }

    fn call(&self, request: &Request<Vec<u8>>, minor: u16) -> Result<Call, Refusal> {
        let not_found = || Err(Refusal::http(404, NO_RESOURCE));
        if self.is_attachments() && minor < ATTACHMENTS {
            return not_found();
        }
        let method = request.method();
        match self.rest.as_slice() {
            ["volumes", id] if method == Method::GET => {
                Ok(Call::GetVolume(GetVolume { volume_id: (*id).into(), microversion: minor }))
            }
            ["volumes", id, "action"] if method == Method::POST => {
                volume_action((*id).into(), request.body())
            }
            ["attachments"] if method == Method::POST => attachment_create(request.body()),
            ["attachments", id] if method == Method::PUT => {
                attachment_update((*id).into(), request.body())
            }
            ["attachments", id] if method == Method::DELETE => {
                Ok(Call::AttachmentDelete(AttachmentDelete { attachment_id: (*id).into() }))
            }
            ["attachments", id, "action"] if method == Method::POST && minor >= COMPLETE => {
                match action(request.body())? {
                    (name, _) if name == "os-complete" => {
                        Ok(Call::AttachmentComplete(AttachmentComplete {
                            attachment_id: (*id).into(),
                        }))
                    }
                    (name, _) => Err(no_such_action(&name)),
                }
            }
            _ => not_found(),
        }
    }
}

fn volume_action(volume_id: VolumeId, body: &[u8]) -> Result<Call, Refusal> {
    let (name, args) = action(body)?;
    let required = |key: &str| {
        args.get(key).ok_or_else(|| {
            Refusal::http(
                400,
                format!(
                    "Invalid input for field/attribute {name}. Value: {args}. '{key}' is a \
                     required property"
                ),
            )
        })
    };
    let text = |key: &str| required(key).map(|value| value.as_str().unwrap_or_default());
    Ok(match name.as_str() {
        "os-begin_detaching" => Call::BeginDetaching(BeginDetaching { volume_id }),
        "os-roll_detaching" => Call::RollDetaching(RollDetaching { volume_id }),
        "os-reserve" => Call::Reserve(Reserve { volume_id }),
        "os-unreserve" => Call::Unreserve(Unreserve { volume_id }),
        "os-initialize_connection" => Call::InitializeConnection(InitializeConnection {
            volume_id,
            connector: volume::decode_connector(required("connector")?),
        }),
        "os-terminate_connection" => Call::TerminateConnection(TerminateConnection {
            volume_id,
            connector: volume::decode_connector(required("connector")?),
        }),
        "os-attach" => Call::Attach(Attach {
            volume_id,
            instance: text("instance_uuid")?.into(),
            mountpoint: text("mountpoint")?.to_owned(),
        }),
        "os-detach" => Call::Detach(Detach {
            volume_id,
            attachment_id: volume::text(&args, "attachment_id").map(AttachmentId::new),
        }),
        _ => return Err(no_such_action(&name)),
    })
}

fn attachment_create(body: &[u8]) -> Result<Call, Refusal> {
    let args = named(body, "attachment")?;
    let text = |key: &str| {
        volume::text(&args, key).ok_or_else(|| {
            Refusal::http(
                400,
                format!(
                    "Invalid input for field/attribute attachment. Value: {args}. '{key}' is a \
                     required property"
                ),
            )
        })
    };
    Ok(Call::AttachmentCreate(AttachmentCreate {
        volume_id: text("volume_uuid")?.into(),
        // A row of no server is cinder's own; the schema does not ask for one.
        instance: volume::text(&args, "instance_uuid").unwrap_or_default().into(),
    }))
}

fn attachment_update(attachment_id: AttachmentId, body: &[u8]) -> Result<Call, Refusal> {
    let args = named(body, "attachment")?;
    let connector = args.get("connector").unwrap_or(&Value::Null);
    Ok(Call::AttachmentUpdate(AttachmentUpdate {
        attachment_id,
        mountpoint: volume::text(connector, "mountpoint").unwrap_or_default().to_owned(),
        connector: volume::decode_connector(connector),
    }))
}

/// The action that a body names: its first key.
fn action(body: &[u8]) -> Result<(String, Value), Refusal> {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return Err(malformed());
    };
    object.into_iter().next().ok_or_else(malformed)
}

fn named(body: &[u8], key: &str) -> Result<Value, Refusal> {
    let mut body: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    body.get_mut(key).map(Value::take).ok_or_else(malformed)
}

fn malformed() -> Refusal {
    Refusal::http(400, "Malformed request body")
}

fn no_such_action(name: &str) -> Refusal {
    Refusal::http(
        400,
        format!(
            "There is no such action: {name}. Verify the request body and Content-Type header \
             and try again."
        ),
    )
}
