//! Cinder's side of the wire: versions, volumes, their actions, types, and attachments.
//!
//! The door comes first, then the microversion, then the route, the body as JSON, and the project
//! in the URL; only then does a handler look at what the body says. That order decides which of
//! two mistakes a client hears of.
//!
//! - `actions`: `POST /volumes/{id}/action`.
//! - `attachments`: the attachments API, at microversion `3.27` and later.
//! - `volumes`: lists, create, delete; types and services.
//! - `schema`: what cinder says of a body that its schema refuses.

mod actions;
mod attachments;
mod schema;
mod volumes;

use castoff_ports::cinder::{Call, Reply};
use castoff_ports::{Auth, Refusal, RequestId, SimTime};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::message::{
    API_VERSION, CINDER, NO_RESOURCE, Versions, auth, fault, header, json as json_response,
    request_id, set, unauthorized,
};
use crate::World;
use crate::cinder::Caller;
use crate::release::CinderRelease;

/// Answers a request as cinder-api does.
pub fn cinder(world: &mut World, now: SimTime, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    world.cinder.settle(now);
    let path = request.uri().path().trim_end_matches('/');
    if matches!(path, "" | "/v3") {
        return versions(world, path);
    }
    let headers = request.headers();
    let auth = auth(headers);
    if world.cinder.admit(now, &world.keystone, &auth).is_err() {
        return unauthorized();
    }
    let path = Path::of(path);
    if world.release.cinder == CinderRelease::Ocata && path.is_attachments() {
        return fault(&Refusal::http(404, NO_RESOURCE));
    }
    let versions = supported(world);
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
    let query = request.uri().query().unwrap_or_default();
    let cx = Cx { now, auth, id: request_id(headers), minor, query };
    let mut response = answer(world, &cx, &path, request).unwrap_or_else(|refusal| fault(&refusal));
    versioned(&mut response, &versions.text(minor));
    response
}

/// A request whose sender and microversion are known.
struct Cx<'a> {
    now: SimTime,
    auth: Auth,
    id: Option<RequestId>,
    minor: u16,
    query: &'a str,
}

impl Cx<'_> {
    /// Who sent it.
    fn caller<'w>(&self, world: &'w World) -> Result<Caller<'w>, Refusal> {
        world.cinder.admit(self.now, &world.keystone, &self.auth)
    }

    /// Puts an operation of the ports to the world.
    fn ask(&self, world: &mut World, call: Call) -> Result<Reply, Refusal> {
        let call = castoff_ports::Call::Cinder(call);
        match super::ask(world, self.now, self.auth.clone(), self.id, call)? {
            castoff_ports::Reply::Cinder(reply) => Ok(reply),
            other => unreachable!("cinder answers its own calls, not {other:?}"),
        }
    }

    /// The parameters of the query, as they came.
    fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Whether the caller asks for everybody's rows.
    fn all_tenants(&self) -> bool {
        self.parameter("all_tenants").is_some_and(|v| matches!(v, "1" | "true" | "True" | "yes"))
    }
}

type Answer = Result<Response<Vec<u8>>, Refusal>;

fn answer(world: &mut World, cx: &Cx, path: &Path, request: &Request<Vec<u8>>) -> Answer {
    let not_found = || Err(Refusal::http(404, NO_RESOURCE));
    let body = request.body();
    if path.is_attachments() && cx.minor < attachments::SINCE {
        return not_found();
    }
    // The project is checked after the body was taken apart, and before it is looked at.
    let checked = |world: &World| path.check_project(&cx.caller(world)?);
    match (request.method(), path.rest.as_slice()) {
        (&Method::GET, rest) => {
            checked(world)?;
            match rest {
                ["volumes"] => volumes::list(world, cx, false),
                ["volumes", "detail"] => volumes::list(world, cx, true),
                ["volumes", id] => volumes::show(world, cx, &(*id).into()),
                ["volumes", id, "encryption"] => volumes::encryption(world, cx, &(*id).into()),
                ["types"] => volumes::types(world, cx),
                ["types", id] => volumes::show_type(world, cx, id),
                ["os-services"] => volumes::services(world, cx),
                ["attachments"] => attachments::list(world, cx, false),
                ["attachments", "detail"] => attachments::list(world, cx, true),
                ["attachments", id] => attachments::show(world, cx, &(*id).into()),
                _ => not_found(),
            }
        }
        (&Method::DELETE, rest @ (["volumes", id] | ["attachments", id])) => {
            checked(world)?;
            match rest[0] {
                "volumes" => volumes::delete(world, cx, &(*id).into()),
                _ => attachments::delete(world, cx, (*id).into()),
            }
        }
        (&Method::POST, ["volumes", id, "action"]) => {
            let (action, args) = actions::read(body)?;
            checked(world)?;
            actions::volume(world, cx, (*id).into(), action, &args)
        }
        (&Method::POST, ["attachments", id, "action"]) if cx.minor >= attachments::COMPLETE => {
            attachments::read_action(body)?;
            checked(world)?;
            attachments::complete(world, cx, (*id).into())
        }
        (&Method::POST, ["volumes" | "types" | "attachments"])
        | (&Method::PUT, ["attachments", _]) => {
            let body: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
            checked(world)?;
            match path.rest.as_slice() {
                ["volumes"] => volumes::create(world, cx, &body),
                ["types"] => volumes::create_type(world, cx, &body),
                ["attachments", id] => attachments::update(world, cx, (*id).into(), &body),
                _ => attachments::create(world, cx, &body),
            }
        }
        _ => not_found(),
    }
}

