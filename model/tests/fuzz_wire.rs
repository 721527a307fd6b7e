//! Whatever comes over the wire gets an answer: no bytes panic a service or a client.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

use castoff_model::wire::{cinder, client, keystone, nova, rpc};
use castoff_model::{Release, World};
use castoff_ports::cinder as cinder_ports;
use castoff_ports::keystone::{self as keystone_ports, CreateToken, Role, ValidateToken};
use castoff_ports::nova::{self as nova_ports, Microversion};
use castoff_ports::{Auth, Call, CallCx, Failure, Process, Refusal, RequestId, Secret, SimTime};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use serde_json::{Value, json};

use fuzz::Bytes;

#[path = "../../tests/support/fuzz.rs"]
mod fuzz;

const NOW: SimTime = SimTime(5_000_000);

/// The first attachment that a world makes.
const ATTACHMENT: &str = "a77ac400-0000-4000-8000-000000000001";
const VOLUME: &str = "30d72547-9316-4c2a-84c9-6ebc30912e01";

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "PROPFIND"];

const VERSIONS: [&str; 7] = [
    "volume 3.71",
    "volume 3.44",
    "volume 3.0",
    "compute 2.103",
    "compute 2.60",
    "compute latest, volume latest",
    "volume 3.65536",
];

/// A world with a volume, and an admin's token.
fn world(release: &str) -> (World, String) {
    let mut world = World::new(Release::named(release).unwrap());
    world.cinder.add_volume(VOLUME.into(), 1);
    world.keystone.add_user("boss".into(), Secret::new("pw"), "demo".into(), &[Role::Admin]);
    let [_, login, _] = logins();
    let login = Request::post("/v3/auth/tokens").body(login.to_string().into_bytes()).unwrap();
    let made = keystone(&mut world, NOW, &login);
    let token = made.headers()["X-Subject-Token"].to_str().unwrap().to_owned();
    (world, token)
}

fn logins() -> [Value; 3] {
    let auth = |identity: Value, project: Value| json!({"auth": {"identity": identity, "scope": {"project": project}}});
    let password = |user| json!({"methods": ["password"], "password": {"user": user}});
    let by_name = json!({"name": "boss", "domain": {"id": "default"}, "password": "pw"});
    let by_id = json!({"id": "boss", "password": "pw"});
    [
        auth(password(by_name), json!({"name": "demo", "domain": {"name": "Default"}})),
        auth(password(by_id), json!({"id": "demo"})),
        auth(json!({"methods": ["token"], "token": {"id": "gone"}}), json!({"id": "demo"})),
    ]
}

/// One of the documents with some values exchanged; edited as text one time in four.
fn document(bytes: &mut Bytes<'_>, samples: &[Value]) -> Vec<u8> {
    if bytes.byte() == 0 {
        // Deeper than any stack: a parser without a limit of its own does not come back.
        return bytes.pick(&["[", "{\"auth\":", "\"\\u00"]).repeat(50_000).into_bytes();
    }
    let mut document = bytes.pick(samples).clone();
    for _ in 0..bytes.below(3) {
        exchange(bytes, &mut document);
    }
    let text = document.to_string();
    if bytes.byte().is_multiple_of(4) { bytes.edited(&[text]) } else { text.into_bytes() }
}

/// Puts something else in the place of one value, or takes it out.
fn exchange(bytes: &mut Bytes<'_>, value: &mut Value) {
    let deeper = !bytes.byte().is_multiple_of(4);
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let nth = bytes.below(map.len());
            let key = map.keys().nth(nth).unwrap().clone();
            if bytes.byte().is_multiple_of(8) {
                map.remove(&key);
            } else {
                exchange(bytes, &mut map[&key]);
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let nth = bytes.below(list.len());
            exchange(bytes, &mut list[nth]);
        }
        _ => {
            let others = [
                json!(null),
                json!({}),
                json!([null, {"a": [1]}]),
                json!(""),
                json!("\u{e9}'\"\\\n\u{1f980}"),
                json!("9999999999-99-99T99:99:99"),
                json!(-1),
                json!(u64::MAX),
                json!(1e308),
                json!(true),
            ];
            *value = bytes.pick(&others).clone();
        }
    }
}

