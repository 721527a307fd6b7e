//! Every property is broken here once, by the shortest wrong step in a world of models: a property
//! that cannot fail says nothing.

// A helper of a test that fails is a failed test.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use castoff_model::{Release, World};
use castoff_ports::cinder::{self, Connector};
use castoff_ports::libvirt::{AttachDeviceFlags, GuestDisk};
use castoff_ports::novadb::{BdmCreate, EventResult, Instance, VmState};
use castoff_ports::{
    Auth, Call, CallCx, HostName, InstanceId, Operation, Process, RequestId, Secret, SimTime,
    VolumeId, host, iscsi, keystone, novadb,
};
use castoff_sim::observe::Observer;
use castoff_sim::properties::{CATALOGUE, Checker, Watched};

struct Bed {
    world: World,
    observer: Observer,
    auth: Auth,
    now: SimTime,
}

fn volume() -> VolumeId {
    "30d72547-9316-4c2a-84c9-000000000001".into()
}

fn server() -> InstanceId {
    "c2486c45-5a8f-4028-8cd1-51c0425f677a".into()
}

const DETACH: RequestId = RequestId(1);

impl Bed {
    /// Ocata, as its cinder does what it is told without a service token.
    fn new() -> Bed {
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
        let watched =
            Watched { request: DETACH, instance: server(), volume: volume(), accepted: Some(true) };
        let observer =
            Observer::new(castoff_ports::trace::Trace::off(), Checker::new(vec![watched]));
        let mut bed = Bed { world, observer, auth: Auth::default(), now: SimTime::ZERO };
        let issued = bed.must(keystone::CreateToken {
            user: "demo".into(),
            password: Secret::new("pw"),
            project: "demo".into(),
        });
        bed.auth.token = Some(issued.token);
        bed
    }

    fn must<O: Operation>(&mut self, op: O) -> O::Reply {
        self.now = self.now + Duration::from_secs(10);
        self.world.advance(self.now);
        let cx = CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request: DETACH,
            auth: self.auth.clone(),
            deadline: None,
        };
        let outcome = self.world.call(self.now, &cx, op.into_call());
        self.observer.observe(&mut self.world, self.now);
        match outcome {
            castoff_model::Outcome::Done(Ok(reply)) => O::from_reply(reply).unwrap(),
            other => panic!("{}: {other:?}", O::NAME),
        }
    }

    fn connector(&self) -> Connector {
        Connector {
            ip: "10.0.0.2".into(),
            host: HostName::new("compute-1"),
            initiator: Some(self.world.kernel.initiator.clone()),
            multipath: false,
        }
    }

    /// Cinder maps, the host logs in, the guest gets the disk.
    fn plug(&mut self) -> iscsi::Login {
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

    fn attach_in_cinder(&mut self) {
        self.must(cinder::Reserve { volume_id: volume() });
        self.must(cinder::Attach {
            volume_id: volume(),
            instance: server(),
            mountpoint: "/dev/vdb".into(),
        });
    }

    #[track_caller]
    fn broke(&self, name: &str) {
        let found = self.observer.violations();
        assert!(found.iter().any(|v| v.property.name == name), "{name} is not among {found:#?}");
    }
}

#[test]
fn s01_a_guest_has_a_volume_that_is_available() {
    let mut bed = Bed::new();
    bed.plug();
    bed.broke("S01");
}

#[test]
fn s02_and_s03_a_volume_is_unmapped_under_a_guest() {
    let mut bed = Bed::new();
    bed.plug();
    bed.attach_in_cinder();
    let connector = bed.connector();
    bed.must(cinder::TerminateConnection { volume_id: volume(), connector });
    bed.broke("S02");
    bed.broke("S03");
}

#[test]
fn s03_a_session_is_logged_out_under_a_guest() {
    let mut bed = Bed::new();
    let login = bed.plug();
    let out = bed.must(iscsi::Logout { iqn: login.iqn, portal: login.portal });
    assert_eq!(out.exit, 0, "measured: nothing stops the wrong order");
    bed.broke("S03");
}

