//! os-brick 1.12.0: everything goes by `/dev/disk/by-path/` links (B1, A6).
//!
//! Kept as it was: a failed flush is only logged (bug 1502534), a failed connect cleans nothing
//! up, the whole session is scanned at login and again by `--rescan`. With multipath the work is
//! done in [`super::iscsi_v1_12_multipath`].

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use castoff_ports::cinder::{IscsiData, IscsiPath, TargetLun};
use castoff_ports::host::{ListByPath, RealPath, ScsiId, by_path_name};
use castoff_ports::iscsi::{CommandOutput, Rescan, Sessions};
use castoff_ports::{DeviceName, Lun, Portal};

use super::connector::connect_volume_lock;
use super::error::Chainer;
use super::execute::{OK, execute};
use super::scsi::{
    Target, disconnect_from_iscsi_portal, plain, removal_pause, remove_scsi_device, set_chap,
};
use super::{BrickError, discovery, iscsi_v1_12_multipath};
use crate::context::Context;

/// Rounds of connect_volume when the device does not appear; sleeps 2 s and 4 s in between.
const CONNECT_ATTEMPTS: u32 = 3;

pub(super) const BY_PATH: &str = "/dev/disk/by-path/";

/// The link of a LUN: no brackets of IPv6, and a LUN of 256 and more in hexadecimal.
///
/// # Errors
/// A LUN given as a text cannot be compared with 256.
pub(super) fn device_path(path: &IscsiPath) -> Result<String, BrickError> {
    let lun = match &path.lun {
        TargetLun::Number(lun) => *lun,
        TargetLun::Text(text) => return Err(BrickError::LunIsText { text: text.clone() }),
    };
    let portal = without_brackets(&path.portal);
    let Lun(number) = lun;
    Ok(if number < 256 {
        by_path_name(&portal, &path.iqn, lun)
    } else {
        let (low, high) = (number & 0xffff, number >> 16);
        format!("ip-{portal}-iscsi-{}-lun-0x{low:04x}{high:04x}00000000", path.iqn)
    })
}

fn without_brackets(portal: &Portal) -> Cow<'_, Portal> {
    if portal.as_str().contains('[') {
        Cow::Owned(Portal::new(portal.as_str().replace(['[', ']'], "")))
    } else {
        Cow::Borrowed(portal)
    }
}

/// os.path.realpath: the device behind a link, or none when the link does not exist.
pub(super) async fn real_device(
    cx: &Context<'_>,
    link: &str,
) -> Result<Option<DeviceName>, BrickError> {
    let path = cx.call(RealPath { by_path: link.to_owned() }).await?;
    if path.starts_with(BY_PATH) {
        return Ok(None);
    }
    Ok(path.strip_prefix("/dev/").map(DeviceName::new))
}

