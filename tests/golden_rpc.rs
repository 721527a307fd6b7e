//! Recorded casts: every message in `tests/golden/rpc` is read, understood and written again as
//! the same document. A new file there is picked up without a change of code.

// Helpers of tests: what they unwrap is what is tested.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use castoff_model::wire::rpc::Envelope;
use castoff_ports::HostName;
use castoff_ports::rpc::Method;
use serde_json::Value;

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rpc");
    // Its order is the file system's: sorted at once.
    #[allow(clippy::disallowed_methods)]
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    assert!(!files.is_empty(), "no recording");
    files
}

fn read(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn body(recording: &Value) -> &[u8] {
    recording["raw_body"].as_str().expect("a recording has its body as it was").as_bytes()
}

/// The document: the inner JSON read too, as its spelling (spaces, order of keys) means nothing.
fn document(body: &[u8]) -> Value {
    let mut outer: Value = serde_json::from_slice(body).unwrap();
    outer["oslo.message"] = serde_json::from_str(outer["oslo.message"].as_str().unwrap()).unwrap();
    outer
}

#[test]
fn every_recorded_message_is_written_again_as_the_same_document() {
    for file in recordings() {
        let recording = read(&file);
        let envelope = Envelope::decode(body(&recording)).unwrap();
        assert_eq!(document(&envelope.encode()), document(body(&recording)), "{}", file.display());
        assert_eq!(document(&envelope.encode()), recording["decoded"], "{}", file.display());
    }
}

#[test]
fn every_recorded_message_is_a_method_of_our_nova_compute() {
    for file in recordings() {
        let recording = read(&file);
        let envelope = Envelope::decode(body(&recording)).unwrap();
        let message = envelope.message(HostName::new("vm")).unwrap();
        let recorded = &recording["decoded"]["oslo.message"];
        assert_eq!(message.method.name(), recorded["method"]);
        if let Method::DetachVolume { instance, volume_id, attachment_id } = &message.method {
            let args = &recorded["args"];
            assert_eq!(instance.as_str(), args["instance"]["nova_object.data"]["uuid"]);
            assert_eq!(volume_id.as_str(), args["volume_id"]);
            let attachment = attachment_id.as_ref().map(|a| a.as_str());
            assert_eq!(attachment, args["attachment_id"].as_str());
        }
        assert!(message.auth.token.is_some(), "the caller's token travels in the context");
    }
}

#[test]
fn our_own_detach_has_the_arguments_and_the_frame_of_a_recorded_one() {
    use castoff_model::release::CinderRelease;
    use castoff_model::wire::rpc::Api;
    let file = recordings().into_iter().find(|f| f.ends_with("detach-volume.json")).unwrap();
    let recorded = Envelope::decode(body(&read(&file))).unwrap();
    let message = recorded.message(HostName::new("vm")).unwrap();
    let ours = Envelope::cast(&message, Api::of(CinderRelease::V28), 1);
    assert_eq!(ours.method, recorded.method);
    assert_eq!(ours.version, recorded.version);
    assert!(ours.args.keys().eq(recorded.args.keys()));
    for key in ["nova_object.name", "nova_object.namespace", "nova_object.version"] {
        assert_eq!(ours.args["instance"][key], recorded.args["instance"][key], "{key}");
    }
    assert!(ours.context.keys().all(|key| recorded.context.contains_key(key)));
    assert_eq!(ours.unique_id.map(|id| id.len()), recorded.unique_id.map(|id| id.len()));
}
