//! Cinder's transitions, one guard and one refusal at a time, and the door.

use castoff_ports::cinder::*;
use castoff_ports::keystone::{self, CreateToken, Role};
use castoff_ports::novadb::{Bdm, SourceType};
use castoff_ports::{AttachmentId, Auth, Refusal, Secret, SimTime, VolumeId};

use super::Cinder;
use crate::fact::Facts;
use crate::keystone::{Keystone, UNAUTHORIZED};
use crate::novadb::NovaDb;
use crate::release::CinderRelease;
use crate::storage::Storage;
use crate::world::{Completed, Step};

/// A cinder with one volume `v`, a member's token and a service token.
pub(super) struct Bench {
    pub(super) cinder: Cinder,
    pub(super) storage: Storage,
    pub(super) facts: Facts,
    keystone: Keystone,
    pub(super) novadb: NovaDb,
    pub(super) auth: Auth,
    pub(super) service: Auth,
    now: SimTime,
}

pub(super) fn volume() -> VolumeId {
    "v".into()
}

pub(super) fn connector(host: &str) -> Connector {
    Connector {
        ip: "10.0.0.2".to_owned(),
        host: host.into(),
        initiator: Some(format!("iqn.{host}").as_str().into()),
        multipath: false,
    }
}

fn token(keystone: &mut Keystone, user: &str, project: &str, role: Role) -> Secret {
    keystone.add_user(user.into(), Secret::new(user), project.into(), &[role]);
    let call = keystone::Call::CreateToken(CreateToken {
        user: user.into(),
        password: Secret::new(user),
        project: project.into(),
    });
    let mut step = Step {
        now: SimTime::ZERO,
        facts: &mut Facts::new(),
        completed: &mut Completed::new(),
        next_ticket: &mut 0,
    };
    match keystone.call(&mut step, &Auth::default(), call) {
        Ok(keystone::Reply::CreateToken(issued)) => issued.token,
        other => panic!("{other:?}"),
    }
}

impl Bench {
    pub(super) fn new(release: CinderRelease) -> Bench {
        let mut keystone = Keystone::new();
        let user = token(&mut keystone, "demo", "demo", Role::Member);
        keystone.token_lifetime *= 100;
        let nova = token(&mut keystone, "nova", "service", Role::Service);
        let mut cinder = Cinder::new(release);
        cinder.add_volume(volume(), 1);
        Bench {
            cinder,
            storage: Storage::new(),
            facts: Facts::new(),
            keystone,
            novadb: NovaDb::new(),
            auth: Auth { token: Some(user.clone()), service_token: None },
            service: Auth { token: Some(user), service_token: Some(nova) },
            now: SimTime::ZERO,
        }
    }

    pub(super) fn call(&mut self, call: Call) -> Result<Reply, Refusal> {
        let auth = self.auth.clone();
        self.call_as(&auth, call)
    }

    pub(super) fn call_as(&mut self, auth: &Auth, call: Call) -> Result<Reply, Refusal> {
        let mut step = Step {
            now: self.now,
            facts: &mut self.facts,
            completed: &mut Completed::new(),
            next_ticket: &mut 0,
        };
        let (storage, cinder) = (&mut self.storage, &mut self.cinder);
        cinder.call(&mut step, &self.keystone, &self.novadb, storage, auth, call)
    }

    pub(super) fn status(&self) -> VolumeStatus {
        self.cinder.volume(&volume()).unwrap().status
    }

    fn set_status(&mut self, status: VolumeStatus) {
        self.cinder.volume_mut(&volume()).unwrap().status = status;
    }

