//! nova.virt.libvirt.volume: a driver for each `driver_volume_type`.

use castoff_ports::cinder::ConnectionInfo;

use crate::error::NovaError;

pub mod iscsi;

/// A volume driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeDriver {
    /// `LibvirtISCSIVolumeDriver`.
    Iscsi,
}

/// `_get_volume_driver`.
pub fn get_volume_driver(info: &ConnectionInfo) -> Result<VolumeDriver, NovaError> {
    match info.driver_volume_type.as_str() {
        "iscsi" => Ok(VolumeDriver::Iscsi),
        other => Err(NovaError::VolumeDriverNotFound {
            driver_type: other.to_owned(),
            volume: info.data.volume_id.clone(),
        }),
    }
}
