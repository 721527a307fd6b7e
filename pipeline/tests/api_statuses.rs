//! nova-api: the statuses and messages of a detach and an attach in both generations, and tokens.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests do")]

#[path = "support/cloud.rs"]
mod cloud;
mod support;

use std::rc::Rc;

use castoff_pipeline::policy::VolumeApi;
use castoff_pipeline::{Conf, NovaProcess, Policy, ServiceUser, nova_api};
use castoff_ports::cinder::VolumeStatus;
use castoff_ports::keystone::Role;
use castoff_ports::nova::{self, Microversion};
use castoff_ports::novadb::{Bdm, Instance, VmState};
use castoff_ports::rpc::Method;
use castoff_ports::{Failure, Port, Process, Refusal, Secret};
use cloud::{Cloud, Fail, How, bdm, instance, volume};
use support::{Scripted, port, process, run};

fn policy(name: &str) -> Policy {
    Policy::named(name).unwrap()
}

fn delete(microversion: u16) -> nova::Call {
    nova::Call::DeleteVolumeAttachment(nova::DeleteVolumeAttachment {
        server_id: "i1".into(),
        volume_id: "v1".into(),
        microversion: Microversion(microversion),
    })
}

fn create(microversion: u16) -> nova::Call {
    nova::Call::CreateVolumeAttachment(nova::CreateVolumeAttachment {
        server_id: "i1".into(),
        volume_id: "v1".into(),
        options: nova::AttachOptions::default(),
        microversion: Microversion(microversion),
    })
}

fn serve(
    policy: &Policy,
    cloud: Cloud,
    call: nova::Call,
) -> (Result<nova::Reply, Refusal>, Rc<Scripted<Cloud>>) {
    let binding = Scripted::new(cloud);
    let port = port(&binding, Process::NovaApi);
    let result = run(nova_api(&process(policy.clone()), &port, call));
    (result, binding)
}

/// The status and the message of a refusal; 202 when it was accepted.
fn status(policy: &Policy, cloud: Cloud, call: nova::Call) -> (u16, String) {
    match serve(policy, cloud, call).0 {
        Ok(_) => (202, String::new()),
        Err(Refusal::Http { status, message }) => (status, message),
        Err(other) => panic!("not an HTTP refusal: {other}"),
    }
}

fn attached(policy: &Policy) -> Cloud {
    Cloud::attached(policy.volume_api == VolumeApi::Attachments)
}

fn with_instance(policy: &Policy, change: impl FnOnce(&mut Instance)) -> Cloud {
    let mut changed = instance();
    change(&mut changed);
    Cloud { instance: Some(changed), ..attached(policy) }
}

fn failing(policy: &Policy, operation: &'static str, failure: Failure) -> Cloud {
    let fail = Fail { operation, from: 1, times: u32::MAX, how: How::With(failure) };
    Cloud { fails: vec![fail], ..attached(policy) }
}

fn lost(system: &str) -> Failure {
    Failure::Unreachable { system: system.to_owned() }
}

fn begin_refused(policy: &Policy) -> Cloud {
    let text = "Invalid volume: Unable to detach volume. Volume status must be 'in-use' and \
                attach_status must be 'attached' to detach.";
    failing(policy, "cinder::BeginDetaching", Refusal::http(400, text).into())
}

#[test]
fn a_detach_is_answered_as_each_generation_answers_it() {
    type World = fn(&Policy) -> Cloud;
    let cases: &[(&str, World, u16, u16)] = &[
        ("healthy", attached, 202, 202),
        (
            "bad token",
            |p| failing(p, "keystone::ValidateToken", Refusal::http(404, "no").into()),
            401,
            401,
        ),
        ("keystone down", |p| failing(p, "keystone::ValidateToken", lost("keystone")), 503, 503),
        ("reader", |p| Cloud { roles: vec![Role::Reader], ..attached(p) }, 202, 403),
        ("no server", |p| Cloud { instance: None, ..attached(p) }, 404, 404),
        ("another project", |p| Cloud { project: "p2", ..attached(p) }, 404, 404),
        (
            "admin of another project",
            |p| Cloud { project: "p2", roles: vec![Role::Admin], ..attached(p) },
            202,
            202,
        ),
        ("no volume", |p| Cloud { volume: None, ..attached(p) }, 404, 404),
        ("no BDM", |p| Cloud { bdms: vec![], ..attached(p) }, 404, 404),
        (
            "root",
            |p| Cloud { bdms: vec![Bdm { boot_index: Some(0), ..bdm(None) }], ..attached(p) },
            403,
            400,
        ),
        ("locked", |p| with_instance(p, |i| i.locked = true), 409, 409),
        ("suspended", |p| with_instance(p, |i| i.vm_state = VmState::Suspended), 409, 409),
        (
            "rebooting",
            |p| with_instance(p, |i| i.task_state = Some("rebooting".to_owned())),
            409,
            409,
        ),
        ("never launched", |p| with_instance(p, |i| i.launched = false), 409, 409),
        ("compute down", |p| Cloud { service_up: false, ..attached(p) }, 202, 409),
        (
            "volume available",
            |p| Cloud { volume: Some(volume(VolumeStatus::Available)), ..attached(p) },
            400,
            202,
        ),
        ("already detaching", begin_refused, 400, 400),
        (
            "cinder forbids",
            |p| failing(p, "cinder::BeginDetaching", Refusal::http(403, "no").into()),
            403,
            403,
        ),
        ("cinder unreachable", |p| failing(p, "cinder::GetVolume", lost("cinder")), 500, 500),
        (
            "volume gone before begin",
            |p| failing(p, "cinder::BeginDetaching", Refusal::http(404, "no").into()),
            500,
            500,
        ),
        ("broker down", |p| failing(p, "rpc::Cast", lost("broker")), 500, 500),
    ];
    for (what, cloud, pike, today) in cases {
        for (name, expected) in [("pike", *pike), ("2026.1", *today)] {
            let policy = policy(name);
            let (status, message) = status(&policy, cloud(&policy), delete(20));
            assert_eq!(status, expected, "{what} ({name}): {message}");
        }
    }
}

