//! One detach on a real host.
//!
//! The root crate alone puts the pipeline on the real adapters: `real` knows no pipeline, the
//! pipeline knows no binding. One detach is a case: attach by the attach pipeline, check that the
//! guest has the disk, detach, check that nothing is left.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use castoff_model::{Outcome, Release, World, storage::IscsiAddress};
use castoff_pipeline::client::{self, User};
use castoff_pipeline::conf::{Conf, ServiceUser};
use castoff_pipeline::policy::Policy;
use castoff_pipeline::{NovaProcess, nova_api, nova_compute};
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::keystone::Role;
use castoff_ports::novadb::{Instance, VmState};
use castoff_ports::trace::{Event, Trace};
use castoff_ports::trace_layer::TraceLayer;
use castoff_ports::{
    Auth, Binding, Call, CallCx, Failure, HostName, InstanceId, Iqn, Lun, Port, Portal, Process,
    ProjectId, Refusal, Reply, RequestId, Secret, SimTime, UserId, VolumeId, rpc,
};
use castoff_real::leftovers::{Leftovers, inspect};
use castoff_real::{RealConfig, RealError, RealHost, Timing};
use futures::future::LocalBoxFuture;

/// What the run may touch: all of it named by the user.
#[derive(Clone, Debug)]
pub struct Target {
    /// libvirt connection URI.
    pub uri: String,
    /// Name of the guest.
    pub domain: String,
    /// iSCSI portal.
    pub portal: Portal,
    /// Target.
    pub iqn: Iqn,
    /// LUN of the volume.
    pub lun: Lun,
}

/// One thing that must hold.
#[derive(Clone, Debug)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub found: String,
}

/// What a run on a real host showed.
#[derive(Debug)]
pub struct Report {
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// How long each step on the host took, attach and detach.
    pub steps: Vec<Timing>,
    /// When the detach began, on the clock of the steps.
    pub detach_began: SimTime,
    /// From DELETE to the destroyed BDM.
    pub detach_took: Duration,
    /// The trace of attach and detach.
    pub events: Vec<Event>,
}

impl Report {
    /// Whether every check holds.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|c| c.ok)
    }
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConformError {
    /// The host lacks something, or does not answer.
    #[error(transparent)]
    Host(#[from] RealError),
    /// Something is there that this run did not make.
    #[error(
        "use {target} for {domain}: it is in use ({found}); log out of it and detach its disks first, or name another target"
    )]
    InUse {
        /// The target.
        target: String,
        /// The guest.
        domain: String,
        /// What was found.
        found: String,
    },
    /// The host could not be looked at.
    #[error("look at the host: {0}")]
    Look(#[from] Failure),
}

/// The longest that one command may take here: os-brick's own limit.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);
/// How often, and how long, the user looks whether it is done.
const POLL: Duration = Duration::from_millis(100);
const PATIENCE: client::Patience = client::Patience { poll: POLL, limit: Duration::from_secs(400) };

const ATTACH: RequestId = RequestId(1);
const DETACH: RequestId = RequestId(2);
const CHECKS: RequestId = RequestId(3);

/// The control plane's models in front of the real host.
struct Hybrid {
    world: RefCell<World>,
    host: RealHost,
    api: NovaProcess,
    compute: Rc<NovaProcess>,
    layered: RefCell<Option<Rc<dyn Binding>>>,
}

impl Hybrid {
    fn port(&self, process: Process, cx: &CallCx, auth: Auth) -> Result<Port, Failure> {
        let Some(binding) = self.layered.borrow().clone() else {
            return Err(Failure::Unreachable { system: process.to_string() });
        };
        Ok(Port::new(binding, CallCx { process, auth, ..cx.clone() }))
    }

    fn model(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        let mut world = self.world.borrow_mut();
        let name = call.name();
        let outcome = world.call(self.host.now(), cx, call);
        world.facts.clear();
        match outcome {
            Outcome::Done(result) => result,
            // Only libvirt and locks block, and those are real here.
            Outcome::Blocked(_) => Err(Refusal::Unsupported { operation: name.to_owned() }.into()),
        }
    }

