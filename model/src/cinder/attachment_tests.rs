//! The attachments API: its states, who shares a mapping, and who may delete.

use castoff_ports::Refusal;
use castoff_ports::cinder::*;

use super::rows::{AttachMode, AttachmentRow};
use super::tests::{Bench, CONFLICT, complete, delete, detach, http, terminate, volume};
use crate::fact::Fact;
use crate::release::CinderRelease;

#[test]
fn the_attachments_api_goes_reserved_attaching_in_use_available() {
    let mut b = Bench::new(CinderRelease::V28);
    let id = b.create("i").unwrap();
    assert_eq!(b.status(), VolumeStatus::Reserved);
    let updated = b.update(&id, "vm").unwrap();
    assert_eq!(b.status(), VolumeStatus::Attaching);
    match updated {
        Reply::AttachmentUpdate(shown) => {
            assert_eq!(shown.status, AttachStatus::Reserved, "as it was before the driver's turn");
            assert_eq!(shown.connection_info.unwrap().driver_volume_type, "iscsi");
        }
        other => panic!("{other:?}"),
    }
    b.call(complete(&id)).unwrap();
    assert_eq!(b.status(), VolumeStatus::InUse);
    assert_eq!(b.storage.mappings().len(), 1);
    b.facts.clear();
    b.call(delete(&id)).unwrap();
    assert_eq!(b.status(), VolumeStatus::Available);
    assert_eq!(b.cinder.live_attachments().count(), 0);
    let [Fact::Unmapped { .. }, Fact::Attachment { to, .. }, Fact::VolumeStatus { .. }] =
        b.facts.as_slice()
    else {
        panic!("{:?}", b.facts);
    };
    assert_eq!(*to, AttachStatus::Detached);
}

#[test]
fn a_reserved_volume_is_refused_to_another_server_and_given_again_to_the_same() {
    let mut b = Bench::new(CinderRelease::V28);
    b.create("i").unwrap();
    let message = "Invalid volume: Volume v status must be available or downloading to reserve, \
                   but the current status is reserved.";
    assert_eq!(b.create("j"), Err(Refusal::http(400, message)));
    b.create("i").unwrap();
    assert_eq!(b.cinder.live_attachments().count(), 2);
    assert_eq!(b.status(), VolumeStatus::Reserved);
}

#[test]
fn a_second_connector_on_a_volume_that_is_not_multiattach_is_409() {
    let mut b = Bench::new(CinderRelease::V28);
    b.attached("i", "vm");
    let second = b.create("i").unwrap();
    let message = "Invalid volume: duplicate connectors detected on volume v";
    assert_eq!(b.update(&second, "other"), http(409, message));
    assert_eq!(b.storage.mappings().len(), 1);
}

#[test]
fn ocata_has_no_attachments_api() {
    let mut b = Bench::new(CinderRelease::Ocata);
    let message = "The resource could not be found.";
    assert_eq!(b.create("i"), Err(Refusal::http(404, message)));
    assert_eq!(b.call(delete(&"a".into())), http(404, message));
}

#[test]
fn two_servers_on_one_host_share_the_mapping_until_the_last_one_goes() {
    let mut b = Bench::new(CinderRelease::V28);
    b.cinder.volume_mut(&volume()).unwrap().multiattach = true;
    let first = b.attached("i", "vm");
    let second = b.attached("j", "vm");
    let third = b.attached("k", "other");
    assert_eq!(b.storage.mappings().len(), 2);
    b.call(delete(&first)).unwrap();
    assert_eq!((b.storage.mappings().len(), b.status()), (2, VolumeStatus::InUse));
    b.call(delete(&second)).unwrap();
    assert_eq!(b.storage.mappings().len(), 1);
    b.call(delete(&third)).unwrap();
    assert_eq!((b.storage.mappings().len(), b.status()), (0, VolumeStatus::Available));
}

#[test]
fn only_nova_takes_away_an_attachment_that_nova_uses() {
    let mut b = Bench::new(CinderRelease::V28);
    let id = b.attached("i", "vm");
    b.used_by_nova("i", Some(&id));
    for call in [delete(&id), detach(Some(&id)), detach(None), terminate()] {
        assert_eq!(b.call(call), http(409, CONFLICT));
    }
    assert_eq!(b.storage.mappings().len(), 1);
    let service = b.service.clone();
    assert_eq!(b.call_as(&service, delete(&id)), Ok(Reply::AttachmentDelete(())));
    assert!(b.storage.mappings().is_empty());
}

#[test]
fn a_user_may_delete_what_nova_does_not_use_or_uses_by_another_attachment() {
    let mut b = Bench::new(CinderRelease::V28);
    let id = b.attached("i", "vm");
    b.used_by_nova("i", Some(&"another".into()));
    assert_eq!(b.call(delete(&id)), Ok(Reply::AttachmentDelete(())));
    // A row that was never connected is nobody's.
    let id = b.create("i").unwrap();
    assert_eq!(b.call(delete(&id)), Ok(Reply::AttachmentDelete(())));
}

#[test]
fn a_row_in_error_keeps_an_ocata_volume_in_use_and_a_28_volume_not() {
    let row = |status| AttachmentRow {
        id: "a".into(),
        volume_id: volume(),
        instance: "i".into(),
        attach_status: status,
        host: None,
        mountpoint: None,
        connector: None,
        connection_info: None,
        attached_at: None,
        attach_mode: AttachMode::Null,
    };
    let status = |release, rows: &[AttachStatus]| {
        let rows: Vec<_> = rows.iter().map(|s| row(*s)).collect();
        super::rows::status(release, rows.iter()).0
    };
    use AttachStatus::{Attached, Attaching, ErrorDetaching, Reserved};
    assert_eq!(status(CinderRelease::Ocata, &[ErrorDetaching]), VolumeStatus::InUse);
    assert_eq!(status(CinderRelease::V28, &[ErrorDetaching]), VolumeStatus::Available);
    let order = [
        (&[Reserved, Attaching, Attached][..], VolumeStatus::InUse),
        (&[Reserved, Attaching][..], VolumeStatus::Attaching),
        (&[ErrorDetaching, Reserved][..], VolumeStatus::Reserved),
        (&[][..], VolumeStatus::Available),
    ];
    for (rows, expected) in order {
        assert_eq!(status(CinderRelease::V28, rows), expected);
    }
}
