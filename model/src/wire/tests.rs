//! The wire changes nothing: encoded, served and decoded, a call gives what the model gives.

use castoff_ports::cinder::*;
use castoff_ports::keystone::{self, CreateToken, Role, ValidateToken};
use castoff_ports::novadb::{Bdm, SourceType};
use castoff_ports::{
    AttachmentId, Auth, BdmId, Call, CallCx, Failure, Lun, Process, Refusal, Reply, RequestId,
    Secret, SimTime,
};
use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{cinder, client, keystone as serve_keystone};
use crate::{Outcome, Release, World};

pub(super) fn cx(auth: &Auth) -> CallCx {
    CallCx {
        process: Process::NovaCompute,
        incarnation: 0,
        request: RequestId(7),
        auth: auth.clone(),
        deadline: None,
    }
}

#[test]
fn a_lun_is_a_number_or_the_text_that_a_driver_made_of_it() {
    for lun in [TargetLun::Number(Lun(1)), TargetLun::Text("1".to_owned())] {
        let path = |portal: &str| IscsiPath {
            portal: portal.into(),
            iqn: "iqn.a".into(),
            lun: lun.clone(),
        };
        let data = IscsiData {
            target_portal: "10.0.0.1:3260".into(),
            target_iqn: "iqn.a".into(),
            target_lun: lun.clone(),
            paths: vec![path("10.0.0.1:3260"), path("10.0.0.2:3260")],
            volume_id: "v".into(),
            device_path: None,
            encrypted: false,
            auth: None,
        };
        let info = ConnectionInfo {
            driver_volume_type: "iscsi".to_owned(),
            data,
            serial: None,
            connector: None,
            multiattach: false,
        };
        let body = super::volume::encode_connection_info(&info);
        assert_eq!(super::volume::decode_connection_info(&body), Some(info));
    }
}

fn direct(world: &mut World, now: SimTime, auth: &Auth, call: Call) -> Result<Reply, Failure> {
    match world.call(now, &cx(auth), call) {
        Outcome::Done(result) => result,
        blocked => panic!("{blocked:?}"),
    }
}

fn serve(world: &mut World, now: SimTime, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    match request.uri().path() {
        "/v3/auth/tokens" => serve_keystone(world, now, request),
        _ => cinder(world, now, request),
    }
}

fn wired(world: &mut World, now: SimTime, auth: &Auth, call: &Call) -> Result<Reply, Failure> {
    let request = client::encode(call, &cx(auth)).unwrap();
    client::decode(call, serve(world, now, &request))
}

/// Puts the call to the world, and to a copy of it over the wire; both must agree in everything.
fn both(world: &mut World, now: SimTime, auth: &Auth, call: Call) -> Result<Reply, Failure> {
    let mut copy = world.clone();
    let over_wire = wired(&mut copy, now, auth, &call);
    let result = direct(world, now, auth, call.clone());
    assert_eq!(over_wire, result, "{}", call.describe());
    assert_eq!(copy.facts, world.facts, "{}", call.describe());
    assert_eq!(copy.cinder.volumes(), world.cinder.volumes());
    result
}

fn login(world: &mut World, user: &str, role: Role) -> Secret {
    world.keystone.add_user(user.into(), Secret::new("pw"), "demo".into(), &[role]);
    let call = Call::Keystone(keystone::Call::CreateToken(CreateToken {
        user: user.into(),
        password: Secret::new("pw"),
        project: "demo".into(),
    }));
    match both(world, SimTime(1), &Auth::default(), call) {
        Ok(Reply::Keystone(keystone::Reply::CreateToken(issued))) => issued.token,
        other => panic!("{other:?}"),
    }
}

/// A world with volume `v`, a member's token, and the same with a service token.
fn world(release: &str) -> (World, Auth, Auth) {
    let mut world = World::new(Release::named(release).unwrap());
    world.cinder.add_volume("v".into(), 3);
    let token = Some(login(&mut world, "demo", Role::Member));
    world.keystone.token_lifetime *= 9;
    let service_token = Some(login(&mut world, "nova", Role::Service));
    let user = Auth { token: token.clone(), service_token: None };
    (world, user, Auth { token, service_token })
}

