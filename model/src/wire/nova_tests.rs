//! nova-api's side of the wire and its client's: what one writes the other reads.

use castoff_ports::nova::{self, Microversion};
use castoff_ports::novadb::EventResult;
use castoff_ports::{Auth, BdmId, Call, Refusal, Reply, RequestId, Secret, SimTime};
use http::Request;
use serde_json::{Value, json};

use super::client;
use super::nova::{nova_answer, nova_request, nova_response};
use super::tests::{body, cx, raw};

const VOLUME: &str = "30d72547-9316-4c2a-84c9-6ebc30912e01";

fn nova_calls() -> [nova::Call; 9] {
    [
        nova::Call::DeleteVolumeAttachment(nova::DeleteVolumeAttachment {
            server_id: "s".into(),
            volume_id: "v".into(),
            microversion: Microversion(60),
        }),
        nova::Call::CreateVolumeAttachment(nova::CreateVolumeAttachment {
            server_id: "s".into(),
            volume_id: VOLUME.into(),
            options: nova::AttachOptions {
                tag: Some("data".to_owned()),
                delete_on_termination: true,
            },
            microversion: Microversion(100),
        }),
        nova::Call::ListVolumeAttachments(nova::ListVolumeAttachments { server_id: "s".into() }),
        nova::Call::ListInstanceActions(nova::ListInstanceActions { server_id: "s".into() }),
        nova::Call::ShowVolumeAttachment(nova::ShowVolumeAttachment {
            server_id: "s".into(),
            volume_id: "v".into(),
        }),
        nova::Call::UpdateVolumeAttachment(nova::UpdateVolumeAttachment {
            server_id: "s".into(),
            volume_id: VOLUME.into(),
            new_volume_id: VOLUME.into(),
            delete_on_termination: Some(true),
            microversion: Microversion(85),
        }),
        nova::Call::ShowInstanceAction(nova::ShowInstanceAction {
            server_id: "s".into(),
            request_id: RequestId(3),
        }),
        nova::Call::PostServerAction(nova::PostServerAction {
            server_id: "s".into(),
            action: nova::ServerAction::Reboot { hard: true },
        }),
        nova::Call::PostServerAction(nova::PostServerAction {
            server_id: "s".into(),
            action: nova::ServerAction::Lock { reason: Some("why".to_owned()) },
        }),
    ]
}

#[test]
fn nova_api_reads_the_call_the_tokens_and_the_request_that_a_client_sent() {
    let auth = Auth { token: Some(Secret::new("t")), service_token: Some(Secret::new("s")) };
    for call in nova_calls() {
        let request = client::encode(&Call::Nova(call.clone()), &cx(&auth)).unwrap();
        assert_eq!(nova_request(&request), Ok((call, auth.clone(), Some(RequestId(7)))));
    }
}

#[test]
fn a_client_reads_the_reply_that_nova_api_gave() {
    let row = |attachment_id| nova::VolumeAttachment {
        volume_id: "v".into(),
        server_id: "s".into(),
        device: Some("/dev/vdb".to_owned()),
        attachment_id,
        bdm: Some(BdmId(7)),
        tag: Some("data".to_owned()),
        delete_on_termination: true,
    };
    let action = |message: Option<&str>| nova::InstanceAction {
        action: "detach_volume".to_owned(),
        request_id: RequestId(3),
        message: message.map(str::to_owned),
        start_time: SimTime::from_secs(5),
        updated_at: SimTime::from_secs(7),
        events: vec![],
    };
    let event = nova::ActionEvent {
        event: "compute_detach_volume".to_owned(),
        start_time: SimTime::from_secs(6),
        finish_time: Some(SimTime::from_secs(7)),
        result: Some(EventResult::Error),
    };
    let [delete, create, list, actions, show, update, action_show, reboot, _] = nova_calls();
    // A POST is answered without the attachment's own ids.
    let made = || nova::VolumeAttachment { bdm: None, ..row(None) };
    let mut with_events = action(Some("Error"));
    with_events.events = vec![event];
    let cases = [
        (&delete, nova::Reply::DeleteVolumeAttachment(()), 202),
        (&create, nova::Reply::CreateVolumeAttachment(Some(made())), 200),
        (&create, nova::Reply::CreateVolumeAttachment(None), 202),
        (&list, nova::Reply::ListVolumeAttachments(vec![row(Some("a".into())), row(None)]), 200),
        (&show, nova::Reply::ShowVolumeAttachment(row(Some("a".into()))), 200),
        (&update, nova::Reply::UpdateVolumeAttachment(()), 202),
        (&action_show, nova::Reply::ShowInstanceAction(with_events), 200),
        (&reboot, nova::Reply::PostServerAction(()), 202),
        (
            &actions,
            nova::Reply::ListInstanceActions(vec![action(Some("Error")), action(None)]),
            200,
        ),
    ];
    for (call, reply, status) in cases {
        let call = Call::Nova(call.clone());
        let request = client::encode(&call, &cx(&Auth::default())).unwrap();
        for response in [nova_response(Ok(reply.clone())), nova_answer(&request, Ok(reply.clone()))]
        {
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(client::decode(&call, response), Ok(Reply::Nova(reply.clone())));
        }
    }
}