fn supported(world: &World) -> Versions {
    Versions { service: "volume", major: 3, min: 0, max: world.cinder.max_microversion() }
}

/// The version documents, which need no token: `/` lets the client choose, of one.
fn versions(world: &World, path: &str) -> Response<Vec<u8>> {
    let supported = supported(world);
    let body = json!({"versions": [{
        "id": "v3.0",
        "status": "CURRENT",
        "version": format!("3.{}", supported.max),
        "min_version": "3.0",
        "updated": match world.release.cinder {
            CinderRelease::Ocata => "2016-02-08T12:20:21Z",
            CinderRelease::V28 => "2023-08-31T00:00:00Z",
        },
        "links": [
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
            {"rel": "self", "href": format!("{CINDER}/v3/")},
        ],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.volume+json;version=3",
        }],
    }]});
    let status = match path {
        "" => StatusCode::MULTIPLE_CHOICES,
        _ => StatusCode::OK,
    };
    let mut response = json_response(status, &body);
    versioned(&mut response, &supported.text(supported.min));
    response
}

fn versioned(response: &mut Response<Vec<u8>>, version: &str) {
    let headers = response.headers_mut();
    set(headers, API_VERSION, version);
    headers.insert(http::header::VARY, HeaderValue::from_static("OpenStack-API-Version"));
}

fn ok(body: &Value) -> Response<Vec<u8>> {
    json_response(StatusCode::OK, body)
}

fn malformed() -> Refusal {
    Refusal::http(400, "Malformed request body")
}

/// Filters that cinder 28 takes from 3.31 on: those that `etc/cinder/resource_filters.json` allows,
/// and nothing else from anyone but an admin; without the file none at all.
fn check_filters(world: &World, cx: &Cx, caller: &Caller, allowed: &[&str]) -> Result<(), Refusal> {
    /// From which microversion on the file counts; before, what it does not name is ignored.
    const RESOURCE_FILTERS: u16 = 31;
    const NO_FILTERS: [&str; 8] =
        ["all_tenants", "limit", "marker", "offset", "sort", "sort_key", "sort_dir", "with_count"];
    let allowed = if world.cinder.resource_filters { allowed } else { &[] };
    let known = |name: &str| allowed.contains(&name) || NO_FILTERS.contains(&name);
    let invalid: Vec<&str> =
        cx.parameters().map(|(name, _)| name).filter(|name| !known(name)).collect();
    if invalid.is_empty() || cx.minor < RESOURCE_FILTERS || caller.is_admin() {
        return Ok(());
    }
    let message = format!("Invalid filters {} are found in query options.", invalid.join(","));
    Err(Refusal::http(400, message))
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
        let is_collection =
            |s: &&str| matches!(*s, "volumes" | "attachments" | "types" | "os-services");
        let project = match rest.first() {
            Some(first) if !is_collection(first) => Some(rest.remove(0)),
            _ => None,
        };
        Path { project, rest }
    }

    fn is_attachments(&self) -> bool {
        self.rest.first() == Some(&"attachments")
    }

    /// A project in the URL must be the token's, an admin's too.
    fn check_project(&self, caller: &Caller) -> Result<(), Refusal> {
        match self.project {
            Some(named) if named != caller.info.project_id.as_str() => {
                Err(Refusal::http(400, "Malformed request url"))
            }
            _ => Ok(()),
        }
    }
}
