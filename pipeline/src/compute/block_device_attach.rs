//! `DriverVolumeBlockDevice.attach`: export, connect, plug, and what undoes each (A4).
//!
//! The last save of the BDM happens whatever comes of it (`update_db`). 2026.1 saves the
//! connection_info before it completes the attachment (nova bug 1327218), outside any rollback.

use std::pin::pin;

use castoff_ports::AttachmentId;
use castoff_ports::InstanceId;
use castoff_ports::cinder::{ConnectionInfo, Connector, Encryption, Volume};
use castoff_ports::novadb::{BdmSave, BdmUpdate};

use super::block_device::{DriverVolumeBlockDevice, guard_connection};
use super::{journal, multiattach};
use crate::context::Context;
use crate::error::NovaError;
use crate::policy::FailedAttach;
use crate::{virt, volume_api};

/// An attach under way: its parts in one place for the steps below.
struct Attaching<'a> {
    cx: &'a Context<'a>,
    device: &'a DriverVolumeBlockDevice,
    instance: &'a InstanceId,
    mountpoint: &'a str,
    do_driver_attach: bool,
}

/// `attach(do_driver_attach=True)`; without, the volume is exported to this host and counts as
/// attached before anybody connects to it (a server's volumes while it is spawned).
///
/// Answers with the connection_info that the BDM has now.
pub async fn attach(
    cx: &Context<'_>,
    device: &DriverVolumeBlockDevice,
    instance: &InstanceId,
    do_driver_attach: bool,
) -> Result<Option<ConnectionInfo>, NovaError> {
    cx.station("nova.virt.block_device.DriverVolumeBlockDevice.attach");
    let mountpoint = device.bdm.device_name.as_deref().unwrap_or_default();
    let attaching = Attaching { cx, device, instance, mountpoint, do_driver_attach };
    let mut saved = None;
    let result = attaching.locked_attach(&mut saved).await;
    if cx.policy().failed_attach == FailedAttach::GuestDecides {
        result?;
        attaching.save(saved.clone()).await?;
        return Ok(saved);
    }
    // update_db: in `finally`, so an error of the save replaces the attach's own.
    attaching.save(saved.clone()).await?;
    result.map(|()| saved)
}

