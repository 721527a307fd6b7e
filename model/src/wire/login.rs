//! The body of `POST /v3/auth/tokens`: what a login shows and what it asks for.
//!
//! Keystone checks the body in three rounds, each with its own words: that it is JSON with `auth`
//! in it; the schema (python-jsonschema's whole text goes to the client); then what the chosen
//! methods need.

use castoff_ports::keystone::IssuedToken;
use castoff_ports::{Refusal, Secret, SimTime};
use serde_json::Value;

use super::python::repr;
use crate::keystone::{Keystone, Login, Named, NotIssued, Scope};

const BLAME: &str = "The server could not comply with the request since it is either malformed \
    or otherwise incorrect. The client is assumed to be in error.";

/// The schema of `identity` as python's pprint writes it, indented as in the message.
const IDENTITY_SCHEMA: &str = "    {'type': 'object',
     'properties': {'methods': {'type': 'array',
                                'items': {'type': 'string'}},
                    'password': {'type': 'object',
                                 'properties': {'user': {'type': 'object',
                                                         'properties': {'id': {'type': 'string'},
                                                                        'name': {'type': 'string'},
                                                                        'password': {'type': 'string'},
                                                                        'domain': {'type': 'object',
                                                                                   'properties': {'id': {'type': 'string'},
                                                                                                  'name': {'type': 'string'}}}}}}},
                    'token': {'type': 'object',
                              'properties': {'id': {'type': 'string'}},
                              'required': ['id']}},
     'required': ['methods']}";

const TOKEN_SCHEMA: &str = "    {'type': 'object',
     'properties': {'id': {'type': 'string'}},
     'required': ['id']}";

/// Why there is no token.
pub(super) enum Problem {
    /// An ordinary refusal.
    Refused(Refusal),
    /// A method that is not enabled: the answer lists those that are.
    UnsupportedMethod,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::Refused(refusal)
    }
}

impl From<NotIssued> for Problem {
    fn from(not_issued: NotIssued) -> Problem {
        Problem::Refused(not_issued.into())
    }
}

/// A login that makes sense.
pub(super) struct Request {
    proof: Proof,
    scope: Option<Wanted>,
}

enum Proof {
    Password { user: Name, password: Secret },
    Token(Secret),
}

enum Wanted {
    Project(Name),
    Elsewhere,
}

struct Name {
    text: String,
    /// The domain of a name; an id needs none.
    domain: Option<String>,
}

impl Name {
    fn named(&self) -> Named<'_> {
        match &self.domain {
            Some(domain) => Named::Name(&self.text, domain),
            None => Named::Id(&self.text),
        }
    }
}

impl Request {
    /// Puts it to keystone.
    pub(super) fn log_in(
        &self,
        keystone: &mut Keystone,
        now: SimTime,
    ) -> Result<IssuedToken, NotIssued> {
        let login = match &self.proof {
            Proof::Password { user, password } => Login::Password(user.named(), password),
            Proof::Token(token) => Login::Token(token),
        };
        let scope = match &self.scope {
            None => Scope::None,
            Some(Wanted::Project(project)) => Scope::Project(project.named()),
            Some(Wanted::Elsewhere) => Scope::Elsewhere,
        };
        keystone.log_in(now, login, scope)
    }
}

/// Reads a login.
pub(super) fn parse(body: &[u8]) -> Result<Request, Problem> {
    let body: Value =
        serde_json::from_slice(body).map_err(|_| expecting("valid JSON", "request body"))?;
    let auth = body.get("auth").ok_or_else(|| expecting("auth", "request body"))?;
    let Some(identity) = auth.get("identity") else {
        return Err(Refusal::http(400, "'identity' is a required property").into());
    };
    let Some(methods) = identity.get("methods").and_then(Value::as_array) else {
        return Err(invalid("identity", "methods", IDENTITY_SCHEMA, identity).into());
    };
    if let Some(token) = identity.get("token")
        && token.get("id").is_none()
    {
        return Err(invalid("identity/token", "id", TOKEN_SCHEMA, token).into());
    }
    let methods: Vec<&str> = methods.iter().filter_map(Value::as_str).collect();
    if methods.iter().any(|method| !matches!(*method, "password" | "token")) {
        return Err(Problem::UnsupportedMethod);
    }
    let Some(method) = methods.first() else {
        return Err(NotIssued.into());
    };
    let payload = identity.get(*method).ok_or_else(|| expecting(method, "identity"))?;
    let proof = match *method {
        "token" => Proof::Token(Secret::new(text(payload, "id").unwrap_or_default())),
        _ => password(payload)?,
    };
    Ok(Request { proof, scope: scope(auth.get("scope"))? })
}

fn password(payload: &Value) -> Result<Proof, Refusal> {
    let user = payload.get("user").ok_or_else(|| expecting("user", "password"))?;
    let name = name(user, "user")?;
    // No password is a wrong one.
    let password = Secret::new(text(user, "password").unwrap_or_default());
    Ok(Proof::Password { user: name, password })
}

fn scope(scope: Option<&Value>) -> Result<Option<Wanted>, Refusal> {
    match scope {
        // The text `unscoped` asks for no scope outright.
        None | Some(Value::Null | Value::String(_)) => Ok(None),
        Some(scope) => match scope.get("project") {
            Some(project) => Ok(Some(Wanted::Project(name(project, "project")?))),
            None => Ok(Some(Wanted::Elsewhere)),
        },
    }
}

fn name(value: &Value, what: &str) -> Result<Name, Refusal> {
    if let Some(id) = text(value, "id") {
        return Ok(Name { text: id.to_owned(), domain: None });
    }
    let name = text(value, "name").ok_or_else(|| expecting("id or name", what))?;
    let domain = value.get("domain").ok_or_else(|| expecting("domain", what))?;
    let domain = text(domain, "id").or_else(|| text(domain, "name"));
    let domain = domain.ok_or_else(|| expecting("id or name", "domain"))?;
    Ok(Name { text: name.to_owned(), domain: Some(domain.to_owned()) })
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn expecting(attribute: &str, target: &str) -> Refusal {
    Refusal::http(400, format!("Expecting to find {attribute} in {target}. {BLAME}"))
}

/// A required property that is missing, in python-jsonschema's words.
fn invalid(field: &str, missing: &str, schema: &str, instance: &Value) -> Refusal {
    let steps = |between: &str| -> String {
        field.split('/').map(|step| format!("{between}['{step}']")).collect()
    };
    Refusal::http(
        400,
        format!(
            "Invalid input for field '{field}': '{missing}' is a required property\n\nFailed \
             validating 'required' in schema{}:\n{schema}\n\nOn instance{}:\n    {}",
            steps("['properties']"),
            steps(""),
            repr(instance),
        ),
    )
}
