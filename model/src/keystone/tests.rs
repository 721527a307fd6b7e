//! Who gets a token, who may ask about it, and until when it is good.

use std::time::Duration;

use castoff_ports::keystone::{Call, CreateToken, IssuedToken, Reply, Role};
use castoff_ports::{Auth, Refusal, Secret, SimTime};

use super::{Keystone, Login, Named, NotIssued, Scope, UNAUTHORIZED};
use crate::Facts;
use crate::world::{Completed, Step};
use castoff_ports::keystone::ValidateToken;

fn ask(k: &mut Keystone, secs: u64, token: Option<&Secret>, call: Call) -> Result<Reply, Refusal> {
    let auth = Auth { token: token.cloned(), service_token: None };
    let mut step = Step {
        now: SimTime::from_secs(secs),
        facts: &mut Facts::new(),
        completed: &mut Completed::new(),
        next_ticket: &mut 0,
    };
    k.call(&mut step, &auth, call)
}

fn issue(k: &mut Keystone, user: &str, password: &str) -> Result<IssuedToken, Refusal> {
    let call = Call::CreateToken(CreateToken {
        user: user.into(),
        password: Secret::new(password),
        project: "demo".into(),
    });
    match ask(k, 0, None, call)? {
        Reply::CreateToken(issued) => Ok(issued),
        Reply::ValidateToken(_) => unreachable!("the reply is the call's own"),
    }
}

fn validate(subject: &Secret, allow_expired: bool) -> Call {
    Call::ValidateToken(ValidateToken { subject: subject.clone(), allow_expired })
}

fn status(result: Result<Reply, Refusal>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(Refusal::Http { status, .. }) => status,
        Err(other) => panic!("not an HTTP refusal: {other}"),
    }
}

fn keystone() -> Keystone {
    let mut k = Keystone::new();
    k.add_user("demo".into(), Secret::new("secret"), "demo".into(), &[Role::Member]);
    k.add_user("nova".into(), Secret::new("nova"), "demo".into(), &[Role::Service]);
    k.add_user("boss".into(), Secret::new("boss"), "demo".into(), &[Role::Admin]);
    k
}

#[test]
fn a_wrong_password_an_unknown_user_and_a_strange_project_get_the_same_401() {
    let mut k = keystone();
    for (user, password) in [("demo", "wrong"), ("nobody", "secret")] {
        assert_eq!(issue(&mut k, user, password), Err(Refusal::http(401, UNAUTHORIZED)));
    }
    let strange = Call::CreateToken(CreateToken {
        user: "demo".into(),
        password: Secret::new("secret"),
        project: "nowhere".into(),
    });
    assert_eq!(ask(&mut k, 0, None, strange), Err(Refusal::http(401, UNAUTHORIZED)));
}

#[test]
fn roles_come_with_the_roles_that_they_imply() {
    let mut k = keystone();
    let roles = issue(&mut k, "demo", "secret").unwrap().info.roles;
    assert_eq!(roles.as_slice(), [Role::Member, Role::Reader]);
    let roles = issue(&mut k, "nova", "nova").unwrap().info.roles;
    assert_eq!(roles.as_slice(), [Role::Service]);
}

#[test]
fn a_token_is_valid_until_its_lifetime_ends_and_two_days_longer_for_services() {
    let mut k = keystone();
    let token = issue(&mut k, "demo", "secret").unwrap().token;
    let at = |secs, allow| k.bearer(SimTime::from_secs(secs), &token, allow).is_some();
    assert!(at(3599, false));
    assert!(!at(3600, false));
    assert!(at(3600, true));
    assert!(at(3600 + 172_799, true));
    assert!(!at(3600 + 172_800, true));
    assert!(k.bearer(SimTime::ZERO, &Secret::new("garbage"), true).is_none());
}

#[test]
fn a_service_an_admin_and_the_user_itself_may_validate_a_token_and_nobody_else() {
    let mut k = keystone();
    let demo = issue(&mut k, "demo", "secret").unwrap().token;
    let nova = issue(&mut k, "nova", "nova").unwrap().token;
    let boss = issue(&mut k, "boss", "boss").unwrap().token;
    for asker in [&demo, &nova, &boss] {
        assert_eq!(status(ask(&mut k, 1, Some(asker), validate(&demo, false))), 200);
    }
    assert_eq!(status(ask(&mut k, 1, Some(&demo), validate(&boss, false))), 403);
    assert_eq!(status(ask(&mut k, 1, None, validate(&demo, false))), 401);
}

