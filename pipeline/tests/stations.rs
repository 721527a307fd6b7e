//! nova-compute's stations of a detach on a healthy cloud, then with every operation failing in turn.

#[path = "support/cloud.rs"]
mod cloud;
mod support;

use std::rc::Rc;

use castoff_pipeline::policy::VolumeApi;
use castoff_pipeline::{NovaError, Policy, nova_compute};
use castoff_ports::rpc::{Method, Returned};
use castoff_ports::trace::Note;
use castoff_ports::{Failure, Process, Refusal};
use cloud::{Cloud, Fail, How};
use support::{Scripted, port, process, run};

type Outcome = (Result<Returned, NovaError>, Rc<Scripted<Cloud>>);

fn compute(policy: &Policy, cloud: Cloud, method: Method) -> Outcome {
    let binding = Scripted::new(cloud);
    let port = port(&binding, Process::NovaCompute);
    let result = run(nova_compute(&process(policy.clone()), &port, method));
    (result, binding)
}

fn has_attachments(policy: &Policy) -> bool {
    policy.volume_api == VolumeApi::Attachments
}

fn detach(policy: &Policy, fails: Vec<Fail>) -> Outcome {
    let cloud = Cloud { fails, ..Cloud::attached(has_attachments(policy)) };
    let method = Method::DetachVolume {
        instance: "i1".into(),
        volume_id: "v1".into(),
        attachment_id: Some("a1".into()),
    };
    compute(policy, cloud, method)
}

fn always(operation: &'static str, from: u32) -> Vec<Fail> {
    vec![Fail { operation, from, times: u32::MAX, how: How::Naturally }]
}

#[test]
fn pike_detaches_in_the_order_of_the_seed() {
    let (result, binding) = detach(&Policy::named("pike").unwrap(), vec![]);
    assert_eq!(result, Ok(Returned::None));
    let expected = [
        "novadb::BdmByVolumeAndInstance",
        "host::InitiatorName",
        "libvirt::LookupByUuid",
        "libvirt::LookupByUuid",
        "libvirt::GetInfo",
        "libvirt::XmlDesc",
        "libvirt::DetachDeviceFlags",
        "libvirt::XmlDesc",
        "runtime::Lock",
        "host::RealPath",
        "host::DeviceExists",
        "host::FlushBufs",
        "host::DeleteDevice",
        "host::RealPath",
        "host::ListByPath",
        "iscsi::NodeUpdate",
        "iscsi::Logout",
        "iscsi::NodeDelete",
        "runtime::Unlock",
        "cinder::TerminateConnection",
        "cinder::Detach",
        "novadb::BdmDestroy",
    ];
    assert_eq!(binding.outside.borrow().log, expected);
}

#[test]
fn today_detaches_in_the_order_that_was_traced_on_a_real_host() {
    let (result, binding) = detach(&Policy::named("2026.1").unwrap(), vec![]);
    assert_eq!(result, Ok(Returned::None));
    let expected = [
        "novadb::EventStart",
        "runtime::Lock",
        "novadb::BdmByVolumeAndInstance",
        "cinder::GetVolume",
        "libvirt::LookupByUuid",
        "libvirt::LookupByUuid",
        "libvirt::GetInfo",
        "libvirt::IsPersistent",
        "libvirt::XmlDesc",
        "libvirt::XmlDesc",
        "libvirt::DetachDeviceFlags",
        "libvirt::XmlDesc",
        "libvirt::XmlDesc",
        "libvirt::CreateWaiter",
        "libvirt::DetachDeviceFlags",
        "libvirt::WaitForEvent",
        "libvirt::XmlDesc",
        "libvirt::XmlDesc",
        "libvirt::SecretLookupByUsage",
        "runtime::Lock",
        "iscsi::Discoverydb",
        "iscsi::Nodes",
        "iscsi::Sessions",
        "host::SessionDevices",
        "host::MultipathHolder",
        "host::MultipathdShowStatus",
        "host::DeviceExists",
        "host::FlushBufs",
        "host::DeleteDevice",
        "host::DeviceExists",
        "host::UnlinkByIdLinks",
        "iscsi::NodeUpdate",
        "iscsi::Logout",
        "iscsi::NodeDelete",
        "runtime::Unlock",
        "cinder::AttachmentDelete",
        "novadb::BdmDestroy",
        "runtime::Unlock",
        "novadb::EventFinish",
    ];
    assert_eq!(binding.outside.borrow().log, expected);
    assert_eq!(binding.outside.borrow().locks, ["i1", "os-brick-connect_volume"]);
}

