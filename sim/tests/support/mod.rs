//! A world of models and the checker over it, for the tests that break properties by hand.

// A helper of a test that fails is a failed test; each test file uses a part.
#![allow(clippy::unwrap_used, dead_code)]

use std::time::Duration;

use castoff_model::{Cause, Fact, Release, World};
use castoff_ports::cinder::{self, Connector};
use castoff_ports::libvirt::{AttachDeviceFlags, GuestDisk};
use castoff_ports::novadb::{BdmCreate, Instance, VmState};
use castoff_ports::runtime::{Lock, LockScope, Unlock};
use castoff_ports::{
    Auth, BdmId, CallCx, HostName, InstanceId, Operation, Process, RequestId, Secret, SimTime,
    VolumeId, iscsi, keystone,
};
use castoff_scenarios::Standing;
use castoff_sim::observe::Observer;
use castoff_sim::properties::{Checker, Watched};

pub(crate) struct Bed {
    pub(crate) world: World,
    pub(crate) observer: Observer,
    pub(crate) auth: Auth,
    pub(crate) now: SimTime,
}

pub(crate) fn volume() -> VolumeId {
    "30d72547-9316-4c2a-84c9-000000000001".into()
}

pub(crate) fn server() -> InstanceId {
    "c2486c45-5a8f-4028-8cd1-51c0425f677a".into()
}

pub(crate) const DETACH: RequestId = RequestId(1);

/// A checker that has seen nothing and follows the detach.
pub(crate) fn observer() -> Observer {
    observer_of(Standing::Member)
}

/// The same, and this user asks for the detach.
pub(crate) fn observer_of(by: Standing) -> Observer {
    let accepted = Some(true);
    let (instance, volume) = (server(), volume());
    let watched = Watched { request: DETACH, instance, volume, by, accepted };
    Observer::new(castoff_ports::trace::Trace::off(), Checker::new(vec![watched]))
}

impl Bed {
    /// Ocata, as its cinder does what it is told without a service token.
    pub(crate) fn new() -> Bed {
        let mut world = World::new(Release::named("ocata").unwrap());
        world.keystone.add_user(
            "demo".into(),
            Secret::new("pw"),
            "demo".into(),
            &[keystone::Role::Admin, keystone::Role::Member],
        );
        world.novadb.add_instance(Instance {
            uuid: server(),
            project_id: "demo".into(),
            host: Some(HostName::new("compute-1")),
            vm_state: VmState::Active,
            task_state: None,
            launched: true,
            locked: false,
        });
        world.hypervisor.start_guest(server(), true);
        world.hypervisor.guest_writes_every = None;
        world.storage.add_volume(volume());
        world.cinder.add_volume(volume(), 1);
        let observer = observer();
        let mut bed = Bed { world, observer, auth: Auth::default(), now: SimTime::ZERO };
        let issued = bed.must(keystone::CreateToken {
            user: "demo".into(),
            password: Secret::new("pw"),
            project: "demo".into(),
        });
        bed.auth.token = Some(issued.token);
        bed
    }

    /// nova-compute does it for the detach.
    pub(crate) fn must<O: Operation>(&mut self, op: O) -> O::Reply {
        self.must_as(Process::NovaCompute, DETACH, op)
    }

    pub(crate) fn must_as<O: Operation>(
        &mut self,
        process: Process,
        by: RequestId,
        op: O,
    ) -> O::Reply {
        match self.call_as(process, by, op) {
            castoff_model::Outcome::Done(Ok(reply)) => O::from_reply(reply).unwrap(),
            other => panic!("{}: {other:?}", O::NAME),
        }
    }

    pub(crate) fn call_as<O: Operation>(
        &mut self,
        process: Process,
        request: RequestId,
        op: O,
    ) -> castoff_model::Outcome {
        self.now = self.now + Duration::from_secs(10);
        self.world.advance(self.now);
        self.observer.observe(&mut self.world, self.now);
        let auth = self.auth.clone();
        let cx = CallCx { process, incarnation: 0, request, auth, deadline: None };
        let outcome = self.world.call(self.now, &cx, op.into_call());
        self.observer.observe(&mut self.world, self.now);
        outcome
    }

    /// This fact is seen, as if nova-compute had done it with `operation` for `request`.
    pub(crate) fn see(&mut self, request: RequestId, operation: &'static str, fact: Fact) {
        self.world.facts.push(fact);
        self.world.cause = Some(Cause {
            process: Process::NovaCompute,
            incarnation: 0,
            request,
            operation,
            service_token: false,
        });
        self.observer.observe(&mut self.world, self.now);
    }

    pub(crate) fn lock_as(&mut self, request: RequestId, name: &str) -> castoff_model::Outcome {
        let lock = Lock { name: name.to_owned(), scope: LockScope::External };
        self.call_as(Process::NovaCompute, request, lock)
    }

    pub(crate) fn unlock_as(&mut self, request: RequestId, name: &str) {
        let unlock = Unlock { name: name.to_owned(), scope: LockScope::External };
        self.must_as(Process::NovaCompute, request, unlock);
    }

    pub(crate) fn bdm(&mut self) -> BdmId {
        let device_name = Some("/dev/vdb".into());
        self.must(BdmCreate { instance: server(), volume_id: volume(), device_name }).id
    }

    /// A second server on the same host.
    pub(crate) fn another_server(&mut self) -> InstanceId {
        let id = InstanceId::new("c2486c45-5a8f-4028-8cd1-51c0425f677b");
        let row = self.world.novadb.instances()[0].clone();
        self.world.novadb.add_instance(Instance { uuid: id.clone(), ..row });
        self.world.hypervisor.start_guest(id.clone(), true);
        id
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector {
            ip: "10.0.0.2".into(),
            host: HostName::new("compute-1"),
            initiator: Some(self.world.kernel.initiator.clone()),
            multipath: false,
        }
    }

    /// Cinder maps, the host logs in, the guest gets the disk.
    pub(crate) fn plug(&mut self) -> iscsi::Login {
        let connector = self.connector();
        let info = self.must(cinder::InitializeConnection { volume_id: volume(), connector }).data;
        let (iqn, portal) = (info.target_iqn, info.target_portal);
        self.must(iscsi::NodeNew { iqn: iqn.clone(), portal: portal.clone() });
        let login = iscsi::Login { iqn, portal };
        assert_eq!(self.must(login.clone()).exit, 0);
        let disk = GuestDisk {
            target_dev: "vdb".into(),
            source_dev: "/dev/sdb".into(),
            serial: Some(volume()),
            alias: None,
        };
        self.must(AttachDeviceFlags { instance: server(), disk, config: true, live: true });
        login
    }

    pub(crate) fn attach_in_cinder(&mut self) {
        self.must(cinder::Reserve { volume_id: volume() });
        self.must(cinder::Attach {
            volume_id: volume(),
            instance: server(),
            mountpoint: "/dev/vdb".into(),
        });
    }

    #[track_caller]
    pub(crate) fn broke(&self, name: &str) {
        let found = self.observer.violations();
        assert!(found.iter().any(|v| v.property.name == name), "{name} is not among {found:#?}");
    }
}