#[test]
fn an_expired_token_is_a_404_and_the_askers_own_expiry_a_401() {
    let mut k = keystone();
    let demo = issue(&mut k, "demo", "secret").unwrap().token;
    assert_eq!(status(ask(&mut k, 3600, Some(&demo), validate(&demo, false))), 401);
    k.token_lifetime = Duration::from_secs(86_400);
    let nova = issue(&mut k, "nova", "nova").unwrap().token;
    assert_eq!(
        ask(&mut k, 3600, Some(&nova), validate(&demo, false)),
        Err(Refusal::http(404, "Failed to validate token"))
    );
    assert_eq!(status(ask(&mut k, 3600, Some(&nova), validate(&demo, true))), 200);
    assert_eq!(
        ask(&mut k, 3600, Some(&nova), validate(&Secret::new("garbage"), true)),
        Err(Refusal::http(404, "Could not recognize Fernet token"))
    );
}

fn by_password<'a>(user: Named<'a>, password: &'a Secret) -> Login<'a> {
    Login::Password(user, password)
}

#[test]
fn a_user_logs_in_by_id_or_by_name_in_its_domain() {
    let mut k = keystone();
    k.name_user("demo".into(), "Demo User");
    k.name_project("demo".into(), "Demo Project");
    let secret = Secret::new("secret");
    let mut log_in = |user, project| {
        k.log_in(SimTime::ZERO, by_password(user, &secret), Scope::Project(project)).is_ok()
    };
    let (user, project) = (Named::Name("Demo User", "Default"), Named::Id("demo"));
    assert!(log_in(user, project));
    assert!(log_in(Named::Id("demo"), Named::Name("Demo Project", "default")));
    assert!(!log_in(Named::Name("demo", "default"), project));
    assert!(!log_in(Named::Name("Demo User", "nodomain"), project));
    assert!(!log_in(user, Named::Name("demo", "default")));
}

#[test]
fn an_unscoped_token_has_no_roles_and_rescoping_it_prolongs_nothing() {
    let mut k = keystone();
    let secret = Secret::new("secret");
    let login = by_password(Named::Id("demo"), &secret);
    let unscoped = k.log_in(SimTime::ZERO, login, Scope::None).unwrap();
    assert!(unscoped.info.roles.is_empty());
    assert_eq!(k.shown(&unscoped.token).unwrap().project_name, None);
    let later = SimTime::from_secs(1000);
    let scope = Scope::Project(Named::Id("demo"));
    let scoped = k.log_in(later, Login::Token(&unscoped.token), scope).unwrap();
    assert_eq!(scoped.info.roles.as_slice(), [Role::Member, Role::Reader]);
    assert_eq!(scoped.info.expires_at, unscoped.info.expires_at);
    let shown = k.shown(&scoped.token).unwrap();
    assert_eq!((shown.methods, shown.issued_at), (&["token", "password"][..], later));
    assert_eq!(shown.audit.as_slice(), [1, 0]);
    // Of a chain, the first token stays named.
    let again = k.log_in(later, Login::Token(&scoped.token), Scope::None).unwrap();
    assert_eq!(again.info.project_id.as_str(), "demo");
    assert_eq!(k.shown(&again.token).unwrap().audit.as_slice(), [2, 0]);
    let bad = Secret::new("garbage");
    for (token, scope) in [(&bad, Scope::None), (&scoped.token, Scope::Elsewhere)] {
        assert_eq!(k.log_in(later, Login::Token(token), scope), Err(NotIssued));
    }
}

#[test]
fn a_revoked_token_opens_no_door_and_cannot_be_revoked_or_exchanged_again() {
    let mut k = keystone();
    let demo = issue(&mut k, "demo", "secret").unwrap().token;
    let boss = issue(&mut k, "boss", "boss").unwrap().token;
    let auth = |token: &Secret| Auth { token: Some(token.clone()), service_token: None };
    let policy = "You are not authorized to perform the requested action: identity:revoke_token.";
    let refused = Err(Refusal::http(403, policy));
    assert_eq!(k.revoke(SimTime::ZERO, &auth(&demo), &boss), refused);
    assert_eq!(k.revoke(SimTime::ZERO, &auth(&boss), &demo), Ok(()));
    assert!(k.bearer(SimTime::ZERO, &demo, true).is_none());
    let gone = Err(Refusal::http(404, "Failed to validate token"));
    assert_eq!(k.revoke(SimTime::ZERO, &auth(&boss), &demo), gone);
    assert_eq!(k.check(SimTime::ZERO, &auth(&boss), &demo, false), gone);
    assert_eq!(k.log_in(SimTime::ZERO, Login::Token(&demo), Scope::None), Err(NotIssued));
    assert_eq!(k.check(SimTime::ZERO, &auth(&boss), &boss, false), Ok(()));
}
