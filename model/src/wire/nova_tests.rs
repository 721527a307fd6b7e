//! nova-api's side of the wire and its client's: what one writes the other reads.

use castoff_ports::nova::{self, Microversion};
use castoff_ports::{Auth, Call, Refusal, Reply, RequestId, Secret};
use http::Request;
use serde_json::{Value, json};

use super::client;
use super::nova::{nova_answer, nova_request, nova_response};
use super::tests::{body, cx, raw};

fn nova_calls() -> [nova::Call; 4] {
    [
        nova::Call::DeleteVolumeAttachment(nova::DeleteVolumeAttachment {
            server_id: "s".into(),
            volume_id: "v".into(),
            microversion: Microversion(60),
        }),
        nova::Call::CreateVolumeAttachment(nova::CreateVolumeAttachment {
            server_id: "s".into(),
            volume_id: "v".into(),
            microversion: Microversion(100),
        }),
        nova::Call::ListVolumeAttachments(nova::ListVolumeAttachments { server_id: "s".into() }),
        nova::Call::ListInstanceActions(nova::ListInstanceActions { server_id: "s".into() }),
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
    };
    let action = |message: Option<&str>| nova::InstanceAction {
        action: "detach_volume".to_owned(),
        request_id: RequestId(3),
        message: message.map(str::to_owned),
    };
    let [delete, create, list, actions] = nova_calls();
    let cases = [
        (&delete, nova::Reply::DeleteVolumeAttachment(()), 202),
        (&create, nova::Reply::CreateVolumeAttachment(Some(row(None))), 200),
        (&create, nova::Reply::CreateVolumeAttachment(None), 202),
        (&list, nova::Reply::ListVolumeAttachments(vec![row(Some("a".into())), row(None)]), 200),
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

#[test]
fn nova_api_refuses_a_microversion_that_it_does_not_speak_and_gives_it_back() {
    let path = "/v2.1/servers/s/os-volume_attachments";
    let ask = |version: &str| {
        let request = raw("GET", path, &Auth::default(), version, &Value::Null);
        let refusal = nova_request(&request).map(|_| ()).unwrap_err();
        nova_answer(&request, Err(refusal))
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
