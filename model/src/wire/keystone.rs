//! Keystone's side of the wire: its versions, `/v3/auth/tokens` and `/v3/auth/catalog`.

use castoff_ports::{Auth, Refusal, Secret, SimTime};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::login::{self, Problem};
use super::message::{
    KEYSTONE, SUBJECT_TOKEN, auth, header, json as json_response, keystone_error, set_secret,
};
use super::token;
use crate::World;

const NOT_ROUTED: &str = "The requested URL was not found on the server. If you entered the URL \
    manually please check your spelling and try again.";

/// Methods that `[auth]methods` enables by default, as the 401 to any other lists them.
const METHODS: [&str; 6] =
    ["external", "password", "token", "oauth1", "mapped", "application_credential"];

/// Answers a request as keystone does.
pub fn keystone(world: &mut World, now: SimTime, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    let mut response = answer(world, now, request).unwrap_or_else(|problem| match problem {
        Problem::Refused(refusal) => keystone_error(&refusal),
        Problem::UnsupportedMethod => unsupported_method(),
    });
    response.headers_mut().insert(http::header::VARY, HeaderValue::from_static("X-Auth-Token"));
    response
}

fn answer(
    world: &mut World,
    now: SimTime,
    request: &Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Problem> {
    let method = request.method();
    match request.uri().path().trim_end_matches('/') {
        "" if *method == Method::GET => Ok(versions()),
        "/v3" if *method == Method::GET => {
            Ok(json_response(StatusCode::OK, &json!({"version": version()})))
        }
        "/v3/auth/tokens" => tokens(world, now, request),
        "/v3/auth/catalog" if *method == Method::GET => catalog(world, now, request),
        "" | "/v3" | "/v3/auth/catalog" => Err(not_allowed().into()),
        _ => Err(Refusal::http(404, NOT_ROUTED).into()),
    }
}

fn tokens(
    world: &mut World,
    now: SimTime,
    request: &Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Problem> {
    let auth = auth(request.headers());
    let query = request.uri().query().unwrap_or_default();
    let allow_expired = query.split('&').any(|pair| pair == "allow_expired=1");
    match *request.method() {
        Method::POST => {
            let issued = login::parse(request.body())?.log_in(&mut world.keystone, now)?;
            Ok(show(world, &issued.token, StatusCode::CREATED))
        }
        Method::GET => {
            let subject = subject(world, now, &auth, request)?;
            world.keystone.validate(now, &auth, &subject, allow_expired)?;
            Ok(show(world, &subject, StatusCode::OK))
        }
        Method::HEAD => {
            let subject = subject(world, now, &auth, request)?;
            world.keystone.check(now, &auth, &subject, allow_expired)?;
            let mut response = show(world, &subject, StatusCode::OK);
            response.body_mut().clear();
            Ok(response)
        }
        Method::DELETE => {
            let subject = subject(world, now, &auth, request)?;
            world.keystone.revoke(now, &auth, &subject)?;
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        _ => Err(not_allowed().into()),
    }
}

/// The token that a request is about; the asker is let in before it is looked for.
fn subject(
    world: &World,
    now: SimTime,
    auth: &Auth,
    request: &Request<Vec<u8>>,
) -> Result<Secret, Refusal> {
    world.keystone.asker(now, auth)?;
    header(request.headers(), SUBJECT_TOKEN)
        .map(Secret::new)
        .ok_or_else(|| Refusal::http(404, "No token in the request"))
}

fn show(world: &World, subject: &Secret, status: StatusCode) -> Response<Vec<u8>> {
    let Some(shown) = world.keystone.shown(subject) else {
        unreachable!("a token that was just issued or found is known");
    };
    let mut response = json_response(status, &token::encode(&shown));
    set_secret(response.headers_mut(), SUBJECT_TOKEN, subject);
    response
}

fn catalog(
    world: &World,
    now: SimTime,
    request: &Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Problem> {
    let auth = auth(request.headers());
    let asker = world.keystone.asker(now, &auth)?;
    let project = asker.project_id.as_str();
    if project.is_empty() {
        // identity:get_auth_catalog asks for a project or a domain to make a catalog of.
        let policy = "You are not authorized to perform the requested action: \
                      identity:get_auth_catalog.";
        return Err(Refusal::http(403, policy).into());
    }
    let links = json!({"self": format!("{KEYSTONE}/v3/auth/catalog")});
    let body = json!({"catalog": token::catalog(project), "links": links});
    Ok(json_response(StatusCode::OK, &body))
}

fn version() -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{KEYSTONE}/v3/")}],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.identity-v3+json",
        }],
    })
}

fn versions() -> Response<Vec<u8>> {
    let body = json!({"versions": {"values": [version()]}});
    let mut response = json_response(StatusCode::MULTIPLE_CHOICES, &body);
    let v3 = HeaderValue::from_static("http://keystone:5000/v3/");
    response.headers_mut().insert(http::header::LOCATION, v3);
    response
}

fn unsupported_method() -> Response<Vec<u8>> {
    let message = "Attempted to authenticate with an unsupported method.";
    let mut response = keystone_error(&Refusal::http(401, message));
    let error = json!({"error": {
        "code": 401,
        "identity": {"methods": METHODS},
        "message": message,
        "title": "Unauthorized",
    }});
    *response.body_mut() = error.to_string().into_bytes();
    response
}

fn not_allowed() -> Refusal {
    Refusal::http(405, "The method is not allowed for the requested URL.")
}
