//! `VolumeAttachmentController` of os-volume_attachments: checks in nova's order, statuses of A16.

use castoff_ports::keystone::Role;
use castoff_ports::nova::{
    CreateVolumeAttachment, DeleteVolumeAttachment, InstanceAction, ListInstanceActions,
    ListVolumeAttachments, Microversion, VolumeAttachment,
};
use castoff_ports::novadb::{
    ActionsByInstance, BdmByVolumeAndInstance, BdmsByInstance, GetInstance, Instance, VmState,
};
use castoff_ports::{Failure, InstanceId, Refusal, VolumeId};

use super::{attach, cells_api, compute_api};
use crate::context::Context;
use crate::error::NovaError;
use crate::middleware::auth_token::Caller;
use crate::policy::{AccessRule, BdmLookup};

/// One request with its validated caller.
pub struct Request<'a> {
    /// Process and caller.
    pub cx: Context<'a>,
    /// What the token says.
    pub caller: Caller,
}

/// How an exception of the compute API becomes a status: the except clauses differ by method.
type Translate = fn(&NovaError) -> Option<u16>;

impl Request<'_> {
    /// `VolumeAttachmentController.delete`: 202.
    pub async fn delete(&self, c: DeleteVolumeAttachment) -> Result<(), Refusal> {
        let cx = &self.cx;
        cx.station("VolumeAttachmentController.delete");
        let instance = self.get_instance_allowed(&c.server_id, "delete").await?;
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
                        let text = format!("Instance {server} is not attached to volume {volume}");
                        return Err(Refusal::http(404, text));
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
        match (is_root, cx.policy().root_refusal_status) {
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
        let instance = self.get_instance_allowed(&c.server_id, "create").await?;
        self.check_shelved(&instance, c.microversion, "attach_volume")?;
        let device =
            attach::attach_volume(cx, &self.caller, &instance, &c.volume_id, c.microversion)
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
        }))
    }

    /// `VolumeAttachmentController.index`.
    pub async fn index(&self, c: ListVolumeAttachments) -> Result<Vec<VolumeAttachment>, Refusal> {
        self.cx.station("VolumeAttachmentController.index");
        self.get_instance_allowed(&c.server_id, "index").await?;
        let bdms = self
            .cx
            .call(BdmsByInstance { instance: c.server_id })
            .await
            .map_err(|e| self.unexpected(&e.into()))?;
        let view = |b: castoff_ports::novadb::Bdm| VolumeAttachment {
            volume_id: b.volume_id,
            server_id: b.instance_uuid,
            device: b.device_name,
            attachment_id: b.attachment_id,
        };
        Ok(bdms.into_iter().map(view).collect())
    }

    /// `InstanceActionsController.index`.
    pub async fn instance_actions(
        &self,
        c: ListInstanceActions,
    ) -> Result<Vec<InstanceAction>, Refusal> {
        self.cx.station("InstanceActionsController.index");
        self.get_instance(&c.server_id).await?;
        self.cx
            .call(ActionsByInstance { instance: c.server_id })
            .await
            .map_err(|e| self.unexpected(&e.into()))
    }

    /// The server, and whether this caller may do this to its attachments; the order is policy.
    async fn get_instance_allowed(
        &self,
        server: &InstanceId,
        rule: &str,
    ) -> Result<Instance, Refusal> {
        let instance = self.get_instance(server).await?;
        let allowed = match self.cx.policy().access_rule {
            // Its target is the request's own project: everybody owns that.
            AccessRule::AdminOrOwner => true,
            AccessRule::ProjectMemberOrAdmin => {
                let reads = rule == "index" && self.caller.has(Role::Reader);
                self.caller.is_admin() || self.caller.has(Role::Member) || reads
            }
        };
        if allowed {
            return Ok(instance);
        }
        let text = format!(
            "Policy doesn't allow os_compute_api:os-volumes-attachments:{rule} to be performed."
        );
        Err(Refusal::http(403, text))
    }

    /// `common.get_instance`: another project's server does not exist for this caller.
    async fn get_instance(&self, server: &InstanceId) -> Result<Instance, Refusal> {
        let missing = || {
            let e = NovaError::InstanceNotFound { instance: server.clone() };
            Refusal::http(404, e.format_message())
        };
        match self.cx.call(GetInstance { uuid: server.clone() }).await {
            Ok(i) if self.caller.is_admin() || i.project_id == self.caller.token().project_id => {
                Ok(i)
            }
            Ok(_) | Err(Failure::Refused(Refusal::NotFound { .. })) => Err(missing()),
            Err(e) => Err(self.unexpected(&e.into())),
        }
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

    /// An exception as the client sees it.
    fn fault(&self, e: NovaError, action: &str, translate: Translate) -> Refusal {
        if let NovaError::InstanceInvalidState { instance, attr, state, .. } = &e {
            return invalid_state(action, instance, attr, state);
        }
        match translate(&e) {
            Some(status) => Refusal::http(status, http_message(&e)),
            None => self.unexpected(&e),
        }
    }

    /// What `expected_errors` makes of an exception that the controller did not expect.
    fn unexpected(&self, e: &NovaError) -> Refusal {
        self.cx.error(format!("Unexpected exception in API method: failed to {e}"));
        let text = format!(
            "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and \
             attach the Nova API log if possible.\n<class 'nova.exception.{}'>",
            e.class_name()
        );
        Refusal::http(500, text)
    }
}

fn invalid_state(action: &str, server: &InstanceId, attr: &str, state: &str) -> Refusal {
    let text = format!("Cannot '{action}' instance {server} while it is in {attr} {state}");
    Refusal::http(409, text)
}

/// An exception that an RPC call brought back speaks with its own message.
fn http_message(e: &NovaError) -> String {
    match e {
        NovaError::Failure(Failure::Refused(Refusal::Remote { message, .. })) => message.clone(),
        e => e.format_message(),
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
        NovaError::InvalidVolume { .. } | NovaError::InvalidInput { .. } => Some(400),
        NovaError::Forbidden { .. } => Some(403),
        NovaError::InstanceIsLocked { .. } | NovaError::ServiceUnavailable { .. } => Some(409),
        // VolumeNotFound too: the volume was deleted after the controller had read it.
        _ => None,
    }
}

fn attach_status(e: &NovaError) -> Option<u16> {
    match e {
        NovaError::VolumeNotFound { .. } => Some(404),
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