/// A request with headers that may be missing, wrong, or no text.
fn request(
    bytes: &mut Bytes<'_>,
    token: &str,
    paths: &[&str],
    bodies: &[Value],
) -> Request<Vec<u8>> {
    let mut request = Request::new(document(bytes, bodies));
    *request.method_mut() = Method::from_bytes(bytes.pick(&METHODS).as_bytes()).unwrap();
    let as_it_is = !bytes.byte().is_multiple_of(3);
    let path = if as_it_is { bytes.pick(paths).as_bytes().to_vec() } else { bytes.edited(paths) };
    // What is no path makes no request; `/` takes its place.
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
    let headers = [
        ("x-auth-token", vec![token]),
        ("x-subject-token", vec![token, "gone"]),
        ("x-service-token", vec![token, "gone"]),
        ("openstack-api-version", VERSIONS.to_vec()),
        ("x-openstack-nova-api-version", vec!["2.1", "2.90", "latest"]),
        ("x-openstack-request-id", vec!["req-7", "req-18446744073709551615"]),
        ("host", vec!["localhost:8774"]),
    ];
    for (name, values) in headers {
        let value = match bytes.byte() % 8 {
            0 => bytes.edited(&values),
            1..4 if name != "x-auth-token" => continue,
            _ => bytes.pick(&values).as_bytes().to_vec(),
        };
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    request
}

/// No request makes a service fail, and what it says is JSON.
fn check(request: &Request<Vec<u8>>, response: &Response<Vec<u8>>) {
    let status = response.status().as_u16();
    assert!((200..500).contains(&status), "{status} to {request:?}");
    let body = response.body();
    let json = serde_json::from_slice::<Value>(body).is_ok();
    assert!(body.is_empty() || json, "{response:?} to {request:?}");
}

#[test]
fn any_request_to_keystone_is_answered() {
    let (world, token) = world("2026.1");
    let tokens = "/v3/auth/tokens";
    let paths = ["/", "/v3", tokens, tokens, "/v3/auth/tokens?allow_expired=1", "/v3/auth/catalog"];
    let bodies = logins();
    fuzz::fuzz!(|bytes: &mut Bytes<'_>| {
        let mut world = world.clone();
        let request = request(bytes, &token, &paths, &bodies);
        check(&request, &keystone(&mut world, NOW, &request));
    });
}

fn cinder_bodies() -> Vec<Value> {
    let connector =
        json!({"host": "vm", "initiator": "iqn.vm", "ip": "10.0.0.2", "multipath": true});
    vec![
        json!({"os-begin_detaching": null}),
        json!({"os-roll_detaching": null}),
        json!({"os-reserve": null}),
        json!({"os-unreserve": null}),
        json!({"os-initialize_connection": {"connector": connector}}),
        json!({"os-terminate_connection": {"connector": connector}}),
        json!({"os-attach": {"instance_uuid": "i", "mountpoint": "/dev/vdb", "mode": "rw"}}),
        json!({"os-detach": {"attachment_id": ATTACHMENT}}),
        json!({"os-force_detach": {"connector": connector, "attachment_id": ATTACHMENT}}),
        json!({"os-reset_status": {"status": "error", "attach_status": "detached"}}),
        json!({"os-set_bootable": {"bootable": "true"}}),
        json!({"os-complete": null}),
        json!({"attachment": {"volume_uuid": VOLUME, "instance_uuid": "i", "mode": "ro",
                              "connector": connector}}),
        json!({"attachment": {"connector": connector}}),
        json!({"volume": {"size": 2, "name": "d", "metadata": {"k": "v"}, "volume_type": "lvm"}}),
        json!({"volume_type": {"name": "fast", "extra_specs": {"k": "v"}}}),
    ]
}

#[test]
fn any_requests_to_cinder_are_answered() {
    let worlds = [world("2026.1"), world("ocata")];
    let volume = format!("/v3/volumes/{VOLUME}");
    let action = format!("/v3/demo/volumes/{VOLUME}/action");
    let attachment = format!("/v3/attachments/{ATTACHMENT}");
    let complete = format!("{attachment}/action");
    let paths = [
        "/v3/volumes?all_tenants=1&name=data&status=in-use",
        "/v3/demo/volumes/detail?limit=1&=&&x",
        "/v3/attachments/detail?instance_id=i",
        "/v3/attachments",
        "/v3/types",
        "/v3/os-services",
        &volume,
        &action,
        &action,
        &attachment,
        &complete,
    ];
    let bodies = cinder_bodies();
    fuzz::fuzz!(|bytes: &mut Bytes<'_>| {
        let (world, token) = bytes.pick(&worlds);
        let mut world = world.clone();
        // One request after the other, so that there are attachments to ask for.
        for second in 5..9 {
            let request = request(bytes, token, &paths, &bodies);
            check(&request, &cinder(&mut world, SimTime::from_secs(second), &request));
        }
    });
}

