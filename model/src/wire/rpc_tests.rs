//! The envelope carries what it is given, and shows nothing of it.

use castoff_ports::rpc::Method;
use castoff_ports::{Auth, RequestId, Secret};
use serde_json::{Value, json};

use super::rpc::{Api, Envelope, EnvelopeError};
use crate::broker::Message;

const V6: Api = Api { version: "6.0", instance: "2.8" };

fn message(method: Method) -> Message {
    Message {
        server: "compute-1".into(),
        request: RequestId(7),
        auth: Auth { token: Some(Secret::new("gAAAAAtoken")), service_token: None },
        method,
    }
}

fn detach(attachment: Option<&str>) -> Method {
    Method::DetachVolume {
        instance: "i-1".into(),
        volume_id: "v-1".into(),
        attachment_id: attachment.map(Into::into),
    }
}

#[test]
fn every_message_that_is_cast_arrives_as_it_was() {
    let other = Method::ReserveBlockDeviceName { instance: "i-1".into(), volume_id: "v".into() };
    for method in [detach(Some("a-1")), detach(None), other] {
        let sent = message(method);
        let body = Envelope::cast(&sent, V6, 1).encode();
        let arrived = Envelope::decode(&body).unwrap().message("compute-1".into());
        assert_eq!(arrived, Ok(sent));
    }
}

#[test]
fn the_token_is_in_clear_on_the_wire_and_nowhere_else() {
    let envelope = Envelope::cast(&message(detach(None)), V6, 1);
    assert!(String::from_utf8(envelope.encode()).unwrap().contains("gAAAAAtoken"));
    let read = Envelope::decode(&envelope.encode()).unwrap();
    assert_eq!(read, envelope);
    assert!(!format!("{read:?}").contains("gAAAAAtoken"));
}

#[test]
fn a_password_shows_in_no_debug_and_no_error() {
    let row = json!({"nova_object.data": {"connection_info": "{\"auth_password\": \"chap\"}"}});
    let mut envelope = Envelope::cast(&message(detach(None)), V6, 1);
    envelope.args.insert("bdm".to_owned(), row);
    envelope.args.insert("auth".to_owned(), json!({"password": "chap"}));
    envelope.context.insert("auth_plugin".to_owned(), json!("chap"));
    envelope.rest.insert("new".to_owned(), json!(["chap"]));
    let shown = format!("{envelope:?}");
    assert!(shown.contains("bdm") && shown.contains("auth_plugin"), "{shown}");
    assert!(!shown.contains("chap"), "{shown}");
    envelope.method = "attach_volume".to_owned();
    envelope.args.insert("bdm".to_owned(), json!("chap"));
    let error = envelope.method().unwrap_err();
    assert!(format!("{error:?}").contains("invalid type: string ***"), "{error:?}");
    let error = Envelope::decode(b"\"chap\"").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("chap"), "{error:?}");
}

#[test]
fn what_has_no_name_here_is_written_again_as_it_was() {
    let inner = json!({
        "method": "m", "args": {}, "namespace": null, "_timeout": 60, "_context_new": [1, null],
    });
    let body = json!({"oslo.version": "2.0", "oslo.message": inner.to_string()}).to_string();
    let envelope = Envelope::decode(body.as_bytes()).unwrap();
    assert_eq!(envelope.context.get("new"), Some(&json!([1, null])));
    let again: Value = serde_json::from_slice(&envelope.encode()).unwrap();
    let again: Value = serde_json::from_str(again["oslo.message"].as_str().unwrap()).unwrap();
    assert_eq!(again, inner);
}

#[test]
fn another_envelope_a_message_without_a_method_and_a_strange_version_are_told_apart() {
    let decode = |body: &Value| Envelope::decode(body.to_string().as_bytes());
    let old = decode(&json!({"method": "detach_volume", "args": {}}));
    assert_eq!(old, Err(EnvelopeError::Version { found: String::new() }));
    let empty = decode(&json!({"oslo.version": "2.0", "oslo.message": "{}"}));
    assert!(matches!(empty, Err(EnvelopeError::Missing { field: "method", .. })));
    assert!(matches!(Envelope::decode(b"no"), Err(EnvelopeError::Malformed { .. })));
    let mut strange = Envelope::cast(&message(detach(None)), V6, 1);
    strange.version = Some("9.0".to_owned());
    assert!(matches!(strange.method(), Err(EnvelopeError::Unsupported { .. })));
    strange.version = Some("4.0".to_owned());
    strange.args.remove("attachment_id");
    assert_eq!(strange.method(), Ok(detach(None)));
}
