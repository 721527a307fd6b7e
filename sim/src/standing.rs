//! How the world stands, as far as a detach can change it: two equal texts, nothing has moved.
//!
//! A reconciler that tries the same thing in vain every period makes events and faults, but
//! changes nothing: such a run is quiet.

use std::fmt::Write as _;

use castoff_model::World;

/// What a pass of the reconciler could have changed.
pub fn standing(world: &World) -> String {
    let mut text = String::with_capacity(1024);
    // Writing into a String never fails.
    let _ = write_standing(world, &mut text);
    text
}

fn write_standing(world: &World, text: &mut String) -> std::fmt::Result {
    for volume in world.cinder.volumes() {
        write!(text, "{} {};", volume.id, volume.status.as_str())?;
    }
    for row in world.cinder.live_attachments() {
        write!(text, "{};", row.id)?;
    }
    for bdm in world.novadb.live_bdms() {
        write!(text, "{};", bdm.id)?;
    }
    for server in world.novadb.instances() {
        write!(text, "{} {:?};", server.vm_state.as_str(), server.task_state)?;
        for row in world.novadb.system_metadata(&server.uuid) {
            write!(text, "{};", row.key)?;
        }
        for disk in world.hypervisor.config_disks(&server.uuid) {
            write!(text, "{};", disk.target_dev)?;
        }
    }
    for disk in world.hypervisor.live_disks() {
        write!(text, "{};", disk.volume)?;
    }
    for device in world.kernel.devices() {
        write!(text, "{} {:?};", device.name, device.state)?;
    }
    for session in world.kernel.sessions() {
        write!(text, "{};", session.sid)?;
    }
    for node in world.kernel.nodes() {
        write!(text, "{} {};", node.portal, node.iqn)?;
    }
    for entry in world.kernel.journal.entries() {
        write!(text, "{} {};", entry.volume_id, entry.step.as_str())?;
    }
    Ok(())
}