#[test]
fn the_four_steps_are_announced_in_order() {
    let steps = |name: &str| {
        let (_, binding) = detach(&Policy::named(name).unwrap(), vec![]);
        let notes = binding.notes.borrow();
        notes
            .iter()
            .filter_map(|n| if let Note::Step(k, what) = n { Some((*k, *what)) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        steps("pike"),
        [
            (1, "get_volume_connector"),
            (2, "driver_detach"),
            (3, "terminate_connection"),
            (4, "detach")
        ]
    );
    assert_eq!(steps("2026.1"), [(2, "driver_detach"), (3, "attachment_delete")]);
}

/// Operations whose failure a detach survives, by design of the generation.
fn survives(policy: &Policy, operation: &str) -> bool {
    match operation {
        // A warning: "unknown instance"; get_guest then fails for real and that is rolled back.
        "novadb::FaultCreate" | "libvirt::XmlDesc" | "iscsi::Nodes" => true,
        // An exit code other than 0 means that multipathd is not running.
        "host::MultipathdShowStatus" => true,
        // A missing file: cinder gets no initiator.
        "host::InitiatorName" => true,
        // os-brick gives up in silence, and the host keeps session and device.
        "iscsi::Discoverydb" => true,
        "host::FlushBufs" => !policy.flush.failure_is_fatal,
        _ => false,
    }
}

#[test]
fn a_detach_that_fails_anywhere_keeps_its_bdm_and_tells_cinder_only_before_the_unmap() {
    for policy in Policy::all() {
        let (_, healthy) = detach(&policy, vec![]);
        let mut operations = healthy.outside.borrow().log.clone();
        operations.sort_unstable();
        operations.dedup();
        for operation in operations {
            let label = format!("{} with {operation} failing", policy.name);
            let (result, binding) = detach(&policy, always(operation, 1));
            let cloud = binding.outside.borrow();
            let done = |name: &str| cloud.done.contains(&name);
            assert!(cloud.log.contains(&operation), "{label}: it was never called");
            if survives(&policy, operation) {
                assert_eq!(result, Ok(Returned::None), "{label}");
                continue;
            }
            let e = result.expect_err(&label);
            let unmapped = done("cinder::Detach") || done("cinder::AttachmentDelete");
            let began = cloud.log.contains(&"libvirt::LookupByUuid");
            let asked_to_unmap = cloud.log.contains(&"cinder::TerminateConnection")
                || cloud.log.contains(&"cinder::AttachmentDelete");
            // The BDM goes last of all, and only when cinder has let go.
            assert!(!done("novadb::BdmDestroy") || unmapped, "{label}: {e}");
            // Only what fails inside driver_detach is rolled back.
            assert_eq!(done("cinder::RollDetaching"), began && !asked_to_unmap, "{label}: {e}");
            // Whatever lock was taken is given back.
            let taken = cloud.log.iter().filter(|n| **n == "runtime::Lock").count();
            let given = cloud.log.iter().filter(|n| **n == "runtime::Unlock").count();
            assert!(operation == "runtime::Lock" || taken == given, "{label}");
        }
    }
}

#[test]
fn a_500_of_cinder_is_tried_five_times_today_and_once_in_pike() {
    for (name, operation, tries) in
        [("pike", "cinder::TerminateConnection", 1), ("2026.1", "cinder::AttachmentDelete", 5)]
    {
        let (result, binding) = detach(&Policy::named(name).unwrap(), always(operation, 1));
        assert!(matches!(result, Err(NovaError::Cinder(Refusal::Http { status: 500, .. }))));
        let count = binding.outside.borrow().log.iter().filter(|n| **n == operation).count();
        assert_eq!(count, tries, "{name}");
    }
}

#[test]
fn an_attachment_that_is_already_gone_counts_as_deleted() {
    let policy = Policy::named("2026.1").unwrap();
    let how = How::With(Refusal::http(404, "no such attachment").into());
    let gone = || {
        let how = how.clone();
        vec![Fail { operation: "cinder::AttachmentDelete", from: 1, times: 1, how }]
    };
    assert_eq!(detach(&policy, gone()).0, Ok(Returned::None));
    let strict = Policy { ignore_missing_attachment: false, ..policy };
    let (result, _) = detach(&strict, gone());
    assert_eq!(result, Err(NovaError::VolumeAttachmentNotFound { attachment: "a1".into() }));
}

#[test]
fn a_lost_reply_of_cinder_is_repeated_by_cinderclient_after_half_a_second() {
    let how = How::With(Failure::NoReply { system: "cinder".to_owned() });
    let lost = Fail { operation: "cinder::AttachmentDelete", from: 1, times: 1, how };
    let (result, binding) = detach(&Policy::named("2026.1").unwrap(), vec![lost]);
    assert_eq!(result, Ok(Returned::None));
    assert_eq!(castoff_ports::Binding::now(&*binding).0, 500_000);
}

#[test]
fn a_cast_without_an_intent_does_nothing_where_casts_are_fenced() {
    let (result, binding) = detach(&Policy::named("hardened").unwrap(), vec![]);
    assert_eq!(result, Ok(Returned::None));
    let cloud = binding.outside.borrow();
    assert!(!cloud.log.iter().any(|o| o.starts_with("libvirt") || o.starts_with("cinder")));
    assert!(!cloud.done.contains(&"novadb::EventStart"));
}

#[test]
fn a_bdm_that_is_gone_is_a_fault_and_nothing_is_rolled_back() {
    for policy in Policy::all().iter().filter(|p| !p.detach_intent) {
        let cloud = Cloud { bdms: vec![], ..Cloud::attached(true) };
        let method = Method::DetachVolume {
            instance: "i1".into(),
            volume_id: "v1".into(),
            attachment_id: None,
        };
        let (result, binding) = compute(policy, cloud, method);
        assert!(matches!(result, Err(NovaError::VolumeBDMNotFound { .. })));
        let cloud = binding.outside.borrow();
        assert!(cloud.done.contains(&"novadb::FaultCreate"));
        assert!(!cloud.log.contains(&"cinder::RollDetaching"));
    }
}

#[test]
fn the_backends_lock_depends_on_shared_targets_and_manual_scans() {
    let locks = |shared_targets, manual_scan| {
        let mut cloud = Cloud::attached(true);
        cloud.volume.as_mut().unwrap().shared_targets = shared_targets;
        let binding = Scripted::new(cloud);
        let mut conf = castoff_pipeline::Conf::new(Policy::named("2026.1").unwrap(), "vm".into());
        conf.iscsiadm_manual_scan = manual_scan;
        let process = castoff_pipeline::NovaProcess::new(Rc::new(conf));
        let port = port(&binding, Process::NovaCompute);
        let method = Method::DetachVolume {
            instance: "i1".into(),
            volume_id: "v1".into(),
            attachment_id: None,
        };
        run(nova_compute(&process, &port, method)).unwrap();
        binding.outside.borrow().locks.contains(&"os-brick-backend-1".to_owned())
    };
    assert!(locks(None, true));
    assert!(locks(Some(true), false));
    assert!(!locks(Some(true), true));
    assert!(!locks(Some(false), false));
}

#[test]
fn cinder_is_not_told_of_a_configured_multipath_while_multipathd_is_down() {
    for policy in Policy::all() {
        let binding = Scripted::new(Cloud::attached(has_attachments(&policy)));
        let mut conf = castoff_pipeline::Conf::new(policy, "vm".into());
        conf.use_multipath = true;
        let process = castoff_pipeline::NovaProcess::new(Rc::new(conf));
        let port = port(&binding, Process::NovaCompute);
        let cx = castoff_pipeline::Context::new(&process, &port);
        let told = run(castoff_pipeline::brick::connector::get_connector_properties(&cx)).unwrap();
        assert!(!told.multipath);
        assert!(binding.outside.borrow().log.contains(&"host::MultipathdShowStatus"));
    }
}

#[test]
fn the_future_of_a_message_stays_small() {
    let binding = Scripted::new(Cloud::attached(true));
    let port = port(&binding, Process::NovaCompute);
    let process = process(Policy::named("2026.1").unwrap());
    let method = Method::ReserveBlockDeviceName { instance: "i1".into(), volume_id: "v1".into() };
    // A body that is passed by value doubles it at every decorator and lock.
    let size = size_of_val(&nova_compute(&process, &port, method));
    assert!(size < 12_000, "{size} bytes");
}
