//! What each neighbour of a detach does to volumes: BDMs, attachments, the guest's disks, the host's
//! devices.

#![allow(clippy::unwrap_used)]

mod nova_direct;

use std::time::Duration;

use castoff_model::hypervisor::LetsGo;
use castoff_model::{Outcome, World};
use castoff_ports::cinder::{self, AttachStatus, VolumeStatus};
use castoff_ports::keystone::Role;
use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{Instance, VmState};
use castoff_ports::plan::{Fault, FaultKind, FaultPoint, Plan};
use castoff_ports::{
    Auth, Call, CallCx, InstanceId, Process, ProjectId, RequestId, Secret, UserId, VolumeId,
};
use castoff_sim::prepare::{client_cx, compute_host};
use nova_direct::{Nova, request};
use serde_json::{Value, json};

const BOTH: [&str; 2] = ["pike", "2026.1"];

/// A server with one volume, its owner `demo`, and `boss`, an administrator.
struct Cloud {
    nova: Nova,
    server: InstanceId,
    volume: VolumeId,
}

/// How a volume stands everywhere.
#[derive(Debug, PartialEq)]
struct Stands {
    status: VolumeStatus,
    attachments: Vec<AttachStatus>,
    bdms: usize,
    guests: usize,
    devices: usize,
    mapped: bool,
}

const DETACHED: Stands = Stands {
    status: VolumeStatus::Available,
    attachments: vec![],
    bdms: 0,
    guests: 0,
    devices: 0,
    mapped: false,
};

fn attached() -> Stands {
    Stands {
        status: VolumeStatus::InUse,
        attachments: vec![AttachStatus::Attached],
        bdms: 1,
        guests: 1,
        devices: 1,
        mapped: true,
    }
}

impl Cloud {
    fn new(policy: &str) -> Cloud {
        let mut nova = Nova::new(policy);
        let roles = [Role::Admin, Role::Member, Role::Reader];
        let (user, project) = (UserId::new("boss"), ProjectId::new("admin"));
        nova.world.keystone.add_user(user, Secret::new("boss-password"), project, &roles);
        let server = nova.prepared.server.clone();
        let volume = nova.world.cinder.volumes()[0].id.clone();
        Cloud { nova, server, volume }
    }

    /// Sends requests of one user, each after the answer to the one before: the statuses.
    fn send(&mut self, who: &str, plan: &Plan, asks: &[(&str, &str, Option<Value>)]) -> Vec<u16> {
        let token = self.nova.token(who, if who == "boss" { "admin" } else { "demo" });
        let asks = asks.iter().map(|(method, path, body)| {
            let path = format!("/v2.1/servers/{path}");
            request(method, &path, Some(&token), "2.89", body.clone())
        });
        let answers = self.nova.ask(plan, asks.collect());
        answers.iter().map(|a| a.status().as_u16()).collect()
    }

    fn act(&mut self, who: &str, body: Value) -> u16 {
        let path = format!("{}/action", self.server);
        self.send(who, &Plan::default(), &[("POST", &path, Some(body))])[0]
    }

    fn detach(&mut self, server: &InstanceId) -> u16 {
        let path = format!("{server}/os-volume_attachments/{}", self.volume);
        self.send("demo", &Plan::default(), &[("DELETE", &path, None)])[0]
    }

    fn delete_server(&mut self, plan: &Plan) -> u16 {
        let path = self.server.to_string();
        self.send("demo", plan, &[("DELETE", &path, None)])[0]
    }

    /// The volume shall go with its server.
    fn delete_on_termination(&mut self) {
        let path = format!("{}/os-volume_attachments/{}", self.server, self.volume);
        let flag = json!({"volumeId": self.volume, "delete_on_termination": true});
        let body = Some(json!({"volumeAttachment": flag}));
        assert_eq!(self.send("demo", &Plan::default(), &[("PUT", &path, body)]), [202]);
    }

    fn stands(&self) -> Stands {
        let (world, id) = (&self.nova.world, &self.volume);
        Stands {
            status: world.cinder.volume(id).unwrap().status,
            attachments: world.cinder.attachments_of(id).map(|a| a.attach_status).collect(),
            bdms: world.novadb.live_bdms().iter().filter(|b| b.volume_id == *id).count(),
            guests: world.hypervisor.live_disks().filter(|d| d.volume == *id).count(),
            devices: world.kernel.devices().filter(|d| d.volume == *id).count(),
            mapped: world.storage.mappings().iter().any(|m| m.volume == *id),
        }
    }