    pub(super) fn create(&mut self, instance: &str) -> Result<AttachmentId, Refusal> {
        let create = AttachmentCreate { volume_id: volume(), instance: instance.into() };
        match self.call(Call::AttachmentCreate(create))? {
            Reply::AttachmentCreate(made) => Ok(made.id),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn update(&mut self, id: &AttachmentId, host: &str) -> Result<Reply, Refusal> {
        self.call(Call::AttachmentUpdate(AttachmentUpdate {
            attachment_id: id.clone(),
            connector: connector(host),
            mountpoint: "/dev/vdb".to_owned(),
        }))
    }

    /// The whole attach of cinder 28.
    pub(super) fn attached(&mut self, instance: &str, host: &str) -> AttachmentId {
        let id = self.create(instance).unwrap();
        self.update(&id, host).unwrap();
        self.call(complete(&id)).unwrap();
        id
    }

    /// What nova has: a live BDM that names this attachment.
    pub(super) fn used_by_nova(&mut self, instance: &str, attachment: Option<&AttachmentId>) {
        let bdm = Bdm {
            id: castoff_ports::BdmId(0),
            instance_uuid: instance.into(),
            volume_id: volume(),
            source_type: SourceType::Volume,
            device_name: None,
            boot_index: None,
            attachment_id: attachment.cloned(),
            connection_info: None,
            delete_on_termination: false,
            tag: None,
        };
        self.novadb.add_bdm(&mut self.facts, bdm);
    }
}

pub(super) fn begin() -> Call {
    Call::BeginDetaching(BeginDetaching { volume_id: volume() })
}

pub(super) fn roll() -> Call {
    Call::RollDetaching(RollDetaching { volume_id: volume() })
}

pub(super) fn complete(id: &AttachmentId) -> Call {
    Call::AttachmentComplete(AttachmentComplete { attachment_id: id.clone() })
}

pub(super) fn delete(id: &AttachmentId) -> Call {
    Call::AttachmentDelete(AttachmentDelete { attachment_id: id.clone() })
}

pub(super) fn detach(id: Option<&AttachmentId>) -> Call {
    Call::Detach(Detach { volume_id: volume(), attachment_id: id.cloned() })
}

pub(super) fn attach(instance: &str) -> Call {
    Call::Attach(Attach {
        volume_id: volume(),
        instance: instance.into(),
        mountpoint: "/dev/vdb".to_owned(),
    })
}

pub(super) fn initialize() -> Call {
    Call::InitializeConnection(InitializeConnection {
        volume_id: volume(),
        connector: connector("vm"),
    })
}

pub(super) fn terminate() -> Call {
    Call::TerminateConnection(TerminateConnection {
        volume_id: volume(),
        connector: connector("vm"),
    })
}

pub(super) fn get(microversion: u16) -> Call {
    Call::GetVolume(GetVolume { volume_id: volume(), microversion })
}

pub(super) fn http(status: u16, message: &str) -> Result<Reply, Refusal> {
    Err(Refusal::http(status, message))
}

pub(super) const CONFLICT: &str =
    "ConflictNovaUsingAttachment: Detach volume from instance i using the Compute API";

const EVERY_STATUS: [VolumeStatus; 8] = [
    VolumeStatus::Available,
    VolumeStatus::Reserved,
    VolumeStatus::Attaching,
    VolumeStatus::InUse,
    VolumeStatus::Detaching,
    VolumeStatus::Deleting,
    VolumeStatus::Maintenance,
    VolumeStatus::Error,
];

#[test]
fn only_a_volume_in_use_and_attached_can_begin_to_detach() {
    for status in EVERY_STATUS {
        let mut b = Bench::new(CinderRelease::V28);
        b.attached("i", "vm");
        b.set_status(status);
        let begun = b.call(begin());
        if status == VolumeStatus::InUse {
            assert_eq!(begun, Ok(Reply::BeginDetaching(())));
            assert_eq!(b.status(), VolumeStatus::Detaching);
        } else {
            let message = "Invalid volume: Unable to detach volume. Volume status must be \
                           'in-use' and attach_status must be 'attached' to detach.";
            assert_eq!(begun, http(400, message));
            assert_eq!(b.status(), status);
        }
    }
    let mut b = Bench::new(CinderRelease::V28);
    b.set_status(VolumeStatus::InUse);
    assert!(b.call(begin()).is_err(), "attach_status is detached");
}

#[test]
fn roll_detaching_and_unreserve_change_one_status_each_and_accept_all() {
    for status in EVERY_STATUS {
        let mut b = Bench::new(CinderRelease::Ocata);
        b.set_status(status);
        b.call(roll()).unwrap();
        let rolled = if status == VolumeStatus::Detaching { VolumeStatus::InUse } else { status };
        assert_eq!(b.status(), rolled);
        b.set_status(status);
        let unreserve = Call::Unreserve(Unreserve { volume_id: volume() });
        b.call(unreserve).unwrap();
        let back = if status == VolumeStatus::Attaching { VolumeStatus::Available } else { status };
        assert_eq!(b.status(), back);
    }
}

#[test]
fn only_an_available_volume_can_be_reserved_and_a_multiattach_one_also_in_use() {
    for status in EVERY_STATUS {
        for multiattach in [false, true] {
            let mut b = Bench::new(CinderRelease::Ocata);
            b.cinder.volume_mut(&volume()).unwrap().multiattach = multiattach;
            b.set_status(status);
            let reserved = b.call(Call::Reserve(Reserve { volume_id: volume() }));
            let free =
                status == VolumeStatus::Available || (multiattach && status == VolumeStatus::InUse);
            assert_eq!(reserved.is_ok(), free, "{status:?}");
            if status == VolumeStatus::Attaching && !multiattach {
                let message = "Invalid volume: Volume status must be available to reserve, but \
                               the status is attaching.";
                assert_eq!(reserved, http(400, message));
            }
        }
    }
}

#[test]
fn a_missing_volume_and_a_missing_attachment_are_404() {
    let mut b = Bench::new(CinderRelease::V28);
    let missing = Call::BeginDetaching(BeginDetaching { volume_id: "nope".into() });
    assert_eq!(b.call(missing), http(404, "Volume nope could not be found."));
    let message = "Volume attachment could not be found with filter: attachment_id = nope.";
    assert_eq!(b.call(delete(&"nope".into())), http(404, message));
    assert_eq!(b.call(complete(&"nope".into())), http(404, message));
    assert!(b.facts.is_empty());
}

#[test]
fn another_projects_volume_does_not_exist_except_for_an_admin() {
    let mut b = Bench::new(CinderRelease::V28);
    b.cinder.volume_mut(&volume()).unwrap().project = Some("other".into());
    assert_eq!(b.call(get(0)), http(404, "Volume v could not be found."));
    let admin = token(&mut b.keystone, "boss", "admin", Role::Admin);
    b.auth.token = Some(admin);
    assert!(b.call(get(0)).is_ok());
}

#[test]
fn nobody_passes_the_door_without_a_valid_token() {
    for release in [CinderRelease::Ocata, CinderRelease::V28] {
        let mut b = Bench::new(release);
        let bad = Auth { token: Some(Secret::new("bad")), service_token: None };
        for auth in [Auth::default(), bad] {
            assert_eq!(b.call_as(&auth, begin()), http(401, UNAUTHORIZED));
        }
        b.now = SimTime::from_secs(3600);
        assert_eq!(b.call(get(0)), http(401, UNAUTHORIZED));
    }
}

#[test]
fn an_expired_user_token_passes_with_a_service_token_for_two_days_but_not_in_ocata() {
    let mut b = Bench::new(CinderRelease::V28);
    let service = b.service.clone();
    b.now = SimTime::from_secs(3600 + 172_799);
    assert!(b.call_as(&service, get(0)).is_ok());
    b.now = SimTime::from_secs(3600 + 172_800);
    assert_eq!(b.call_as(&service, get(0)), http(401, UNAUTHORIZED));
    // A second member's token is no service token.
    b.now = SimTime::from_secs(3600);
    let fake = Auth { service_token: service.token.clone(), ..service.clone() };
    assert_eq!(b.call_as(&fake, get(0)), http(401, UNAUTHORIZED));
    let mut b = Bench::new(CinderRelease::Ocata);
    b.now = SimTime::from_secs(3600);
    let service = b.service.clone();
    assert_eq!(b.call_as(&service, get(0)), http(401, UNAUTHORIZED));
}

#[test]
fn a_microversion_that_the_release_does_not_speak_is_406() {
    let mut b = Bench::new(CinderRelease::Ocata);
    let message = "Version 3.48 is not supported by the API. Minimum is 3.0 and maximum is 3.27.";
    assert_eq!(b.call(get(48)), http(406, message));
    let mut b = Bench::new(CinderRelease::V28);
    let shared = |reply| match reply {
        Ok(Reply::GetVolume(volume)) => (volume.shared_targets, volume.service_uuid.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(shared(b.call(get(0))), (None, false));
    assert_eq!(shared(b.call(get(48))), (Some(false), true));
    b.storage.shared_target = true;
    assert_eq!(shared(b.call(get(69))), (Some(true), true));
}
