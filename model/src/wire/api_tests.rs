//! What is no operation of the ports: versions, tokens' other uses, lists, creating, mending.

use castoff_ports::keystone::Role;
use castoff_ports::{Auth, Secret, SimTime};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::tests::{body, raw};
use super::{cinder, keystone};
use crate::{Release, World};

const NOW: SimTime = SimTime(5_000_000);

/// A world with a member and an admin of project `demo`, and their tokens.
fn world() -> (World, Auth, Auth) {
    let mut world = World::new(Release::named("2026.1").unwrap());
    let mut auth = |user: &str, role| {
        let password = Secret::new("pw");
        world.keystone.add_user(user.into(), password, "demo".into(), &[role]);
        let login = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {"id": user, "password": "pw"}}},
            "scope": {"project": {"id": "demo"}},
        }});
        let made = log_in(&mut world, &login);
        assert_eq!(made.status(), StatusCode::CREATED);
        let token = made.headers()["X-Subject-Token"].to_str().unwrap();
        Auth { token: Some(Secret::new(token)), service_token: None }
    };
    let (member, admin) = (auth("demo", Role::Member), auth("boss", Role::Admin));
    (world, member, admin)
}

fn log_in(world: &mut World, login: &Value) -> Response<Vec<u8>> {
    let request = Request::post("/v3/auth/tokens").body(login.to_string().into_bytes());
    keystone(world, NOW, &request.unwrap())
}

fn ask(world: &mut World, auth: &Auth, line: &str, sent: &Value) -> Response<Vec<u8>> {
    let (method, path) = line.split_once(' ').unwrap();
    cinder(world, NOW, &raw(method, path, auth, "volume 3.71", sent))
}

fn message(response: &Response<Vec<u8>>) -> String {
    super::message::error_message(response.body()).unwrap()
}

#[test]
fn versions_need_no_token() {
    let (mut w, ..) = world();
    let get = |path: &str| Request::get(path).body(Vec::new()).unwrap();
    let choices = keystone(&mut w, NOW, &get("/"));
    assert_eq!(choices.status(), StatusCode::MULTIPLE_CHOICES);
    assert_eq!(choices.headers()["Location"], "http://keystone:5000/v3/");
    assert_eq!(body(&keystone(&mut w, NOW, &get("/v3")))["version"]["id"], "v3.14");
    assert_eq!(cinder(&mut w, NOW, &get("/")).status(), StatusCode::MULTIPLE_CHOICES);
    let v3 = cinder(&mut w, NOW, &get("/v3/"));
    assert_eq!(v3.headers()["OpenStack-API-Version"], "volume 3.0");
    assert_eq!(body(&v3)["versions"][0]["version"], "3.71");
}

