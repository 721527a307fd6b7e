//! `nova.virt.driver.ComputeDriver`: the calls of the driver BDM, dispatched by `compute_driver`.

use castoff_ports::InstanceId;
use castoff_ports::cinder::{ConnectionInfo, Connector};
use castoff_ports::novadb::Bdm;

use super::libvirt;
use crate::conf::ComputeDriver;
use crate::context::Context;
use crate::error::NovaError;

/// Whether the hypervisor knows the server; an error of the hypervisor reads as no.
pub async fn instance_exists(cx: &Context<'_>, instance: &InstanceId) -> bool {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::driver::instance_exists(cx, instance).await,
    }
}

/// What cinder is told of this host.
pub async fn get_volume_connector(cx: &Context<'_>) -> Result<Connector, NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::driver::get_volume_connector(cx).await,
    }
}

/// Takes a volume from the guest and then from the host. `info` is usually the BDM's own.
pub async fn detach_volume(
    cx: &Context<'_>,
    bdm: &Bdm,
    info: Option<&ConnectionInfo>,
    instance: &InstanceId,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => libvirt::driver::detach_volume(cx, bdm, info, instance).await,
    }
}

/// Connects a volume to the host and gives it to the guest.
pub async fn attach_volume(
    cx: &Context<'_>,
    info: &mut ConnectionInfo,
    instance: &InstanceId,
    mountpoint: &str,
) -> Result<(), NovaError> {
    match cx.conf().compute_driver {
        ComputeDriver::Libvirt => {
            libvirt::driver::attach_volume(cx, info, instance, mountpoint).await
        }
    }
}
