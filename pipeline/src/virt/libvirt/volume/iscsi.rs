//! `LibvirtISCSIVolumeDriver`: between the libvirt driver and os-brick's connector.

use castoff_ports::cinder::ConnectionInfo;

use crate::brick::BrickError;
use crate::brick::connector::{self, Disconnect, FailedConnect};
use crate::context::Context;
use crate::error::NovaError;
use crate::policy::MultiattachUsers;

/// `connect_volume`: the device's path goes into connection_info, and with it into the BDM.
pub async fn connect_volume(cx: &Context<'_>, info: &mut ConnectionInfo) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.volume.iscsi.LibvirtISCSIVolumeDriver.connect_volume");
    let shared = info.multiattach && cx.policy().multiattach_users == MultiattachUsers::Exported;
    let failed = if shared { FailedConnect::Left } else { FailedConnect::CleanedUp };
    info.data.device_path = Some(connector::connect_volume(cx, &info.data, failed).await?);
    Ok(())
}

/// `disconnect_volume`: a device that is not there counts as disconnected.
pub async fn disconnect_volume(
    cx: &Context<'_>,
    info: &ConnectionInfo,
    force: bool,
) -> Result<(), NovaError> {
    cx.station("nova.virt.libvirt.volume.iscsi.LibvirtISCSIVolumeDriver.disconnect_volume");
    let how = Disconnect { force, ignore_errors: false };
    match connector::disconnect_volume(cx, &info.data, how).await {
        Err(e @ BrickError::VolumeDeviceNotFound { .. }) => {
            cx.warning(format!("Ignoring VolumeDeviceNotFound: failed to {e}"));
            Ok(())
        }
        other => Ok(other?),
    }
}
