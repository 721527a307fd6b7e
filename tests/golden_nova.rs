//! The recorded sessions of a real Nova 33, step by step, against router, pipeline and models.
//!
//! Status, the headers that carry meaning, the body's keys and types, and error messages agree;
//! ids of rows, times and links vary. What does not agree is in `golden/divergences-nova.toml`,
//! each with its reason; one that no longer occurs fails the test. Steps that go to cinder are
//! another test's, but their answers tell which volumes there are.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod nova_direct;

use std::collections::BTreeMap;

use castoff_model::World;
use castoff_model::hypervisor::LetsGo;
use castoff_ports::keystone::Role;
use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{Bdm, Instance, ServerDetails, SourceType, VmState};
use castoff_ports::plan::Plan;
use castoff_ports::{BdmId, Process, ProjectId, Secret, SimTime, UserId};
use castoff_sim::prepare::compute_host;
use http::Request;
use nova_direct::Nova;
use serde_json::Value;

/// In the order in which they were recorded.
const SESSIONS: [(&str, &str); 5] = [
    ("versions", include_str!("golden/wire/versions.json")),
    ("nova-setup", include_str!("golden/wire/nova-setup.json")),
    ("nova-volume-attachments", include_str!("golden/wire/nova-volume-attachments.json")),
    ("nova-server-show", include_str!("golden/wire/nova-server-show.json")),
    ("nova-detach-compute-down", include_str!("golden/wire/nova-detach-compute-down.json")),
];

/// Where a recorded id or link may vary: these keys' texts are not compared.
const HEADERS: [&str; 4] =
    ["Content-Type", "OpenStack-API-Version", "X-OpenStack-Nova-API-Version", "Vary"];

struct Cloud {
    nova: Nova,
    project: String,
}

impl Cloud {
    /// An empty cloud whose users are those of the recording.
    fn new(project: &str) -> Cloud {
        let mut nova = Nova::new("2026.1");
        let mut world = World::new(nova.prepared.release.clone());
        let member: &[Role] = &[Role::Member, Role::Reader];
        let admin: &[Role] = &[Role::Admin, Role::Member, Role::Reader];
        for (user, project, roles) in [
            ("member", project, member),
            ("reader", project, &[Role::Reader]),
            ("admin", "admin", admin),
            ("stranger", "other", member),
            ("nova", "service", &[Role::Service, Role::Admin]),
        ] {
            let password = Secret::new(format!("{user}-password"));
            let (user, project) = (UserId::new(user), ProjectId::new(project));
            world.keystone.add_user(user, password, project, roles);
        }
        world.novadb.add_service(compute_host());
        world.broker.consumer_up();
        world.hypervisor.guest_writes_every = None;
        world.hypervisor.set_lets_go(SimTime::ZERO, LetsGo::After(std::time::Duration::ZERO));
        nova.world = world;
        Cloud { nova, project: project.to_owned() }
    }

    fn add_volume(&mut self, id: &str) {
        self.nova.world.storage.add_volume(id.into());
        self.nova.world.cinder.add_volume(id.into(), 1);
    }

    /// The server of the recording, booted from its root volume: castoff has no server create.
    fn add_server(&mut self, id: &str, root: &str) {
        let now = self.nova.now;
        let World { novadb, hypervisor, facts, .. } = &mut self.nova.world;
        novadb.add_instance(Instance {
            uuid: id.into(),
            project_id: ProjectId::new(&self.project),
            host: Some(compute_host()),
            vm_state: VmState::Active,
            task_state: None,
            launched: true,
            locked: false,
        });
        *novadb.details_mut(&id.into()).unwrap() = ServerDetails {
            name: "s1".to_owned(),
            user_id: Some("member".into()),
            created_at: now,
            updated_at: now,
            launched_at: Some(now),
            power_state: Some(PowerState::Running),
            locked_by: None,
            locked_reason: None,
        };
        let bdm = Bdm {
            id: BdmId(0),
            instance_uuid: id.into(),
            volume_id: root.into(),
            source_type: SourceType::Volume,
            device_name: Some("/dev/vda".to_owned()),
            boot_index: Some(0),
            attachment_id: Some("abfd70fa-5138-43ca-a65a-b5ae399e73b7".into()),
            connection_info: None,
            delete_on_termination: false,
            tag: None,
        };
        novadb.add_bdm(facts, bdm);
        hypervisor.start_guest(id.into(), true);
    }

    fn token(&mut self, who: &str) -> Option<Secret> {
        Some(match who {
            "nobody" => return None,
            "bad token" => Secret::new("bad"),
            "member" | "reader" => {
                let project = self.project.clone();
                self.nova.token(who, &project)
            }
            "admin" => self.nova.token("admin", "admin"),
            "member of another project" => self.nova.token("stranger", "other"),
            other => panic!("a step as {other}"),
        })
    }

