//! Server actions over the wire: who may, in which state, and what a detach meets meanwhile.

#![allow(clippy::unwrap_used)]

mod nova_direct;

use castoff_ports::cinder::VolumeStatus;
use castoff_ports::keystone::Role;
use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::VmState;
use castoff_ports::plan::Plan;
use castoff_ports::{ProjectId, Secret, UserId};
use http::Response;
use nova_direct::{Nova, message, request};
use serde_json::{Value, json};

/// A server with one volume, its owner and an administrator of another project.
struct Cloud {
    nova: Nova,
    server: String,
    volume: String,
}

impl Cloud {
    fn new(policy: &str) -> Cloud {
        let mut nova = Nova::new(policy);
        let roles = [Role::Admin, Role::Member, Role::Reader];
        let (user, project) = (UserId::new("boss"), ProjectId::new("admin"));
        nova.world.keystone.add_user(user, Secret::new("boss-password"), project, &roles);
        let server = nova.prepared.server.to_string();
        let volume = nova.world.cinder.volumes()[0].id.to_string();
        Cloud { nova, server, volume }
    }

    fn ask(
        &mut self,
        who: &str,
        method: &str,
        path: &str,
        microversion: &str,
        body: Option<Value>,
    ) -> Response<Vec<u8>> {
        let project = if who == "boss" { "admin" } else { "demo" };
        let token = self.nova.token(who, project);
        let path = format!("/v2.1/servers/{}{path}", self.server);
        let asked = request(method, &path, Some(&token), microversion, body);
        self.nova.ask(&Plan::default(), vec![asked]).remove(0)
    }

    fn act(&mut self, who: &str, body: Value) -> (u16, String) {
        let answer = self.ask(who, "POST", "/action", "2.89", Some(body));
        (answer.status().as_u16(), message(&answer))
    }

    fn detach(&mut self) -> u16 {
        let path = format!("/os-volume_attachments/{}", self.volume);
        self.ask("demo", "DELETE", &path, "2.89", None).status().as_u16()
    }

    fn show(&mut self, path: &str) -> Value {
        let answer = self.ask("demo", "GET", path, "2.89", None);
        assert_eq!(answer.status().as_u16(), 200, "{}", message(&answer));
        serde_json::from_slice(answer.body()).unwrap()
    }

    fn state(&self) -> (VmState, Option<String>, Option<PowerState>) {
        let row = &self.nova.world.novadb.instances()[0];
        let power = self.nova.world.hypervisor.power(&row.uuid);
        (row.vm_state, row.task_state.clone(), power)
    }

    fn volume_status(&self) -> VolumeStatus {
        self.nova.world.cinder.volumes()[0].status
    }
}

#[test]
fn each_power_action_reaches_the_hypervisor_and_ends_its_task() {
    for policy in ["pike", "2026.1"] {
        let mut cloud = Cloud::new(policy);
        let soft = json!({"reboot": {"type": "SOFT"}});
        let hard = json!({"reboot": {"type": "HARD"}});
        for (body, vm_state, power) in [
            (json!({"pause": null}), VmState::Paused, PowerState::Paused),
            (json!({"unpause": null}), VmState::Active, PowerState::Running),
            (json!({"suspend": null}), VmState::Suspended, PowerState::Shutdown),
            (json!({"resume": null}), VmState::Active, PowerState::Running),
            (json!({"os-stop": null}), VmState::Stopped, PowerState::Shutdown),
            (json!({"os-start": null}), VmState::Active, PowerState::Running),
            (soft, VmState::Active, PowerState::Running),
            (hard, VmState::Active, PowerState::Running),
        ] {
            assert_eq!(cloud.act("demo", body.clone()), (202, String::new()), "{policy} {body}");
            assert_eq!(cloud.state(), (vm_state, None, Some(power)), "{policy} {body}");
        }
        assert_eq!(cloud.detach(), 202);
        assert_eq!(cloud.volume_status(), VolumeStatus::Available, "{policy}");
    }
}

#[test]
fn an_action_in_the_wrong_state_is_refused_and_changes_nothing() {
    let mut cloud = Cloud::new("2026.1");
    let before = cloud.state();
    for (body, name) in [
        (json!({"unpause": null}), "unpause"),
        (json!({"resume": null}), "resume"),
        (json!({"os-start": null}), "start"),
    ] {
        let text =
            format!("Cannot '{name}' instance {} while it is in vm_state active", cloud.server);
        assert_eq!(cloud.act("demo", body), (409, text));
    }
    assert_eq!(cloud.state(), before);
    assert!(cloud.nova.world.novadb.actions().iter().all(|a| a.action == "attach_volume"));
}