#[test]
fn any_request_to_nova_is_a_call_or_is_refused_and_is_answered() {
    let attachment = format!("/v2.1/servers/s/os-volume_attachments/{VOLUME}");
    let paths = [
        "/v2.1",
        "/v2.1/servers/detail?all_tenants=1",
        "/v2.1/demo/servers/s",
        "/v2.1/servers/s/action",
        "/v2.1/servers/s/os-volume_attachments",
        "/v2.1/servers/s/os-instance-actions/req-7",
        "/v2.1/flavors/detail",
        "/v2.1/os-services",
        &attachment,
    ];
    let bodies = [
        json!({"volumeAttachment": {"volumeId": VOLUME, "device": "/dev/vdb", "tag": "t",
                                    "delete_on_termination": true}}),
        json!({"volumeAttachment": {"volumeId": VOLUME, "serverId": "s", "id": VOLUME}}),
        json!({"lock": {"locked_reason": "why"}}),
        json!({"reboot": {"type": "HARD"}}),
        json!({"os-resetState": {"state": "active"}}),
        json!({"os-stop": null}),
    ];
    fuzz::fuzz!(|bytes: &mut Bytes<'_>| {
        let request = request(bytes, "token", &paths, &bodies);
        let result = match nova::nova_request(&request) {
            Err(refusal) => Err(refusal),
            Ok((nova_ports::Call::RefuseRequest(c), ..)) => Err(Refusal::http(c.status, c.message)),
            Ok((nova_ports::Call::GetFlavors(_), ..)) => Ok(nova_ports::Reply::GetFlavors(())),
            // Who answers is not the wire's business; what it writes depends on the path.
            Ok(_) => Ok(nova_ports::Reply::GetVersions(())),
        };
        check(&request, &nova::nova_answer(&request, result));
    });
}

/// Calls to keystone and cinder, each possible after those before it.
fn calls(token: &str) -> [Call; 7] {
    let connector = cinder_ports::Connector {
        ip: "10.0.0.2".to_owned(),
        host: "vm".into(),
        initiator: Some("iqn.vm".into()),
        multipath: true,
    };
    let create =
        CreateToken { user: "boss".into(), password: Secret::new("pw"), project: "demo".into() };
    let validate = ValidateToken { subject: Secret::new(token), allow_expired: false };
    let volume_id = || VOLUME.into();
    let initialize =
        cinder_ports::InitializeConnection { volume_id: volume_id(), connector: connector.clone() };
    let get = cinder_ports::GetVolume { volume_id: volume_id(), microversion: 69 };
    let reserve = cinder_ports::AttachmentCreate { volume_id: volume_id(), instance: "i".into() };
    let update = cinder_ports::AttachmentUpdate {
        attachment_id: ATTACHMENT.into(),
        connector,
        mountpoint: "/dev/vdb".to_owned(),
    };
    let complete = cinder_ports::AttachmentComplete { attachment_id: ATTACHMENT.into() };
    [
        Call::Keystone(keystone_ports::Call::CreateToken(create)),
        Call::Keystone(keystone_ports::Call::ValidateToken(validate)),
        Call::Cinder(cinder_ports::Call::InitializeConnection(initialize)),
        Call::Cinder(cinder_ports::Call::AttachmentCreate(reserve)),
        Call::Cinder(cinder_ports::Call::AttachmentUpdate(update)),
        Call::Cinder(cinder_ports::Call::AttachmentComplete(complete)),
        Call::Cinder(cinder_ports::Call::GetVolume(get)),
    ]
}

/// Calls and what the service answers to each.
fn answers() -> Vec<(Call, Value)> {
    let (mut world, token) = world("2026.1");
    let cx = CallCx {
        process: Process::Client,
        incarnation: 0,
        request: RequestId(7),
        auth: Auth { token: Some(Secret::new(&token)), service_token: None },
        deadline: None,
    };
    let mut answers = Vec::from(nova_answers());
    for call in calls(&token) {
        let request = client::encode(&call, &cx).unwrap();
        let response = match &call {
            Call::Keystone(_) => keystone(&mut world, NOW, &request),
            _ => cinder(&mut world, NOW, &request),
        };
        assert!(response.status().is_success(), "{}: {response:?}", call.describe());
        answers.push((call, serde_json::from_slice(response.body()).unwrap_or_default()));
    }
    answers
}