    fn row(&self) -> &Instance {
        &self.nova.world.novadb.instances()[0]
    }

    /// Somebody with nova's own token calls cinder behind nova's back.
    fn cinder(&mut self, call: cinder::Call) {
        let nova = Some(self.nova.token("nova", "service"));
        let auth = Auth { token: nova.clone(), service_token: nova };
        let cx = CallCx { auth, ..client_cx(RequestId(0)) };
        let outcome = self.nova.world.call(self.nova.now, &cx, Call::Cinder(call));
        assert!(matches!(outcome, Outcome::Done(Ok(_))), "{outcome:?}");
    }

    fn stale_attachment(&mut self) {
        let World { cinder, facts, .. } = &mut self.nova.world;
        cinder.add_stale_attachment(facts, &self.volume, &self.server, compute_host());
    }
}

fn fails(process: Process, operation: &str, status: u16) -> Plan {
    let fault = |nth| Fault {
        at: FaultPoint { process, operation: operation.to_owned(), nth, request: None },
        strike: FaultKind::HttpError { status },
        policies: vec![],
    };
    Plan { faults: (1..=8).map(fault).collect() }
}

#[test]
fn a_server_takes_its_volume_with_it_only_if_the_volume_says_so() {
    for policy in BOTH {
        let mut kept = Cloud::new(policy);
        assert_eq!(kept.delete_server(&Plan::default()), 204);
        assert_eq!(kept.stands(), DETACHED, "{policy}");
        let mut gone = Cloud::new(policy);
        gone.delete_on_termination();
        assert_eq!(gone.delete_server(&Plan::default()), 204);
        let deleting = Stands { status: VolumeStatus::Deleting, ..DETACHED };
        assert_eq!(gone.stands(), deleting, "{policy}");
    }
}

#[test]
fn a_volume_that_cinder_does_not_let_go_of_outlives_its_server() {
    let mut cloud = Cloud::new("2026.1");
    cloud.delete_on_termination();
    let plan = fails(Process::NovaCompute, "cinder::AttachmentDelete", 500);
    assert_eq!(cloud.delete_server(&plan), 204);
    // Nova has forgotten it; the export and the attachment stay, and its delete was refused.
    assert_eq!(cloud.stands(), Stands { bdms: 0, guests: 0, devices: 0, ..attached() });
    assert!(cloud.nova.world.novadb.instances().is_empty());
}

#[test]
fn a_local_delete_deletes_the_volume_under_a_running_guest() {
    for policy in BOTH {
        let mut cloud = Cloud::new(policy);
        cloud.delete_on_termination();
        cloud.nova.world.novadb.set_service_up(&compute_host(), false);
        assert_eq!(cloud.delete_server(&Plan::default()), 204);
        let stands = cloud.stands();
        assert_eq!(stands.status, VolumeStatus::Deleting, "{policy}");
        assert_eq!((stands.bdms, stands.guests, stands.devices), (0, 1, 1), "{policy}");
    }
}

#[test]
fn a_reboot_deletes_an_attachment_that_no_bdm_names_since_2023_2() {
    for (policy, left) in [("pike", 2), ("2026.1", 1)] {
        let mut cloud = Cloud::new(policy);
        cloud.stale_attachment();
        assert_eq!(cloud.act("demo", json!({"reboot": {"type": "HARD"}})), 202);
        let stale = vec![AttachStatus::Attached; left];
        assert_eq!(cloud.stands(), Stands { attachments: stale, ..attached() }, "{policy}");
    }
}

#[test]
fn a_cinder_that_does_not_let_users_list_by_server_keeps_the_stale_attachment() {
    let mut cloud = Cloud::new("2026.1");
    cloud.nova.world.cinder.resource_filters = false;
    cloud.stale_attachment();
    assert_eq!(cloud.act("demo", json!({"reboot": {"type": "SOFT"}})), 202);
    assert_eq!(cloud.stands().attachments.len(), 2);
    assert_eq!(cloud.row().vm_state, VmState::Active);
}

