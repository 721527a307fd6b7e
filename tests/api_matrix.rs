//! The HTTP matrix of a detach (A16): every situation, both generations, over the wire.
//!
//! The column of 2026.1 is what a recorded Nova 33 answers, where the sessions have the situation.
//! The column of pike is read from nova's source: **not recorded**.

#![allow(clippy::unwrap_used)]

mod nova_direct;

use castoff_model::{Outcome, World};
use castoff_ports::cinder::{self, AttachStatus, VolumeStatus};
use castoff_ports::keystone::Role;
use castoff_ports::novadb::{Bdm, SourceType, VmState};
use castoff_ports::plan::{Fault, FaultKind, FaultPoint, Plan};
use castoff_ports::{
    Auth, BdmId, Call, CallCx, InstanceId, Process, ProjectId, RequestId, Secret, UserId, VolumeId,
};
use castoff_sim::prepare::client_cx;
use nova_direct::{Nova, message, request};

const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What a row changes before it asks: the world, who asks, for what.
struct Case {
    nova: Nova,
    user: (&'static str, &'static str),
    token: Option<Secret>,
    server: InstanceId,
    volume: VolumeId,
    microversion: String,
    plan: Plan,
}

impl Case {
    fn new(policy: &str) -> Case {
        let mut nova = Nova::new(policy);
        let server = nova.prepared.server.clone();
        let volume = nova.world.cinder.volumes()[0].id.clone();
        let roles: [(&str, &str, &[Role]); 3] = [
            ("reader", "demo", &[Role::Reader]),
            ("boss", "admin", &[Role::Admin, Role::Member, Role::Reader]),
            ("stranger", "other", &[Role::Member, Role::Reader]),
        ];
        for (user, project, roles) in roles {
            let password = Secret::new(format!("{user}-password"));
            let (user, project) = (UserId::new(user), ProjectId::new(project));
            nova.world.keystone.add_user(user, password, project, roles);
        }
        let microversion = "2.20".to_owned();
        let (user, plan) = (("demo", "demo"), Plan::default());
        Case { nova, user, token: None, server, volume, microversion, plan }
    }

    fn instance(&mut self, change: impl FnOnce(&mut castoff_ports::novadb::Instance)) {
        change(self.nova.world.novadb.instance_mut(&self.server).unwrap());
    }

    fn volume(&mut self, status: VolumeStatus, attach_status: AttachStatus) {
        let row = self.nova.world.cinder.volume_mut(&self.volume).unwrap();
        (row.status, row.attach_status) = (status, attach_status);
    }

    /// Another volume in the cloud that this server does not have.
    fn other_volume(&mut self) {
        self.volume = VolumeId::new("30d72547-9316-4c2a-84c9-6ebc30912eff");
        self.nova.world.storage.add_volume(self.volume.clone());
        self.nova.world.cinder.add_volume(self.volume.clone(), 1);
    }

    fn root_volume(&mut self) {
        self.other_volume();
        let bdm = Bdm {
            id: BdmId(0),
            instance_uuid: self.server.clone(),
            volume_id: self.volume.clone(),
            source_type: SourceType::Volume,
            device_name: Some("/dev/vda".to_owned()),
            boot_index: Some(0),
            attachment_id: None,
            connection_info: None,
            delete_on_termination: false,
            tag: None,
        };
        let World { novadb, facts, .. } = &mut self.nova.world;
        novadb.add_bdm(facts, bdm);
    }

    fn fault(&mut self, operation: &str, strike: FaultKind) {
        // Nova and keystoneauth try again: the fault strikes as often as they do.
        for nth in 1..=8 {
            let at = FaultPoint {
                process: Process::NovaApi,
                operation: operation.to_owned(),
                nth,
                request: None,
            };
            self.plan.faults.push(Fault { at, strike: strike.clone(), policies: vec![] });
        }
    }

    /// Somebody has detached the volume behind nova's back and attached it to another server.
    fn attached_elsewhere(&mut self) {
        let nova = Some(self.nova.token("nova", "service"));
        let cx = CallCx {
            auth: Auth { token: nova.clone(), service_token: nova },
            ..client_cx(RequestId(0))
        };
        let volume_id = self.volume.clone();
        let detach = cinder::Detach { volume_id: volume_id.clone(), attachment_id: None };
        let attach = cinder::Attach {
            volume_id,
            instance: NOBODY.into(),
            mountpoint: "/dev/vdb".to_owned(),
        };
        for call in [cinder::Call::Detach(detach), cinder::Call::Attach(attach)] {
            let outcome = self.nova.world.call(self.nova.now, &cx, Call::Cinder(call));
            assert!(matches!(outcome, Outcome::Done(Ok(_))), "{outcome:?}");
        }
    }

    /// Sends so many DELETEs, each after the answer to the one before: the statuses.
    fn delete(&mut self, times: usize) -> (Vec<u16>, String) {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.nova.token(self.user.0, self.user.1),
        };
        let path = format!("/v2.1/servers/{}/os-volume_attachments/{}", self.server, self.volume);
        let ask = || request("DELETE", &path, Some(&token), &self.microversion, None);
        let asks = std::iter::repeat_with(ask).take(times).collect();
        let answers = self.nova.ask(&self.plan, asks);
        let text = answers.last().map(message).unwrap_or_default();
        (answers.iter().map(|a| a.status().as_u16()).collect(), text)
    }
}