fn connector() -> Connector {
    Connector {
        ip: "10.0.0.2".to_owned(),
        host: "vm".into(),
        initiator: Some("iqn.1993-08.org.debian:01:castoff".into()),
        multipath: true,
    }
}

/// Every operation of cinder, on volume `v` or an unknown one, and the n-th attachment.
fn cinder_call(operation: usize, world: &World, unknown: bool, n: usize) -> cinder_ports::Call {
    use cinder_ports::Call as C;
    let volume_id = if unknown { "nope".into() } else { "v".into() };
    let nth = world.cinder.live_attachments().nth(n).map(|row| row.id.clone());
    let attachment_id = nth.clone().unwrap_or_else(|| AttachmentId::new("nope"));
    match operation {
        0 => C::GetVolume(GetVolume { volume_id, microversion: [0, 48, 69, 99][n % 4] }),
        1 => C::BeginDetaching(BeginDetaching { volume_id }),
        2 => C::RollDetaching(RollDetaching { volume_id }),
        3 => C::Reserve(Reserve { volume_id }),
        4 => C::Unreserve(Unreserve { volume_id }),
        5 => C::InitializeConnection(InitializeConnection { volume_id, connector: connector() }),
        6 => C::TerminateConnection(TerminateConnection { volume_id, connector: connector() }),
        7 => {
            C::Attach(Attach { volume_id, instance: "i".into(), mountpoint: "/dev/vdb".to_owned() })
        }
        8 => C::Detach(Detach { volume_id, attachment_id: nth }),
        9 => C::AttachmentCreate(AttachmentCreate { volume_id, instance: "i".into() }),
        10 => C::AttachmentUpdate(AttachmentUpdate {
            attachment_id,
            connector: connector(),
            mountpoint: ["", "/dev/vdb"][n % 2].to_owned(),
        }),
        11 => C::AttachmentComplete(AttachmentComplete { attachment_id }),
        12 => C::AttachmentDelete(AttachmentDelete { attachment_id }),
        _ => unreachable!("thirteen operations"),
    }
}

use castoff_ports::cinder as cinder_ports;

#[test]
fn every_operation_of_cinder_succeeds_over_the_wire_as_it_does_directly() {
    let (mut w, _, service) = world("2026.1");
    let mut seen = [false; 13];
    // A whole life by the volume actions, then one by the attachments API.
    let life = [3, 4, 3, 5, 7, 0, 1, 2, 1, 6, 8, 9, 10, 11, 0, 1, 12, 0];
    for operation in life {
        let call = cinder_call(operation, &w, false, 0);
        let result = both(&mut w, SimTime(2), &service, Call::Cinder(call));
        assert!(result.is_ok(), "{operation}: {result:?}");
        seen[operation] = true;
    }
    assert_eq!(seen, [true; 13]);
    assert!(w.storage.mappings().is_empty());
}