impl Attaching<'_> {
    async fn locked_attach(&self, info: &mut Option<ConnectionInfo>) -> Result<(), NovaError> {
        let (cx, volume_id) = (self.cx, &self.device.bdm.volume_id);
        if !cx.policy().guard_connection {
            let volume = volume_api::get(cx, volume_id, 0).await?;
            return self.do_attach(&volume, info).await;
        }
        let volume = volume_api::get_with_shared_targets(cx, volume_id).await?;
        let body = pin!(self.do_attach(&volume, info));
        let body = pin!(guard_connection(cx, &volume, body));
        multiattach::in_turn(cx, volume_id, volume.multiattach, body).await
    }

    async fn do_attach(
        &self,
        volume: &Volume,
        info: &mut Option<ConnectionInfo>,
    ) -> Result<(), NovaError> {
        let connector = virt::driver::get_volume_connector(self.cx).await?;
        match &self.device.bdm.attachment_id {
            None => self.legacy_volume_attach(volume, &connector, info).await,
            Some(attachment) => self.volume_attach(volume, &connector, attachment, info).await,
        }
    }

    /// `_legacy_volume_attach`: os-initialize_connection and os-attach.
    async fn legacy_volume_attach(
        &self,
        volume: &Volume,
        connector: &Connector,
        info: &mut Option<ConnectionInfo>,
    ) -> Result<(), NovaError> {
        let cx = self.cx;
        let mut connection = volume_api::initialize_connection(cx, &volume.id, connector).await?;
        connection.serial = Some(volume.id.clone());
        let encryption = self.encryption(&connection).await?;
        if let Err(e) = self.driver_attach(&mut connection, encryption.as_ref()).await {
            volume_api::terminate_connection(cx, &volume.id, connector).await?;
            return Err(e);
        }
        let connection = &*info.insert(connection);
        // A volume that already counts as attached is not attached again.
        if !volume.attachments.is_empty() {
            return Ok(());
        }
        self.save_early(connection).await?;
        let Err(e) = volume_api::attach(cx, &volume.id, self.instance, self.mountpoint).await
        else {
            return Ok(());
        };
        self.driver_detach(connection, encryption.as_ref()).await;
        volume_api::terminate_connection(cx, &volume.id, connector).await?;
        // cinder may have attached it after all.
        volume_api::detach(cx, &volume.id, None, None).await?;
        Err(e)
    }

    /// `_volume_attach`: the attachments API.
    async fn volume_attach(
        &self,
        volume: &Volume,
        connector: &Connector,
        attachment: &AttachmentId,
        info: &mut Option<ConnectionInfo>,
    ) -> Result<(), NovaError> {
        let cx = self.cx;
        let updated =
            volume_api::attachment_update(cx, attachment, connector, self.mountpoint).await?;
        let Some(mut connection) = updated.connection_info else {
            return Err(NovaError::VolumeDriverNotFound {
                driver_type: "no connection_info".to_owned(),
                volume: volume.id.clone(),
            });
        };
        connection.serial = Some(volume.id.clone());
        connection.multiattach = volume.multiattach;
        let encryption = self.encryption(&connection).await?;
        let gives_back = cx.policy().failed_attach == FailedAttach::EachStep;
        if self.do_driver_attach {
            journal::attaching(cx, &self.device.bdm, &connection).await?;
        }
        if let Err(e) = self.driver_attach(&mut connection, encryption.as_ref()).await {
            if gives_back {
                volume_api::attachment_delete(cx, attachment).await?;
            }
            return Err(e);
        }
        let connection = &*info.insert(connection);
        self.save_early(connection).await?;
        let Err(e) = volume_api::attachment_complete(cx, attachment).await else {
            return Ok(());
        };
        if !gives_back {
            return Err(e);
        }
        // If the guest keeps the disk here, the LUN is unmapped under it all the same (A4).
        self.driver_detach(connection, encryption.as_ref()).await;
        volume_api::attachment_delete(cx, attachment).await?;
        Err(e)
    }

    /// Outside of what undoes an attach: the manager gives the reservation back (A4).
    async fn encryption(&self, info: &ConnectionInfo) -> Result<Option<Encryption>, NovaError> {
        match self.do_driver_attach {
            true => volume_api::get_encryption_metadata(self.cx, info).await,
            false => Ok(None),
        }
    }

    async fn driver_attach(
        &self,
        connection: &mut ConnectionInfo,
        encryption: Option<&Encryption>,
    ) -> Result<(), NovaError> {
        if !self.do_driver_attach {
            return Ok(());
        }
        let (instance, mountpoint) = (self.instance, self.mountpoint);
        let result =
            virt::driver::attach_volume(self.cx, connection, instance, mountpoint, encryption)
                .await;
        if let Err(e) = &result {
            self.cx.error(format!(
                "Driver failed to attach volume {} at {}: failed to {e}",
                self.device.bdm.volume_id, self.mountpoint
            ));
        }
        result
    }

    /// The undo of the driver's part: its errors are only logged.
    async fn driver_detach(&self, connection: &ConnectionInfo, encryption: Option<&Encryption>) {
        if !self.do_driver_attach {
            return;
        }
        let bdm = &self.device.bdm;
        let (info, instance) = (Some(connection), self.instance);
        let undone = virt::driver::detach_volume(self.cx, bdm, info, instance, encryption).await;
        if let Err(e) = undone {
            self.cx.warning(format!(
                "Driver failed to detach volume {} at {}: failed to {e}",
                bdm.volume_id, self.mountpoint
            ));
        }
    }

    /// Before the volume shows `in-use`, so that whoever detaches it then finds it (nova bug
    /// 1327218).
    async fn save_early(&self, connection: &ConnectionInfo) -> Result<(), NovaError> {
        match self.cx.policy().fixes.info_saved_before_in_use {
            true => self.save(Some(connection.clone())).await,
            false => Ok(()),
        }
    }

    /// `DriverVolumeBlockDevice.save`.
    async fn save(&self, info: Option<ConnectionInfo>) -> Result<(), NovaError> {
        let update = BdmUpdate { connection_info: info.map(Box::new), ..BdmUpdate::default() };
        Ok(self.cx.call(BdmSave { id: self.device.bdm.id, update }).await?)
    }
}
