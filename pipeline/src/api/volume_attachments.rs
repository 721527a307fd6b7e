//! `VolumeAttachmentController` of os-volume_attachments: checks in nova's order, statuses of A16.

use castoff_ports::nova::{
    CreateVolumeAttachment, DeleteVolumeAttachment, ListVolumeAttachments, Microversion,
    ShowVolumeAttachment, UpdateVolumeAttachment, VolumeAttachment,
};
use castoff_ports::novadb::{
    Bdm, BdmByVolumeAndInstance, BdmSave, BdmUpdate, BdmsByInstance, Instance, VmState,
};
use castoff_ports::{Failure, InstanceId, Refusal, VolumeId};

use super::request::{Request, Rule, invalid_state};
use super::{attach, cells_api, compute_api};
use crate::error::NovaError;
use crate::policy::BdmLookup;

impl Request<'_> {
    /// `VolumeAttachmentController.delete`: 202.
    pub async fn delete(&self, c: DeleteVolumeAttachment) -> Result<(), Refusal> {
        let cx = &self.cx;
        cx.station("VolumeAttachmentController.delete");
        let instance = self.allowed(&c.server_id, Rule::Member, "delete").await?;
        self.check_shelved(&instance, c.microversion, "detach_volume")?;
        let volume = crate::volume_api::get(cx, &c.volume_id, 0)
            .await
            .map_err(|e| self.fault(e, "detach_volume", not_found_only))?;
        self.find_bdm(&c.server_id, &c.volume_id).await?;
        let result = if cx.conf().cells_v1 && cx.policy().cells_v1 {
            cells_api::detach_volume(cx, &self.caller, &instance, &volume).await
        } else {
            compute_api::detach_volume(cx, &self.caller, &instance, &volume).await
        };
        match result {
            Ok(()) => Ok(()),
            // The controller falls through to its last line.
            Err(NovaError::VolumeUnattached { volume, .. }) => {
                Err(Refusal::http(404, format!("volume_id not found: {volume}")))
            }
            Err(e) => Err(self.fault(e, "detach_volume", detach_status)),
        }
    }

    /// The BDM of the pair, which must not be the root device.
    async fn find_bdm(&self, server: &InstanceId, volume: &VolumeId) -> Result<(), Refusal> {
        let cx = &self.cx;
        let is_root = match cx.policy().bdm_lookup {
            BdmLookup::ByVolumeAndInstance => {
                let lookup =
                    BdmByVolumeAndInstance { volume_id: volume.clone(), instance: server.clone() };
                match cx.call(lookup).await {
                    Ok(bdm) => bdm.is_root(),
                    Err(Failure::Refused(Refusal::NotFound { .. })) => {
                        return Err(not_attached(server, volume));
                    }
                    Err(e) => return Err(self.unexpected(&e.into())),
                }
            }
            BdmLookup::ScanInstance => {
                let bdms = cx
                    .call(BdmsByInstance { instance: server.clone() })
                    .await
                    .map_err(|e| self.unexpected(&e.into()))?;
                if bdms.is_empty() {
                    let text = format!("Instance {server} is not attached.");
                    return Err(Refusal::http(404, text));
                }
                match bdms.iter().find(|b| b.volume_id == *volume) {
                    Some(bdm) => bdm.is_root(),
                    None => {
                        return Err(Refusal::http(404, format!("volume_id not found: {volume}")));
                    }
                }
            }
        };
        let refused = is_root && cx.policy().fixes.root_refused;
        match (refused, cx.policy().root_refusal_status) {
            (false, _) => Ok(()),
            (true, 403) => Err(Refusal::http(403, "Can't detach root device volume")),
            (true, status) => Err(Refusal::http(status, "Cannot detach a root device volume")),
        }
    }

    /// `VolumeAttachmentController.create`: 200 with the device, or 202 from 2.101 on.
    pub async fn create(
        &self,
        c: CreateVolumeAttachment,
    ) -> Result<Option<VolumeAttachment>, Refusal> {
        let cx = &self.cx;
        cx.station("VolumeAttachmentController.create");
        let instance = self.allowed(&c.server_id, Rule::Member, "create").await?;
        self.check_shelved(&instance, c.microversion, "attach_volume")?;
        let (volume, options) = (&c.volume_id, &c.options);
        let device =
            attach::attach_volume(cx, &self.caller, &instance, volume, options, c.microversion)
                .await
                .map_err(|e| self.fault(e, "attach_volume", attach_status))?;
        if c.microversion >= Microversion::ASYNC_ATTACH {
            return Ok(None);
        }
        Ok(Some(VolumeAttachment {
            volume_id: c.volume_id,
            server_id: c.server_id,
            device,
            // Never told here, not even from 2.89 on.
            attachment_id: None,
            bdm: None,
            tag: c.options.tag,
            delete_on_termination: c.options.delete_on_termination,
        }))
    }

    /// `VolumeAttachmentController.index`.
    pub async fn index(&self, c: ListVolumeAttachments) -> Result<Vec<VolumeAttachment>, Refusal> {
        self.cx.station("VolumeAttachmentController.index");
        self.allowed(&c.server_id, Rule::Reader, "index").await?;
        let bdms = self
            .cx
            .call(BdmsByInstance { instance: c.server_id })
            .await
            .map_err(|e| self.unexpected(&e.into()))?;
        Ok(bdms.into_iter().map(view).collect())
    }

    /// `VolumeAttachmentController.show`.
    pub async fn show(&self, c: ShowVolumeAttachment) -> Result<VolumeAttachment, Refusal> {
        self.cx.station("VolumeAttachmentController.show");
        self.allowed(&c.server_id, Rule::Reader, "show").await?;
        let lookup = BdmByVolumeAndInstance {
            volume_id: c.volume_id.clone(),
            instance: c.server_id.clone(),
        };
        match self.cx.call(lookup).await {
            Ok(bdm) => Ok(view(bdm)),
            Err(Failure::Refused(Refusal::NotFound { .. })) => {
                Err(not_attached(&c.server_id, &c.volume_id))
            }
            Err(e) => Err(self.unexpected(&e.into())),
        }
    }

    /// `VolumeAttachmentController.update`: from 2.85 on it changes delete_on_termination; a swap
    /// of volumes is refused before anything is done (reference G: cinder alone may ask for one,
    /// while it migrates the volume, and no volume of ours is ever migrating).
    pub async fn update(&self, c: UpdateVolumeAttachment) -> Result<(), Refusal> {
        let cx = &self.cx;
        cx.station("VolumeAttachmentController.update");
        let only_swap = c.microversion < Microversion::UPDATE_ATTACHMENT;
        let swaps = only_swap || c.volume_id != c.new_volume_id;
        let (rule, name) = if swaps { (Rule::Service, "swap") } else { (Rule::Member, "update") };
        self.allowed(&c.server_id, rule, name).await?;
        if !only_swap {
            let (volume_id, instance) = (c.volume_id.clone(), c.server_id.clone());
            let bdm = match cx.call(BdmByVolumeAndInstance { volume_id, instance }).await {
                Ok(bdm) => bdm,
                Err(Failure::Refused(Refusal::NotFound { .. })) => {
                    let (volume, instance) = (c.volume_id, c.server_id);
                    let e = NovaError::VolumeBDMNotFound { volume, instance };
                    return Err(Refusal::http(404, e.format_message()));
                }
                Err(e) => return Err(self.unexpected(&e.into())),
            };
            let update = BdmUpdate {
                delete_on_termination: c.delete_on_termination,
                ..BdmUpdate::default()
            };
            cx.call(BdmSave { id: bdm.id, update })
                .await
                .map_err(|e| self.unexpected(&e.into()))?;
        }
        if swaps { self.swap(&c.volume_id).await } else { Ok(()) }
    }

    async fn swap(&self, old: &VolumeId) -> Result<(), Refusal> {
        crate::volume_api::get(&self.cx, old, 0)
            .await
            .map_err(|e| self.fault(e, "swap_volume", not_found_only))?;
        let text =
            format!("volume {old} is not migrating; this API should only be called by Cinder");
        Err(Refusal::http(409, text))
    }

    async fn allowed(
        &self,
        server: &InstanceId,
        rule: Rule,
        name: &str,
    ) -> Result<Instance, Refusal> {
        let instance = self.get_instance(server).await?;
        self.check(rule, "os-volumes-attachments:", name)?;
        Ok(instance)
    }

    /// Shelved servers are dealt with from 2.20 on.
    fn check_shelved(
        &self,
        instance: &Instance,
        microversion: Microversion,
        action: &str,
    ) -> Result<(), Refusal> {
        let shelved = matches!(instance.vm_state, VmState::Shelved | VmState::ShelvedOffloaded);
        if !shelved || microversion >= Microversion::SHELVED_DETACH {
            return Ok(());
        }
        let (server, state) = (&instance.uuid, instance.vm_state.as_str());
        Err(invalid_state(action, server, "vm_state", state))
    }
}

