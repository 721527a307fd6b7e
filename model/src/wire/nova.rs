//! nova-api's side of the wire: os-volume_attachments and os-instance-actions.
//!
//! The pipeline is nova-api, so there is no model to ask: this only reads requests and writes
//! responses. The token is not checked here; that is the pipeline's first station.

use castoff_ports::nova::{
    Call, CreateVolumeAttachment, DeleteVolumeAttachment, InstanceAction, ListInstanceActions,
    ListVolumeAttachments, Microversion, Reply, VolumeAttachment,
};
use castoff_ports::{Auth, Refusal, RequestId};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::message::{
    API_VERSION, NO_RESOURCE, Versions, auth, empty, fault, header, json as json_response,
    parse_request_id, request_id, set,
};
use super::token::date;
use super::volume::text;
use castoff_ports::SimTime;

const LEGACY_VERSION: HeaderName = HeaderName::from_static("x-openstack-nova-api-version");

const VERSIONS: Versions =
    Versions { service: "compute", major: 2, min: 1, max: Microversion::LATEST.0 };

/// Microversions from which on an attachment shows its tag, and its delete_on_termination.
const TAG: u16 = 70;
const DELETE_ON_TERMINATION: u16 = 79;

/// Reads a request: what it asks for, with which tokens, and whose request it is.
pub fn nova_request(
    request: &Request<Vec<u8>>,
) -> Result<(Call, Auth, Option<RequestId>), Refusal> {
    let headers = request.headers();
    let microversion = nova_version(request)?;
    let mut path = request.uri().path().split('/').filter(|s| !s.is_empty());
    if path.next() != Some("v2.1") {
        return Err(Refusal::http(404, NO_RESOURCE));
    }
    let rest: Vec<&str> = path.collect();
    let method = request.method();
    let call = match rest.as_slice() {
        ["servers", server, "os-volume_attachments", volume] if method == Method::DELETE => {
            Call::DeleteVolumeAttachment(DeleteVolumeAttachment {
                server_id: (*server).into(),
                volume_id: (*volume).into(),
                microversion,
            })
        }
        ["servers", server, "os-volume_attachments"] if method == Method::POST => {
            Call::CreateVolumeAttachment(CreateVolumeAttachment {
                server_id: (*server).into(),
                volume_id: volume_id(request.body())?.as_str().into(),
                microversion,
            })
        }
        ["servers", server, "os-volume_attachments"] if method == Method::GET => {
            Call::ListVolumeAttachments(ListVolumeAttachments { server_id: (*server).into() })
        }
        ["servers", server, "os-instance-actions"] if method == Method::GET => {
            Call::ListInstanceActions(ListInstanceActions { server_id: (*server).into() })
        }
        _ => return Err(Refusal::http(404, NO_RESOURCE)),
    };
    Ok((call, auth(headers), request_id(headers)))
}

/// The microversion that a request asks for, by the new header or the old; 2.1 by none.
pub fn nova_version(request: &Request<Vec<u8>>) -> Result<Microversion, Refusal> {
    let headers = request.headers();
    let minor = match header(headers, LEGACY_VERSION) {
        Some(text) if !headers.contains_key(API_VERSION) => VERSIONS.minor(text.trim()),
        _ => VERSIONS.asked(headers),
    };
    minor.map(Microversion)
}

/// Writes the response for a caller that speaks the newest microversion.
pub fn nova_response(result: Result<Reply, Refusal>) -> Response<Vec<u8>> {
    let newest = Microversion::LATEST.0;
    let mut response = respond(newest, &result);
    versioned(&mut response, &format!("2.{newest}"));
    response
}

/// Writes the response to this request, at the microversion that it asks for.
pub fn nova_answer(
    request: &Request<Vec<u8>>,
    result: Result<Reply, Refusal>,
) -> Response<Vec<u8>> {
    let (minor, text) = match nova_version(request) {
        Ok(Microversion(minor)) => (minor, format!("2.{minor}")),
        // A version that nova does not speak is given back as it came, a garbled one is not.
        Err(Refusal::Http { status: 406, .. }) => {
            let asked = header(request.headers(), API_VERSION).unwrap_or_default();
            (VERSIONS.min, asked.trim_start_matches("compute ").to_owned())
        }
        Err(_) => return respond(VERSIONS.min, &result),
    };
    let mut response = respond(minor, &result);
    versioned(&mut response, &text);
    response
}