#[test]
fn a_reboot_completes_a_detach_of_which_only_the_bdm_was_left() {
    let mut cloud = Cloud::new("2026.1");
    let bdm = &cloud.nova.world.novadb.live_bdms()[0];
    let attachment_id = bdm.attachment_id.clone().unwrap();
    cloud.cinder(cinder::Call::AttachmentDelete(cinder::AttachmentDelete { attachment_id }));
    assert_eq!(cloud.act("demo", json!({"reboot": {"type": "HARD"}})), 202);
    // The host is not told: a volume without a BDM is none that the reboot disconnects.
    assert_eq!(cloud.stands(), Stands { devices: 1, ..DETACHED });
    assert!(cloud.nova.world.hypervisor.config_disks(&cloud.server).is_empty());
}

#[test]
fn a_cinder_that_fails_after_the_list_fails_the_reboot_and_frees_the_server() {
    let mut cloud = Cloud::new("2026.1");
    let path = format!("{}/action", cloud.server);
    let body = Some(json!({"reboot": {"type": "HARD"}}));
    let plan = fails(Process::NovaCompute, "cinder::AttachmentGet", 500);
    assert_eq!(cloud.send("demo", &plan, &[("POST", &path, body)]), [202]);
    assert_eq!(cloud.stands(), attached());
    assert_eq!((cloud.row().vm_state, cloud.row().task_state.clone()), (VmState::Active, None));
}

#[test]
fn an_offloaded_server_leaves_nothing_on_its_host_and_keeps_its_volume() {
    for policy in BOTH {
        let mut cloud = Cloud::new(policy);
        assert_eq!(cloud.act("demo", json!({"shelve": null})), 202);
        let row = cloud.row();
        assert_eq!((row.vm_state, &row.host), (VmState::ShelvedOffloaded, &None), "{policy}");
        let offloaded = match policy {
            "pike" => Stands { guests: 0, devices: 0, ..attached() },
            _ => Stands {
                status: VolumeStatus::Reserved,
                attachments: vec![AttachStatus::Reserved],
                bdms: 1,
                ..DETACHED
            },
        };
        assert_eq!(cloud.stands(), offloaded, "{policy}");
        assert_eq!(cloud.act("demo", json!({"shelve": null})), 409);
        assert_eq!(cloud.act("demo", json!({"unshelve": null})), 202);
        assert_eq!(cloud.stands(), attached(), "{policy}");
        let row = cloud.row();
        assert_eq!((row.vm_state, &row.host), (VmState::Active, &Some(compute_host())));
        let server = cloud.server.clone();
        assert_eq!(cloud.detach(&server), 202);
        assert_eq!(cloud.stands(), DETACHED, "{policy}");
    }
}

#[test]
fn a_volume_that_goes_with_the_server_goes_when_it_is_detached_from_an_offloaded_one() {
    for policy in BOTH {
        let mut cloud = Cloud::new(policy);
        cloud.delete_on_termination();
        assert_eq!(cloud.act("demo", json!({"shelve": null})), 202);
        let server = cloud.server.clone();
        assert_eq!(cloud.detach(&server), 202);
        let deleting = Stands { status: VolumeStatus::Deleting, ..DETACHED };
        assert_eq!(cloud.stands(), deleting, "{policy}");
    }
}

#[test]
fn an_administrator_offloads_a_shelved_server_and_unshelving_one_on_its_host_starts_it() {
    for policy in BOTH {
        let mut cloud = Cloud::new(policy);
        assert_eq!(cloud.act("demo", json!({"os-stop": null})), 202);
        // As shelve leaves it where shelved_offload_time is not 0.
        let server = cloud.server.clone();
        cloud.nova.world.novadb.instance_mut(&server).unwrap().vm_state = VmState::Shelved;
        let off = Stands { guests: 0, ..attached() };
        assert_eq!(cloud.stands(), off, "{policy}: a stopped server's host stays connected");
        assert_eq!(cloud.act("demo", json!({"unshelve": null})), 202);
        assert_eq!(cloud.row().vm_state, VmState::Active);
        assert_eq!(cloud.stands(), attached(), "{policy}");
        assert_eq!(cloud.act("boss", json!({"shelveOffload": null})), 409);
        cloud.nova.world.novadb.instance_mut(&server).unwrap().vm_state = VmState::Shelved;
        assert_eq!(cloud.act("boss", json!({"shelveOffload": null})), 202);
        assert_eq!(cloud.row().vm_state, VmState::ShelvedOffloaded, "{policy}");
        assert_eq!((cloud.stands().guests, cloud.stands().devices), (0, 0), "{policy}");
    }
    let mut cloud = Cloud::new("2026.1");
    assert_eq!(cloud.act("demo", json!({"shelveOffload": null})), 403);
}

