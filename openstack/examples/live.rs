//! The pipeline's operations of keystone and cinder, put to the real services and to the models,
//! step by step: both must say the same. Run by `real/openstack/test.sh`, which has the services.
//!
//! Ids and tokens are each side's own and compared by their names here; dates are left out.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a program for a test")]
#![allow(clippy::print_stdout, reason = "the table is for who runs it")]

use std::process::ExitCode;
use std::rc::Rc;

use castoff_model::storage::IscsiAddress;
use castoff_model::{Outcome, Release, World};
use castoff_openstack::{Clock, Endpoint, HttpClient, Requests};
use castoff_ports::cinder::{self, AttachStatus, Connector, VolumeStatus};
use castoff_ports::keystone::{self, Role};
use castoff_ports::{
    AttachmentId, Auth, Call, CallCx, Failure, InstanceId, Lun, Operation, Process, Reply,
    RequestId, Secret, SimTime, VolumeId,
};

/// Whose tokens a step carries.
#[derive(Clone, Copy, PartialEq)]
enum As {
    Nobody,
    BadToken,
    Member,
    Reader,
    Stranger,
    Admin,
    /// The member's, with nova's service token.
    Nova,
}

/// Each side's name of one thing.
#[derive(Clone, Default)]
struct Pair {
    real: String,
    model: String,
}

