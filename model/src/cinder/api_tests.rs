//! What only the API offers: creating and deleting volumes, and mending them as an admin.

use castoff_ports::cinder::*;
use castoff_ports::keystone::{Role, TokenInfo};
use castoff_ports::{Refusal, SimTime};

use super::tests::{Bench, CONFLICT, attach, begin, detach, initialize, volume};
use super::{AttachMode, Caller, NewVolume};
use crate::release::CinderRelease;

fn bearer(project: &str, role: Role) -> TokenInfo {
    TokenInfo {
        user_id: "someone".into(),
        project_id: project.into(),
        roles: [role].into_iter().collect(),
        expires_at: SimTime::from_secs(9),
    }
}

fn caller(info: &TokenInfo) -> Caller<'_> {
    Caller { info, service: false }
}

fn small() -> NewVolume {
    NewVolume { size: Some(1), ..NewVolume::default() }
}

#[test]
fn a_new_volume_is_creating_for_a_while_and_no_guard_lets_it_pass() {
    let mut b = Bench::new(CinderRelease::V28);
    let demo = bearer("demo", Role::Member);
    b.cinder.settle(SimTime::from_secs(1));
    let id = b.cinder.create_volume(&caller(&demo), small()).unwrap().id.clone();
    let begin = Call::BeginDetaching(BeginDetaching { volume_id: id.clone() });
    assert!(b.call(begin).is_err());
    let reserve = Call::Reserve(Reserve { volume_id: id.clone() });
    let message = "Invalid volume: Volume status must be available to reserve, but the status is \
                   creating.";
    assert_eq!(b.call(reserve.clone()), Err(Refusal::http(400, message)));
    b.cinder.settle(SimTime(1_499_999));
    assert_eq!(b.cinder.volume(&id).unwrap().status_text(), "creating");
    b.cinder.settle(SimTime(1_500_000));
    let row = b.cinder.volume(&id).unwrap();
    assert_eq!(
        (row.status, row.about.updated_at),
        (VolumeStatus::Available, Some(SimTime(1_500_000)))
    );
    assert_eq!(b.call(reserve), Ok(Reply::Reserve(())));
}

#[test]
fn only_a_free_volume_can_be_deleted_and_it_goes_in_the_end() {
    let mut b = Bench::new(CinderRelease::V28);
    let demo = bearer("demo", Role::Member);
    b.call(attach("i")).unwrap();
    assert!(b.cinder.delete_volume(&mut b.facts, &caller(&demo), &volume()).is_err());
    b.call(detach(None)).unwrap();
    b.cinder.delete_volume(&mut b.facts, &caller(&demo), &volume()).unwrap();
    assert_eq!(b.status(), VolumeStatus::Deleting);
    b.cinder.settle(SimTime::from_secs(1));
    assert_eq!(b.cinder.volume(&volume()), None);
}

#[test]
fn a_list_shows_the_projects_volumes_and_everybodys_to_an_admin_who_asks() {
    let mut b = Bench::new(CinderRelease::V28);
    b.cinder.volume_mut(&volume()).unwrap().project = Some("demo".into());
    let other = bearer("other", Role::Member);
    b.cinder.create_volume(&caller(&other), small()).unwrap();
    let count = |project, role, all| {
        let info = bearer(project, role);
        let caller = caller(&info);
        b.cinder.volumes_for(&caller, all).count()
    };
    assert_eq!(count("demo", Role::Member, true), 1);
    assert_eq!(count("third", Role::Member, true), 0);
    assert_eq!(count("third", Role::Admin, false), 0);
    assert_eq!(count("third", Role::Admin, true), 2);
}

