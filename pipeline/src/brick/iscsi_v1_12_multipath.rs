//! os-brick 1.12.0 with `volume_use_multipath` (B1, A6).
//!
//! The map is found by the WWID of the first path that has a link, and by `multipath -l`; its disks
//! are those that `multipath -l` names. Kept as it was: without a map the disk is taken for one and
//! nothing of it is removed; a map that cannot be flushed for another reason than "in use" loses its
//! paths all the same; and nobody waits for the disks to go before the logout.

use std::time::Duration;

use castoff_ports::DeviceName;
use castoff_ports::cinder::{IscsiData, IscsiPath};
use castoff_ports::host::{
    ListByPath, Lsblk, MultipathFlush, MultipathList, MultipathReload, MultipathTopology,
    PathExists, ScanLun, ScsiIdOfLink, TargetHctl,
};

use super::error::Chainer;
use super::execute::{OK, execute};
use super::iscsi_v1_12::{BY_PATH, connect_to_iscsi_portal, device_path, no_login, real_device};
use super::parse_multipath::{self, Map};
use super::scsi::{Target, disconnect_from_iscsi_portal, remove_scsi_device};
use super::{BrickError, discovery, parse};
use crate::context::Context;

/// Tries of os-brick's retry decorator; sleeps 2 s and 4 s in between.
const RETRIES: u32 = 3;

/// The same for a disk that is read-only: 2, 4, 8 and 16 s.
const RW_RETRIES: u32 = 5;

/// Exit codes of `multipath -r` that are as good as 0.
const RELOADED: &[i32] = &[0, 1, 21];

/// Sleeps before the next try, or says that it was the last one.
async fn again(cx: &Context<'_>, attempt: u32, tries: u32) -> Result<bool, BrickError> {
    if attempt < tries {
        cx.port.sleep(Duration::from_secs(2u64.pow(attempt))).await?;
    }
    Ok(attempt < tries)
}

