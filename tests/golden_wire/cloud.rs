//! The cloud that the requests are put to: the models as the recorded cloud was set up.

use std::time::Duration;

use castoff_model::hypervisor::LetsGo;
use castoff_model::{Release, World, wire};
use castoff_pipeline::policy::Policy;
use castoff_ports::cinder::Chap;
use castoff_ports::keystone::Role;
use castoff_ports::{ProjectId, Secret, SimTime, UserId};
use castoff_sim::prepare::{Prepared, compute_host};
use http::{Request, Response};
use serde_json::{Value, json};

use super::boot::{self, Asked, Building};
use super::ids::{Ids, is_id};
use super::nova::Nova;
use super::session::{Session, Step};

/// Time from a step to the next: a volume is still being created at the first look.
const PACE: Duration = Duration::from_millis(300);

const ADMIN: &str = "0000000000000000000000000000ad00";
const DEMO: &str = "0000000000000000000000000000de00";
const OTHER: &str = "0000000000000000000000000000f700";

/// Who is who: the name in the records, the user, the user's own project, and the roles there.
const CALLERS: [(&str, &str, &str, Role); 4] = [
    ("admin", "admin", ADMIN, Role::Admin),
    ("member", "demo", DEMO, Role::Member),
    ("reader", "reader", DEMO, Role::Reader),
    ("member of another project", "other", OTHER, Role::Member),
];

/// A cloud and what has been learnt of it.
pub(crate) struct Cloud {
    nova: Nova,
    pub(crate) ids: Ids,
    servers: Vec<Asked>,
}

impl Cloud {
    /// As it was before the first step: users, a volume type, one host of each kind.
    pub(crate) fn new() -> Cloud {
        let scenario = castoff_scenarios::builtin::named("healthy").expect("it is built in");
        let policy = Policy::named("2026.1").expect("the recorded policy is known");
        let release = Release::named("2026.1").expect("the recorded release is known");
        let world = world(release.clone());
        // Of the scenario only nova.conf is used; it has the service user and the compute host.
        let prepared = Prepared::new(&scenario.into(), &policy, &release);
        let prepared = prepared.expect("policy and release belong together");
        let nova = Nova::new(&prepared, world, SimTime::from_secs(1));
        Cloud { nova, ids: Ids::default(), servers: Vec::new() }
    }

    /// A session begins: what the recorder had killed in the one before runs again.
    pub(crate) fn begin_session(&mut self) {
        self.nova.restart();
    }

    /// The next step: time passes, and an unknown project in its URL is the caller's own.
    pub(crate) fn begin(&mut self, session: &Session, index: usize, building: &[Building]) {
        let step = &session.steps[index];
        if step.label.contains("nova-compute killed") {
            self.nova.kill_compute();
        }
        // A look comes at once, any other step when all work has ended.
        if index == 0 || !session.looks_on(index) {
            self.nova.settle();
        }
        self.nova.pass(PACE);
        let here = |b: &&Building| b.session == session.name && b.step == index + 1;
        if let (Some(server), Some(to)) = (self.servers.last(), building.iter().find(here)) {
            self.nova.world(|world, now| boot::go_on(world, now, server, to));
        }
        let project = project_of(&step.request.url);
        let own = CALLERS.iter().find(|(name, ..)| Some(*name) == step.who.as_deref());
        if let (Some(project), Some((_, _, own, _))) = (project, own)
            && !self.ids.knows(project)
        {
            self.ids.learn(project, own).expect("a caller's own project is one project");
        }
    }

    /// A server that the recorded nova made: it is put into the models, asked for by `who`.
    pub(crate) fn boot(&mut self, step: &Step, who: &str) {
        let asked = &step.request.body["server"];
        let text = |value: &Value| value.as_str().expect("the request says").to_owned();
        let recorded = text(&step.response.body["server"]["id"]);
        let id = format!("5e47e500-0000-4000-8000-{:012x}", self.servers.len());
        self.ids.learn(&recorded, &id).expect("a new server has a new id");
        let root = self.ids.translate(&text(&asked["block_device_mapping_v2"][0]["uuid"]));
        let (_, user, project, _) =
            *CALLERS.iter().find(|(name, ..)| *name == who).expect("a caller is known");
        let server = Asked {
            name: text(&asked["name"]),
            project: project.into(),
            user: user_id(user),
            attachment: self.attach_root(user, project, &root, &id).as_str().into(),
            root: root.as_str().into(),
            id: id.as_str().into(),
        };
        self.nova.world(|world, now| boot::create(world, now, &server));
        self.servers.push(server);
    }

    /// nova's two calls to cinder for a root volume: its id there.
    fn attach_root(&mut self, user: &str, project: &str, volume: &str, server: &str) -> String {
        let token = self.log_in(user, project);
        let post = |path: String, body: Value| {
            let request = Request::post(path)
                .header("X-Auth-Token", &token)
                .header("OpenStack-API-Version", "volume 3.44")
                .body(body.to_string().into_bytes());
            let request = request.expect("a path and a token make a request");
            let response = self.nova.world(|world, now| wire::cinder(world, now, &request));
            assert!(response.status().is_success(), "{response:?}");
            serde_json::from_slice::<Value>(response.body()).unwrap_or_default()
        };
        let body = json!({"attachment": {"volume_uuid": volume, "instance_uuid": server}});
        let made = post(format!("/v3/{project}/attachments"), body);
        let id = made["attachment"]["id"].as_str().expect("an attachment has an id").to_owned();
        let body = json!({"os-complete": null});
        post(format!("/v3/{project}/attachments/{id}/action"), body);
        id
    }