#[test]
fn an_unshelve_without_a_host_to_go_to_frees_the_server_where_it_is() {
    let mut cloud = Cloud::new("2026.1");
    assert_eq!(cloud.act("demo", json!({"shelve": null})), 202);
    cloud.nova.world.novadb.set_service_up(&compute_host(), false);
    assert_eq!(cloud.act("demo", json!({"unshelve": null})), 202);
    let row = cloud.row();
    assert_eq!((row.vm_state, &row.task_state), (VmState::ShelvedOffloaded, &None));
    assert_eq!(cloud.stands().status, VolumeStatus::Reserved);
}

#[test]
fn a_stopped_server_is_detached_from_and_starts_without_the_disk() {
    for policy in BOTH {
        let mut cloud = Cloud::new(policy);
        assert_eq!(cloud.act("demo", json!({"os-stop": null})), 202);
        let server = cloud.server.clone();
        assert_eq!(cloud.detach(&server), 202);
        assert_eq!(cloud.stands(), DETACHED, "{policy}");
        assert_eq!(cloud.act("demo", json!({"os-start": null})), 202);
        assert_eq!(cloud.stands(), DETACHED, "{policy}");
        let power = cloud.nova.world.hypervisor.power(&server);
        assert_eq!(power, Some(PowerState::Running), "{policy}");
    }
}

#[test]
fn a_soft_reboot_takes_the_disk_that_the_guest_would_not_let_go_of() {
    for policy in BOTH {
        let mut cloud = Cloud::new(policy);
        let now = cloud.nova.now;
        // It follows its power button, unlike one that never answers.
        let late = LetsGo::After(Duration::from_secs(1000));
        cloud.nova.world.hypervisor.set_lets_go(now, late);
        let detach = format!("{}/os-volume_attachments/{}", cloud.server, cloud.volume);
        let reboot = format!("{}/action", cloud.server);
        let soft = Some(json!({"reboot": {"type": "SOFT"}}));
        // The looks in between last until libvirt has stopped waiting for the guest (5 s).
        const LOOKS: usize = 400;
        let mut asks = vec![("GET", detach.as_str(), None); LOOKS];
        asks[0].0 = "DELETE";
        asks.push(("POST", reboot.as_str(), soft));
        let answers = cloud.send("demo", &Plan::default(), &asks);
        assert_eq!((answers[0], answers[LOOKS]), (202, 202));
        // Both: the persistent config has lost the disk, so the guest comes back without it.
        let end = match policy {
            // The reboot runs beside the unplug loop, which then finds the disk gone.
            "pike" => DETACHED,
            // It waits for the lock until the detach has been given up and rolled back.
            _ => Stands { guests: 0, ..attached() },
        };
        assert_eq!(cloud.stands(), end, "{policy}");
        let server = cloud.server.clone();
        assert_eq!(cloud.nova.world.hypervisor.power(&server), Some(PowerState::Running));
    }
}

#[test]
fn a_multiattach_volume_stays_on_the_host_until_its_last_server_there_is_detached() {
    let mut cloud = Cloud::new("2026.1");
    let (first, second) = (cloud.server.clone(), InstanceId::new("second-server"));
    assert_eq!(cloud.detach(&first), 202);
    let row = Instance { uuid: second.clone(), ..cloud.row().clone() };
    cloud.nova.world.novadb.add_instance(row);
    cloud.nova.world.hypervisor.start_guest(second.clone(), true);
    cloud.nova.world.cinder.volume_mut(&cloud.volume).unwrap().multiattach = true;
    for server in [&first, &second] {
        let path = format!("{server}/os-volume_attachments");
        let body = Some(json!({"volumeAttachment": {"volumeId": cloud.volume}}));
        assert_eq!(cloud.send("demo", &Plan::default(), &[("POST", &path, body)]), [200]);
    }
    let both = vec![AttachStatus::Attached; 2];
    assert_eq!(cloud.stands(), Stands { attachments: both, bdms: 2, guests: 2, ..attached() });
    assert_eq!(cloud.detach(&first), 202);
    assert_eq!(cloud.stands(), attached(), "the other server's disk and its device stay");
    let disk = cloud.nova.world.hypervisor.live_disks().next().unwrap();
    assert_eq!(disk.instance, second);
    assert_eq!(cloud.detach(&second), 202);
    assert_eq!(cloud.stands(), DETACHED);
}
