//! What the services' messages have in common: tokens, microversions and error bodies.

use castoff_ports::{Auth, Refusal, RequestId, Secret};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::keystone::UNAUTHORIZED;

pub(super) const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
pub(super) const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");
pub(super) const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
pub(super) const API_VERSION: HeaderName = HeaderName::from_static("openstack-api-version");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where keystone and cinder are, in links and in the catalog.
pub(super) const KEYSTONE: &str = "http://keystone:5000";
pub(super) const CINDER: &str = "http://cinder:8776";

/// Where the services tell clients to get a token.
const KEYSTONE_URI: HeaderValue =
    HeaderValue::from_static("Keystone uri=\"http://keystone:5000/v3\"");

/// The text of a path that is routed nowhere.
pub(super) const NO_RESOURCE: &str = "The resource could not be found.";

pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Sets a header; a text that no header can carry is left out.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Sets a header that nobody may print.
pub(super) fn set_secret(headers: &mut HeaderMap, name: HeaderName, value: &Secret) {
    if let Ok(mut value) = HeaderValue::from_str(value.reveal()) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

pub(super) fn auth(headers: &HeaderMap) -> Auth {
    let secret = |name| header(headers, name).map(Secret::new);
    Auth { token: secret(AUTH_TOKEN), service_token: secret(SERVICE_TOKEN) }
}

/// The caller's request, `req-7`; none when it names none of ours.
pub(super) fn request_id(headers: &HeaderMap) -> Option<RequestId> {
    header(headers, REQUEST_ID).and_then(parse_request_id)
}

pub(super) fn parse_request_id(text: &str) -> Option<RequestId> {
    text.strip_prefix("req-")?.parse().ok().map(RequestId)
}

/// A service's versions: its name in the header, and the range of minors that it speaks.
pub(super) struct Versions {
    pub(super) service: &'static str,
    pub(super) major: u16,
    pub(super) min: u16,
    pub(super) max: u16,
}

impl Versions {
    /// The minor that `OpenStack-API-Version: <service> <major>.<minor>` asks for, the lowest
    /// when it asks for none.
    pub(super) fn asked(&self, headers: &HeaderMap) -> Result<u16, Refusal> {
        let asked = header(headers, API_VERSION)
            .and_then(|value| {
                value.split(',').find_map(|part| part.trim().strip_prefix(self.service))
            })
            .map(str::trim);
        asked.map_or(Ok(self.min), |text| self.minor(text))
    }

    /// The minor of `<major>.<minor>`, if this service speaks it.
    pub(super) fn minor(&self, text: &str) -> Result<u16, Refusal> {
        if text == "latest" {
            return Ok(self.max);
        }
        let numbers = text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let Some((major, minor)): Option<(u16, u16)> = numbers else {
            let format = "Must be of format MajorNum.MinorNum.";
            return Err(Refusal::http(
                400,
                format!("API Version String {text} is of invalid format. {format}"),
            ));
        };
        if major == self.major && (self.min..=self.max).contains(&minor) {
            return Ok(minor);
        }
        let (own, min, max) = (self.major, self.min, self.max);
        Err(Refusal::http(
            406,
            format!(
                "Version {text} is not supported by the API. Minimum is {own}.{min} and maximum \
                 is {own}.{max}."
            ),
        ))
    }

    /// What the header of a response says.
    pub(super) fn text(&self, minor: u16) -> String {
        format!("{} {}.{minor}", self.service, self.major)
    }
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, JSON);
    response
}

/// A response with a JSON body.
pub(super) fn json(status: StatusCode, body: &Value) -> Response<Vec<u8>> {
    let mut response = empty(status);
    *response.body_mut() = body.to_string().into_bytes();
    response
}

/// An error as cinder and nova put it: an object named after the status.
pub(super) fn fault(refusal: &Refusal) -> Response<Vec<u8>> {
    // Anything but an HTTP refusal got past every handler: webob's fault wrapper answers.
    let (code, message) = match refusal {
        Refusal::Http { status, message } => (*status, message.as_str()),
        _ => (
            500,
            "The server has either erred or is incapable of performing the requested operation.",
        ),
    };
    if code == 401 {
        return unauthorized();
    }
    let name = match code {
        400 => "badRequest",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 => "overLimit",
        415 => "badMediaType",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    };
    json(status(code), &json!({name: {"code": code, "message": message}}))
}

/// An error as keystone puts it.
pub(super) fn keystone_error(refusal: &Refusal) -> Response<Vec<u8>> {
    let (code, message) = match refusal {
        Refusal::Http { status, message } => (*status, message.as_str()),
        _ => (500, "An unexpected error prevented the server from fulfilling your request."),
    };
    let status = status(code);
    let title = status.canonical_reason().unwrap_or_default();
    let error = json!({"error": {"code": code, "message": message, "title": title}});
    let mut response = json(status, &error);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, KEYSTONE_URI);
    }
    response
}

/// keystonemiddleware's answer, before the service has seen anything.
pub(super) fn unauthorized() -> Response<Vec<u8>> {
    keystone_error(&Refusal::http(401, UNAUTHORIZED))
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The message of an error body, whoever's: the first object in it that has one.
pub(super) fn error_message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.as_object()?.values().find_map(|error| error.get("message")?.as_str()).map(str::to_owned)
}