#[test]
fn keystone_names_what_a_login_lacks() {
    let (mut w, ..) = world();
    let identity = |identity: Value| json!({"auth": {"identity": identity}});
    let user = |user: Value| identity(json!({"methods": ["password"], "password": {"user": user}}));
    let cases = [
        (json!({}), "Expecting to find auth in request body."),
        (identity(json!({"methods": ["password"]})), "Expecting to find password in identity."),
        (user(json!({"password": "pw"})), "Expecting to find id or name in user."),
        (user(json!({"name": "demo"})), "Expecting to find domain in user."),
        (
            identity(json!({"methods": ["token"], "token": {}})),
            "Invalid input for field 'identity/token': 'id' is a required property\n\nFailed \
             validating 'required' in schema['properties']['identity']['properties']['token']:\n",
        ),
    ];
    for (login, begins) in cases {
        let response = log_in(&mut w, &login);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(message(&response).starts_with(begins), "{}", message(&response));
    }
    let telepathy = log_in(&mut w, &identity(json!({"methods": ["telepathy"], "telepathy": {}})));
    assert_eq!(telepathy.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(body(&telepathy)["error"]["identity"]["methods"][1], "password");
}

#[test]
fn an_unscoped_token_has_no_catalog_and_cinder_finds_no_project_in_it() {
    let (mut w, ..) = world();
    let unscoped = log_in(
        &mut w,
        &json!({"auth": {"identity": {
            "methods": ["password"],
            "password": {"user": {"name": "demo", "domain": {"name": "Default"}, "password": "pw"}},
        }}}),
    );
    assert_eq!(body(&unscoped)["token"].get("catalog"), None);
    let token = unscoped.headers()["X-Subject-Token"].to_str().unwrap();
    let auth = Auth { token: Some(Secret::new(token)), service_token: None };
    let get = raw("GET", "/v3/auth/catalog", &auth, "", &Value::Null);
    assert_eq!(keystone(&mut w, NOW, &get).status(), StatusCode::FORBIDDEN);
    let list = ask(&mut w, &auth, "GET /v3/demo/volumes", &Value::Null);
    assert_eq!(
        (list.status(), message(&list).as_str()),
        (StatusCode::BAD_REQUEST, "Malformed request url")
    );
}

#[test]
fn a_head_says_whether_a_token_is_valid_and_a_delete_ends_it() {
    let (mut w, member, admin) = world();
    let mut about = |method: Method| {
        let mut request = raw(method.as_str(), "/v3/auth/tokens", &admin, "", &Value::Null);
        let subject = member.token.as_ref().unwrap().reveal();
        request.headers_mut().insert("X-Subject-Token", subject.parse().unwrap());
        keystone(&mut w, NOW, &request)
    };
    let head = about(Method::HEAD);
    assert_eq!((head.status(), head.body().len()), (StatusCode::OK, 0));
    assert_eq!(about(Method::DELETE).status(), StatusCode::NO_CONTENT);
    assert_eq!(about(Method::HEAD).status(), StatusCode::NOT_FOUND);
    let list = ask(&mut w, &member, "GET /v3/volumes", &Value::Null);
    assert_eq!(list.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_volume_is_created_listed_and_deleted() {
    let (mut w, member, admin) = world();
    let new = json!({"volume": {"size": 2, "name": "data", "metadata": {"k": "v"}}});
    let made = ask(&mut w, &member, "POST /v3/volumes", &new);
    assert_eq!(made.status(), StatusCode::ACCEPTED);
    let shown = &body(&made)["volume"];
    assert_eq!((&shown["status"], &shown["updated_at"]), (&json!("creating"), &Value::Null));
    assert_eq!(shown["metadata"], json!({"k": "v"}));
    assert_eq!(shown.get("os-vol-tenant-attr:tenant_id"), None);
    let path = format!("/v3/demo/volumes/{}", shown["id"].as_str().unwrap());
    w.cinder.settle(SimTime(6_000_000));
    let count = |w: &mut World, query: &str| {
        let list = ask(w, &member, &format!("GET /v3/demo/volumes{query}"), &Value::Null);
        body(&list)["volumes"].as_array().unwrap().len()
    };
    assert_eq!((count(&mut w, ""), count(&mut w, "?name=data")), (1, 1));
    assert_eq!((count(&mut w, "?name=nope"), count(&mut w, "/detail?status=available")), (0, 1));
    let bad = ask(&mut w, &member, "GET /v3/volumes?host=vm", &Value::Null);
    assert_eq!(message(&bad), "Invalid filters host are found in query options.");
    let host = |w: &mut World, auth: &Auth| {
        let shown = ask(w, auth, &format!("GET {path}"), &Value::Null);
        body(&shown)["volume"].get("os-vol-host-attr:host").cloned()
    };
    assert_eq!(host(&mut w, &member), None);
    assert_eq!(host(&mut w, &admin), Some(json!("cinder@lvm#lvm")));
    assert_eq!(ask(&mut w, &member, &format!("DELETE {path}"), &Value::Null).status(), 202);
    w.cinder.settle(SimTime(7_000_000));
    assert_eq!(w.cinder.volumes().len(), 0);
}

#[test]
fn types_and_services_are_an_admins_to_make_and_to_see() {
    let (mut w, member, admin) = world();
    let new = json!({"volume_type": {"name": "fast"}});
    let by_member = ask(&mut w, &member, "POST /v3/types", &new);
    let policy = "Policy doesn't allow volume_extension:type_create to be performed.";
    assert_eq!((by_member.status().as_u16(), message(&by_member).as_str()), (403, policy));
    let made = ask(&mut w, &admin, "POST /v3/types", &new);
    let id = body(&made)["volume_type"]["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&mut w, &admin, "POST /v3/types", &new).status(), StatusCode::CONFLICT);
    let show = ask(&mut w, &member, &format!("GET /v3/types/{id}"), &Value::Null);
    assert_eq!(body(&show)["volume_type"]["name"], "fast");
    assert_eq!(ask(&mut w, &member, "GET /v3/types/nope", &Value::Null).status(), 404);
    let list = body(&ask(&mut w, &member, "GET /v3/types", &Value::Null));
    assert_eq!(list["volume_types"].as_array().unwrap().len(), 2);
    assert_eq!(ask(&mut w, &member, "GET /v3/os-services", &Value::Null).status(), 403);
    let services = body(&ask(&mut w, &admin, "GET /v3/os-services", &Value::Null));
    assert_eq!(services["services"][0]["host"], "cinder@lvm");
}

#[test]
fn an_attachment_is_made_with_its_connector_at_once_and_listed_by_its_server() {
    let (mut w, member, admin) = world();
    w.cinder.add_volume("v".into(), 1);
    let new = json!({"attachment": {
        "volume_uuid": "v",
        "instance_uuid": "i",
        "mode": "rw",
        "connector": {"host": "vm", "initiator": "iqn.vm", "ip": "10.0.0.2", "multipath": false},
    }});
    let made = ask(&mut w, &member, "POST /v3/attachments", &new);
    let made = &body(&made)["attachment"];
    assert_eq!((&made["attach_mode"], &made["attached_at"]), (&json!("rw"), &json!("")));
    assert_eq!(made["connection_info"]["driver_volume_type"], "iscsi");
    let list = |w: &mut World, auth, query: &str| {
        let line = format!("GET /v3/attachments{query}");
        body(&ask(w, auth, &line, &Value::Null))["attachments"].as_array().map(Vec::len)
    };
    assert_eq!(list(&mut w, &member, "?volume_id=v"), Some(1));
    assert_eq!(list(&mut w, &member, "?instance_id=j"), Some(0));
    assert_eq!(list(&mut w, &member, "?host=vm"), None, "not among a user's filters");
    w.cinder.resource_filters = false;
    assert_eq!(list(&mut w, &member, "?instance_id=j"), None, "the file says by what");
    assert_eq!(list(&mut w, &admin, "/detail?instance_id=j"), Some(0));
    let path = format!("PUT /v3/attachments/{}", made["id"].as_str().unwrap());
    let empty = ask(&mut w, &member, &path, &json!({"attachment": {}}));
    let refused = "Invalid input for field/attribute attachment. Value: {}. 'connector' is a \
                   required property";
    assert_eq!(message(&empty), refused);
}

#[test]
fn an_admins_actions_are_read_and_their_values_checked() {
    let (mut w, member, admin) = world();
    w.cinder.add_volume("v".into(), 1);
    let action = "POST /v3/volumes/v/action";
    let reset = |status: &str| json!({"os-reset_status": {"status": status}});
    assert_eq!(ask(&mut w, &member, action, &reset("error")).status(), 403);
    assert_eq!(ask(&mut w, &admin, action, &reset("error")).status(), 202);
    let bad = ask(&mut w, &admin, action, &reset("lost"));
    let begins = "Invalid input for field/attribute status. Value: lost. 'lost' is not one of [";
    assert!(message(&bad).starts_with(begins), "{}", message(&bad));
    assert_eq!(ask(&mut w, &admin, action, &reset("available")).status(), 202);
    let force = json!({"os-force_detach": {"connector": null}});
    assert_eq!(ask(&mut w, &admin, action, &force).status(), 202);
    let bootable = json!({"os-set_bootable": {"bootable": "true"}});
    assert_eq!(ask(&mut w, &member, action, &bootable).status(), 200);
    let read_only =
        json!({"os-attach": {"instance_uuid": "i", "mountpoint": "/dev/vdb", "mode": "ro"}});
    assert_eq!(ask(&mut w, &member, action, &read_only).status(), 202);
    let shown = body(&ask(&mut w, &member, "GET /v3/volumes/v", &Value::Null));
    assert_eq!(shown["volume"]["bootable"], "true");
    assert_eq!(shown["volume"]["metadata"], json!({"readonly": "False", "attached_mode": "ro"}));
}
