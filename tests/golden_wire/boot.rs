//! The server of the recordings: castoff makes none, so it is put into the models as booted from
//! its volume, and is seen in the states that `divergences.toml` tells.

use castoff_model::World;
use castoff_ports::libvirt::PowerState;
use castoff_ports::novadb::{Bdm, Instance, ServerDetails, SourceType, VmState};
use castoff_ports::{AttachmentId, BdmId, InstanceId, ProjectId, SimTime, UserId, VolumeId};
use castoff_sim::prepare::compute_host;
use serde::Deserialize;

/// How far the building of a server had come when the recorder looked.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Building {
    pub(crate) session: String,
    /// Counted from one: from this step on.
    pub(crate) step: usize,
    /// Where it stands; none is built.
    pub(crate) task_state: Option<String>,
    pub(crate) built: bool,
    /// The scheduler has chosen a host.
    pub(crate) host: bool,
    /// nova-api has made the rows of its volumes.
    pub(crate) volumes: bool,
}

/// A server that was asked for.
pub(crate) struct Asked {
    pub(crate) id: InstanceId,
    pub(crate) name: String,
    pub(crate) project: ProjectId,
    pub(crate) user: UserId,
    pub(crate) root: VolumeId,
    pub(crate) attachment: AttachmentId,
}

/// Puts a server into the models: asked for, nothing done yet.
pub(crate) fn create(world: &mut World, now: SimTime, asked: &Asked) {
    world.novadb.add_instance(Instance {
        uuid: asked.id.clone(),
        project_id: asked.project.clone(),
        host: None,
        vm_state: VmState::Building,
        task_state: Some("scheduling".to_owned()),
        launched: false,
        locked: false,
    });
    let details = world.novadb.details_mut(&asked.id).expect("it was added just now");
    *details = ServerDetails {
        name: asked.name.clone(),
        user_id: Some(asked.user.clone()),
        created_at: now,
        updated_at: now,
        launched_at: None,
        power_state: None,
        locked_by: None,
        locked_reason: None,
    };
}

/// Brings a server to where it is from this step on.
pub(crate) fn go_on(world: &mut World, now: SimTime, asked: &Asked, to: &Building) {
    let World { novadb, hypervisor, facts, .. } = world;
    if to.volumes && novadb.bdm(&asked.root, &asked.id).is_none() {
        let root = Bdm {
            id: BdmId(0),
            instance_uuid: asked.id.clone(),
            volume_id: asked.root.clone(),
            source_type: SourceType::Volume,
            device_name: Some("/dev/vda".to_owned()),
            boot_index: Some(0),
            attachment_id: Some(asked.attachment.clone()),
            connection_info: None,
            delete_on_termination: false,
            tag: None,
        };
        novadb.add_bdm(facts, root);
    }
    let row = novadb.instance_mut(&asked.id).expect("the server was created");
    row.host = to.host.then(compute_host);
    row.task_state.clone_from(&to.task_state);
    if to.built {
        (row.vm_state, row.launched) = (VmState::Active, true);
        hypervisor.start_guest(asked.id.clone(), true);
        let details = novadb.details_mut(&asked.id).expect("the server was created");
        details.launched_at = Some(now);
        details.power_state = Some(PowerState::Running);
        details.updated_at = now;
    }
}