    async fn carry_out(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        match call {
            Call::Nova(call) => {
                let auth = Auth { token: cx.auth.token.clone(), service_token: None };
                let port = self.port(Process::NovaApi, cx, auth)?;
                Ok(nova_api(&self.api, &port, call).await.map(Reply::Nova)?)
            }
            Call::Rpc(rpc::Call::CallMethod(call)) => {
                let port = self.port(Process::NovaCompute, cx, cx.auth.clone())?;
                match nova_compute(&self.compute, &port, call.method).await {
                    Ok(returned) => Ok(Reply::Rpc(rpc::Reply::CallMethod(returned))),
                    Err(e) => Err(e.to_remote().into()),
                }
            }
            Call::Rpc(rpc::Call::Cast(_)) => {
                let reply = self.model(cx, call)?;
                let message = self.world.borrow_mut().deliver(self.host.now());
                if let Some(message) = message {
                    let port = self.port(Process::NovaCompute, cx, message.auth)?;
                    let compute = self.compute.clone();
                    tokio::task::spawn_local(async move {
                        // A cast has no one to answer to: the manager records what went wrong.
                        let _ = nova_compute(&compute, &port, message.method).await;
                    });
                }
                Ok(reply)
            }
            Call::Keystone(_) | Call::Cinder(_) | Call::NovaDb(_) => self.model(cx, call),
            Call::Libvirt(_) | Call::Iscsi(_) | Call::Host(_) | Call::Runtime(_) => {
                self.host.call(cx, call).await
            }
        }
    }
}

struct Shared(Rc<Hybrid>);

impl Binding for Shared {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.0.carry_out(cx, call))
    }
    fn now(&self) -> SimTime {
        self.0.host.now()
    }
}

fn volume() -> VolumeId {
    // A recognisable id: the disk's serial and alias carry it, and checks look for it.
    VolumeId::new("ca570ff0-0000-4000-8000-000000000001")
}

fn user() -> User {
    User {
        user: UserId::new("demo"),
        password: Secret::new("demo-password"),
        project: ProjectId::new("demo"),
    }
}

fn control_plane(release: Release, instance: &InstanceId, host: &HostName, at: &Target) -> World {
    let mut world = World::new(release);
    world.keystone.add_user(
        UserId::new("demo"),
        Secret::new("demo-password"),
        ProjectId::new("demo"),
        &[Role::Member, Role::Reader],
    );
    world.keystone.add_user(
        UserId::new("nova"),
        Secret::new("nova-password"),
        ProjectId::new("service"),
        &[Role::Service, Role::Admin],
    );
    world.novadb.add_instance(Instance {
        uuid: instance.clone(),
        project_id: ProjectId::new("demo"),
        host: Some(host.clone()),
        vm_state: VmState::Active,
        task_state: None,
        launched: true,
        locked: false,
    });
    world.novadb.add_service(host.clone());
    world.broker.consumer_up();
    world.storage.add_volume(volume());
    world.storage.place(
        &volume(),
        IscsiAddress { portal: at.portal.clone(), iqn: at.iqn.clone(), lun: at.lun },
    );
    world.cinder.add_volume(volume(), 1);
    world
}

/// Attaches the target's LUN to the guest and detaches it again, by the pipeline under `policy`.
///
/// It must run inside a tokio `LocalSet` on a `current_thread` runtime.
///
/// # Errors
/// When the host lacks something, or the target is in use by something that this run did not make.
pub async fn detach_case(
    target: &Target,
    policy: &Policy,
    lock_path: PathBuf,
) -> Result<Report, ConformError> {
    let instance = RealHost::domain_by_name(&target.uri, &target.domain)?;
    let named = (target.portal.clone(), target.iqn.clone());
    let host = RealHost::connect(RealConfig {
        uri: target.uri.clone(),
        domains: vec![instance.clone()],
        targets: vec![named.clone()],
        command_timeout: COMMAND_TIMEOUT,
        lock_path,
    })?;
    let before = inspect(&host, &named, &instance, &volume()).await?;
    if !before.is_empty() {
        return Err(ConformError::InUse {
            target: format!("{} at {}", target.iqn, target.portal),
            domain: target.domain.clone(),
            found: before.to_string(),
        });
    }
    let host_name = HostName::new("castoff-conform");
    let release = Release::named(&policy.default_release)
        .unwrap_or_else(|| unreachable!("policy {} names a release that exists", policy.name));
    let mut conf = Conf::new(policy.clone(), host_name.clone());
    conf.iscsiadm_manual_scan = release.manual_scan;
    if release.service_token {
        conf.service_user = Some(ServiceUser {
            user: UserId::new("nova"),
            password: Secret::new("nova-password"),
            project: ProjectId::new("service"),
        });
    }
    let conf = Rc::new(conf);
    let hybrid = Rc::new(Hybrid {
        world: RefCell::new(control_plane(release, &instance, &host_name, target)),
        host,
        api: NovaProcess::new(conf.clone()),
        compute: Rc::new(NovaProcess::new(conf)),
        layered: RefCell::new(None),
    });
    let trace = Trace::on(SimTime::ZERO);
    let layered: Rc<dyn Binding> =
        Rc::new(TraceLayer::new(Rc::new(Shared(hybrid.clone())), trace.clone()));
    *hybrid.layered.borrow_mut() = Some(layered.clone());
    let report = play(&hybrid, &layered, &instance, &named, &trace).await;
    // What is layered holds the hybrid, which holds it.
    hybrid.layered.borrow_mut().take();
    report
}

