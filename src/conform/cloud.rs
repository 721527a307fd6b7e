//! The control plane of a conformance run: one user, one server or two, volumes where the target has them.

use std::rc::Rc;

use castoff_model::{Release, World, storage::IscsiAddress};
use castoff_pipeline::client::User;
use castoff_pipeline::conf::{Conf, ServiceUser};
use castoff_pipeline::policy::{Policy, Unplug};
use castoff_ports::keystone::Role;
use castoff_ports::novadb::{Instance, VmState};
use castoff_ports::{HostName, InstanceId, Portal, ProjectId, Secret, UserId, VolumeId};

/// Nova's own options, as far as a run changes them; none: the policy's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[libvirt]device_detach_attempts`.
    pub device_detach_attempts: Option<u32>,
    /// `[libvirt]device_detach_timeout`, seconds.
    pub device_detach_timeout: Option<u32>,
    /// How long one `blockdev --flushbufs` may take, seconds.
    pub flush_timeout: Option<u32>,
    /// `node.session.timeo.replacement_timeout` of the run's own sessions, seconds.
    pub replacement_timeout: Option<u32>,
    /// Seconds between two passes of the reconciler, where the policy has one.
    pub reconcile_period: Option<u32>,
}

impl Settings {
    /// Nova's and open-iscsi's own.
    pub const DEFAULTS: Settings = Settings {
        device_detach_attempts: None,
        device_detach_timeout: None,
        flush_timeout: None,
        replacement_timeout: None,
        reconcile_period: None,
    };

    /// Short enough that a case of many timeouts takes seconds.
    pub const SHORT: Settings = Settings {
        device_detach_attempts: Some(3),
        device_detach_timeout: Some(6),
        flush_timeout: Some(20),
        replacement_timeout: Some(4),
        reconcile_period: Some(3),
    };

    /// The policy under these settings.
    pub fn apply(&self, mut policy: Policy) -> Policy {
        if let Unplug::AwaitEvents { attempts, timeout_s } = &mut policy.unplug {
            *attempts = self.device_detach_attempts.unwrap_or(*attempts);
            *timeout_s = self.device_detach_timeout.unwrap_or(*timeout_s);
        }
        if let (Some(now), Some(s)) = (&mut policy.flush.timeout_s, self.flush_timeout) {
            *now = s;
        }
        if let (Some(now), Some(s)) = (&mut policy.reconcile_period_s, self.reconcile_period) {
            *now = s;
        }
        policy
    }
}

/// The user of every case.
pub(super) fn user() -> User {
    User {
        user: UserId::new("demo"),
        password: Secret::new("demo-password"),
        project: ProjectId::new("demo"),
    }
}

/// The compute host's name.
pub(super) fn host_name() -> HostName {
    HostName::new("castoff-conform")
}

/// The release that a policy was made for.
pub(super) fn release(policy: &Policy) -> Release {
    Release::named(&policy.default_release)
        .unwrap_or_else(|| unreachable!("policy {} names a release that exists", policy.name))
}

/// nova.conf.
pub(super) fn conf(policy: Policy, use_multipath: bool) -> Rc<Conf> {
    let release = release(&policy);
    let mut conf = Conf::new(policy, host_name());
    conf.use_multipath = use_multipath;
    conf.iscsiadm_manual_scan = release.manual_scan;
    if release.service_token {
        conf.service_user = Some(ServiceUser {
            user: UserId::new("nova"),
            password: Secret::new("nova-password"),
            project: ProjectId::new("service"),
        });
    }
    Rc::new(conf)
}

/// A cloud with these active servers and these volumes, all available.
pub(super) fn control_plane(
    release: Release,
    instances: &[InstanceId],
    volumes: &[(VolumeId, IscsiAddress)],
    portals: &[Portal],
) -> World {
    let mut world = World::new(release);
    let (demo, service) = (ProjectId::new("demo"), ProjectId::new("service"));
    let User { user, password, .. } = user();
    world.keystone.add_user(user, password, demo.clone(), &[Role::Member]);
    let nova = (UserId::new("nova"), Secret::new("nova-password"));
    world.keystone.add_user(nova.0, nova.1, service, &[Role::Service, Role::Admin]);
    for instance in instances {
        world.novadb.add_instance(Instance {
            uuid: instance.clone(),
            project_id: demo.clone(),
            host: Some(host_name()),
            vm_state: VmState::Active,
            task_state: None,
            launched: true,
            locked: false,
        });
    }
    world.novadb.add_service(host_name());
    world.broker.consumer_up();
    for (volume, address) in volumes {
        world.storage.add_volume(volume.clone());
        world.storage.place(volume, address.clone());
        world.cinder.add_volume(volume.clone(), 1);
    }
    for portal in portals.iter().skip(1) {
        world.storage.add_portal(portal.clone());
    }
    world
}