fn not_attached(server: &InstanceId, volume: &VolumeId) -> Refusal {
    Refusal::http(404, format!("Instance {server} is not attached to volume {volume}"))
}

fn view(bdm: Bdm) -> VolumeAttachment {
    VolumeAttachment {
        volume_id: bdm.volume_id,
        server_id: bdm.instance_uuid,
        device: bdm.device_name,
        attachment_id: bdm.attachment_id,
        bdm: Some(bdm.id),
        tag: bdm.tag,
        delete_on_termination: bdm.delete_on_termination,
    }
}

fn not_found_only(e: &NovaError) -> Option<u16> {
    match e {
        NovaError::VolumeNotFound { .. } => Some(404),
        // `Forbidden` passes through expected_errors wherever it is raised.
        NovaError::Forbidden { .. } => Some(403),
        _ => None,
    }
}

fn detach_status(e: &NovaError) -> Option<u16> {
    match e {
        NovaError::InstanceNotFound { .. } => Some(404),
        NovaError::InvalidVolume { .. } | NovaError::InvalidInput { .. } => Some(400),
        NovaError::Forbidden { .. } => Some(403),
        NovaError::InstanceIsLocked { .. } | NovaError::ServiceUnavailable { .. } => Some(409),
        // VolumeNotFound too: the volume was deleted after the controller had read it.
        _ => None,
    }
}

fn attach_status(e: &NovaError) -> Option<u16> {
    match e {
        NovaError::InstanceNotFound { .. } | NovaError::VolumeNotFound { .. } => Some(404),
        NovaError::InvalidVolume { .. }
        | NovaError::InvalidInput { .. }
        | NovaError::MultiattachNotSupportedOldMicroversion { .. }
        | NovaError::MultiattachToShelvedNotSupported { .. } => Some(400),
        NovaError::Forbidden { .. } => Some(403),
        NovaError::InstanceIsLocked { .. } => Some(409),
        // What reserve_block_device_name raised on the compute host comes back as its class.
        NovaError::Failure(Failure::Refused(Refusal::Remote { exception, .. })) => {
            match exception.as_str() {
                "InvalidVolume" | "InvalidDevicePath" => Some(400),
                "VolumeNotFound" => Some(404),
                _ => None,
            }
        }
        _ => None,
    }
}