#[test]
fn a_volume_in_use_shows_the_same_attachment_over_the_wire() {
    let (mut w, _, service) = world("2026.1");
    for operation in [9, 10, 11] {
        let call = cinder_call(operation, &w, false, 0);
        both(&mut w, SimTime(2), &service, Call::Cinder(call)).unwrap();
    }
    let get = GetVolume { volume_id: "v".into(), microversion: 69 };
    let call = Call::Cinder(cinder_ports::Call::GetVolume(get));
    match both(&mut w, SimTime(2), &service, call) {
        Ok(Reply::Cinder(cinder_ports::Reply::GetVolume(volume))) => {
            assert_eq!(volume.attachments.len(), 1);
            assert_eq!(volume.shared_targets, Some(false));
            assert_eq!(volume.size, 3);
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn any_calls_by_anyone_get_the_same_answer_over_the_wire(
        ocata in any::<bool>(),
        calls in prop::collection::vec(
            (0..13_usize, prop::bool::weighted(0.05), 0..4_usize, 0..4_usize, 0..2_u64), 1..30),
    ) {
        let (mut w, user, service) = world(if ocata { "ocata" } else { "2026.1" });
        let bad = Auth { token: Some(Secret::new("bad")), service_token: None };
        // Nova uses the first attachment that there will be.
        let bdm = Bdm {
            id: BdmId(0),
            instance_uuid: "i".into(),
            volume_id: "v".into(),
            source_type: SourceType::Volume,
            device_name: None,
            boot_index: None,
            attachment_id: Some("a77ac400-0000-4000-8000-000000000001".into()),
            connection_info: None,
            delete_on_termination: false,
            tag: None,
        };
        w.novadb.add_bdm(&mut w.facts, bdm);
        for (operation, unknown, n, who, hours) in calls {
            let call = Call::Cinder(cinder_call(operation, &w, unknown, n));
            let auth = [&service, &service, &user, &bad][who];
            let _ = both(&mut w, SimTime::from_secs(60 + hours * 3600), auth, call);
        }
    }

    #[test]
    fn any_question_to_keystone_gets_the_same_answer_over_the_wire(
        asker in 0..4_usize, subject in 0..4_usize, allow_expired in any::<bool>(), hours in 0..60_u64,
    ) {
        let (mut w, user, service) = world("2026.1");
        let tokens = [user.token, service.service_token, Some(Secret::new("bad")), None];
        let asker = Auth { token: tokens[asker].clone(), service_token: None };
        let subject = tokens[subject].clone().unwrap_or_else(|| Secret::new("other"));
        let call = Call::Keystone(keystone::Call::ValidateToken(ValidateToken {
            subject,
            allow_expired,
        }));
        let _ = both(&mut w, SimTime::from_secs(hours * 3600), &asker, call);
    }
}

#[test]
fn a_wrong_password_is_401_over_the_wire() {
    let (mut w, ..) = world("2026.1");
    let call = Call::Keystone(keystone::Call::CreateToken(CreateToken {
        user: "demo".into(),
        password: Secret::new("wrong"),
        project: "demo".into(),
    }));
    let result = both(&mut w, SimTime(1), &Auth::default(), call);
    assert_eq!(result.unwrap_err().http_status(), Some(401));
}

pub(super) fn raw(
    method: &str,
    path: &str,
    auth: &Auth,
    version: &str,
    body: &Value,
) -> Request<Vec<u8>> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = &auth.token {
        request = request.header("X-Auth-Token", token.reveal());
    }
    if !version.is_empty() {
        request = request.header("OpenStack-API-Version", version);
    }
    request.body(body.to_string().into_bytes()).unwrap()
}

pub(super) fn body(response: &Response<Vec<u8>>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[test]
fn cinder_refuses_what_it_cannot_read_in_its_own_words() {
    let (mut w, user, _) = world("2026.1");
    let action = "/v3/demo/volumes/v/action";
    let begin = json!({"os-begin_detaching": null});
    let cases = [
        (
            "/v3/other/volumes/v/action",
            "",
            begin.clone(),
            400,
            "badRequest",
            "Malformed request url",
        ),
        (action, "", json!({}), 400, "badRequest", "Malformed request body"),
        (
            action,
            "",
            json!({"os-nope": null}),
            400,
            "badRequest",
            "There is no such action: os-nope. Verify the request body and Content-Type header \
             and try again.",
        ),
        (
            action,
            "volume 3.71",
            json!({"os-terminate_connection": {}}),
            400,
            "badRequest",
            "Invalid input for field/attribute os-terminate_connection. Value: {}. 'connector' \
             is a required property",
        ),
        (
            action,
            "volume 3.999",
            begin.clone(),
            406,
            "computeFault",
            "Version 3.999 is not supported by the API. Minimum is 3.0 and maximum is 3.71.",
        ),
        (
            action,
            "volume abc",
            begin.clone(),
            400,
            "badRequest",
            "API Version String abc is of invalid format. Must be of format MajorNum.MinorNum.",
        ),
        (
            "/v3/demo/attachments",
            "volume 3.26",
            json!({"attachment": {"volume_uuid": "v"}}),
            404,
            "itemNotFound",
            "The resource could not be found.",
        ),
        (
            "/v3/demo/attachments",
            "volume 3.71",
            json!({"attachment": {"volume_uuid": "x"}}),
            400,
            "badRequest",
            "Invalid input for field/attribute volume_uuid. Value: x. 'x' is not a 'uuid'",
        ),
    ];
    for (path, version, sent, status, name, message) in cases {
        let response = cinder(&mut w, SimTime(2), &raw("POST", path, &user, version, &sent));
        assert_eq!(response.status().as_u16(), status, "{message}");
        assert_eq!(body(&response), json!({name: {"code": status, "message": message}}));
    }
    assert!(w.facts.is_empty());
}

#[test]
fn cinder_tells_the_version_that_it_answers_in_except_to_the_unauthorized() {
    let (mut w, user, _) = world("2026.1");
    let version = |r: &Response<Vec<u8>>| {
        r.headers().get("OpenStack-API-Version").map(|v| v.to_str().unwrap().to_owned())
    };
    for (asked, told) in [("", "volume 3.0"), ("volume 3.48", "volume 3.48")] {
        let get = raw("GET", "/v3/volumes/v", &user, asked, &Value::Null);
        let response = cinder(&mut w, SimTime(2), &get);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(version(&response).as_deref(), Some(told));
        assert_eq!(body(&response)["volume"].get("service_uuid").is_some(), !asked.is_empty());
    }
    let get = raw("GET", "/v3/volumes/v", &Auth::default(), "volume 3.48", &Value::Null);
    let response = cinder(&mut w, SimTime(2), &get);
    assert_eq!(version(&response), None);
    assert!(response.headers().contains_key("WWW-Authenticate"));
    let message = "The request you have made requires authentication.";
    let error = json!({"code": 401, "title": "Unauthorized", "message": message});
    assert_eq!(body(&response), json!({"error": error}));
}

#[test]
fn a_reply_that_makes_no_sense_is_a_lost_reply_and_a_gateways_page_a_refusal() {
    let call = Call::Cinder(cinder_call(0, &world("2026.1").0, false, 0));
    let garbled = Response::new(b"<html>".to_vec());
    let lost = Failure::NoReply { system: "cinder".to_owned() };
    assert_eq!(client::decode(&call, garbled), Err(lost));
    let mut gateway = Response::new(b"<html>".to_vec());
    *gateway.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    let refused = Refusal::http(504, "Gateway Timeout");
    assert_eq!(client::decode(&call, gateway), Err(refused.into()));
}

#[test]
fn tokens_do_not_show_in_a_requests_text_form() {
    let auth = Auth {
        token: Some(Secret::new("gAAAAAtoken")),
        service_token: Some(Secret::new("gAAAAAservice")),
    };
    let call = Call::Keystone(keystone::Call::ValidateToken(ValidateToken {
        subject: Secret::new("gAAAAAsubject"),
        allow_expired: false,
    }));
    let request = client::encode(&call, &cx(&auth)).unwrap();
    assert!(!format!("{request:?}").contains("gAAAAA"), "{request:?}");
    assert_eq!(request.headers()["X-Subject-Token"], "gAAAAAsubject");
}

#[test]
fn a_call_that_is_no_http_services_has_no_request() {
    let sleep = castoff_ports::runtime::Sleep { duration: std::time::Duration::ZERO };
    let call = Call::Runtime(castoff_ports::runtime::Call::Sleep(sleep));
    assert_eq!(client::encode(&call, &cx(&Auth::default())).map(|_| ()), None);
}