async fn play(
    hybrid: &Rc<Hybrid>,
    layered: &Rc<dyn Binding>,
    instance: &InstanceId,
    named: &(Portal, Iqn),
    trace: &Trace,
) -> Result<Report, ConformError> {
    let mut checks = Vec::new();
    let port = |request| {
        Port::new(
            layered.clone(),
            CallCx {
                process: Process::Client,
                incarnation: 0,
                request,
                auth: Auth::default(),
                deadline: None,
            },
        )
    };
    let attaching = port(ATTACH);
    let auth = client::authenticate(&attaching, &user()).await?;
    let attached = client::attach(&attaching.with_auth(auth), instance, &volume()).await;
    checks.push(Check {
        name: "attach is accepted",
        ok: attached.is_ok(),
        found: attached.as_ref().err().map_or("yes".to_owned(), Failure::to_string),
    });
    let in_use = wait_for(hybrid, &port(CHECKS), VolumeStatus::InUse).await?;
    checks.push(Check {
        name: "the volume is in-use",
        ok: in_use == VolumeStatus::InUse,
        found: in_use.as_str().to_owned(),
    });
    let with = inspect(&hybrid.host, named, instance, &volume()).await?;
    checks.push(Check {
        name: "the guest has the disk, live and persistent",
        ok: with.disks_in_live_xml.len() == 1 && with.disks_in_persistent_xml.len() == 1,
        found: with.to_string(),
    });

    let detaching = port(DETACH);
    let auth = client::authenticate(&detaching, &user()).await?;
    let detach_began = hybrid.host.now();
    let detaching = detaching.with_auth(auth);
    let answered = client::detach(&detaching, instance, &volume()).await;
    checks.push(Check {
        name: "DELETE is answered 202",
        ok: answered.is_ok(),
        found: answered.as_ref().err().map_or("yes".to_owned(), Failure::to_string),
    });
    if answered.is_ok() {
        // What came of it is checked on the models and the host, not on what the user saw.
        let _ = client::wait_detached(&detaching, instance, &volume(), PATIENCE).await;
    }
    let detach_took = hybrid.host.now().since(detach_began);
    checks.extend(after(hybrid, named, instance).await?);
    Ok(Report {
        checks,
        steps: hybrid.host.timings(),
        detach_began,
        detach_took,
        events: trace.take(),
    })
}

/// The model's volume, once it has this status or patience has run out.
async fn wait_for(
    hybrid: &Hybrid,
    port: &Port,
    needed: VolumeStatus,
) -> Result<VolumeStatus, Failure> {
    let deadline = hybrid.host.now() + PATIENCE.limit;
    loop {
        let status = hybrid.world.borrow().cinder.volume(&volume()).map(|v| v.status);
        match status {
            Some(status) if status == needed || hybrid.host.now() > deadline => {
                return Ok(status);
            }
            Some(VolumeStatus::Available) if needed == VolumeStatus::InUse => {
                // The attach has failed and was rolled back: waiting longer shows nothing new.
                return Ok(VolumeStatus::Available);
            }
            _ => port.sleep(POLL).await?,
        }
    }
}

async fn after(
    hybrid: &Hybrid,
    named: &(Portal, Iqn),
    instance: &InstanceId,
) -> Result<Vec<Check>, Failure> {
    let left: Leftovers = inspect(&hybrid.host, named, instance, &volume()).await?;
    let world = hybrid.world.borrow();
    let status = world.cinder.volume(&volume()).map_or("missing", |v| v.status.as_str());
    let bdms = world.novadb.live_bdms().len();
    let rows = world.cinder.live_attachments().count();
    let check = |name, ok, found: String| Check { name, ok, found };
    let none = |n: usize| if n == 0 { "none".to_owned() } else { format!("{n} left") };
    Ok(vec![
        check("the volume is available", status == "available", status.to_owned()),
        check("no BDM is left", bdms == 0, none(bdms)),
        check("no attachment is left", rows == 0, none(rows)),
        check("no session is left", left.sessions.is_empty(), none(left.sessions.len())),
        check(
            "no node record is left",
            left.node_records.is_empty(),
            none(left.node_records.len()),
        ),
        check(
            "no SCSI device is left",
            left.devices.is_empty() && left.by_path_links.is_empty(),
            none(left.devices.len() + left.by_path_links.len()),
        ),
        check(
            "no disk is in the live or the persistent XML",
            left.disks_in_live_xml.is_empty() && left.disks_in_persistent_xml.is_empty(),
            none(left.disks_in_live_xml.len() + left.disks_in_persistent_xml.len()),
        ),
    ])
}
