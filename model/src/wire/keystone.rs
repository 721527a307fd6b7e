//! Keystone's side of the wire: `POST` and `GET /v3/auth/tokens`.

use castoff_ports::keystone::{Call, CreateToken, Reply, ValidateToken};
use castoff_ports::{Refusal, Secret, SimTime, keystone as ports};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::Value;

use super::message::{SUBJECT_TOKEN, auth, header, json, keystone_error, request_id, set_secret};
use super::token;
use crate::World;
use crate::keystone::UNAUTHORIZED;

const BLAME: &str = "The server could not comply with the request since it is either malformed \
    or otherwise incorrect. The client is assumed to be in error.";

const NOT_ROUTED: &str = "The requested URL was not found on the server. If you entered the URL \
    manually please check your spelling and try again.";

/// Answers a request as keystone does.
pub fn keystone(world: &mut World, now: SimTime, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    let mut response =
        answer(world, now, request).unwrap_or_else(|refusal| keystone_error(&refusal));
    response.headers_mut().insert(http::header::VARY, HeaderValue::from_static("X-Auth-Token"));
    response
}

fn answer(
    world: &mut World,
    now: SimTime,
    request: &Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Refusal> {
    let call = parse(request)?;
    let subject = match &call {
        Call::CreateToken(_) => None,
        Call::ValidateToken(c) => Some(c.subject.clone()),
    };
    let (auth, id) = (auth(request.headers()), request_id(request.headers()));
    let (status, subject, info) =
        match super::ask(world, now, auth, id, castoff_ports::Call::Keystone(call))? {
            castoff_ports::Reply::Keystone(Reply::CreateToken(issued)) => {
                (StatusCode::CREATED, Some(issued.token), issued.info)
            }
            castoff_ports::Reply::Keystone(Reply::ValidateToken(info)) => {
                (StatusCode::OK, subject, info)
            }
            other => unreachable!("keystone answers its own calls, not {other:?}"),
        };
    let issued_at = issued_at(world, &info);
    let mut response = json(status, &token::encode(&info, issued_at));
    if let Some(subject) = subject {
        set_secret(response.headers_mut(), SUBJECT_TOKEN, &subject);
    }
    Ok(response)
}

fn issued_at(world: &World, info: &ports::TokenInfo) -> SimTime {
    let lifetime = world.keystone.token_lifetime.as_micros() as u64;
    SimTime(info.expires_at.0.saturating_sub(lifetime))
}

fn parse(request: &Request<Vec<u8>>) -> Result<Call, Refusal> {
    if request.uri().path().trim_end_matches('/') != "/v3/auth/tokens" {
        return Err(Refusal::http(404, NOT_ROUTED));
    }
    match *request.method() {
        Method::POST => create(request.body()).map(Call::CreateToken),
        Method::GET => validate(request).map(Call::ValidateToken),
        _ => Err(Refusal::http(405, "The method is not allowed for the requested URL.")),
    }
}

fn validate(request: &Request<Vec<u8>>) -> Result<ValidateToken, Refusal> {
    // The asker is let in before the subject is looked for.
    if auth(request.headers()).token.is_none() {
        return Err(Refusal::http(401, UNAUTHORIZED));
    }
    let subject = header(request.headers(), SUBJECT_TOKEN)
        .ok_or_else(|| Refusal::http(404, "No token in the request"))?;
    let query = request.uri().query().unwrap_or_default();
    Ok(ValidateToken {
        subject: Secret::new(subject),
        allow_expired: query.split('&').any(|pair| pair == "allow_expired=1"),
    })
}

/// Only password and project scope: what a client of a detach needs.
fn create(body: &[u8]) -> Result<CreateToken, Refusal> {
    let missing = |what: &str| {
        Refusal::http(400, format!("Expecting to find {what} in request body. {BLAME}"))
    };
    let body: Value = serde_json::from_slice(body).map_err(|_| missing("valid JSON"))?;
    let auth = body.get("auth").ok_or_else(|| missing("auth"))?;
    let methods = auth.pointer("/identity/methods").and_then(Value::as_array);
    let methods = methods.ok_or_else(|| missing("methods"))?;
    if !methods.iter().any(|method| method == "password") {
        return Err(Refusal::http(401, "Attempted to authenticate with an unsupported method."));
    }
    let text = |path: &str| auth.pointer(path).and_then(Value::as_str);
    // Users and projects go by one name here, their id.
    let named = |path: &str| ["id", "name"].iter().find_map(|key| text(&format!("{path}/{key}")));
    let user = named("/identity/password/user").ok_or_else(|| missing("user"))?;
    let password = text("/identity/password/user/password").ok_or_else(|| missing("password"))?;
    let project = named("/scope/project").ok_or_else(|| missing("project"))?;
    let domain = text("/identity/password/user/domain/id").unwrap_or("default");
    if domain != "default" {
        return Err(Refusal::http(401, UNAUTHORIZED));
    }
    Ok(CreateToken { user: user.into(), password: Secret::new(password), project: project.into() })
}
