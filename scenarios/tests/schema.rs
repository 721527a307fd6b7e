//! The published schema is current, accepts what the loader accepts, and refuses what it refuses.

use castoff_ports::plan::{EnvironmentEvent, Fault, FaultKind, FaultPoint};
use castoff_ports::{Process, RequestId};
use castoff_scenarios::builtin::{FILES, named};
use castoff_scenarios::schema::json_schema;
use serde_json::{Value, json};

const PUBLISHED: &str = include_str!("../scenario.schema.json");

fn validator() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&json_schema()).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

fn healthy() -> Value {
    serde_json::to_value(named("healthy").expect("built in")).expect("plain data")
}

#[test]
fn the_published_schema_is_current() {
    assert!(
        PUBLISHED == json_schema(),
        "run: cargo run -p castoff-scenarios --example schema > scenarios/scenario.schema.json"
    );
}

#[test]
fn every_builtin_file_validates() {
    let validator = validator();
    for (name, text) in FILES {
        let file: Value = toml::from_str(text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&file).map(|e| e.to_string()).collect();
        assert_eq!(errors, [""; 0], "{name}");
    }
}

#[test]
fn broken_files_do_not_validate() {
    let validator = validator();
    assert!(validator.is_valid(&healthy()));
    let point = json!({"process": "nova-compute", "operation": "host::FlushBufs"});
    let breaks: &[(&str, Value)] = &[
        ("/name", json!("Not Kebab")),
        ("/title", json!("")),
        ("/volume", json!([])),
        ("/actor", json!([])),
        ("/actor/0/action", json!("eject")),
        ("/actor/0/at_ms", json!(-1)),
        ("/guest", json!({"let_go": "never"})),
        ("/guest", json!({"lets_go": {"after-ms": 5}})),
        ("/host", json!({"device_lingers": "never"})),
        ("/host", json!({"qemu": "4"})),
        ("/host", json!({"qemu": 4.2})),
        ("/host", json!({"machine": "i440fx"})),
        ("/host", json!({"event": [{"kind": "qemu-dies"}]})),
        ("/host", json!({"event": [{"kind": "qemu-dies", "at_ms": 1, "for_ms": 1}]})),
        ("/host", json!({"event": [{"kind": "guest-reboots", "at_ms": 1}]})),
        ("/token/lifetime_s", json!(0)),
        ("/leftover", json!([{"kind": "stale-attachment"}])),
        ("/leftover", json!([{"kind": "stale-attachment", "volume": "v1", "lun": 3}])),
        ("/expect", json!({})),
        ("/expect/pike/end", json!("gone")),
        ("/expect/pike/violates", json!(["S28"])),
        ("/fault", json!([{"at": point, "strike": {"kind": "explode"}}])),
        ("/fault", json!([{"at": point, "strike": {"kind": "lost", "ms": 1}}])),
        ("/fault", json!([{"at": point, "strike": {"kind": "http-error"}}])),
        ("/fault", json!([{"at": point, "strike": {"kind": "http-error", "status": 200}}])),
        ("/fault", json!([{"at": point, "strike": {"kind": "timeout", "status": 503}}])),
        ("/fault", json!([{"at": point, "strike": {"kind": "lost"}, "nth": 2}])),
        (
            "/fault",
            json!([{"at": {"process": "nova-compute", "operation": "host::Flush"},
                    "strike": {"kind": "lost"}}]),
        ),
    ];
    for (pointer, value) in breaks {
        let mut file = healthy();
        *file.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.clone();
        assert!(!validator.is_valid(&file), "{pointer} = {value} validates");
    }
    for key in ["name", "title", "volume", "actor", "expect"] {
        let mut file = healthy();
        file.as_object_mut().unwrap().remove(key);
        assert!(!validator.is_valid(&file), "validates without {key}");
    }
    let mut file = healthy();
    file["volumes"] = json!([]);
    assert!(!validator.is_valid(&file), "validates with an unknown key");
}

/// One of each; the match makes a new kind of the ports an error here, not a gap in the schema.
fn kinds() -> Vec<FaultKind> {
    let kinds = vec![
        FaultKind::HttpError { status: 503 },
        FaultKind::CommandFails { exit: 21 },
        FaultKind::Hangs,
        FaultKind::Unreachable,
        FaultKind::CutOff { ms: 600_000 },
        FaultKind::Lost,
        FaultKind::ReplyLost,
        FaultKind::Timeout { status: 504, after_ms: 60_000 },
        FaultKind::Delay { ms: 10 },
        FaultKind::Duplicate { after_ms: 1_000 },
        FaultKind::Environment { event: EnvironmentEvent::QemuKilled },
        FaultKind::CrashBefore { restart_after_ms: None },
        FaultKind::CrashAfter { restart_after_ms: Some(36_000) },
    ];
    for kind in &kinds {
        match kind {
            FaultKind::HttpError { .. }
            | FaultKind::CommandFails { .. }
            | FaultKind::Hangs
            | FaultKind::Unreachable
            | FaultKind::CutOff { .. }
            | FaultKind::Lost
            | FaultKind::ReplyLost
            | FaultKind::Timeout { .. }
            | FaultKind::Delay { .. }
            | FaultKind::Duplicate { .. }
            | FaultKind::Environment { .. }
            | FaultKind::CrashBefore { .. }
            | FaultKind::CrashAfter { .. } => {}
        }
    }
    kinds
}

#[test]
fn the_schema_of_faults_takes_what_the_ports_write() {
    let validator = validator();
    let processes = [Process::Client, Process::NovaApi, Process::NovaCompute];
    for (i, strike) in kinds().into_iter().enumerate() {
        let at = FaultPoint {
            process: processes[i % processes.len()],
            operation: "rpc::Cast".into(),
            nth: 2,
            request: (i % 2 == 0).then_some(RequestId(1)),
        };
        let policies = vec!["pike".to_owned()];
        let fault = Fault { at, strike, policies };
        let mut file = healthy();
        file["fault"] = serde_json::to_value([&fault]).unwrap();
        let errors: Vec<String> = validator.iter_errors(&file).map(|e| e.to_string()).collect();
        assert_eq!(errors, [""; 0], "{fault:?}");
    }
}

#[test]
fn the_schema_of_faults_asks_for_no_more_than_the_ports_need() {
    let validator = validator();
    let mut file = healthy();
    file["fault"] = json!([
        {"at": {"process": "nova-compute", "operation": "cinder::Detach"},
         "strike": {"kind": "timeout", "status": 500}},
        {"at": {"process": "client", "operation": "nova::DeleteVolumeAttachment"},
         "strike": {"kind": "crash-before"}},
    ]);
    assert!(validator.is_valid(&file));
    let faults: Vec<Fault> = serde_json::from_value(file["fault"].clone()).unwrap();
    assert_eq!(faults[0].strike, FaultKind::Timeout { status: 500, after_ms: 60_000 });
}
