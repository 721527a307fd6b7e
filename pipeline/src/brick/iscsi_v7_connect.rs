//! os-brick 7, connect of a single path (A7): log in, scan for the one LUN, wait for the disk.
//!
//! Unlike 1.12 a failed connect is cleaned up by force, so that no session, node record or
//! device is left over from it. The disk found at the LUN is not identified (bug 1813609).

use std::pin::pin;
use std::time::Duration;

use castoff_ports::cinder::IscsiData;
use castoff_ports::host::{MultipathdShowStatus, ScanLun, SessionDevices, SessionHctl};
use castoff_ports::iscsi::Sessions;
use castoff_ports::runtime::LockScope;
use castoff_ports::{DeviceName, Hctl, Sid};

use super::connector::connect_volume_lock;
use super::execute::{ANY, OK, execute};
use super::iscsi_v7::{Cleanup, cleanup_connection};
use super::scsi::{Target, plain, set_chap};
use super::{BrickError, parse};
use crate::context::Context;

/// Attempts of os-brick's retry decorator; sleeps 1 s and 2 s in between.
const ATTEMPTS: u32 = 3;

/// Looks for the login in the session list before we call it lost. os-brick has no such bound.
const LOGIN_ROUNDS: u32 = 100;

/// Looks for the disk, one a second, before we give up; the scans are over after 139. os-brick has
/// no such bound: while a session is missing from sysfs no scan is counted, and it looks for ever.
const LOOKS: u32 = 600;