#[test]
fn refusals_carry_novas_own_messages() {
    let today = policy("2026.1");
    let message = |cloud| status(&today, cloud, delete(89)).1;
    assert_eq!(
        message(Cloud { bdms: vec![], ..attached(&today) }),
        "Instance i1 is not attached to volume v1"
    );
    assert_eq!(
        message(Cloud { bdms: vec![Bdm { boot_index: Some(0), ..bdm(None) }], ..attached(&today) }),
        "Cannot detach a root device volume"
    );
    assert_eq!(message(with_instance(&today, |i| i.locked = true)), "Instance i1 is locked");
    assert_eq!(
        message(with_instance(&today, |i| i.vm_state = VmState::Rescued)),
        "Cannot 'detach_volume' instance i1 while it is in vm_state rescued"
    );
    assert_eq!(
        message(Cloud { service_up: false, ..attached(&today) }),
        "Service is unavailable at this time."
    );
    assert_eq!(
        message(begin_refused(&today)),
        "Invalid volume: Invalid input received: Invalid volume: Unable to detach volume. Volume \
         status must be 'in-use' and attach_status must be 'attached' to detach. (HTTP 400)"
    );
    assert_eq!(
        message(Cloud { roles: vec![Role::Reader], ..attached(&today) }),
        "Policy doesn't allow os_compute_api:os-volumes-attachments:delete to be performed."
    );
}

#[test]
fn a_shelved_server_needs_microversion_2_20() {
    for name in ["pike", "2026.1"] {
        let policy = policy(name);
        let shelved = || with_instance(&policy, |i| i.vm_state = VmState::Shelved);
        assert_eq!(status(&policy, shelved(), delete(19)).0, 409);
        assert_eq!(status(&policy, shelved(), delete(20)).0, 202);
    }
}

#[test]
fn an_offloaded_servers_volume_is_released_in_the_api_and_its_bdm_goes_whatever_cinder_says() {
    for name in ["pike", "2026.1"] {
        let policy = policy(name);
        let unmap = if name == "pike" { "cinder::Detach" } else { "cinder::AttachmentDelete" };
        let offloaded = |mut cloud: Cloud| {
            let mut i = instance();
            i.vm_state = VmState::ShelvedOffloaded;
            i.host = None;
            cloud.instance = Some(i);
            cloud
        };
        let (result, binding) = serve(&policy, offloaded(attached(&policy)), delete(20));
        assert!(result.is_ok(), "{result:?}");
        let cloud = binding.outside.borrow();
        assert!(cloud.done.contains(&unmap) && cloud.casts.is_empty());
        // nova bug 1808089: a reserved volume cannot begin to be detached.
        assert_eq!(cloud.log.contains(&"cinder::BeginDetaching"), name == "pike");
        let broken = failing(&policy, unmap, Refusal::http(500, "broken").into());
        let (result, binding) = serve(&policy, offloaded(broken), delete(20));
        assert!(result.is_ok(), "{result:?}");
        assert!(binding.outside.borrow().done.contains(&"novadb::BdmDestroy"));
    }
}

#[test]
fn nothing_is_rolled_back_when_the_cast_cannot_be_sent() {
    for policy in Policy::all() {
        let down = lost("broker");
        let (_, binding) = serve(&policy, failing(&policy, "rpc::Cast", down), delete(20));
        let cloud = binding.outside.borrow();
        assert!(cloud.done.contains(&"cinder::BeginDetaching"));
        assert!(!cloud.log.contains(&"cinder::RollDetaching"));
    }
}

#[test]
fn with_cells_v1_a_refused_begin_detaching_is_not_seen_by_the_client() {
    let binding = Scripted::new(begin_refused(&policy("pike")));
    let mut conf = Conf::new(policy("pike"), "vm".into());
    conf.cells_v1 = true;
    let process = NovaProcess::new(Rc::new(conf));
    let port = port(&binding, Process::NovaApi);
    assert!(run(nova_api(&process, &port, delete(20))).is_ok());
    assert!(binding.outside.borrow().casts.is_empty());
}