/// `ISCSIConnector.disconnect_volume`.
pub(crate) async fn disconnect_volume(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<(), BrickError> {
    let scope = cx.policy().connect_volume_lock;
    let body = pin!(async {
        if cx.conf().use_multipath {
            // Boxed: the futures of all other messages stay small.
            return Box::pin(iscsi_v1_12_multipath::disconnect_volume(cx, data)).await;
        }
        for path in discovery::all_targets(data) {
            disconnect_volume_iscsi(cx, &path).await?;
        }
        Ok(())
    });
    cx.port.locked(connect_volume_lock(cx), scope, body).await
}

/// `_disconnect_volume_iscsi`.
async fn disconnect_volume_iscsi(cx: &Context<'_>, path: &IscsiPath) -> Result<(), BrickError> {
    let target = Target { portal: &path.portal, iqn: &path.iqn };
    let link = device_path(path)?;
    // Without a link realpath gives the link itself back: nothing to remove, nothing to wait for.
    if let Some(device) = real_device(cx, &link).await? {
        remove_scsi_device(cx, &device, true, &mut Chainer::new(false)).await?;
        wait_for_volume_removal(cx, &link).await?;
    }
    // The session stays while any other LUN of it has a link.
    let prefix = format!("ip-{}-iscsi-{}-lun-", target.portal, target.iqn);
    if cx.call(ListByPath { prefix }).await?.is_empty() {
        disconnect_from_iscsi_portal(cx, target).await?;
    }
    Ok(())
}

/// `wait_for_volume_removal`: the link, not the device.
async fn wait_for_volume_removal(cx: &Context<'_>, link: &str) -> Result<(), BrickError> {
    let mut look = 1;
    while real_device(cx, link).await?.is_some() {
        match removal_pause(cx.policy().removal_wait, look) {
            Some(pause) => cx.port.sleep(pause).await?,
            None => {
                return Err(BrickError::VolumePathNotRemoved { path: format!("{BY_PATH}{link}") });
            }
        }
        look += 1;
    }
    Ok(())
}

/// `ISCSIConnector.connect_volume`: the by-path link.
pub(crate) async fn connect_volume(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<String, BrickError> {
    let scope = cx.policy().connect_volume_lock;
    let body = pin!(connect_with_retry(cx, data));
    cx.port.locked(connect_volume_lock(cx), scope, body).await
}

async fn connect_with_retry(cx: &Context<'_>, data: &IscsiData) -> Result<String, BrickError> {
    let mut attempt = 1;
    loop {
        let connected = if cx.conf().use_multipath {
            Box::pin(iscsi_v1_12_multipath::connect_once(cx, data)).await
        } else {
            connect_once(cx, data).await
        };
        match connected {
            Err(BrickError::VolumeDeviceNotFound { .. }) if attempt < CONNECT_ATTEMPTS => {
                cx.port.sleep(Duration::from_secs(2u64.pow(attempt))).await?;
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn connect_once(cx: &Context<'_>, data: &IscsiData) -> Result<String, BrickError> {
    let mut connected = None;
    for path in discovery::all_targets(data) {
        if connect_to_iscsi_portal(cx, Target { portal: &path.portal, iqn: &path.iqn }, data)
            .await?
        {
            connected = Some(path);
            break;
        }
        cx.warning(format!("Failed to connect to iSCSI portal {}.", path.portal));
    }
    let Some(path) = connected else { return Err(no_login(cx, data)) };
    let target = Target { portal: &path.portal, iqn: &path.iqn };
    let link = device_path(&path)?;
    let device = wait_for_link(cx, target, &link).await?;
    execute(cx, || ScsiId { device: device.clone() }, OK).await?;
    Ok(format!("{BY_PATH}{link}"))
}

/// What connect_volume raises when no portal let us in.
pub(super) fn no_login(cx: &Context<'_>, data: &IscsiData) -> BrickError {
    cx.error("Could not login to any iSCSI portal.".to_owned());
    BrickError::FailedIscsiTargetPortalLogin { iqn: data.target_iqn.to_string() }
}

/// Waits for udev's link, asking for a rescan of the session before every look; sleeps 1, 4, 9 s…
async fn wait_for_link(
    cx: &Context<'_>,
    target: Target<'_>,
    link: &str,
) -> Result<DeviceName, BrickError> {
    let mut tries: u32 = 0;
    loop {
        if let Some(device) = real_device(cx, link).await? {
            return Ok(device);
        }
        if tries >= cx.conf().num_volume_scan_tries {
            return Err(BrickError::VolumeDeviceNotFound { device: format!("{BY_PATH}{link}") });
        }
        let Target { iqn, portal } = target;
        execute(cx, || Rescan { iqn: iqn.clone(), portal: portal.clone() }, OK).await?;
        tries += 1;
        if let Some(device) = real_device(cx, link).await? {
            return Ok(device);
        }
        cx.port.sleep(Duration::from_secs(u64::from(tries).pow(2))).await?;
    }
}

/// `_connect_to_iscsi_portal`: whether we are logged in now.
pub(super) async fn connect_to_iscsi_portal(
    cx: &Context<'_>,
    target: Target<'_>,
    data: &IscsiData,
) -> Result<bool, BrickError> {
    match execute(cx, || target.node(), OK).await {
        Ok(_) => {}
        // 21: no record; 255 said so before open-iscsi 2.0-871.
        Err(BrickError::ProcessExecutionError { exit: 21 | 255, .. }) => {
            execute(cx, || target.new_node(), OK).await?;
        }
        Err(e) => return Err(e),
    }
    set_chap(cx, target, data.auth.as_ref()).await?;

    let out = execute(cx, || Sessions {}, &[0, 1, 21]).await?;
    if logged_in(&out, target) {
        return Ok(true);
    }
    match execute(cx, || target.login(), &[0, 15, 255]).await {
        Ok(_) => {}
        Err(e @ BrickError::ProcessExecutionError { .. }) => {
            let Target { portal, iqn } = target;
            cx.warning(format!("Failed to login iSCSI target {iqn} on portal {portal}: {e}"));
            return Ok(false);
        }
        Err(e) => return Err(e),
    }
    execute(cx, || target.update("node.startup", plain("automatic")), OK).await?;
    Ok(true)
}

/// 1.12 reads only lines of `tcp:` and takes no offence at others.
fn logged_in(sessions: &CommandOutput, target: Target<'_>) -> bool {
    sessions.stdout.lines().filter(|l| l.starts_with("tcp:")).any(|line| {
        let mut words = line.split(' ').skip(2);
        words.next().and_then(|p| p.split(',').next()) == Some(target.portal.as_str())
            && words.next() == Some(target.iqn.as_str())
    })
}