/// `disconnect_volume`; the caller holds the lock.
pub(super) async fn disconnect_volume(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<(), BrickError> {
    let links = links(data)?;
    let mut first = None;
    for link in &links {
        if let Some(device) = real_device(cx, link).await? {
            first = Some((link, device));
            break;
        }
    }
    let Some((link, device)) = first else {
        cx.error(format!("No accessible volume device: {links:?}"));
        return Err(BrickError::VolumeDeviceNotFound { device: links.join(", ") });
    };
    discover_mpath_device(cx, link, &device).await?;
    // A disk without a map counts as one from here on: no single-path disconnect is tried.
    remove_multipath_device(cx, &device).await?;
    disconnect_portals(cx, data).await
}

/// `_discover_mpath_device`: the path for I/O.
async fn discover_mpath_device(
    cx: &Context<'_>,
    link: &str,
    device: &DeviceName,
) -> Result<String, BrickError> {
    let wwn = execute(cx, || ScsiIdOfLink { by_path: link.to_owned() }, OK).await?;
    let wwn = wwn.stdout.trim();
    let path = match find_multipath_device_path(cx, wwn).await? {
        Some(path) => path,
        None => match find_multipath_device(cx, device).await? {
            Some(map) => format!("/dev/mapper/{}", map.name),
            None => format!("{BY_PATH}{link}"),
        },
    };
    wait_for_rw(cx, wwn, &path).await?;
    Ok(path)
}

/// `_get_device_path`: the link of every target.
fn links(data: &IscsiData) -> Result<Vec<String>, BrickError> {
    discovery::all_targets(data).iter().map(device_path).collect()
}

/// `find_multipath_device_path`: udev's link or the map's node, six seconds for each.
async fn find_multipath_device_path(
    cx: &Context<'_>,
    wwn: &str,
) -> Result<Option<String>, BrickError> {
    for path in [format!("/dev/disk/by-id/dm-uuid-mpath-{wwn}"), format!("/dev/mapper/{wwn}")] {
        let mut attempt = 0;
        loop {
            attempt += 1;
            if cx.call(PathExists { path: path.clone() }).await? {
                return Ok(Some(path));
            }
            if !again(cx, attempt, RETRIES).await? {
                break;
            }
        }
    }
    cx.warning(format!("couldn't find a valid multipath device path for {wwn}"));
    Ok(None)
}

/// `find_multipath_device`: what `multipath -l` says, if the map's node is there.
async fn find_multipath_device(
    cx: &Context<'_>,
    device: &DeviceName,
) -> Result<Option<Map>, BrickError> {
    let out = match execute(cx, || MultipathList { device: device.clone() }, OK).await {
        Ok(out) => out,
        Err(BrickError::ProcessExecutionError { exit, .. }) => {
            cx.warning(format!("multipath call failed exit {exit}"));
            return Err(BrickError::CommandExecutionFailed { device: device.to_string() });
        }
        Err(e) => return Err(e),
    };
    let Some(map) = parse_multipath::map(&out.stdout) else { return Ok(None) };
    let path = format!("/dev/mapper/{}", map.name);
    if cx.call(PathExists { path: path.clone() }).await? {
        return Ok(Some(map));
    }
    cx.warning(format!("Couldn't find multipath device {path}"));
    Ok(None)
}

/// `wait_for_rw`: a map that is read-only at first is reloaded; in the end it is used as it is.
async fn wait_for_rw(cx: &Context<'_>, wwn: &str, path: &str) -> Result<(), BrickError> {
    let mut attempt = 1;
    loop {
        let out = execute(cx, || Lsblk {}, OK).await?;
        if !parse_multipath::is_read_only(&out.stdout, wwn) {
            return Ok(());
        }
        execute(cx, || MultipathReload {}, RELOADED).await?;
        if !again(cx, attempt, RW_RETRIES).await? {
            cx.warning(format!("Block device {path} is still read-only. Continuing anyway."));
            return Ok(());
        }
        attempt += 1;
    }
}

/// `remove_multipath_device`: the map, then each disk that `multipath -l` shows under it.
async fn remove_multipath_device(cx: &Context<'_>, device: &DeviceName) -> Result<(), BrickError> {
    let Some(map) = find_multipath_device(cx, device).await? else { return Ok(()) };
    flush_multipath_device(cx, &map.name).await?;
    for device in &map.devices {
        remove_scsi_device(cx, device, true, &mut Chainer::new(false)).await?;
    }
    Ok(())
}

/// `flush_multipath_device`: waits only for a map that is in use; other errors are logged.
async fn flush_multipath_device(cx: &Context<'_>, map: &str) -> Result<(), BrickError> {
    let mut attempt = 1;
    loop {
        // Which error it was is on standard output, so any exit code is let through here.
        let out =
            execute(cx, || MultipathFlush { map: map.to_owned() }, super::execute::ANY).await?;
        if out.exit == 0 {
            return Ok(());
        }
        if out.exit != 1 || !out.stdout.contains("map in use") {
            cx.warning(format!("multipath call failed exit {}", out.exit));
            return Ok(());
        }
        if !again(cx, attempt, RETRIES).await? {
            return Err(BrickError::ProcessExecutionError {
                cmd: format!("multipath -f {map}"),
                exit: out.exit,
                accepted: OK,
                stderr: out.stderr,
            });
        }
        attempt += 1;
    }
}

/// `_disconnect_volume_multipath_iscsi`: logs out of each target without a link left.
///
/// os-brick also looks whether other maps share a target, but by names of links where
/// `multipath -ll` has those of disks, so that it never finds one.
async fn disconnect_portals(cx: &Context<'_>, data: &IscsiData) -> Result<(), BrickError> {
    execute(cx, || MultipathTopology {}, &[0, 1]).await?;
    let targets = discover_iscsi_portals(cx, data).await?;
    let links = cx.call(ListByPath { prefix: "ip-".to_owned() }).await?;
    for path in &targets {
        let prefix = format!("ip-{}-iscsi-{}-lun-", path.portal, path.iqn);
        if !links.iter().any(|l| l.starts_with(&prefix)) {
            let target = Target { portal: &path.portal, iqn: &path.iqn };
            disconnect_from_iscsi_portal(cx, target).await?;
        }
    }
    Ok(())
}

/// `_discover_iscsi_portals`: the lists of connection_info, or everything that the portal names.
async fn discover_iscsi_portals(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<Vec<IscsiPath>, BrickError> {
    if !data.paths.is_empty() {
        return Ok(data.paths.clone());
    }
    let stdout = discovery::sendtargets(cx, &data.target_portal).await?;
    let path = |(portal, iqn): (&str, &str)| IscsiPath {
        portal: portal.into(),
        iqn: iqn.into(),
        lun: data.target_lun.clone(),
    };
    Ok(parse::sendtargets(&stdout).into_iter().map(path).collect())
}

/// `connect_volume`, one of its attempts: the map's path, or that of a disk without a map.
pub(super) async fn connect_once(cx: &Context<'_>, data: &IscsiData) -> Result<String, BrickError> {
    let mut tries: u32 = 0;
    loop {
        connect_portals(cx, data).await?;
        let links = links(data)?;
        for link in &links {
            if let Some(device) = real_device(cx, link).await? {
                return discover_mpath_device(cx, link, &device).await;
            }
        }
        if tries > 0 {
            cx.port.sleep(Duration::from_secs(u64::from(tries).pow(2))).await?;
        }
        if tries >= cx.conf().num_volume_scan_tries {
            return Err(BrickError::VolumeDeviceNotFound { device: links.join(", ") });
        }
        tries += 1;
    }
}

/// `_get_potential_volume_paths`: logs in to every portal and scans for the LUN.
async fn connect_portals(cx: &Context<'_>, data: &IscsiData) -> Result<(), BrickError> {
    let targets = match discover_iscsi_portals(cx, data).await {
        Ok(all) if data.paths.is_empty() => {
            let found: Vec<(&str, &str)> =
                all.iter().map(|p| (p.portal.as_str(), p.iqn.as_str())).collect();
            discovery::volume_paths(&found, data)
        }
        Ok(all) => all,
        Err(e @ BrickError::Failure(_)) => return Err(e),
        Err(_) => {
            let portal = data.target_portal.to_string();
            return Err(BrickError::TargetPortalNotFound { portal });
        }
    };
    let mut connected = false;
    for path in &targets {
        let target = Target { portal: &path.portal, iqn: &path.iqn };
        connected |= connect_to_iscsi_portal(cx, target, data).await?;
    }
    rescan_iscsi(cx, &targets).await?;
    if connected { Ok(()) } else { Err(no_login(cx, data)) }
}

/// `_rescan_iscsi`: one session of each target, the first that sysfs lists.
async fn rescan_iscsi(cx: &Context<'_>, targets: &[IscsiPath]) -> Result<(), BrickError> {
    for (n, path) in targets.iter().enumerate() {
        if targets[..n].iter().any(|p| p.iqn == path.iqn) {
            continue;
        }
        if let Some(hctl) = cx.call(TargetHctl { iqn: path.iqn.clone() }).await? {
            // A text is put into the command as it is.
            if let Some(lun) = path.lun.in_path() {
                let hctl = castoff_ports::Hctl { lun, ..hctl };
                execute(cx, || ScanLun { hctl }, OK).await?;
            }
        }
    }
    Ok(())
}