/// Situation, what it changes, pike's statuses (not recorded), those of 2026.1.
type Row = (&'static str, fn(&mut Case), &'static [u16], &'static [u16]);

const MATRIX: &[Row] = &[
    ("healthy", |_| (), &[202], &[202]),
    ("bad token", |c| c.token = Some(Secret::new("bad")), &[401], &[401]),
    // pike's admin_or_owner denies nobody of the project; its 403 needs a policy file.
    ("a reader asks", |c| c.user = ("reader", "demo"), &[202], &[403]),
    ("unknown server", |c| c.server = NOBODY.into(), &[404], &[404]),
    ("malformed server id", |c| c.server = "nope".into(), &[404], &[404]),
    ("another project's server", |c| c.user = ("stranger", "other"), &[404], &[404]),
    (
        "shelved, microversion below 2.20",
        |c| {
            c.microversion = "2.19".to_owned();
            c.instance(|i| i.vm_state = VmState::Shelved);
        },
        &[409],
        &[409],
    ),
    (
        "shelved_offloaded, microversion below 2.20",
        |c| {
            c.microversion = "2.19".to_owned();
            c.instance(|i| i.vm_state = VmState::ShelvedOffloaded);
        },
        &[409],
        &[409],
    ),
    ("shelved from 2.20 on", |c| c.instance(|i| i.vm_state = VmState::Shelved), &[202], &[202]),
    ("volume missing in cinder", |c| c.volume = NOBODY.into(), &[404], &[404]),
    ("no BDM for the pair", Case::other_volume, &[404], &[404]),
    ("root volume", Case::root_volume, &[403], &[400]),
    ("locked", |c| c.instance(|i| i.locked = true), &[409], &[409]),
    (
        "locked, an administrator asks",
        |c| {
            c.user = ("boss", "admin");
            c.instance(|i| i.locked = true);
        },
        &[202],
        &[202],
    ),
    ("suspended", |c| c.instance(|i| i.vm_state = VmState::Suspended), &[409], &[409]),
    ("rescued", |c| c.instance(|i| i.vm_state = VmState::Rescued), &[409], &[409]),
    ("building", |c| c.instance(|i| i.vm_state = VmState::Building), &[409], &[409]),
    ("in error", |c| c.instance(|i| i.vm_state = VmState::Error), &[409], &[409]),
    ("paused", |c| c.instance(|i| i.vm_state = VmState::Paused), &[202], &[202]),
    ("stopped", |c| c.instance(|i| i.vm_state = VmState::Stopped), &[202], &[202]),
    (
        "task_state set",
        |c| c.instance(|i| i.task_state = Some("rebooting".to_owned())),
        &[409],
        &[409],
    ),
    ("never launched", |c| c.instance(|i| i.launched = false), &[409], &[409]),
    (
        "compute service down",
        |c| {
            let host = castoff_sim::prepare::compute_host();
            c.nova.world.novadb.set_service_up(&host, false);
        },
        &[202],
        &[409],
    ),
    (
        "cinder says available",
        |c| c.volume(VolumeStatus::Available, AttachStatus::Detached),
        &[400],
        &[400],
    ),
    (
        "already detaching",
        |c| c.volume(VolumeStatus::Detaching, AttachStatus::Attached),
        &[400],
        &[400],
    ),
    (
        "cinder unreachable",
        |c| c.fault("cinder::GetVolume", FaultKind::Unreachable),
        &[500],
        &[500],
    ),
    (
        "cinder forbids os-begin_detaching",
        |c| c.fault("cinder::BeginDetaching", FaultKind::HttpError { status: 403 }),
        &[403],
        &[403],
    ),
    (
        "microversion that nova does not speak",
        |c| c.microversion = "2.999".to_owned(),
        &[406],
        &[406],
    ),
    ("garbled microversion", |c| c.microversion = "x.y".to_owned(), &[400], &[400]),
];

fn run(policy: &str, row: &Row) -> (Vec<u16>, String) {
    let mut case = Case::new(policy);
    (row.1)(&mut case);
    case.delete(1)
}

#[test]
fn every_situation_of_the_matrix_has_its_status_in_both_generations() {
    let mut wrong = Vec::new();
    for row in MATRIX {
        for (policy, wanted) in [("pike", row.2), ("2026.1", row.3)] {
            let (found, text) = run(policy, row);
            if found != wanted {
                wrong.push(format!("{policy}: {}: {found:?} {text}, not {wanted:?}", row.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_volume_whose_attachments_name_another_server_is_404_in_pike_and_202_today() {
    for (policy, wanted) in [("pike", 404), ("2026.1", 202)] {
        let mut case = Case::new(policy);
        case.attached_elsewhere();
        assert_eq!(case.delete(1).0, [wanted], "{policy}");
    }
}

#[test]
fn a_second_delete_is_refused_while_the_first_is_under_way_and_404_once_it_is_done() {
    for policy in ["pike", "2026.1"] {
        let mut case = Case::new(policy);
        assert_eq!(case.delete(2).0, [202, 400], "{policy}");
        assert_eq!(case.delete(1).0, [404], "{policy}");
    }
}

#[test]
fn no_microversion_changes_what_a_delete_answers() {
    for policy in ["pike", "2026.1"] {
        for minor in [1, 20, 49, 60, 70, 79, 85, 89, 101, 103] {
            let mut case = Case::new(policy);
            case.microversion = format!("2.{minor}");
            assert_eq!(case.delete(1).0, [202], "{policy} 2.{minor}");
        }
    }
}

#[test]
fn a_volume_without_a_bdm_is_refused_in_other_words_today() {
    let texts = ["pike", "2026.1"].map(|policy| {
        let mut case = Case::new(policy);
        case.other_volume();
        let (server, volume) = (case.server.clone(), case.volume.clone());
        (case.delete(1).1, server, volume)
    });
    let [(pike, _, volume), (today, server, _)] = texts;
    assert_eq!(pike, format!("volume_id not found: {volume}"));
    assert_eq!(today, format!("Instance {server} is not attached to volume {volume}"));
}