    fn step(&mut self, step: &Value) -> Vec<String> {
        if step["label"].as_str().unwrap().contains("nova-compute killed") {
            self.nova.world.kill(self.nova.now, Process::NovaCompute, 0);
        }
        let asked = &step["request"];
        let path = asked["url"].as_str().unwrap().strip_prefix("{nova}").unwrap();
        let path = if path.is_empty() { "/" } else { path };
        let mut builder = Request::builder().method(asked["method"].as_str().unwrap()).uri(path);
        for (name, value) in asked["headers"].as_object().unwrap() {
            builder = builder.header(name, value.as_str().unwrap());
        }
        if let Some(token) = self.token(step["as"].as_str().unwrap()) {
            builder = builder.header("X-Auth-Token", token.reveal());
        }
        let body = match &asked["body"] {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let request = builder.body(body).unwrap();
        let answer = self.nova.ask(&Plan::default(), vec![request]).remove(0);
        let wanted = &step["response"];
        let mut wrong = Vec::new();
        if wanted["status"] != answer.status().as_u16() {
            wrong.push(format!("status {}, recorded {}", answer.status(), wanted["status"]));
        }
        for name in HEADERS {
            let recorded = wanted["headers"].as_object().unwrap().iter();
            let recorded = recorded
                .filter(|(n, _)| n.eq_ignore_ascii_case(name))
                .find_map(|(_, value)| value.as_str());
            let ours = answer.headers().get(name).map(|v| v.to_str().unwrap());
            if ours != recorded {
                wrong.push(format!("header {name} {ours:?}, recorded {recorded:?}"));
            }
        }
        let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        compare("", &wanted["body"], &body, &mut wrong);
        wrong
    }
}

/// Keys and types all the way down; messages word by word, but for request ids.
fn compare(path: &str, recorded: &Value, ours: &Value, wrong: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().filter(|k| !b.contains_key(*k)) {
                wrong.push(format!("{path}/{key} is missing"));
            }
            for key in b.keys().filter(|k| !a.contains_key(*k)) {
                wrong.push(format!("{path}/{key} was not recorded"));
            }
            for (key, value) in a {
                if let Some(other) = b.get(key) {
                    compare(&format!("{path}/{key}"), value, other, wrong);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                wrong.push(format!("{path} has {} elements, recorded {}", b.len(), a.len()));
            }
            for (at, (x, y)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}/{at}"), x, y, wrong);
            }
        }
        (Value::String(a), Value::String(b)) => {
            let told = ["message", "status", "version", "min_version", "OS-EXT-STS:vm_state"];
            if told.iter().any(|key| path.ends_with(&format!("/{key}")))
                && without_request(a) != without_request(b)
            {
                wrong.push(format!("{path} {b:?}, recorded {a:?}"));
            }
        }
        (a, b) if std::mem::discriminant(a) != std::mem::discriminant(b) => {
            wrong.push(format!("{path} is {b}, recorded {a}"));
        }
        _ => {}
    }
}

/// A message of cinder that nova passes on ends with cinder's request id.
fn without_request(text: &str) -> &str {
    text.split_once(" (Request-ID: ").map_or(text, |(before, _)| before)
}

/// Session and step of every kept divergence, with the reason.
fn kept() -> BTreeMap<(String, usize), String> {
    let mut kept = BTreeMap::new();
    let file: toml::Table = include_str!("golden/divergences-nova.toml").parse().unwrap();
    for entry in file["divergence"].as_array().unwrap() {
        let session = entry["session"].as_str().unwrap().to_owned();
        for step in entry["steps"].as_array().unwrap() {
            let step = usize::try_from(step.as_integer().unwrap()).unwrap();
            kept.insert((session.clone(), step), entry["reason"].as_str().unwrap().to_owned());
        }
    }
    kept
}

#[test]
fn the_recorded_sessions_of_nova_agree_step_by_step() {
    let setup: Vec<Value> = serde_json::from_str(SESSIONS[1].1).unwrap();
    let url = setup[1]["request"]["url"].as_str().unwrap();
    let mut cloud = Cloud::new(url.split('/').nth(2).unwrap());
    let (mut kept, mut wrong) = (kept(), Vec::new());
    for (session, text) in SESSIONS {
        let steps: Vec<Value> = serde_json::from_str(text).unwrap();
        let (mut agree, mut diverge) = (0, 0);
        for (at, step) in steps.iter().enumerate() {
            let (asked, made) = (&step["request"], &step["response"]["body"]);
            let url = asked["url"].as_str().unwrap();
            if !url.starts_with("{nova}") {
                if asked["method"] == "POST" && url.ends_with("/volumes") {
                    cloud.add_volume(made["volume"]["id"].as_str().unwrap());
                }
                continue;
            }
            let found = cloud.step(step);
            if asked["method"] == "POST" && url.ends_with("/servers") {
                let bdm = &asked["body"]["server"]["block_device_mapping_v2"][0];
                let id = made["server"]["id"].as_str().unwrap();
                cloud.add_server(id, bdm["uuid"].as_str().unwrap());
            }
            let reason = kept.remove(&(session.to_owned(), at));
            match (found.is_empty(), reason) {
                (true, None) => agree += 1,
                (false, Some(_)) => diverge += 1,
                (true, Some(reason)) => {
                    wrong.push(format!("{session} {at}: agrees now, was kept: {reason}"));
                }
                (false, None) => {
                    wrong.push(format!("{session} {at} {}: {found:#?}", step["label"]));
                }
            }
        }
        println!("{session}: {agree} steps agree, {diverge} kept divergences");
    }
    wrong.extend(kept.keys().map(|(session, at)| format!("{session} has no step {at} of nova's")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
