//! A scenario's starting state: an empty cloud, then the attach pipeline, then named leftovers.
//!
//! Nothing of it is written into the models by hand: volumes are attached by the same pipeline,
//! under the same policy, on `direct`, with a seed of its own. The world that comes of it is
//! cloned for every run.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use castoff_model::{Release, World, hypervisor, kernel};
use castoff_pipeline::client;
use castoff_pipeline::conf::{Conf, ServiceUser};
use castoff_pipeline::policy::{Policy, VolumeApi};
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::libvirt::PowerState;
use castoff_ports::nova::Microversion;
use castoff_ports::novadb::{Instance, VmState};
use castoff_ports::plan::Plan;
use castoff_ports::trace::Trace;
use castoff_ports::{
    Auth, CallCx, HostName, InstanceId, Port, Process, ProjectId, RequestId, Secret, SimTime,
    UserId, VolumeId,
};
use castoff_scenarios::scenario::FIRST_SERVER;
use castoff_scenarios::{Action, Actor, LetsGo, Linger, OpenIscsi, Scenario, Standing, VolumeSpec};

use crate::actors::Script;
use crate::direct::{Direct, Quiet};
use crate::host_spec;
use crate::latency::profile::Profile;
use crate::observe::Observer;
use crate::properties::Checker;
use crate::rng::SimRng;
use crate::users::{Users, project};

/// nova's service_down_time: no heartbeat for so long is down.
pub const SERVICE_DOWN_TIME: Duration = Duration::from_secs(60);

/// The seed of every preparation: the starting state is the same for all seeds of a scenario.
const SETUP_SEED: u64 = 0;

/// Requests of the preparation are numbered from here, those of retries from [`RETRY`].
const SETUP: u32 = 900;

/// Requests of users who retry are numbered from here.
pub const RETRY: u32 = 100;

/// Requests to resume the server before that are numbered from here.
pub const RESUME: u32 = 150;

/// A run begins this long after its preparation began: a round number, so that times read well.
const RUN_STARTS: SimTime = SimTime(600_000_000);

/// The compute host of every scenario.
pub fn compute_host() -> HostName {
    HostName::new("compute-1")
}

/// A scenario that cannot be run as asked.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Policy and release do not work together.
    #[error("policy {policy} cannot work with release {release}: {reason}")]
    Incompatible {
        /// Policy name.
        policy: String,
        /// Release name.
        release: String,
        /// Why.
        reason: String,
    },
    /// The release's `timing` names no profile.
    #[error("take the times of the release from its profile: {0}")]
    Timing(String),
    /// The attach pipeline did not bring the volumes to where the scenario starts.
    #[error("the starting state was not reached: volume {volume} is {found}, needs to be {needed}")]
    NotReady {
        /// The volume.
        volume: String,
        /// Its status.
        found: String,
        /// The status it needs.
        needed: &'static str,
    },
}

impl PrepareError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            PrepareError::Incompatible { policy, .. } => format!(
                "leave --release away to run {policy} with its own; `castoff list policies` shows it"
            ),
            PrepareError::Timing(_) => {
                "`castoff calibrate FILE… --out PROFILE.toml` writes one".to_owned()
            }
            PrepareError::NotReady { .. } => {
                "volumes are attached by the policy's own attach, before any fault: look at what \
                 [[volume]], [storage] and [host] of the scenario ask of it"
                    .to_owned()
            }
        }
    }
}

/// A scenario ready to run under one policy and release.
pub struct Prepared {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// Its policy.
    pub policy: Policy,
    /// Its release.
    pub release: Release,
    /// nova.conf of all nova processes.
    pub conf: Rc<Conf>,
    /// The first server.
    pub server: InstanceId,
    /// Who asks.
    pub users: Users,
    /// When a run starts.
    pub start: SimTime,
    /// The release's measured times.
    pub profile: Option<Rc<Profile>>,
    world: World,
}

/// The volume of this name in a scenario file: a UUID that shows the name.
pub fn volume_id(scenario: &Scenario, name: &str) -> VolumeId {
    let index = scenario.volumes.iter().position(|v| v.name == name).unwrap_or_default();
    VolumeId::new(format!("30d72547-9316-4c2a-84c9-{:012x}", 0x6ebc_3091_2e00 + index as u64 + 1))
}

/// The server of this name in a scenario file.
pub fn server_id(scenario: &Scenario, name: &str) -> InstanceId {
    let index = scenario.servers().iter().position(|s| *s == name).unwrap_or_default();
    InstanceId::new(format!("c2486c45-5a8f-4028-8cd1-{:012x}", 0x51c0_425f_677a + index as u64))
}