fn respond(minor: u16, result: &Result<Reply, Refusal>) -> Response<Vec<u8>> {
    match result {
        Ok(reply) => success(minor, reply),
        Err(refusal) => {
            let mut response = fault(refusal);
            if response.status() != StatusCode::UNAUTHORIZED {
                let utf8 = HeaderValue::from_static("application/json; charset=UTF-8");
                response.headers_mut().insert(http::header::CONTENT_TYPE, utf8);
            }
            response
        }
    }
}

fn versioned(response: &mut Response<Vec<u8>>, text: &str) {
    // The middleware that answers 401 comes before the one that knows versions.
    if response.status() != StatusCode::UNAUTHORIZED {
        let headers = response.headers_mut();
        set(headers, API_VERSION, &format!("compute {text}"));
        set(headers, LEGACY_VERSION, text);
        let vary = HeaderValue::from_static("X-OpenStack-Nova-API-Version");
        headers.insert(http::header::VARY, vary);
    }
}

fn success(minor: u16, reply: &Reply) -> Response<Vec<u8>> {
    let ok = |body: Value| json_response(StatusCode::OK, &body);
    match reply {
        Reply::DeleteVolumeAttachment(()) => empty(StatusCode::ACCEPTED),
        Reply::CreateVolumeAttachment(None) => {
            let mut response = empty(StatusCode::ACCEPTED);
            let html = HeaderValue::from_static("text/html; charset=UTF-8");
            response.headers_mut().insert(http::header::CONTENT_TYPE, html);
            response
        }
        Reply::CreateVolumeAttachment(Some(made)) => {
            let mut body = attachment(minor, made);
            body["id"] = json!(made.volume_id);
            ok(json!({"volumeAttachment": body}))
        }
        Reply::ListVolumeAttachments(rows) => {
            let rows: Vec<Value> = rows.iter().map(|row| listed(minor, row)).collect();
            ok(json!({"volumeAttachments": rows}))
        }
        Reply::ListInstanceActions(rows) => {
            let rows: Vec<Value> = rows.iter().map(action).collect();
            ok(json!({"instanceActions": rows}))
        }
    }
}

fn attachment(minor: u16, row: &VolumeAttachment) -> Value {
    let mut body = json!({
        "volumeId": row.volume_id,
        "serverId": row.server_id,
        "device": row.device,
    });
    if minor >= TAG {
        body["tag"] = Value::Null;
    }
    if minor >= DELETE_ON_TERMINATION {
        body["delete_on_termination"] = json!(false);
    }
    body
}

fn listed(minor: u16, row: &VolumeAttachment) -> Value {
    let mut body = attachment(minor, row);
    if minor >= Microversion::ATTACHMENT_ID.0 {
        body["attachment_id"] = json!(row.attachment_id);
        // BDM rows have no uuid of their own here.
        body["bdm_uuid"] = json!("00000000-0000-0000-0000-000000000000");
    } else {
        body["id"] = json!(row.volume_id);
    }
    body
}

fn action(row: &InstanceAction) -> Value {
    json!({
        "action": row.action,
        "request_id": row.request_id.to_string(),
        "message": row.message,
        // The model keeps no times of rows: everything happened when the run began.
        "start_time": date(SimTime::ZERO).trim_end_matches('Z'),
    })
}

fn volume_id(body: &[u8]) -> Result<String, Refusal> {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let body = body.ok_or_else(|| Refusal::http(400, "Malformed request body"))?;
    let attachment = body.get("volumeAttachment").unwrap_or(&Value::Null);
    let id = text(attachment, "volumeId").ok_or_else(|| {
        Refusal::http(
            400,
            format!(
                "Invalid input for field/attribute volumeAttachment. Value: {attachment}. \
                 'volumeId' is a required property"
            ),
        )
    })?;
    Ok(id.to_owned())
}

/// One row of a list, or a created attachment, from a response body.
pub(super) fn decode_attachment(row: &Value) -> Option<VolumeAttachment> {
    Some(VolumeAttachment {
        volume_id: text(row, "volumeId")?.into(),
        server_id: text(row, "serverId")?.into(),
        device: text(row, "device").map(str::to_owned),
        attachment_id: text(row, "attachment_id").map(Into::into),
    })
}

/// One row of os-instance-actions from a response body.
pub(super) fn decode_action(row: &Value) -> Option<InstanceAction> {
    Some(InstanceAction {
        action: text(row, "action")?.to_owned(),
        // A request that was not one of ours has no number.
        request_id: parse_request_id(text(row, "request_id")?).unwrap_or(RequestId(0)),
        message: text(row, "message").map(str::to_owned),
    })
}