#[test]
fn the_cast_names_the_attachment_that_cinder_listed() {
    let (_, binding) = serve(&policy("2026.1"), attached(&policy("2026.1")), delete(20));
    let expected = Method::DetachVolume {
        instance: "i1".into(),
        volume_id: "v1".into(),
        attachment_id: Some("a1".into()),
    };
    assert_eq!(binding.outside.borrow().casts, [expected]);
}

#[test]
fn an_attach_reserves_the_volume_and_returns_the_device_before_2_101() {
    for (name, reserve) in [("pike", "cinder::Reserve"), ("2026.1", "cinder::AttachmentCreate")] {
        let (result, binding) = serve(&policy(name), Cloud::detached(), create(20));
        let Ok(nova::Reply::CreateVolumeAttachment(Some(view))) = result else {
            panic!("{result:?}")
        };
        assert_eq!(view.device.as_deref(), Some("/dev/vdb"));
        let cloud = binding.outside.borrow();
        assert!(cloud.done.contains(&reserve));
        assert!(matches!(&cloud.casts[..], [Method::AttachVolume { .. }]));
    }
    let (result, _) = serve(&policy("2026.1"), Cloud::detached(), create(101));
    assert_eq!(result, Ok(nova::Reply::CreateVolumeAttachment(None)));
}

#[test]
fn an_attach_that_is_refused_destroys_its_bdm_and_tells_the_client_only_before_2_101() {
    for (name, reserve) in [("pike", "cinder::Reserve"), ("2026.1", "cinder::AttachmentCreate")] {
        let refused = || {
            let how = How::With(Refusal::http(400, "status must be available").into());
            let fail = Fail { operation: reserve, from: 1, times: 1, how };
            Cloud { fails: vec![fail], ..Cloud::detached() }
        };
        let (result, binding) = serve(&policy(name), refused(), create(20));
        assert!(matches!(result, Err(Refusal::Http { status: 400, .. })), "{result:?}");
        assert!(binding.outside.borrow().done.contains(&"novadb::BdmDestroy"));
        if name == "2026.1" {
            assert!(serve(&policy(name), refused(), create(101)).0.is_ok());
        }
    }
    let (status, message) = status(&policy("2026.1"), attached(&policy("2026.1")), create(89));
    assert_eq!(status, 400);
    assert_eq!(message, "Invalid volume: volume v1 is already attached to instances: i1");
}

#[test]
fn a_reservation_that_is_not_answered_is_a_500_and_leaves_a_bdm_in_pike_alone() {
    for (name, destroyed) in [("pike", false), ("2026.1", true)] {
        let how = How::With(Refusal::MessagingTimeout { server: "vm".to_owned() }.into());
        let fail = Fail { operation: "rpc::CallMethod", from: 1, times: 1, how };
        // The row that the compute host made all the same.
        let policy = Policy { duplicate_attach_check: false, ..policy(name) };
        let cloud = Cloud { fails: vec![fail], bdms: vec![bdm(None)], ..Cloud::detached() };
        let (result, binding) = serve(&policy, cloud, create(20));
        assert!(matches!(result, Err(Refusal::Http { status: 500, .. })), "{result:?}");
        let done = &binding.outside.borrow().done;
        assert_eq!(done.contains(&"novadb::BdmDestroy"), destroyed, "{name}");
    }
}

fn with_service_user(name: &str) -> NovaProcess {
    let mut conf = Conf::new(policy(name), "vm".into());
    conf.service_user = Some(ServiceUser {
        user: "nova".into(),
        password: Secret::new("hush"),
        project: "service".into(),
    });
    NovaProcess::new(Rc::new(conf))
}

fn service_tokens(process: &NovaProcess, cloud: Cloud, requests: u32) -> Vec<String> {
    let binding = Scripted::new(cloud);
    let port: Port = port(&binding, Process::NovaApi);
    for _ in 0..requests {
        run(nova_api(process, &port, delete(20))).unwrap();
    }
    let cloud = binding.outside.borrow();
    let text = |t: &Option<Secret>| t.as_ref().map_or("-", Secret::reveal).to_owned();
    cloud.tokens.iter().map(|(_, token)| text(token)).collect()
}

#[test]
fn nova_sends_its_own_token_to_cinder_and_asks_for_it_once() {
    let tokens = service_tokens(&with_service_user("2026.1"), Cloud::attached(true), 2);
    assert_eq!(tokens, ["service-1"; 4]);
    assert_eq!(service_tokens(&with_service_user("pike"), Cloud::attached(false), 1), ["-"; 2]);
}

#[test]
fn a_service_token_about_to_expire_is_renewed() {
    let cloud = Cloud { token_lifetime_s: 20, ..Cloud::attached(true) };
    let tokens = service_tokens(&with_service_user("2026.1"), cloud, 1);
    assert_eq!(tokens, ["service-1", "service-2"]);
}