#[test]
fn s04_a_guest_writes_into_the_volume_that_got_its_lun() {
    let mut bed = Bed::new();
    bed.world.storage.shared_target = true;
    bed.plug();
    let initiator = bed.world.kernel.initiator.clone();
    let other = VolumeId::new("30d72547-9316-4c2a-84c9-000000000002");
    bed.world.storage.add_volume(other.clone());
    // The LUN number goes to another volume while the guest still has the disk.
    bed.world.storage.unmap(&mut bed.world.facts, &volume(), &initiator);
    bed.world.storage.map(&mut bed.world.facts, &other, &initiator);
    let disk = bed.must(castoff_ports::libvirt::XmlDesc { instance: server(), inactive: false });
    let outcome = bed.world.call(
        bed.now,
        &CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request: DETACH,
            auth: Auth::default(),
            deadline: None,
        },
        Call::Libvirt(castoff_ports::libvirt::Call::DetachDeviceFlags(
            castoff_ports::libvirt::DetachDeviceFlags {
                instance: server(),
                disk: disk[0].clone(),
                config: false,
                live: true,
            },
        )),
    );
    assert!(matches!(outcome, castoff_model::Outcome::Blocked(_)), "it waits for the guest");
    bed.observer.observe(&mut bed.world, bed.now);
    bed.broke("S04");
}

#[test]
fn s05_a_disk_goes_with_writes_that_were_acknowledged() {
    let mut bed = Bed::new();
    bed.world.kernel.writeback = true;
    bed.plug();
    let out = bed.must(host::DeleteDevice { device: "sdb".into() });
    assert_eq!(out.exit, 0);
    bed.broke("S05");
}

#[test]
fn s08_a_session_is_left_without_a_disk() {
    let mut bed = Bed::new();
    bed.plug();
    bed.must(host::DeleteDevice { device: "sdb".into() });
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("S08");
}

#[test]
fn s09_nova_has_a_bdm_and_cinder_no_attachment() {
    let mut bed = Bed::new();
    bed.must(BdmCreate {
        instance: server(),
        volume_id: volume(),
        device_name: Some("/dev/vdb".into()),
    });
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("S09");
}

#[test]
fn s09_cinder_has_an_attachment_that_no_bdm_names() {
    let mut bed = Bed::new();
    bed.attach_in_cinder();
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("S09");
}

#[test]
fn s15_a_detach_is_called_a_success_while_the_guest_has_the_disk() {
    let mut bed = Bed::new();
    bed.plug();
    bed.must(novadb::ActionStart { instance: server(), action: "detach_volume".into() });
    let event = || "compute_detach_volume".to_owned();
    bed.must(novadb::EventStart { instance: server(), event: event() });
    let result = EventResult::Success;
    bed.must(novadb::EventFinish { instance: server(), event: event(), result });
    bed.broke("S15");
}

#[test]
fn l1_and_l2_a_volume_stays_detaching_and_nobody_is_told() {
    let mut bed = Bed::new();
    bed.plug();
    bed.attach_in_cinder();
    bed.must(BdmCreate {
        instance: server(),
        volume_id: volume(),
        device_name: Some("/dev/vdb".into()),
    });
    bed.must(cinder::BeginDetaching { volume_id: volume() });
    bed.observer.settled(&bed.world, bed.now);
    bed.observer.quiescent(&bed.world, bed.now);
    bed.broke("L1");
    bed.broke("L2");
}

#[test]
fn every_property_of_the_catalogue_is_broken_in_this_file() {
    let here = include_str!("properties_can_fail.rs");
    for property in CATALOGUE {
        let name = property.name;
        assert!(here.contains(&format!("bed.broke(\"{name}\")")), "{name} is never broken");
    }
}