#[test]
fn a_client_reads_the_refusal_that_nova_api_gave() {
    let call = Call::Nova(nova_calls()[0].clone());
    for (status, name) in [
        (400, "badRequest"),
        (403, "forbidden"),
        (404, "itemNotFound"),
        (409, "conflictingRequest"),
    ] {
        let refusal = Refusal::http(status, format!("message of {status}"));
        let response = nova_response(Err(refusal.clone()));
        assert!(body(&response).get(name).is_some());
        assert_eq!(client::decode(&call, response), Err(refusal.into()));
    }
    // What no handler caught is a 500, and says nothing.
    let response = nova_response(Err(Refusal::not_found("Instance", "s")));
    assert_eq!(client::decode(&call, response).unwrap_err().http_status(), Some(500));
}

/// What nova-api says of a request's form, once it has accepted the token.
fn refused(request: &Request<Vec<u8>>) -> Refusal {
    match nova_request(request).unwrap().0 {
        nova::Call::RefuseRequest(c) => Refusal::http(c.status, c.message),
        other => panic!("{other:?} is not refused"),
    }
}

#[test]
fn a_wrong_body_is_refused_in_the_words_of_the_schema() {
    let attachments = "/v2.1/servers/s/os-volume_attachments";
    let attach = |minor: u16, body: Value| {
        let version = format!("compute 2.{minor}");
        refused(&raw("POST", attachments, &Auth::default(), &version, &body))
    };
    let attachment = "Invalid input for field/attribute volumeAttachment. Value:";
    for (minor, body, message) in [
        (89, json!({}), "'volumeAttachment' is a required property".to_owned()),
        (
            89,
            json!({"volumeAttachment": {}}),
            format!("{attachment} {{}}. 'volumeId' is a required property"),
        ),
        (
            89,
            json!({"volumeAttachment": {"volumeId": "nope"}}),
            "Invalid input for field/attribute volumeId. Value: nope. 'nope' is not a 'uuid'"
                .to_owned(),
        ),
        (
            48,
            json!({"volumeAttachment": {"volumeId": VOLUME, "tag": "t"}}),
            format!(
                "{attachment} {{'tag': 't', 'volumeId': '{VOLUME}'}}. Additional properties are \
                 not allowed ('tag' was unexpected)"
            ),
        ),
    ] {
        assert_eq!(attach(minor, body), Refusal::http(400, message));
    }
    let action = |body: Value| {
        refused(&raw("POST", "/v2.1/servers/s/action", &Auth::default(), "compute 2.1", &body))
    };
    assert_eq!(
        action(json!({"explode": null})),
        Refusal::http(400, "There is no such action: explode")
    );
    assert_eq!(action(json!({})), Refusal::http(400, "Malformed request body"));
}

#[test]
fn nova_api_refuses_a_microversion_that_it_does_not_speak_and_gives_it_back() {
    let path = "/v2.1/servers/s/os-volume_attachments";
    let ask = |version: &str| {
        let request = raw("GET", path, &Auth::default(), version, &Value::Null);
        nova_answer(&request, Err(refused(&request)))
    };
    let response = ask("compute 2.999");
    assert_eq!(response.status().as_u16(), 406);
    assert_eq!(response.headers()["OpenStack-API-Version"], "compute 2.999");
    let message = "Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.103.";
    assert_eq!(body(&response), json!({"computeFault": {"code": 406, "message": message}}));
    let response = ask("compute x.y");
    assert_eq!(response.status().as_u16(), 400);
    assert!(!response.headers().contains_key("OpenStack-API-Version"));
    let legacy = Request::builder()
        .uri(path)
        .header("X-OpenStack-Nova-API-Version", "2.60")
        .body(Vec::new());
    let rows = Ok(nova::Reply::ListVolumeAttachments(vec![]));
    let response = nova_answer(&legacy.unwrap(), rows);
    assert_eq!(response.headers()["OpenStack-API-Version"], "compute 2.60");
}
