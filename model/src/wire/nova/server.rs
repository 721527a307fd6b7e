//! Servers and services as JSON. Every server has the one flavor of the recorded cloud, no image
//! (it boots from a volume) and no network.

use castoff_ports::SimTime;
use castoff_ports::libvirt::PowerState;
use castoff_ports::nova::{Server, ServiceRow};
use castoff_ports::novadb::{Instance, VmState};
use serde_json::{Value, json};

use super::{View, flavor};
use crate::wire::token::date;

/// One row of `GET /servers`.
pub(super) fn listed(view: &View<'_>, server: &Server) -> Value {
    json!({
        "id": server.instance.uuid,
        "name": server.details.name,
        "links": links(view, server),
    })
}

fn links(view: &View<'_>, server: &Server) -> Value {
    let (base, id) = (view.base, &server.instance.uuid);
    json!([
        {"rel": "self", "href": format!("{base}/v2.1/servers/{id}")},
        {"rel": "bookmark", "href": format!("{base}/servers/{id}")},
    ])
}

/// A server in full, as its microversion shows it.
pub(super) fn shown(view: &View<'_>, server: &Server) -> Value {
    let (row, details) = (&server.instance, &server.details);
    let mut body = json!({
        "id": row.uuid,
        "name": details.name,
        "links": links(view, server),
        "accessIPv4": "",
        "accessIPv6": "",
        "addresses": {},
        "created": seconds(details.created_at),
        "updated": seconds(details.updated_at),
        "flavor": flavor::of_server(view),
        "hostId": row.host.as_ref().map_or_else(String::new, |h| host_id(row, h.as_str())),
        "image": "",
        "metadata": {},
        "status": status(row),
        "tenant_id": row.project_id,
        "user_id": details.user_id,
        "progress": 0,
        "config_drive": "",
        "key_name": null,
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": if row.host.is_some() { "nova" } else { "" },
        "OS-SRV-USG:launched_at": details.launched_at.map(micros),
        "OS-SRV-USG:terminated_at": null,
        "OS-EXT-STS:task_state": row.task_state,
        "OS-EXT-STS:vm_state": row.vm_state.as_str(),
        "OS-EXT-STS:power_state": power(details.power_state),
        "os-extended-volumes:volumes_attached": volumes(view.minor, server),
    });
    since(&mut body, view.minor, server);
    if server.for_admin {
        for_admin(&mut body, view.minor, server);
    }
    body
}

/// What later microversions added for everybody.
fn since(body: &mut Value, minor: u16, server: &Server) {
    let details = &server.details;
    let added = [
        (9, "locked", json!(server.instance.locked)),
        (19, "description", Value::Null),
        (26, "tags", json!([])),
        (63, "trusted_image_certificates", Value::Null),
        (71, "server_groups", json!([])),
        (73, "locked_reason", json!(details.locked_reason)),
        (90, "OS-EXT-SRV-ATTR:hostname", json!(details.name)),
        (96, "pinned_availability_zone", Value::Null),
        (100, "scheduler_hints", json!({})),
    ];
    for (since, key, value) in added {
        if minor >= since {
            body[key] = value;
        }
    }
}

fn for_admin(body: &mut Value, minor: u16, server: &Server) {
    let host = json!(server.instance.host);
    body["OS-EXT-SRV-ATTR:host"] = host.clone();
    body["OS-EXT-SRV-ATTR:hypervisor_hostname"] = host;
    body["OS-EXT-SRV-ATTR:instance_name"] = json!("instance-00000001");
    if minor >= 3 {
        for (key, value) in [
            ("hostname", json!(server.details.name)),
            ("kernel_id", json!("")),
            ("launch_index", json!(0)),
            ("ramdisk_id", json!("")),
            ("reservation_id", json!("r-castoff0")),
            ("root_device_name", json!("/dev/vda")),
            ("user_data", Value::Null),
        ] {
            body[format!("OS-EXT-SRV-ATTR:{key}")] = value;
        }
    }
    if minor >= 16 {
        body["host_status"] = json!(match server.host_up {
            Some(true) => "UP",
            Some(false) => "DOWN",
            None => "",
        });
    }
}

fn volumes(minor: u16, server: &Server) -> Vec<Value> {
    let shown = |(id, delete): &(castoff_ports::VolumeId, bool)| match minor {
        0..3 => json!({"id": id}),
        _ => json!({"id": id, "delete_on_termination": delete}),
    };
    server.volumes_attached.iter().map(shown).collect()
}

/// nova hashes project and host into 56 hexadecimal digits (FNV-1a here: it hides nothing).
fn host_id(row: &Instance, host: &str) -> String {
    let bytes = row.project_id.as_str().bytes().chain(host.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}{:016x}{hash:016x}{:08x}", !hash, hash as u32)
}

/// `status` of vm_state and task_state (nova.api.openstack.common).
fn status(row: &Instance) -> &'static str {
    match (row.vm_state, row.task_state.as_deref()) {
        (VmState::Active, Some("rebooting" | "reboot_pending" | "reboot_started")) => "REBOOT",
        (
            VmState::Active
            | VmState::Paused
            | VmState::Suspended
            | VmState::Stopped
            | VmState::Error,
            Some("rebooting_hard" | "reboot_pending_hard" | "reboot_started_hard"),
        ) => "HARD_REBOOT",
        (VmState::Active, _) => "ACTIVE",
        (VmState::Paused, _) => "PAUSED",
        (VmState::Stopped, _) => "SHUTOFF",
        (VmState::Suspended, _) => "SUSPENDED",
        (VmState::Rescued, _) => "RESCUE",
        (VmState::Resized, _) => "VERIFY_RESIZE",
        (VmState::SoftDeleted, _) => "SOFT_DELETED",
        (VmState::Shelved, _) => "SHELVED",
        (VmState::ShelvedOffloaded, _) => "SHELVED_OFFLOADED",
        (VmState::Building, _) => "BUILD",
        (VmState::Error, _) => "ERROR",
        (VmState::Deleted, _) => "DELETED",
    }
}

/// `nova.compute.power_state`.
fn power(state: Option<PowerState>) -> u8 {
    match state {
        None => 0,
        Some(PowerState::Running) => 1,
        Some(PowerState::Paused) => 3,
        Some(PowerState::Shutdown) => 4,
        Some(PowerState::Crashed) => 6,
    }
}

/// One row of os-services; ids are uuids from 2.53 on.
pub(super) fn service(minor: u16, at: usize, row: &ServiceRow) -> Value {
    let number = at + 1;
    let zone = if row.binary == "nova-compute" { "nova" } else { "internal" };
    let mut body = json!({
        "binary": row.binary,
        "host": row.host,
        "id": number,
        "zone": zone,
        "status": "enabled",
        "state": if row.up { "up" } else { "down" },
        // The models keep heartbeats, not their times.
        "updated_at": micros(SimTime::ZERO),
        "disabled_reason": null,
    });
    if minor >= 11 {
        body["forced_down"] = json!(false);
    }
    if minor >= 53 {
        body["id"] = json!(format!("5e121ce5-0000-4000-8000-{number:012x}"));
    }
    body
}

/// `2026-01-01T00:00:00Z`.
fn seconds(at: SimTime) -> String {
    format!("{}Z", &date(at)[..19])
}

/// `2026-01-01T00:00:00.000000`.
fn micros(at: SimTime) -> String {
    date(at).trim_end_matches('Z').to_owned()
}