#[test]
fn a_suspended_server_refuses_a_detach_until_it_is_resumed() {
    let mut cloud = Cloud::new("2026.1");
    cloud.act("demo", json!({"suspend": null}));
    assert_eq!(cloud.detach(), 409);
    cloud.act("demo", json!({"resume": null}));
    assert_eq!(cloud.detach(), 202);
    assert_eq!(cloud.volume_status(), VolumeStatus::Available);
}

#[test]
fn an_administrators_lock_is_not_the_owners_to_undo() {
    let mut cloud = Cloud::new("2026.1");
    assert_eq!(cloud.act("boss", json!({"lock": {"locked_reason": "audit"}})).0, 202);
    let server = cloud.show("");
    assert_eq!(server["server"]["locked"], true);
    assert_eq!(server["server"]["locked_reason"], "audit");
    assert_eq!(cloud.detach(), 409);
    let (status, text) = cloud.act("demo", json!({"unlock": null}));
    assert_eq!(status, 403);
    assert_eq!(
        text,
        "Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be \
         performed."
    );
    assert_eq!(cloud.act("boss", json!({"unlock": null})).0, 202);
    assert_eq!(cloud.detach(), 202);
}

#[test]
fn an_administrator_undoes_the_owners_lock() {
    let mut cloud = Cloud::new("2026.1");
    assert_eq!(cloud.act("demo", json!({"lock": null})).0, 202);
    assert_eq!(cloud.act("demo", json!({"pause": null})).0, 409);
    assert_eq!(cloud.act("boss", json!({"unlock": null})).0, 202);
    assert_eq!(cloud.act("demo", json!({"pause": null})).0, 202);
}

#[test]
fn only_an_administrator_resets_a_state_and_a_server_in_error_keeps_its_volume() {
    let mut cloud = Cloud::new("2026.1");
    let reset = |state: &str| json!({"os-resetState": {"state": state}});
    assert_eq!(cloud.act("demo", reset("error")).0, 403);
    assert_eq!(cloud.act("boss", reset("error")).0, 202);
    assert_eq!(cloud.show("")["server"]["status"], "ERROR");
    assert_eq!(cloud.detach(), 409);
    assert_eq!(cloud.act("boss", reset("active")).0, 202);
    assert_eq!(cloud.detach(), 202);
    assert_eq!(cloud.act("boss", reset("sleepy")).0, 400);
}

#[test]
fn a_detach_is_an_action_with_one_event_that_succeeded() {
    let mut cloud = Cloud::new("2026.1");
    assert_eq!(cloud.detach(), 202);
    let list = cloud.show("/os-instance-actions");
    let newest = &list["instanceActions"][0];
    assert_eq!(newest["action"], "detach_volume");
    assert_eq!(newest["message"], Value::Null);
    let id = newest["request_id"].as_str().unwrap();
    let shown = cloud.show(&format!("/os-instance-actions/{id}"));
    let events = shown["instanceAction"]["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event"], "compute_detach_volume");
    assert_eq!(events[0]["result"], "Success");
    assert!(events[0]["finish_time"].as_str() > events[0]["start_time"].as_str());
    let missing = cloud.ask("demo", "GET", "/os-instance-actions/req-777", "2.89", None);
    assert_eq!(missing.status().as_u16(), 404);
}

#[test]
fn a_put_changes_delete_on_termination_from_2_85_on_and_swaps_nothing() {
    let mut cloud = Cloud::new("2026.1");
    let path = format!("/os-volume_attachments/{}", cloud.volume);
    let body = json!({"volumeAttachment": {
        "volumeId": cloud.volume, "delete_on_termination": true,
    }});
    let put = |cloud: &mut Cloud, who: &str, version: &str, body: &Value| {
        cloud.ask(who, "PUT", &path, version, Some(body.clone()))
    };
    assert_eq!(put(&mut cloud, "demo", "2.85", &body).status().as_u16(), 202);
    let attachments = cloud.show("/os-volume_attachments");
    assert_eq!(attachments["volumeAttachments"][0]["delete_on_termination"], true);
    // Before 2.85 the flag is no property of the body, and every PUT is a swap.
    assert_eq!(put(&mut cloud, "demo", "2.84", &body).status().as_u16(), 400);
    let swap = json!({"volumeAttachment": {"volumeId": cloud.volume}});
    let refused = put(&mut cloud, "demo", "2.84", &swap);
    assert_eq!(refused.status().as_u16(), 403);
    let refused = put(&mut cloud, "boss", "2.84", &swap);
    assert_eq!(refused.status().as_u16(), 409);
    assert_eq!(
        message(&refused),
        format!(
            "volume {} is not migrating; this API should only be called by Cinder",
            cloud.volume
        )
    );
}
