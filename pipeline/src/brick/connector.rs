//! `get_connector_properties`: what cinder is told of this host. And os-brick's two entrances.

use castoff_ports::cinder::{Connector, IscsiData, IscsiPath, TargetLun};
use castoff_ports::host::{InitiatorName, SessionDevices};
use castoff_ports::iscsi::Sessions;
use castoff_ports::{DeviceName, Iqn};

use super::execute::{OK, execute};
use super::{BrickError, discovery, iscsi_v1_12, iscsi_v7, iscsi_v7_connect, multipath, parse};
use crate::context::Context;
use crate::policy::Brick;

/// `os_brick.initiator.connector.get_connector_properties`.
///
/// FC and NVMe connectors add their own names in os-brick; the volumes here are iSCSI ones.
pub async fn get_connector_properties(cx: &Context<'_>) -> Result<Connector, BrickError> {
    cx.station("os_brick.initiator.connector.get_connector_properties");
    let conf = cx.conf();
    Ok(Connector {
        ip: conf.my_ip.clone(),
        host: conf.host.clone(),
        initiator: get_initiator(cx).await?,
        multipath: multipath_of(cx).await?,
    })
}

/// A missing file is a warning: cinder then gets no initiator (F13).
async fn get_initiator(cx: &Context<'_>) -> Result<Option<Iqn>, BrickError> {
    match execute(cx, || InitiatorName {}, OK).await {
        Ok(out) => Ok(out
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("InitiatorName="))
            .map(|name| Iqn::new(name.trim()))),
        Err(BrickError::ProcessExecutionError { .. }) => {
            cx.warning(
                "Could not find the iSCSI Initiator File /etc/iscsi/initiatorname.iscsi".to_owned(),
            );
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// `multipath and is_multipath_running(...)`: cinder is told only of what works now.
async fn multipath_of(cx: &Context<'_>) -> Result<bool, BrickError> {
    Ok(cx.conf().use_multipath && multipath::is_running(cx).await?)
}

/// What becomes of what a failed connect has found or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedConnect {
    /// os-brick 7 takes it all back.
    CleanedUp,
    /// It stays for whoever disconnects, who counts the other users of a multiattach volume: the
    /// disk may be theirs.
    Left,
}

/// `ISCSIConnector.connect_volume`: the path of the device.
pub async fn connect_volume(
    cx: &Context<'_>,
    data: &IscsiData,
    failed: FailedConnect,
) -> Result<String, BrickError> {
    cx.station("os_brick.initiator.connectors.iscsi.ISCSIConnector.connect_volume");
    match cx.policy().brick {
        Brick::V1_12 => iscsi_v1_12::connect_volume(cx, data).await,
        Brick::V7 => iscsi_v7_connect::connect_volume(cx, data, failed).await,
    }
}

/// How a disconnect deals with a failing step; known to 7.x alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// Go on with the next one.
    pub force: bool,
    /// With `force`: do not raise at the end either.
    pub ignore_errors: bool,
}

/// `ISCSIConnector.disconnect_volume`.
pub async fn disconnect_volume(
    cx: &Context<'_>,
    data: &IscsiData,
    how: Disconnect,
) -> Result<(), BrickError> {
    cx.station("os_brick.initiator.connectors.iscsi.ISCSIConnector.disconnect_volume");
    match cx.policy().brick {
        Brick::V1_12 => iscsi_v1_12::disconnect_volume(cx, data).await,
        Brick::V7 => iscsi_v7::disconnect_volume(cx, data, how).await,
    }
}

/// The disks of the volume that its sessions still hold.
///
/// # Errors
/// When the host cannot tell.
pub async fn devices_left(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<Vec<DeviceName>, BrickError> {
    let targets = discovery::known_paths(cx, data, true).await?.unwrap_or_default();
    let out = execute(cx, || Sessions {}, &[0, 21]).await?;
    let sessions = parse::sessions(&out.stdout)?;
    let mut left = Vec::new();
    for IscsiPath { portal, iqn, lun } in targets {
        for s in sessions.iter().filter(|s| s.portal == portal.as_str() && s.iqn == iqn.as_str()) {
            let devices = cx.call(SessionDevices { sid: s.sid }).await?;
            left.extend(
                devices
                    .into_iter()
                    .filter(|d| lun == TargetLun::Number(d.hctl.lun))
                    .map(|d| d.name),
            );
        }
    }
    Ok(left)
}

/// The name of os-brick's lock: a file lock has the prefix of its directory's users.
pub(crate) fn connect_volume_lock(cx: &Context<'_>) -> &'static str {
    match cx.policy().connect_volume_lock {
        castoff_ports::runtime::LockScope::InProcess => "connect_volume",
        castoff_ports::runtime::LockScope::External => "os-brick-connect_volume",
    }
}
