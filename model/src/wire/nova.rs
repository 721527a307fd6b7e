//! nova-api's side of the wire, at every microversion from 2.1 to 2.103.
//!
//! The pipeline is nova-api, so there is no model to ask: this only reads requests and writes
//! responses. What is wrong with a request's form (its path, its microversion, its body) becomes
//! [`Call::RefuseRequest`], since nova's middleware looks at the token first.
//!
//! - `route`: which operation a method and a path ask for.
//! - `schema`: bodies, and what jsonschema says of a wrong one.
//! - `versions`: the version documents.
//! - `attachment`, `server`, `flavor`, `action`: the views.
//! - `client`: what a caller sends, and what it makes of the answer.

use castoff_ports::nova::{Call, Microversion, RefuseRequest, Reply};
use castoff_ports::{Auth, Refusal, RequestId};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::message::{
    API_VERSION, Versions, auth, empty, fault, header, json as json_response, request_id, set,
};

mod action;
mod attachment;
pub(super) mod client;
mod flavor;
mod route;
mod schema;
mod server;
mod versions;

const LEGACY_VERSION: HeaderName = HeaderName::from_static("x-openstack-nova-api-version");

const VERSIONS: Versions = Versions {
    service: "compute",
    major: 2,
    min: Microversion::MIN.0,
    max: Microversion::LATEST.0,
};

/// oslo.middleware's `max_request_body_size`.
const MAX_BODY: usize = 114_688;

/// Reads a request: what it asks for, with which tokens, and whose request it is.
///
/// # Errors
/// What is refused before anybody looks at the token: a body that is too large.
pub fn nova_request(
    request: &Request<Vec<u8>>,
) -> Result<(Call, Auth, Option<RequestId>), Refusal> {
    if request.body().len() > MAX_BODY {
        return Err(Refusal::http(413, "Request is too large."));
    }
    let headers = request.headers();
    let call = nova_version(request).and_then(|microversion| route::call(request, microversion));
    let call = call.unwrap_or_else(|refusal| match refusal {
        Refusal::Http { status, message } => Call::RefuseRequest(RefuseRequest { status, message }),
        other => unreachable!("reading a request refuses in HTTP's words, not with {other}"),
    });
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
    let mut response = respond(&View { minor: newest, base: BASE, path: "/v2.1" }, &result);
    versioned(&mut response, &format!("2.{newest}"));
    response
}

/// Writes the response to this request, at the microversion that it asks for.
pub fn nova_answer(
    request: &Request<Vec<u8>>,
    result: Result<Reply, Refusal>,
) -> Response<Vec<u8>> {
    let host = header(request.headers(), http::header::HOST);
    let base = host.map_or_else(|| BASE.to_owned(), |host| format!("http://{host}"));
    let view = |minor| View { minor, base: &base, path: request.uri().path() };
    let (minor, text) = match nova_version(request) {
        Ok(Microversion(minor)) => (minor, format!("2.{minor}")),
        // A version that nova does not speak is given back as it came, a garbled one is not.
        Err(Refusal::Http { status: 406, .. }) => {
            let asked = header(request.headers(), API_VERSION).unwrap_or_default();
            (VERSIONS.min, asked.trim_start_matches("compute ").to_owned())
        }
        Err(_) => return respond(&view(VERSIONS.min), &result),
    };
    let mut response = respond(&view(minor), &result);
    // The list of versions comes before anything that knows a version.
    if !versions::is_root(request.uri().path()) {
        versioned(&mut response, &text);
    }
    response
}

/// Where nova-api is when a request does not say how it was reached.
const BASE: &str = "http://nova-api:8774";

/// What a view depends on besides what it shows.
struct View<'a> {
    /// The minor of the microversion.
    minor: u16,
    /// The scheme and the host that links begin with.
    base: &'a str,
    /// The request's path.
    path: &'a str,
}

fn respond(view: &View<'_>, result: &Result<Reply, Refusal>) -> Response<Vec<u8>> {
    match result {
        Ok(reply) => success(view, reply),
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

fn success(view: &View<'_>, reply: &Reply) -> Response<Vec<u8>> {
    let minor = view.minor;
    let ok = |body: Value| json_response(StatusCode::OK, &body);
    match reply {
        Reply::DeleteVolumeAttachment(()) => empty(StatusCode::ACCEPTED),
        Reply::DeleteServer(()) => empty(StatusCode::NO_CONTENT),
        Reply::CreateVolumeAttachment(None) => {
            let mut response = empty(StatusCode::ACCEPTED);
            let html = HeaderValue::from_static("text/html; charset=UTF-8");
            response.headers_mut().insert(http::header::CONTENT_TYPE, html);
            response
        }
        Reply::CreateVolumeAttachment(Some(made)) => {
            ok(json!({"volumeAttachment": attachment::created(minor, made)}))
        }
        Reply::ListVolumeAttachments(rows) => {
            let rows: Vec<Value> = rows.iter().map(|row| attachment::shown(minor, row)).collect();
            ok(json!({"volumeAttachments": rows}))
        }
        Reply::ShowVolumeAttachment(row) => {
            ok(json!({"volumeAttachment": attachment::shown(minor, row)}))
        }
        Reply::ListInstanceActions(rows) => {
            let rows: Vec<Value> = rows.iter().map(|row| action::listed(minor, row)).collect();
            ok(json!({"instanceActions": rows}))
        }
        Reply::ShowInstanceAction(row) => ok(json!({"instanceAction": action::shown(minor, row)})),
        Reply::ListServers(rows) => {
            let detail = view.path.trim_end_matches('/').ends_with("/detail");
            let show = |s| if detail { server::shown(view, s) } else { server::listed(view, s) };
            ok(json!({"servers": rows.iter().map(show).collect::<Vec<Value>>()}))
        }
        Reply::ShowServer(row) => ok(json!({"server": server::shown(view, row)})),
        Reply::ListServices(rows) => {
            let rows: Vec<Value> =
                rows.iter().enumerate().map(|(at, row)| server::service(minor, at, row)).collect();
            ok(json!({"services": rows}))
        }
        Reply::GetFlavors(()) => ok(flavor::document(view)),
        Reply::UpdateVolumeAttachment(())
        | Reply::PostServerAction(())
        | Reply::RefuseRequest(()) => empty(StatusCode::ACCEPTED),
        Reply::GetVersions(()) if versions::is_root(view.path) => ok(versions::list(view.base)),
        Reply::GetVersions(()) => ok(json!({"version": versions::v21(view.base)})),
    }
}