/// `ISCSIConnector.connect_volume`: `/dev/sdX`.
pub(crate) async fn connect_volume(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<String, BrickError> {
    let scope = cx.policy().connect_volume_lock;
    let body = pin!(async {
        // check_multipath: asked even when multipath is not configured.
        execute(cx, || MultipathdShowStatus {}, ANY).await?;
        match connect_single_volume(cx, data).await {
            Ok(path) => Ok(path),
            Err(e) => {
                let how = Cleanup {
                    this_target_only: false,
                    force: true,
                    ignore_errors: false,
                    is_disconnect_call: false,
                };
                cleanup_connection(cx, data, how).await?;
                Err(e)
            }
        }
    });
    cx.port.locked(connect_volume_lock(cx), scope, body).await
}

/// The pause before another attempt: 1 s, 2 s.
fn pause(attempt: u32) -> Duration {
    Duration::from_secs(2u64.pow(attempt - 1))
}

/// `_connect_single_volume`.
async fn connect_single_volume(cx: &Context<'_>, data: &IscsiData) -> Result<String, BrickError> {
    let mut attempt = 1;
    loop {
        if let Some(device) = connect_vol(cx, data).await? {
            return Ok(format!("/dev/{device}"));
        }
        let how = Cleanup {
            this_target_only: true,
            force: true,
            ignore_errors: true,
            is_disconnect_call: false,
        };
        cleanup_connection(cx, data, how).await?;
        if attempt >= ATTEMPTS {
            let device = format!("lun {} of {}", data.target_lun, data.target_iqn);
            return Err(BrickError::VolumeDeviceNotFound { device });
        }
        cx.port.sleep(pause(attempt)).await?;
        attempt += 1;
    }
}

/// `_connect_vol`: logs in, scans and waits for the disk. Errors on the way mean "not found".
async fn connect_vol(cx: &Context<'_>, data: &IscsiData) -> Result<Option<DeviceName>, BrickError> {
    let portal = &data.target_portal;
    let session = match connect_to_iscsi_portal(cx, data).await {
        Ok(session) => session,
        Err(e) => {
            cx.error(format!("Exception connecting to {portal}: {e}"));
            None
        }
    };
    let Some((sid, manual_scan)) = session else {
        cx.warning(format!("Failed to connect to iSCSI portal {portal}."));
        return Ok(None);
    };
    let found = wait_for_device(cx, data, sid, manual_scan).await?;
    if found.is_none() {
        cx.warning(format!(
            "LUN {} on iSCSI portal {portal} not found on sysfs after logging in.",
            data.target_lun
        ));
    }
    Ok(found)
}

/// Looks every second; scans at once when iscsid does not, then after 4, 9, 16 s… more.
async fn wait_for_device(
    cx: &Context<'_>,
    data: &IscsiData,
    sid: Sid,
    manual_scan: bool,
) -> Result<Option<DeviceName>, BrickError> {
    let limit = i64::from(cx.conf().num_volume_scan_tries);
    // The first scan of the manual mode does not count.
    let (mut rescans, mut next_scan): (i64, i64) = if manual_scan { (-1, 0) } else { (0, 4) };
    let mut hctl = None;
    if limit == 0 && !manual_scan {
        return Ok(None);
    }
    for _ in 0..LOOKS {
        match look(cx, data, sid, &mut hctl, &mut rescans, &mut next_scan).await {
            Ok(Some(device)) => return Ok(Some(device)),
            Ok(None) => {}
            Err(e) => cx.error(format!("Exception scanning {}: {e}", data.target_portal)),
        }
        if rescans > limit {
            break;
        }
        cx.port.sleep(Duration::from_secs(1)).await?;
        next_scan -= 1;
    }
    Ok(None)
}

async fn look(
    cx: &Context<'_>,
    data: &IscsiData,
    sid: Sid,
    known: &mut Option<Hctl>,
    rescans: &mut i64,
    next_scan: &mut i64,
) -> Result<Option<DeviceName>, BrickError> {
    if known.is_none() {
        *known = cx.call(SessionHctl { sid }).await?;
    }
    let Some(hctl) = known.map(|h| Hctl { lun: data.target_lun, ..h }) else { return Ok(None) };
    if *next_scan <= 0 {
        *rescans += 1;
        // A scan that fails has used up one of the rescans and is due again a second later.
        execute(cx, || ScanLun { hctl }, OK).await?;
        *next_scan = (*rescans + 2).pow(2);
    }
    let devices = cx.call(SessionDevices { sid }).await?;
    Ok(devices.into_iter().filter(|d| d.hctl == hctl).map(|d| d.name).min())
}

/// `_connect_to_iscsi_portal`: the session and whether we must scan, or none when login failed.
async fn connect_to_iscsi_portal(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<Option<(Sid, bool)>, BrickError> {
    let (portal, iqn) = (&data.target_portal, &data.target_iqn);
    let name = format!("os-brick-connect_to_iscsi_portal-{portal}-{iqn}");
    let body = pin!(async {
        let mut attempt = 1;
        loop {
            match connect_to_iscsi_portal_unsafe(cx, data).await {
                Err(BrickError::BrickException { .. }) if attempt < ATTEMPTS => {
                    cx.port.sleep(pause(attempt)).await?;
                    attempt += 1;
                }
                other => return other,
            }
        }
    });
    cx.port.locked(&name, LockScope::External, body).await
}

async fn connect_to_iscsi_portal_unsafe(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<Option<(Sid, bool)>, BrickError> {
    let target = Target { portal: &data.target_portal, iqn: &data.target_iqn };
    // What it prints decides, not the exit code.
    let shown = execute(cx, || target.node(), &[0, 21, 255]).await?;
    if !shown.stderr.is_empty() {
        let made = execute(cx, || target.new_node(), &[0, 6]).await?;
        if !made.stderr.is_empty() {
            return Err(BrickError::BrickException {
                portal: target.portal.to_string(),
                message: "encountered database failure",
            });
        }
    }
    let set = execute(cx, || target.update("node.session.scan", plain("manual")), ANY).await?;
    let manual_scan = set.stderr.is_empty();
    cx.process.set_manual_scan(manual_scan);
    set_chap(cx, target, data.auth.as_ref()).await?;

    for _ in 0..LOGIN_ROUNDS {
        if let Some(sid) = find_session(cx, target).await? {
            return Ok(Some((sid, manual_scan)));
        }
        match execute(cx, || target.login(), &[0, 15, 255]).await {
            Ok(_) => {}
            Err(e @ BrickError::ProcessExecutionError { .. }) => {
                let Target { portal, iqn } = target;
                cx.warning(format!("Failed to login iSCSI target {iqn} on portal {portal}: {e}"));
                return Ok(None);
            }
            Err(e) => return Err(e),
        }
        execute(cx, || target.update("node.startup", plain("automatic")), OK).await?;
    }
    Err(BrickError::FailedIscsiTargetPortalLogin { iqn: target.iqn.to_string() })
}

/// Our session, the portal compared without case (os-brick bug 1793627).
async fn find_session(cx: &Context<'_>, target: Target<'_>) -> Result<Option<Sid>, BrickError> {
    let out = execute(cx, || Sessions {}, &[0, 21, 255]).await?;
    if !out.stderr.is_empty() {
        cx.warning(format!("iscsiadm stderr output when getting sessions: {}", out.stderr));
    }
    Ok(parse::sessions(&out.stdout)?
        .into_iter()
        .find(|s| {
            s.portal.eq_ignore_ascii_case(target.portal.as_str()) && s.iqn == target.iqn.as_str()
        })
        .map(|s| s.sid))
}
