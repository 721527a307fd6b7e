//! os-brick 7, disconnect: `_cleanup_connection` (B2), single path and multipath in one.
//!
//! What belongs to the volume is found through the sysfs tree of its sessions. A map over it is
//! flushed and removed first, whatever nova.conf says now (os-brick bug 1921381); then each disk is
//! flushed if it was the path in use, deleted, and waited for. Every portal is logged out whose
//! session held nothing else *when it was looked at*, before the removal. With force every step
//! runs and the errors come at the end.

use std::pin::pin;

use castoff_ports::cinder::{IscsiData, IscsiPath, TargetLun};
use castoff_ports::host::{DeviceExists, RealPath, SessionDevices, UnlinkByIdLinks};
use castoff_ports::iscsi::{Nodes, Sessions};
use castoff_ports::{DeviceName, Iqn, Portal};

use super::connector::{Disconnect, connect_volume_lock};
use super::error::Chainer;
use super::execute::{ANY, execute};
use super::scsi::{Target, disconnect_from_iscsi_portal, removal_pause, remove_scsi_device};
use super::{BrickError, discovery, multipath, parse};
use crate::context::Context;

/// How `_cleanup_connection` is called.
#[derive(Clone, Copy)]
pub(super) struct Cleanup<'a> {
    /// Clean up this path and look no further.
    pub(super) only: Option<&'a IscsiPath>,
    /// Go on after a failing step, and whether to speak of it.
    pub(super) how: Disconnect,
    /// A user's disconnect: a discovery database without the target means "single path".
    pub(super) is_disconnect_call: bool,
}

/// A portal of the volume: what it holds of the volume, and whether it holds anything else.
struct Connection {
    portal: Portal,
    iqn: Iqn,
    keep: bool,
}

/// `ISCSIConnector.disconnect_volume`.
pub(crate) async fn disconnect_volume(
    cx: &Context<'_>,
    data: &IscsiData,
    how: Disconnect,
) -> Result<(), BrickError> {
    let cleanup = Cleanup { only: None, how, is_disconnect_call: true };
    let scope = cx.policy().connect_volume_lock;
    let body = pin!(cleanup_connection(cx, data, cleanup));
    cx.port.locked(connect_volume_lock(cx), scope, body).await
}

/// `_cleanup_connection`; the caller holds the lock.
pub(super) async fn cleanup_connection(
    cx: &Context<'_>,
    data: &IscsiData,
    Cleanup { only, how, is_disconnect_call }: Cleanup<'_>,
) -> Result<(), BrickError> {
    let targets = match only {
        Some(path) => Some(vec![path.clone()]),
        None => discovery::known_paths(cx, data, is_disconnect_call).await?,
    };
    let Some(targets) = targets else { return Ok(()) };
    let (connections, devices) = get_connection_devices(cx, targets).await?;
    let mut chain = Chainer::new(how.force);
    let map = remove_connection(cx, &devices, data.device_path.as_deref(), &mut chain).await?;
    for connection in connections.iter().filter(|c| !c.keep) {
        let target = Target { portal: &connection.portal, iqn: &connection.iqn };
        chain.step(disconnect_from_iscsi_portal(cx, target).await)?;
    }
    if let Some(map) = map {
        chain.step(multipath::del_map(cx, &map).await)?;
    }
    let result = chain.into_result();
    if let Err(e) = &result {
        cx.warning(format!(
            "There were errors removing {devices:?}, leftovers may remain in the system: {e}"
        ));
    }
    if how.ignore_errors { Ok(()) } else { result }
}

/// `_get_connection_devices`: each portal with whether its sessions hold other LUNs, and all
/// devices of this one.
async fn get_connection_devices(
    cx: &Context<'_>,
    targets: Vec<IscsiPath>,
) -> Result<(Vec<Connection>, Vec<DeviceName>), BrickError> {
    // A record that cannot be seen is not removed: whoever must be sure does not go on without.
    let fine = if cx.policy().confirm_disconnect { &[0, 21] } else { ANY };
    let nodes = execute(cx, || Nodes {}, fine).await?;
    if !nodes.stderr.is_empty() {
        cx.warning(format!("Couldn't find iSCSI nodes because iscsiadm err: {}", nodes.stderr));
    }
    let out = execute(cx, || Sessions {}, &[0, 21, 255]).await?;
    if !out.stderr.is_empty() {
        cx.warning(format!("iscsiadm stderr output when getting sessions: {}", out.stderr));
    }
    // os-brick bug 1732199.
    let readable = out.stderr.is_empty() || cx.policy().fixes.warnings_passed_over;
    let sessions = if readable { parse::sessions(&out.stdout)? } else { Vec::new() };
    if !cx.policy().fixes.corrupt_records_passed_over {
        parse::refuse_corrupt_nodes(&nodes.stdout)?;
    }

    let mut connections: Vec<Connection> = Vec::with_capacity(targets.len());
    let mut devices: Vec<DeviceName> = Vec::with_capacity(targets.len());
    for IscsiPath { portal, iqn, lun } in targets {
        let mut keep = None;
        // A list, not one session: os-brick bugs 2116553 and 2092195.
        for s in sessions.iter().filter(|s| s.portal == portal.as_str() && s.iqn == iqn.as_str()) {
            let keep = keep.get_or_insert(false);
            for device in cx.call(SessionDevices { sid: s.sid }).await? {
                // In Python 1 is not "1": of a LUN given as a text every device is another volume's,
                // so it stays, and so does the session.
                if lun != TargetLun::Number(device.hctl.lun) {
                    *keep = cx.policy().fixes.other_luns_keep_session;
                } else if !devices.contains(&device.name) {
                    devices.push(device.name);
                }
            }
        }
        // A node record without a session is logged out and deleted too.
        let has_node = || {
            nodes.stderr.is_empty() && parse::has_node(&nodes.stdout, portal.as_str(), iqn.as_str())
        };
        let keep = match keep {
            Some(keep) => keep,
            None if has_node() => false,
            None => continue,
        };
        match connections.iter_mut().find(|c| c.portal == portal && c.iqn == iqn) {
            Some(known) => known.keep |= keep,
            None => connections.push(Connection { portal, iqn, keep }),
        }
    }
    Ok((connections, devices))
}

