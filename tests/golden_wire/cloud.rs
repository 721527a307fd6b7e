//! The cloud that the requests are put to: the models as the recorded cloud was set up.

use std::time::Duration;

use castoff_model::{Release, World, wire};
use castoff_ports::cinder::Chap;
use castoff_ports::keystone::Role;
use castoff_ports::{ProjectId, Secret, SimTime, UserId};
use http::{Request, Response};
use serde_json::{Value, json};

use super::ids::{Ids, is_id};
use super::nova::nova;
use super::session::Step;

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
    pub(crate) world: World,
    pub(crate) now: SimTime,
    pub(crate) ids: Ids,
    /// The session and the label of the step under way.
    pub(crate) session: String,
    pub(crate) label: String,
}

impl Cloud {
    /// As it was before the first step: users, a volume type, one host of each kind.
    pub(crate) fn new() -> Cloud {
        let release = Release::named("2026.1").expect("the recorded release is known");
        let mut world = World::new(release);
        for (n, (_, user, project, role)) in CALLERS.into_iter().enumerate() {
            let id = UserId::new(format!("{:032x}", 0x5e40 + n));
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
        world.cinder.add_type("fake");
        world.cinder.backend.host = "vm@fake1".into();
        world.cinder.backend.pool = "fake1".into();
        world.cinder.backend.scheduler = "vm".into();
        // The recorded backend was a fake one: it hands out these, always.
        world.cinder.chap =
            Some(Chap { username: "uuuuuuuu".to_owned(), password: Secret::new("pppppppppppp") });
        world.storage.set_portal("127.0.0.1:3260".into());
        Cloud {
            world,
            now: SimTime::from_secs(1),
            ids: Ids::default(),
            session: String::new(),
            label: String::new(),
        }
    }

    /// The next step: time passes, and an unknown project in its URL is the caller's own.
    pub(crate) fn begin(&mut self, session: &str, step: &Step) {
        session.clone_into(&mut self.session);
        step.label.clone_into(&mut self.label);
        self.now = self.now + PACE;
        let project = project_of(&step.request.url);
        let own = CALLERS.iter().find(|(name, ..)| Some(*name) == step.who.as_deref());
        if let (Some(project), Some((_, _, own, _))) = (project, own)
            && !self.ids.knows(project)
        {
            self.ids.learn(project, own).expect("a caller's own project is one project");
        }
    }

    /// Our response to a step, sent by `who`; none when nobody answers.
    pub(crate) fn send(&mut self, step: &Step, who: Option<&str>) -> Option<Response<Vec<u8>>> {
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
            "{keystone" => Some(wire::keystone(&mut self.world, self.now, &request)),
            "{cinder" => Some(wire::cinder(&mut self.world, self.now, &request)),
            "{nova" => nova(self, &request),
            _ => None,
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
        let response = wire::keystone(&mut self.world, self.now, &request);
        let token = response.headers().get("X-Subject-Token").expect("a known user gets a token");
        token.to_str().expect("our tokens are ASCII").to_owned()
    }
}

/// The project that a cinder URL names.
fn project_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("{cinder}/v3/")?;
    let first = rest.split(['/', '?']).next()?;
    // Volumes and attachments have ids with hyphens, projects have none.
    (is_id(first) && !first.contains('-')).then_some(first)
}