impl Prepared {
    /// Prepares `scenario` under `policy` and `release`.
    ///
    /// # Errors
    /// When the two cannot work together, or the starting state is not reached.
    pub fn new(
        scenario: &Arc<Scenario>,
        policy: &Policy,
        release: &Release,
    ) -> Result<Rc<Prepared>, PrepareError> {
        if let Err(reason) = policy.works_with(&release.name) {
            return Err(PrepareError::Incompatible {
                policy: policy.name.clone(),
                release: release.name.clone(),
                reason: reason.reason.to_owned(),
            });
        }
        let profile = release.timing.as_deref().map(Profile::resolve).transpose();
        let profile = profile.map_err(|e| PrepareError::Timing(e.to_string()))?;
        let users = Users::new();
        let mut conf = Conf::new(policy.clone(), compute_host());
        conf.iscsiadm_manual_scan =
            release.manual_scan && scenario.host.open_iscsi != Some(OpenIscsi::Old);
        conf.use_multipath = scenario.host.multipath;
        if release.service_token {
            conf.service_user = Some(ServiceUser {
                user: UserId::new("nova"),
                password: Secret::new("nova-password"),
                project: ProjectId::new("service"),
            });
        }
        let mut prepared = Prepared {
            scenario: scenario.clone(),
            policy: policy.clone(),
            release: release.clone(),
            conf: Rc::new(conf),
            server: server_id(scenario, FIRST_SERVER),
            world: empty_cloud(scenario, release, &users),
            users,
            start: RUN_STARTS,
            profile,
        };
        let attached = prepared.attach_all();
        prepared.world = attached?;
        host_spec::leave_behind(&mut prepared.world, scenario);
        if scenario.host.multipath_switched_off {
            let conf = (*prepared.conf).clone();
            prepared.conf = Rc::new(Conf { use_multipath: false, ..conf });
        }
        Ok(Rc::new(prepared))
    }

    /// What is attached at the start.
    fn attached(&self) -> impl Iterator<Item = &VolumeSpec> {
        self.scenario.volumes.iter().filter(|v| v.attached)
    }

    /// The server that a volume is of.
    fn server_of(&self, volume: &VolumeSpec) -> InstanceId {
        server_id(&self.scenario, volume.server.as_deref().unwrap_or(FIRST_SERVER))
    }

    /// The microversion at which a client of this nova attaches a volume.
    fn attaches_at(&self, volume: &VolumeSpec) -> Microversion {
        match (volume.multiattach, self.policy.volume_api) {
            (true, VolumeApi::Attachments) => Microversion::MULTIATTACH,
            // Older than that microversion.
            (true, VolumeApi::Legacy) | (false, _) => client::MICROVERSION,
        }
    }

    /// The microversion of an actor's request.
    pub(crate) fn microversion_of(&self, actor: &Actor) -> Microversion {
        let volume = || self.scenario.volumes.iter().find(|v| v.name == actor.volume);
        match (actor.microversion, actor.action) {
            (Some(n), _) => Microversion(n),
            (None, Action::Detach) => client::MICROVERSION,
            (None, _) => volume().map_or(client::MICROVERSION, |v| self.attaches_at(v)),
        }
    }

    fn attach_all(&mut self) -> Result<World, PrepareError> {
        let this = Rc::new(Prepared {
            scenario: self.scenario.clone(),
            policy: self.policy.clone(),
            release: self.release.clone(),
            conf: self.conf.clone(),
            server: self.server.clone(),
            users: self.users.clone(),
            start: SimTime::ZERO,
            profile: self.profile.clone(),
            world: self.world.clone(),
        });
        let observer = Observer::new(Trace::off(), Checker::default());
        let mut world = self.world.clone();
        // Nothing may hinder the preparation: the guest answers, devices go.
        heal_world(&mut world, SimTime::ZERO);
        let direct =
            Direct::new(&this, world, observer, &Plan::default(), SETUP_SEED, SimTime::ZERO);
        for (i, spec) in self.attached().enumerate() {
            let script = Script {
                request: RequestId(SETUP + i as u32),
                action: Action::Attach,
                server: self.server_of(spec),
                volume: volume_id(&self.scenario, &spec.name),
                user: self.users.member.clone(),
                by: Standing::Member,
                microversion: self.attaches_at(spec),
                at: Duration::from_secs(30 * i as u64),
            };
            let port = client_port(&direct, script.request);
            let play = script.play(port, |_| {}, |_| {});
            direct.core().spawn(Process::Client, Box::pin(play));
        }
        let quiet = direct.run_until_quiet(RUN_STARTS);
        debug_assert_eq!(quiet, Quiet::Quiet, "attaching takes less than the time before a run");
        let world = direct.core().world.borrow().clone();
        for spec in self.attached() {
            let id = volume_id(&self.scenario, &spec.name);
            let status = world.cinder.volume(&id).map(|v| v.status);
            let bdm = world.novadb.bdm(&id, &self.server_of(spec));
            if status != Some(VolumeStatus::InUse) || bdm.is_none() {
                return Err(PrepareError::NotReady {
                    volume: spec.name.clone(),
                    found: status.map_or("missing", VolumeStatus::as_str).to_owned(),
                    needed: "in-use",
                });
            }
        }
        Ok(world)
    }