/// `LinuxSCSI.remove_connection`: the name of the map where it is still there (only with force).
async fn remove_connection(
    cx: &Context<'_>,
    devices: &[DeviceName],
    path_used: Option<&str>,
    chain: &mut Chainer,
) -> Result<Option<String>, BrickError> {
    if devices.is_empty() {
        return Ok(None);
    }
    let fixes = &cx.policy().fixes;
    let mut map = None;
    // os-brick bug 1921381: what nova.conf says now is not how the volume was connected.
    if (cx.conf().use_multipath || fixes.map_found_without_conf)
        && let Some(dm) = multipath::holder(cx, devices).await?
    {
        map = multipath::flushable(cx, devices, dm).await?;
    }
    // os-brick bug 1502999: what is in the map's cache needs the paths.
    if !fixes.map_flushed_first {
        remove_devices(cx, devices, path_used, chain).await?;
    }
    let multipathd = match &map {
        Some(name) => {
            let flushed = multipath::flush_map(cx, name).await;
            let gone = flushed.is_ok();
            chain.step(flushed)?;
            if gone {
                map = None;
            }
            true
        }
        None => multipath::is_running(cx).await?,
    };
    if fixes.map_flushed_first {
        remove_devices(cx, devices, path_used, chain).await?;
    }
    let removed = wait_for_volumes_removal(cx, devices).await;
    // WWIDs are found through these links: they must never outlive the device.
    cx.call(UnlinkByIdLinks { devices: devices.to_vec() }).await?;
    chain.step(removed)?;
    if multipathd {
        // d3f4f3b: a device name that multipathd still watches would be the next volume's.
        multipath::let_go_of_paths(cx, devices).await?;
    }
    Ok(map)
}

async fn remove_devices(
    cx: &Context<'_>,
    devices: &[DeviceName],
    path_used: Option<&str>,
    chain: &mut Chainer,
) -> Result<(), BrickError> {
    let used = UsedPath::new(cx, path_used).await?;
    for device in devices {
        remove_scsi_device(cx, device, used.requires_flush(device), chain).await?;
    }
    Ok(())
}

/// `wait_for_volumes_removal`: the device nodes.
async fn wait_for_volumes_removal(
    cx: &Context<'_>,
    devices: &[DeviceName],
) -> Result<(), BrickError> {
    let mut look = 1;
    // Devices go one by one; what is gone is not looked at again.
    let mut next = 0;
    loop {
        while let Some(device) = devices.get(next) {
            if cx.call(DeviceExists { device: device.clone() }).await? {
                break;
            }
            next += 1;
        }
        let Some(device) = devices.get(next) else { return Ok(()) };
        match removal_pause(cx.policy().removal_wait, look) {
            Some(pause) => cx.port.sleep(pause).await?,
            None => {
                return Err(BrickError::VolumePathNotRemoved { path: format!("/dev/{device}") });
            }
        }
        look += 1;
    }
}

/// The path that nova used for I/O, resolved: only that one needs a flush (`requires_flush`).
struct UsedPath(Option<String>);

impl UsedPath {
    async fn new(cx: &Context<'_>, path: Option<&str>) -> Result<UsedPath, BrickError> {
        let Some(path) = path.filter(|p| !p.is_empty()) else { return Ok(UsedPath(None)) };
        Ok(UsedPath(Some(match path.strip_prefix("/dev/disk/by-path/") {
            Some(link) => cx.call(RealPath { by_path: link.to_owned() }).await?,
            None => path.to_owned(),
        })))
    }

    fn requires_flush(&self, device: &DeviceName) -> bool {
        let Some(path) = &self.0 else { return false };
        if path.strip_prefix("/dev/") == Some(device.as_str()) {
            return true;
        }
        let was_multipath = path.starts_with("/dev/dm-") || path.contains("mpath");
        let in_dev = path.rsplit_once('/').is_some_and(|(dir, _)| dir == "/dev");
        !was_multipath && !in_dev
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_that_was_used_is_flushed() {
        let flushed = |path: Option<&str>| {
            UsedPath(path.map(str::to_owned)).requires_flush(&DeviceName::new("sdb"))
        };
        assert!(flushed(Some("/dev/sdb")));
        assert!(flushed(Some("/dev/mapper/crypt-1")));
        assert!(!flushed(Some("/dev/sdc")));
        assert!(!flushed(Some("/dev/dm-0")));
        assert!(!flushed(Some("/dev/mapper/mpatha")));
        assert!(!flushed(None));
    }
}