fn nova_answers() -> [(Call, Value); 3] {
    let attachment = json!({"id": VOLUME, "volumeId": VOLUME, "serverId": "s", "tag": null,
        "device": "/dev/vdb", "attachment_id": ATTACHMENT, "bdm_uuid": VOLUME,
        "delete_on_termination": false});
    let time = "2026-11-23T00:00:00.000000";
    let action = json!({"action": "detach_volume", "request_id": "req-7", "message": null,
        "start_time": time, "updated_at": time, "events": [{"event": "compute_detach_volume",
        "start_time": time, "finish_time": null, "result": "Error"}]});
    let create = nova_ports::CreateVolumeAttachment {
        server_id: "s".into(),
        volume_id: VOLUME.into(),
        options: nova_ports::AttachOptions::default(),
        microversion: Microversion::LATEST,
    };
    let list = nova_ports::ListVolumeAttachments { server_id: "s".into() };
    let show = nova_ports::ShowInstanceAction { server_id: "s".into(), request_id: RequestId(7) };
    let (create, list, show) = (
        nova_ports::Call::CreateVolumeAttachment(create),
        nova_ports::Call::ListVolumeAttachments(list),
        nova_ports::Call::ShowInstanceAction(show),
    );
    [
        (Call::Nova(create), json!({"volumeAttachment": attachment})),
        (Call::Nova(list), json!({"volumeAttachments": [attachment]})),
        (Call::Nova(show), json!({"instanceAction": action})),
    ]
}

#[test]
fn any_response_is_a_reply_a_refusal_with_its_status_or_a_lost_reply() {
    let answers = answers();
    let error = json!({"itemNotFound": {"code": 404, "message": "gone"}});
    fuzz::fuzz!(|bytes: &mut Bytes<'_>| {
        let (call, answer) = bytes.pick(&answers);
        let mut response = Response::new(document(bytes, &[answer.clone(), error.clone()]));
        let status = *bytes.pick(&[200, 200, 201, 202, 204, 302, 404, 500, 599, 999]);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Ok(token) = HeaderValue::from_bytes(&bytes.edited(&["gAAAA"])) {
            response.headers_mut().insert("x-subject-token", token);
        }
        match client::decode(call, response) {
            Ok(_) => assert!((200..300).contains(&status), "a reply of status {status}"),
            Err(Failure::Refused(refusal)) => {
                assert!((400..600).contains(&status), "{refusal} for {status}");
                assert!(matches!(refusal, Refusal::Http { status: s, .. } if s == status));
            }
            Err(other) => assert!(matches!(other, Failure::NoReply { .. }), "{other:?}"),
        }
    });
}

#[test]
fn any_body_from_the_queue_is_a_message_or_an_error_and_is_written_as_it_was_read() {
    let instance = json!({"nova_object.name": "Instance", "nova_object.data": {"uuid": "i"}});
    let inner = [
        json!({"method": "detach_volume", "version": "6.0", "_unique_id": "1",
            "_context_request_id": "req-7", "_context_auth_token": "t",
            "args": {"instance": instance, "volume_id": "v", "attachment_id": "a"}}),
        json!({"method": "reserve_block_device_name", "version": "5.0", "_msg_id": "m",
            "_reply_q": "q", "namespace": null, "args": {"instance": instance, "volume_id": "v"}}),
    ];
    fuzz::fuzz!(|bytes: &mut Bytes<'_>| {
        let message = String::from_utf8_lossy(&document(bytes, &inner)).into_owned();
        let body = json!({"oslo.version": "2.0", "oslo.message": message}).to_string();
        let as_it_is = !bytes.byte().is_multiple_of(4);
        let body = if as_it_is { body.into_bytes() } else { bytes.edited(&[body]) };
        if let Ok(envelope) = rpc::Envelope::decode(&body) {
            let again = rpc::Envelope::decode(&envelope.encode());
            assert_eq!(again.as_ref(), Ok(&envelope), "{}", String::from_utf8_lossy(&body));
            assert_eq!(envelope.message("vm".into()).is_ok(), envelope.method().is_ok());
        }
    });
}