struct Both {
    http: HttpClient,
    world: World,
    password: Secret,
    /// Tokens, by user.
    tokens: Vec<(&'static str, Secret, Secret)>,
    /// Ids and what they are called in the table.
    names: Vec<(&'static str, Pair)>,
    steps: u32,
    differences: u32,
}

const USERS: [(&str, &str); 5] = [
    ("demo", "demo"),
    ("reader", "demo"),
    ("stranger", "other"),
    ("admin", "admin"),
    ("nova", "service"),
];

impl Both {
    fn auth(&self, who: As) -> (Auth, Auth) {
        let of = |user: &str| self.tokens.iter().find(|(name, ..)| *name == user).unwrap();
        let (user, service) = match who {
            As::Nobody => return (Auth::default(), Auth::default()),
            As::BadToken => {
                let bad = Auth { token: Some(Secret::new("bad")), service_token: None };
                return (bad.clone(), bad);
            }
            As::Member => (of("demo"), None),
            As::Reader => (of("reader"), None),
            As::Stranger => (of("stranger"), None),
            As::Admin => (of("admin"), None),
            As::Nova => (of("demo"), Some(of("nova"))),
        };
        (
            Auth { token: Some(user.1.clone()), service_token: service.map(|s| s.1.clone()) },
            Auth { token: Some(user.2.clone()), service_token: service.map(|s| s.2.clone()) },
        )
    }

    async fn raw(&mut self, who: As, real: Call, model: Call) -> [Result<Reply, Failure>; 2] {
        let (theirs, ours) =
            if self.tokens.len() < USERS.len() { Default::default() } else { self.auth(who) };
        let cx = |auth| CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request: RequestId(1),
            auth,
            deadline: None,
        };
        let theirs = self.http.call(&cx(theirs), real).await;
        let ours = match self.world.call(SimTime::from_secs(60), &cx(ours), model) {
            Outcome::Done(result) => result,
            Outcome::Blocked(_) => panic!("cinder and keystone answer at once"),
        };
        [theirs, ours]
    }

    /// One step: what both say, their ids replaced by names, must be equal.
    async fn step<O: Operation>(
        &mut self,
        label: &str,
        who: As,
        op: impl Fn(&dyn Fn(&str) -> String) -> O,
    ) -> [Option<O::Reply>; 2] {
        let names = self.names.clone();
        let name = |pick: fn(&Pair) -> &String| {
            let names = names.clone();
            move |name: &str| {
                let known = names.iter().rev().find(|(n, _)| *n == name);
                known.map_or_else(|| name.to_owned(), |(_, pair)| pick(pair).clone())
            }
        };
        let (real, model) =
            (op(&name(|p| &p.real)).into_call(), op(&name(|p| &p.model)).into_call());
        let operation = real.name();
        let [theirs, ours] = self.raw(who, real, model).await;
        self.learn_rows(&theirs, &ours);
        let told = [self.told(&theirs, |p| &p.real), self.told(&ours, |p| &p.model)];
        self.steps += 1;
        let same = told[0] == told[1];
        println!("{} {operation:<28} {label}", if same { "ok  " } else { "FAIL" });
        if !same {
            self.differences += 1;
            println!("       real:  {}\n       model: {}", told[0], told[1]);
        }
        [theirs, ours].map(|result| result.ok().and_then(O::from_reply))
    }

    fn told(&self, result: &Result<Reply, Failure>, pick: fn(&Pair) -> &String) -> String {
        let mut text = match result {
            Ok(reply) => format!("{reply:?}"),
            // An exception of cinder-volume brings its traceback along.
            Err(failure) => failure.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        for (name, pair) in &self.names {
            text = text.replace(pick(pair).as_str(), &format!("<{name}>"));
        }
        without_dates(&text)
    }

    /// Attachments that a volume shows: each side's own ids of the same rows.
    fn learn_rows(&mut self, theirs: &Result<Reply, Failure>, ours: &Result<Reply, Failure>) {
        let rows = |result: &Result<Reply, Failure>| match result {
            Ok(Reply::Cinder(cinder::Reply::GetVolume(volume))) => volume.attachments.to_vec(),
            Ok(Reply::Cinder(cinder::Reply::AttachmentCreate(made))) => {
                vec![cinder::VolumeAttachmentRow {
                    server_id: made.instance.clone(),
                    attachment_id: made.id.clone(),
                    host_name: None,
                    device: None,
                }]
            }
            _ => Default::default(),
        };
        for (real, model) in rows(theirs).iter().zip(&rows(ours)) {
            let (real, model) = (real.attachment_id.as_str(), model.attachment_id.as_str());
            if !self.names.iter().any(|(_, pair)| pair.real == real || pair.model == model) {
                self.learn("a row", real, model);
            }
        }
    }

    fn learn(&mut self, name: &'static str, real: &str, model: &str) {
        self.names.push((name, Pair { real: real.to_owned(), model: model.to_owned() }));
    }

    async fn log_in(&mut self) {
        for (user, project) in USERS {
            let password = self.password.clone();
            let login = |_: &dyn Fn(&str) -> String| keystone::CreateToken {
                user: user.into(),
                password: password.clone(),
                project: project.into(),
            };
            let call = login(&|n| n.to_owned());
            let both = self.raw(As::Nobody, call.clone().into_call(), call.into_call()).await;
            let [theirs, ours] = both.map(|r| match r.unwrap() {
                Reply::Keystone(keystone::Reply::CreateToken(issued)) => issued,
                reply => panic!("{reply:?}"),
            });
            self.tokens.push((user, theirs.token, ours.token));
        }
    }
}

/// A token's expiry and a service's uuid are each side's own.
fn without_dates(text: &str) -> String {
    let mut text = text.to_owned();
    for (from, to) in [("expires_at: SimTime(", ")"), ("service_uuid: Some(\"", "\")")] {
        if let Some(at) = text.find(from).map(|at| at + from.len())
            && let Some(end) = text[at..].find(to)
        {
            text.replace_range(at..at + end, "…");
        }
    }
    text
}

fn connector() -> Connector {
    Connector {
        ip: "192.0.2.11".to_owned(),
        host: "castoff-live".into(),
        initiator: Some("iqn.2026-11.org.castoff:live".into()),
        multipath: false,
    }
}

fn models(password: &Secret, portal: &str, iqn: &str, volume: &VolumeId) -> World {
    let mut world = World::new(Release::named("2026.1").unwrap());
    for (user, project) in USERS {
        let roles: &[Role] = match user {
            "reader" => &[Role::Reader],
            "admin" => &[Role::Admin, Role::Member, Role::Reader],
            "nova" => &[Role::Service, Role::Admin],
            _ => &[Role::Member, Role::Reader],
        };
        world.keystone.add_user(user.into(), password.clone(), project.into(), roles);
    }
    world.storage.add_volume(volume.clone());
    let address = IscsiAddress { portal: portal.into(), iqn: iqn.into(), lun: Lun(1) };
    world.storage.place(volume, address);
    // What the driver does not report is true in cinder.
    world.storage.shared_target = true;
    world.cinder.add_volume(volume.clone(), 1);
    if let Some(row) = world.cinder.volume_mut(volume) {
        row.project = Some("demo".into());
    }
    world
}

async fn compare(volume: &VolumeId) -> ExitCode {
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let password = Secret::new(var("OS_PASSWORD"));
    let endpoint = |name: &str| Endpoint::parse(&var(name)).unwrap();
    let (keystone, cinder) = (endpoint("CASTOFF_KEYSTONE"), endpoint("CASTOFF_CINDER"));
    let clock = Clock::of_run(SimTime::ZERO);
    let http = HttpClient::new(keystone, cinder, clock, Rc::new(Requests::default()), None);
    let world = models(&password, "192.0.2.20:3260", "iqn.2026-11.org.castoff:nowhere", volume);
    let mut both = Both {
        http,
        world,
        password,
        tokens: Vec::new(),
        names: Vec::new(),
        steps: 0,
        differences: 0,
    };
    both.log_in().await;
    both.learn("volume", volume.as_str(), volume.as_str());
    keystone_steps(&mut both).await;
    attachment_steps(&mut both).await;
    legacy_steps(&mut both).await;
    admin_steps(&mut both).await;
    println!("\n{} of {} steps agree", both.steps - both.differences, both.steps);
    if both.differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Names<'a> = &'a dyn Fn(&str) -> String;

async fn keystone_steps(both: &mut Both) {
    let tokens = both.tokens.clone();
    for (user, real, model) in tokens {
        both.learn(user, real.reveal(), model.reveal());
    }
    let wrong = |_: Names| keystone::CreateToken {
        user: "demo".into(),
        password: Secret::new("wrong"),
        project: "demo".into(),
    };
    both.step("a wrong password", As::Nobody, wrong).await;
    let none =
        |_: Names| keystone::ValidateToken { subject: Secret::new("none"), allow_expired: false };
    both.step("a token that is none", As::Admin, none).await;
    let validate =
        |n: Names| keystone::ValidateToken { subject: Secret::new(n("demo")), allow_expired: true };
    both.step("validated by nobody", As::Nobody, validate).await;
}

fn get(n: Names) -> cinder::GetVolume {
    cinder::GetVolume { volume_id: VolumeId::new(n("volume")), microversion: 48 }
}

async fn attachment_steps(both: &mut Both) {
    let volume = |n: Names| VolumeId::new(n("volume"));
    let attachment = |n: Names| AttachmentId::new(n("attachment"));
    let instance = || InstanceId::new("5e47e500-0000-4000-8000-000000000001");
    both.step("an available volume", As::Member, get).await;
    both.step("at plain 3.0", As::Member, |n| cinder::GetVolume { microversion: 0, ..get(n) })
        .await;
    both.step("by nobody", As::Nobody, get).await;
    both.step("with a bad token", As::BadToken, get).await;
    both.step("by a stranger", As::Stranger, get).await;
    let missing = |_: Names| cinder::GetVolume {
        volume_id: "00000000-0000-4000-8000-000000000000".into(),
        microversion: 48,
    };
    both.step("a volume that is none", As::Member, missing).await;
    let begin = |n: Names| cinder::BeginDetaching { volume_id: volume(n) };
    let roll = |n: Names| cinder::RollDetaching { volume_id: volume(n) };
    both.step("of an available volume", As::Member, begin).await;
    let create = |n: Names| cinder::AttachmentCreate { volume_id: volume(n), instance: instance() };
    both.step("by a reader", As::Reader, get).await;
    let made = both.step("reserves it", As::Member, create).await;
    if let [Some(real), Some(model)] = made {
        both.learn("attachment", real.id.as_str(), model.id.as_str());
    }
    both.step("a reserved volume", As::Member, get).await;
    // Cinder lets the same server reserve it twice, and so do the models.
    let again = both.step("of a reserved volume", As::Member, create).await;
    if let [Some(real), Some(model)] = again {
        both.learn("second", real.id.as_str(), model.id.as_str());
    }
    let second =
        |n: Names| cinder::AttachmentDelete { attachment_id: AttachmentId::new(n("second")) };
    both.step("gives the second one back", As::Nova, second).await;
    both.step("of a reserved volume", As::Member, begin).await;
    let update = |n: Names| cinder::AttachmentUpdate {
        attachment_id: attachment(n),
        connector: connector(),
        mountpoint: "/dev/vdb".to_owned(),
    };
    both.step("gives the connection", As::Nova, update).await;
    both.step("an attaching volume", As::Member, get).await;
    let show = |n: Names| cinder::AttachmentGet { attachment_id: attachment(n) };
    both.step("an attaching one", As::Nova, show).await;
    let complete = |n: Names| cinder::AttachmentComplete { attachment_id: attachment(n) };
    both.step("completes it", As::Nova, complete).await;
    both.step("an attached volume", As::Member, get).await;
    both.step("completes it again", As::Nova, complete).await;
    both.step("begins", As::Member, begin).await;
    both.step("begins again", As::Member, begin).await;
    both.step("a detaching volume", As::Member, get).await;
    both.step("rolls back", As::Member, roll).await;
    both.step("rolls back again", As::Member, roll).await;
    both.step("an attached volume", As::Member, get).await;
    both.step("begins once more", As::Member, begin).await;
    let delete = |n: Names| cinder::AttachmentDelete { attachment_id: attachment(n) };
    both.step("by a stranger", As::Stranger, delete).await;
    both.step("releases it", As::Nova, delete).await;
    both.step("releases it again", As::Nova, delete).await;
    both.step("of what is gone", As::Nova, show).await;
    both.step("an available volume", As::Member, get).await;
    both.step("of an available volume", As::Member, roll).await;
}

async fn legacy_steps(both: &mut Both) {
    let volume = |n: Names| VolumeId::new(n("volume"));
    let reserve = |n: Names| cinder::Reserve { volume_id: volume(n) };
    let unreserve = |n: Names| cinder::Unreserve { volume_id: volume(n) };
    both.step("reserves it", As::Member, reserve).await;
    both.step("reserves it again", As::Member, reserve).await;
    both.step("gives it back", As::Member, unreserve).await;
    both.step("an available volume", As::Member, get).await;
    both.step("reserves it", As::Member, reserve).await;
    let connect =
        |n: Names| cinder::InitializeConnection { volume_id: volume(n), connector: connector() };
    both.step("gives the connection", As::Member, connect).await;
    let attach = |n: Names| cinder::Attach {
        volume_id: volume(n),
        instance: "5e47e500-0000-4000-8000-000000000002".into(),
        mountpoint: "/dev/vdb".to_owned(),
    };
    both.step("attaches it", As::Member, attach).await;
    let begin = |n: Names| cinder::BeginDetaching { volume_id: volume(n) };
    both.step("begins", As::Member, begin).await;
    let terminate =
        |n: Names| cinder::TerminateConnection { volume_id: volume(n), connector: connector() };
    both.step("without a service token", As::Member, terminate).await;
    both.step("takes the connection", As::Nova, terminate).await;
    let detach = |n: Names| cinder::Detach { volume_id: volume(n), attachment_id: None };
    both.step("without a service token", As::Member, detach).await;
    both.step("detaches it", As::Nova, detach).await;
    both.step("an available volume", As::Member, get).await;
    both.step("unencrypted", As::Member, |n| cinder::GetEncryption { volume_id: volume(n) }).await;
}

async fn admin_steps(both: &mut Both) {
    let volume = |n: Names| VolumeId::new(n("volume"));
    let reset = |n: Names| cinder::ResetStatus {
        volume_id: volume(n),
        status: Some(VolumeStatus::Error),
        attach_status: None,
    };
    both.step("by a member", As::Member, reset).await;
    both.step("to error", As::Admin, reset).await;
    both.step("of a volume in error", As::Member, |n| cinder::Reserve { volume_id: volume(n) })
        .await;
    let back = |n: Names| cinder::ResetStatus {
        volume_id: volume(n),
        status: Some(VolumeStatus::Available),
        attach_status: Some(AttachStatus::Detached),
    };
    both.step("to available", As::Admin, back).await;
    let force = |n: Names| cinder::ForceDetach {
        volume_id: volume(n),
        attachment_id: None,
        connector: None,
    };
    both.step("by a member", As::Member, force).await;
    both.step("an available volume", As::Member, get).await;
}

fn main() -> ExitCode {
    let volume = std::env::args().nth(1).expect("usage: live VOLUME: a new one of project demo");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, compare(&VolumeId::new(volume)))
}