    /// The world at the start of the run with this seed.
    pub fn world(&self, rng: &mut SimRng) -> World {
        let mut world = self.world.clone();
        let spec = &self.scenario;
        let lets_go = match spec.guest.lets_go {
            LetsGo::Promptly => {
                let (from, to) = host_spec::promptly(spec.host.machine);
                hypervisor::LetsGo::After(Duration::from_millis(u64::from(rng.between(from, to))))
            }
            LetsGo::AfterMs(ms) => hypervisor::LetsGo::After(Duration::from_millis(ms)),
            LetsGo::Never => hypervisor::LetsGo::Never,
        };
        world.hypervisor.set_lets_go(self.start, lets_go);
        host_spec::apply(&mut world, &spec.host, self.start);
        world.kernel.linger = spec.host.device_lingers.map(|l| match l {
            Linger::ForMs(ms) => kernel::Linger::For(Duration::from_millis(ms)),
            Linger::Never => kernel::Linger::Never,
        });
        world.kernel.writeback = spec.host.writeback;
        let lost = usize::from(spec.storage.lost_portals);
        let kept = usize::from(spec.storage.portals).saturating_sub(lost);
        world.storage.lost_portals = world.storage.portals().skip(kept).cloned().collect();
        world.keystone.token_lifetime = Duration::from_secs(spec.token.lifetime_s);
        world
    }
}

fn empty_cloud(scenario: &Scenario, release: &Release, users: &Users) -> World {
    let mut world = World::new(release.clone());
    users.register(&mut world);
    for (i, name) in scenario.servers().into_iter().enumerate() {
        add_server(&mut world, server_id(scenario, name), i, &project());
    }
    world.novadb.add_service(compute_host());
    world.broker.consumer_up();
    world.hypervisor.guest_writes_every = None;
    world.storage.shared_target = scenario.storage.shared_target;
    world.storage.set_portals(scenario.storage.portals);
    world.storage.lists_portals = !scenario.storage.unlisted_portals;
    world.kernel.multipathd = scenario.host.multipath;
    if scenario.host.open_iscsi == Some(OpenIscsi::Old) {
        world.kernel.install_old_open_iscsi();
    }
    for spec in &scenario.volumes {
        let id = volume_id(scenario, &spec.name);
        world.storage.add_volume(id.clone());
        world.cinder.add_volume(id.clone(), 1);
        if let Some(row) = world.cinder.volume_mut(&id) {
            row.encrypted = spec.encrypted;
            row.multiattach = spec.multiattach;
            row.project = Some(project());
        }
    }
    world
}

fn add_server(world: &mut World, server: InstanceId, n: usize, project: &ProjectId) {
    world.novadb.add_instance(Instance {
        uuid: server.clone(),
        project_id: project.clone(),
        host: Some(compute_host()),
        vm_state: VmState::Active,
        task_state: None,
        launched: true,
        locked: false,
    });
    if let Some(details) = world.novadb.details_mut(&server) {
        details.name = format!("server-{}", n + 1);
        details.user_id = Some(UserId::new("demo"));
        details.launched_at = Some(SimTime::ZERO);
        details.power_state = Some(PowerState::Running);
    }
    world.hypervisor.start_guest(server, true);
}

/// What hinders stops: the guest answers at once, deleted devices go.
pub fn heal_world(world: &mut World, now: SimTime) {
    world.hypervisor.heal(now, hypervisor::LetsGo::After(Duration::from_millis(100)));
    world.kernel.heal(now);
    world.storage.lost_portals.clear();
}

/// A client's port.
pub fn client_port(direct: &Direct, request: RequestId) -> Port {
    Port::new(direct.binding(), client_cx(request))
}

/// Who a client is to a binding.
pub fn client_cx(request: RequestId) -> CallCx {
    CallCx {
        process: Process::Client,
        incarnation: 0,
        request,
        auth: Auth::default(),
        deadline: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_is_about_what_went_wrong() {
        let incompatible = PrepareError::Incompatible {
            policy: "pike".to_owned(),
            release: "2026.1".to_owned(),
            reason: "no service token".to_owned(),
        };
        assert!(incompatible.help().contains("--release"));
        let volume = "v1".to_owned();
        let not_ready =
            PrepareError::NotReady { volume, found: "error".to_owned(), needed: "in-use" };
        assert!(!not_ready.help().contains("--release"), "no release would change it");
        assert!(not_ready.help().contains("[storage]"));
    }
}
