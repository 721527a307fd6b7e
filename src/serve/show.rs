//! The world as JSON, for whoever asks the admin port: what each system holds, and no secret.

use castoff_model::World;
use castoff_model::hypervisor::Unplug;
use castoff_model::kernel::DiskState;
use castoff_ports::{Process, SimTime};
use castoff_sim::properties::Violation;
use serde_json::{Value, json};

use super::cloud::Cloud;

/// `GET /castoff/world`.
pub(super) fn world(cloud: &Cloud) -> Value {
    let world = cloud.world.borrow();
    let alive = |process| !cloud.is_dead(process);
    let queued: Vec<_> = world.broker.queued_requests().map(|r| r.to_string()).collect();
    let in_flight: Vec<_> = world.broker.in_flight().map(|r| r.to_string()).collect();
    json!({
        "now": seconds(cloud.clock.now()),
        "quiet": cloud.is_quiet(),
        "processes": {
            "nova-api": alive(Process::NovaApi),
            "nova-compute": alive(Process::NovaCompute),
        },
        "volumes": volumes(&world),
        "attachments": attachments(&world),
        "servers": servers(&world),
        "bdms": bdms(&world),
        "broker": {"queued": queued, "in_flight": in_flight},
        "guest_disks": guest_disks(&world),
        "sessions": sessions(&world),
        "node_records": nodes(&world),
        "devices": devices(&world),
        "mappings": mappings(&world),
    })
}

/// `GET /castoff/properties`.
pub(super) fn properties(cloud: &Cloud) -> Value {
    let one = |v: &Violation| {
        json!({
            "property": v.property.name,
            "title": v.property.title,
            "statement": v.property.statement,
            "at": seconds(v.at),
            "facts": v.facts,
        })
    };
    let violations: Vec<Value> = cloud.violations().iter().map(one).collect();
    json!({"quiet": cloud.is_quiet(), "violations": violations})
}

fn seconds(at: SimTime) -> Value {
    json!(at.since_start().as_secs_f64())
}

fn volumes(world: &World) -> Vec<Value> {
    let row = |v: &castoff_model::cinder::VolumeRow| {
        json!({
            "id": v.id,
            "status": v.status.as_str(),
            "attach_status": v.attach_status.as_str(),
            "size": v.size,
        })
    };
    world.cinder.volumes().iter().map(row).collect()
}

fn attachments(world: &World) -> Vec<Value> {
    let row = |a: &castoff_model::cinder::AttachmentRow| {
        json!({
            "id": a.id,
            "volume": a.volume_id,
            "server": a.instance,
            "status": a.attach_status.as_str(),
            "host": a.host,
            "mountpoint": a.mountpoint,
        })
    };
    world.cinder.live_attachments().map(row).collect()
}

fn servers(world: &World) -> Vec<Value> {
    let row = |i: &castoff_ports::novadb::Instance| {
        json!({
            "id": i.uuid,
            "host": i.host,
            "vm_state": i.vm_state.as_str(),
            "task_state": i.task_state,
        })
    };
    world.novadb.instances().iter().map(row).collect()
}

fn bdms(world: &World) -> Vec<Value> {
    let row = |b: &castoff_ports::novadb::Bdm| {
        json!({
            "id": b.id,
            "server": b.instance_uuid,
            "volume": b.volume_id,
            "attachment": b.attachment_id,
            "device": b.device_name,
        })
    };
    world.novadb.live_bdms().iter().map(row).collect()
}

fn guest_disks(world: &World) -> Vec<Value> {
    let row = |d: &castoff_model::hypervisor::LiveDisk| {
        json!({
            "server": d.instance,
            "target": d.target,
            "volume": d.volume,
            "alias": d.alias,
            "source": d.source_dev,
            "unplug": match d.unplug {
                Unplug::Idle => "none",
                Unplug::Pending { .. } => "pending",
                Unplug::Aborted => "aborted",
            },
        })
    };
    world.hypervisor.live_disks().map(row).collect()
}

fn sessions(world: &World) -> Vec<Value> {
    let rows = world.kernel.sessions().iter();
    rows.map(|s| json!({"sid": s.sid, "portal": s.portal, "iqn": s.iqn})).collect()
}

fn nodes(world: &World) -> Vec<Value> {
    let rows = world.kernel.nodes().iter();
    rows.map(|n| json!({"portal": n.portal, "iqn": n.iqn})).collect()
}

fn devices(world: &World) -> Vec<Value> {
    let row = |d: &castoff_model::kernel::ScsiDisk| {
        json!({
            "name": d.name,
            "hctl": d.hctl.to_string(),
            "volume": d.volume,
            "state": match d.state {
                DiskState::Running => "running",
                DiskState::Deleting { .. } => "deleting",
            },
        })
    };
    world.kernel.devices().map(row).collect()
}

fn mappings(world: &World) -> Vec<Value> {
    let row = |m: &castoff_model::storage::Mapping| json!({"target": m.target, "initiator": m.initiator, "lun": m.lun, "volume": m.volume});
    world.storage.mappings().iter().map(row).collect()
}