    /// Our response to a step, sent by `who`.
    pub(crate) fn send(&mut self, step: &Step, who: Option<&str>) -> Response<Vec<u8>> {
        let (service, path) = step.request.url.split_once('}').expect("a URL names its service");
        let path = self.ids.translate(if path.is_empty() { "/" } else { path });
        let mut request = Request::builder().method(step.request.method.as_str()).uri(&path);
        for (name, value) in &step.request.headers {
            request = request.header(name, self.ids.translate(value));
        }
        if let Some(token) = who.and_then(|who| self.token(who, &path)) {
            request = request.header("X-Auth-Token", token);
        }
        let body = match &step.request.body {
            Value::Null => String::new(),
            Value::String(raw) => raw.clone(),
            body => self.ids.translate(&body.to_string()),
        };
        let request = request.body(body.into_bytes()).expect("a recorded request is a request");
        match service {
            "{keystone" => self.nova.world(|world, now| wire::keystone(world, now, &request)),
            "{cinder" => self.nova.world(|world, now| wire::cinder(world, now, &request)),
            "{nova" => self.nova.ask(&request),
            other => panic!("no model plays {other}}}"),
        }
    }

    /// A token of who sends: of the project in the URL for an admin, who has a role on each, else
    /// of the caller's own project.
    fn token(&mut self, who: &str, path: &str) -> Option<String> {
        let (_, user, own, role) = match who {
            "nobody" => return None,
            "bad token" => return Some("bad".to_owned()),
            who => *CALLERS.iter().find(|(name, ..)| *name == who).expect("a caller is known"),
        };
        let named = path.split('/').nth(2).filter(|p| [ADMIN, DEMO, OTHER].contains(p));
        let project = match named {
            Some(project) if role == Role::Admin => project,
            _ => own,
        };
        Some(self.log_in(user, project))
    }

    fn log_in(&mut self, user: &str, project: &str) -> String {
        let user = json!({"name": user, "domain": {"id": "default"}, "password": "secret"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"id": project}},
        }});
        let request = Request::post("/v3/auth/tokens").body(body.to_string().into_bytes());
        let request = request.expect("a login is a request");
        let response = self.nova.world(|world, now| wire::keystone(world, now, &request));
        let token = response.headers().get("X-Subject-Token").expect("a known user gets a token");
        token.to_str().expect("our tokens are ASCII").to_owned()
    }
}

fn user_id(name: &str) -> UserId {
    let at = CALLERS.iter().position(|(_, user, ..)| *user == name);
    UserId::new(format!("{:032x}", 0x5e40 + at.expect("a caller is known")))
}

fn world(release: Release) -> World {
    let mut world = World::new(release);
    for (_, user, project, role) in CALLERS {
        let id = user_id(user);
        world.keystone.add_user(id.clone(), Secret::new("secret"), project.into(), &[role]);
        world.keystone.name_user(id.clone(), user);
        if role == Role::Admin {
            for project in [DEMO, OTHER] {
                let secret = Secret::new("secret");
                world.keystone.add_user(id.clone(), secret, project.into(), &[role]);
            }
        }
    }
    for (id, name) in [(ADMIN, "admin"), (DEMO, "demo"), (OTHER, "other")] {
        world.keystone.name_project(ProjectId::new(id), name);
    }
    let roles = &[Role::Service, Role::Admin];
    let (password, project) = (Secret::new("nova-password"), ProjectId::new("service"));
    world.keystone.add_user(UserId::new("nova"), password, project, roles);
    // A member's filter by instance_id was refused: the recorded cloud had no such file.
    world.cinder.resource_filters = false;
    world.cinder.add_type("fake");
    world.cinder.backend.host = "vm@fake1".into();
    world.cinder.backend.pool = "fake1".into();
    world.cinder.backend.scheduler = "vm".into();
    // The recorded backend was a fake one: it hands out these, always.
    world.cinder.chap =
        Some(Chap { username: "uuuuuuuu".to_owned(), password: Secret::new("pppppppppppp") });
    world.storage.set_portal("127.0.0.1:3260".into());
    world.novadb.add_service(compute_host());
    world.broker.consumer_up();
    world.hypervisor.guest_writes_every = None;
    world.hypervisor.set_lets_go(SimTime::ZERO, LetsGo::After(Duration::ZERO));
    world
}

/// The project that a cinder URL names.
fn project_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("{cinder}/v3/")?;
    let first = rest.split(['/', '?']).next()?;
    // Volumes and attachments have ids with hyphens, projects have none.
    (is_id(first) && !first.contains('-')).then_some(first)
}