#[test]
fn a_volume_needs_a_size_and_a_type_that_exists() {
    let mut b = Bench::new(CinderRelease::V28);
    let demo = bearer("demo", Role::Member);
    let mut status = |new| match b.cinder.create_volume(&caller(&demo), new) {
        Err(Refusal::Http { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(NewVolume::default()), 400);
    assert_eq!(status(NewVolume { size: Some(0), ..small() }), 400);
    assert_eq!(status(NewVolume { volume_type: Some("nope".to_owned()), ..small() }), 404);
    assert!(b.cinder.add_type("fast").is_some());
    assert!(b.cinder.add_type("fast").is_none(), "names are unique");
    let fast = NewVolume { volume_type: Some("fast".to_owned()), ..small() };
    assert_eq!(b.cinder.create_volume(&caller(&demo), fast).unwrap().about.volume_type, 1);
}

#[test]
fn os_force_detach_is_an_admins_and_obeys_nova_all_the_same() {
    let mut b = Bench::new(CinderRelease::V28);
    let id = b.attached("i", "vm");
    b.used_by_nova("i", Some(&id));
    let (demo, boss) = (bearer("demo", Role::Member), bearer("demo", Role::Admin));
    let call = Detach { volume_id: volume(), attachment_id: None };
    let nova = crate::novadb::NovaDb::new();
    let policy = "Policy doesn't allow volume_extension:volume_admin_actions:force_detach to be \
                  performed.";
    let by_member =
        b.cinder.force_detach(&mut b.facts, &mut b.storage, &nova, &caller(&demo), None, &call);
    assert_eq!(by_member, Err(Refusal::http(403, policy)));
    let used =
        b.cinder.force_detach(&mut b.facts, &mut b.storage, &b.novadb, &caller(&boss), None, &call);
    assert_eq!(used, Err(Refusal::http(409, CONFLICT)));
    // A leftover that nova knows nothing of.
    let free =
        b.cinder.force_detach(&mut b.facts, &mut b.storage, &nova, &caller(&boss), None, &call);
    assert_eq!(free, Ok(()));
    assert_eq!((b.status(), b.storage.mappings().len()), (VolumeStatus::Available, 0));
}

#[test]
fn os_reset_status_writes_rows_and_leaves_the_mapping() {
    let mut b = Bench::new(CinderRelease::V28);
    b.attached("i", "vm");
    b.call(begin()).unwrap();
    let boss = bearer("demo", Role::Admin);
    let (status, detached) = (Some(VolumeStatus::Available), Some(AttachStatus::Detached));
    let demo = bearer("demo", Role::Member);
    let mut reset = |info: &TokenInfo, status, attach| {
        b.cinder.reset_status(&mut b.facts, &caller(info), &volume(), status, attach)
    };
    assert!(reset(&demo, status, detached).is_err(), "an admin's");
    assert_eq!(reset(&boss, Some(VolumeStatus::InUse), None), Ok(()));
    assert_eq!(reset(&boss, status, detached), Ok(()));
    assert!(reset(&boss, Some(VolumeStatus::InUse), None).is_err(), "no attachment is left");
    assert_eq!((b.status(), b.cinder.live_attachments().count()), (VolumeStatus::Available, 0));
    assert_eq!(b.storage.mappings().len(), 1, "no backend was asked");
}

#[test]
fn os_attach_leaves_readonly_behind_which_the_attachments_api_takes_for_true() {
    let mut b = Bench::new(CinderRelease::V28);
    let mode = |b: &Bench| b.cinder.live_attachments().next().unwrap().attach_mode;
    let first = b.create("i").unwrap();
    assert_eq!(mode(&b), AttachMode::Null);
    b.call(super::tests::delete(&first)).unwrap();
    b.call(attach("i")).unwrap();
    let about = |b: &Bench| b.cinder.volume(&volume()).unwrap().about.clone();
    assert_eq!((about(&b).readonly, about(&b).attached_mode), (true, Some(AttachMode::Rw)));
    b.call(detach(None)).unwrap();
    assert_eq!((about(&b).readonly, about(&b).attached_mode), (true, None));
    b.create("i").unwrap();
    assert_eq!(mode(&b), AttachMode::Ro);
}

#[test]
fn a_users_volume_does_not_show_its_host_and_an_admins_does() {
    let mut b = Bench::new(CinderRelease::V28);
    b.attached("i", "vm");
    let host = |role| {
        let info = bearer("demo", role);
        let c = GetVolume { volume_id: volume(), microversion: 0 };
        let shown = b.cinder.get_volume(&caller(&info), false, &c).unwrap();
        shown.attachments[0].host_name.clone()
    };
    assert_eq!(host(Role::Member), None);
    assert_eq!(host(Role::Admin), Some("vm".into()));
}

#[test]
fn a_backend_that_asks_for_chap_says_so_in_every_connection_info() {
    let mut b = Bench::new(CinderRelease::V28);
    let chap = Chap { username: "u".to_owned(), password: castoff_ports::Secret::new("p") };
    b.cinder.chap = Some(chap.clone());
    match b.call(initialize()) {
        Ok(Reply::InitializeConnection(info)) => assert_eq!(info.data.auth, Some(chap)),
        other => panic!("{other:?}"),
    }
}
