//! The volume actions from os-reserve to os-detach, and what each refuses.

use castoff_ports::AttachmentId;
use castoff_ports::cinder::*;

use super::tests::{Bench, attach, begin, connector, detach, http, initialize, terminate, volume};
use crate::release::CinderRelease;

#[test]
fn os_detach_of_an_unknown_attachment_names_no_server_and_mends_the_status_for_nova() {
    let mut b = Bench::new(CinderRelease::V28);
    b.call(attach("i")).unwrap();
    let unknown = AttachmentId::new("nope");
    let message = "ConflictNovaUsingAttachment: Detach volume from instance  using the Compute API";
    assert_eq!(b.call(detach(Some(&unknown))), http(409, message));
    b.call(begin()).unwrap();
    let service = b.service.clone();
    assert_eq!(b.call_as(&service, detach(Some(&unknown))), Ok(Reply::Detach(())));
    assert_eq!(b.status(), VolumeStatus::InUse);
}

#[test]
fn the_volume_actions_go_attaching_in_use_detaching_available() {
    for release in [CinderRelease::Ocata, CinderRelease::V28] {
        let mut b = Bench::new(release);
        b.call(Call::Reserve(Reserve { volume_id: volume() })).unwrap();
        b.call(initialize()).unwrap();
        assert_eq!(b.status(), VolumeStatus::Attaching);
        b.call(attach("i")).unwrap();
        assert_eq!(b.status(), VolumeStatus::InUse);
        b.call(begin()).unwrap();
        b.call(terminate()).unwrap();
        assert!(b.storage.mappings().is_empty());
        assert_eq!(b.status(), VolumeStatus::Detaching);
        b.call(detach(None)).unwrap();
        assert_eq!(b.status(), VolumeStatus::Available);
        // Both succeed on a volume that nobody uses.
        b.call(terminate()).unwrap();
        b.call(detach(None)).unwrap();
        assert_eq!(b.status(), VolumeStatus::Available);
    }
}

#[test]
fn os_detach_deletes_the_export_even_when_terminate_connection_never_came() {
    let mut b = Bench::new(CinderRelease::Ocata);
    b.call(initialize()).unwrap();
    b.call(attach("i")).unwrap();
    b.call(detach(None)).unwrap();
    assert!(b.storage.mappings().is_empty());
}

#[test]
fn os_detach_must_name_one_of_several_attachments() {
    let mut b = Bench::new(CinderRelease::Ocata);
    b.call(attach("i")).unwrap();
    b.cinder.add_stale_attachment(&mut b.facts, &volume(), &"i".into(), "vm".into());
    let message = "Invalid volume: Detach volume failed: \
                   More than one attachment, but no attachment_id provided.";
    assert_eq!(b.call(detach(None)), http(400, message));
    let named = b.cinder.live_attachments().next().map(|row| row.id.clone());
    b.call(begin()).unwrap();
    b.call(detach(named.as_ref())).unwrap();
    assert_eq!(b.status(), VolumeStatus::InUse, "the stale row keeps it in use");
}

#[test]
fn os_attach_of_a_volume_in_use_is_refused_to_another_server() {
    let mut b = Bench::new(CinderRelease::V28);
    b.call(attach("i")).unwrap();
    let message =
        "Error attaching volume - InvalidVolume: Invalid volume: volume is already attached";
    assert_eq!(b.call(attach("j")), http(400, message));
    assert_eq!(b.call(attach("i")), Ok(Reply::Attach(())));
    assert_eq!(b.cinder.live_attachments().count(), 1);
}

#[test]
fn a_connector_without_an_initiator_cannot_be_mapped() {
    let mut b = Bench::new(CinderRelease::V28);
    let connector = Connector { initiator: None, ..connector("vm") };
    let call = InitializeConnection { volume_id: volume(), connector };
    let message = "Invalid input received: Connector doesn't have required information: initiator";
    assert_eq!(b.call(Call::InitializeConnection(call)), http(400, message));
}
