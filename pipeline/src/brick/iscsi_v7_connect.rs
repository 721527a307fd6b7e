//! os-brick 7, connect (A7): log in, scan for the one LUN, wait for the disk.
//!
//! Unlike 1.12 a failed connect is cleaned up by force, so that no session, node record or
//! device is left over from it. The disk found at the LUN is not identified (bug 1813609).

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::Duration;

use castoff_ports::cinder::{Chap, IscsiData, IscsiPath};
use castoff_ports::host::{ScanLun, SessionDevices, SessionHctl};
use castoff_ports::iscsi::Sessions;
use castoff_ports::runtime::LockScope;
use castoff_ports::{DeviceName, Hctl, Sid};

use super::connector::{Disconnect, FailedConnect, connect_volume_lock};
use super::execute::{ANY, OK, execute};
use super::iscsi_v7::{Cleanup, cleanup_connection};
use super::iscsi_v7_multipath::connect_multipath_volume;
use super::scsi::{Target, plain, set_chap};
use super::{BrickError, discovery, multipath, parse};
use crate::context::Context;

/// Attempts of os-brick's retry decorator; sleeps 1 s and 2 s in between.
pub(super) const ATTEMPTS: u32 = 3;

/// Looks for the login in the session list before we call it lost. os-brick has no such bound.
const LOGIN_ROUNDS: u32 = 100;

/// Looks for the disk, one a second, before we give up; the scans are over after 139. os-brick has
/// no such bound: while a session is missing from sysfs no scan is counted, and it looks for ever.
const LOOKS: u32 = 600;

/// `ISCSIConnector.connect_volume`: `/dev/sdX`, or `/dev/dm-N` of a map.
pub(crate) async fn connect_volume(
    cx: &Context<'_>,
    data: &IscsiData,
    failed: FailedConnect,
) -> Result<String, BrickError> {
    let scope = cx.policy().connect_volume_lock;
    let body = pin!(async {
        // check_multipath: asked even when multipath is not configured.
        let supported = multipath::is_running(cx).await?;
        let connected = if cx.conf().use_multipath {
            if !supported {
                cx.warning(
                    "Multipathing is requested but the host doesn't support multipathing.".into(),
                );
            }
            // Boxed: it would be the largest part of every message's future.
            Box::pin(connect_multipath_volume(cx, data)).await
        } else {
            connect_single_volume(cx, data, failed).await
        };
        if connected.is_err() && failed == FailedConnect::CleanedUp {
            let force = cx.policy().failed_connect_forces;
            let how = Disconnect { force, ignore_errors: false };
            let cleanup = Cleanup { only: None, how, is_disconnect_call: false };
            cleanup_connection(cx, data, cleanup).await?;
        }
        connected
    });
    cx.port.locked(connect_volume_lock(cx), scope, body).await
}

/// The pause before another attempt: 1 s, 2 s.
pub(super) fn pause(attempt: u32) -> Duration {
    Duration::from_secs(2u64.pow(attempt - 1))
}

/// `_connect_single_volume`: the first of the volume's targets that gives a device.
async fn connect_single_volume(
    cx: &Context<'_>,
    data: &IscsiData,
    failed: FailedConnect,
) -> Result<String, BrickError> {
    let targets = discovery::all_targets(data);
    let mut attempt = 1;
    loop {
        for path in &targets {
            if let Some(device) =
                connect_vol(cx, path, data.auth.as_ref(), &Progress::alone()).await?
            {
                return Ok(format!("/dev/{device}"));
            }
            if failed == FailedConnect::Left {
                continue;
            }
            let force = cx.policy().failed_connect_forces;
            let how = Disconnect { force, ignore_errors: force };
            let cleanup = Cleanup { only: Some(path), how, is_disconnect_call: false };
            cleanup_connection(cx, data, cleanup).await?;
        }
        if attempt >= ATTEMPTS {
            let device = format!("lun {} of {}", data.target_lun, data.target_iqn);
            return Err(BrickError::VolumeDeviceNotFound { device });
        }
        cx.port.sleep(pause(attempt)).await?;
        attempt += 1;
    }
}

/// What the threads of a multipath connect tell each other; os-brick's shared dictionary.
#[derive(Default)]
pub(super) struct Progress {
    /// No more scans: enough paths have been found.
    pub(super) stop_connecting: Cell<bool>,
    /// Paths that have logged in or failed to.
    pub(super) logins_done: Cell<usize>,
    /// Paths that have come to their end.
    pub(super) stopped: Cell<usize>,
    /// Devices found so far.
    pub(super) found: RefCell<Vec<DeviceName>>,
}

impl Progress {
    fn alone() -> Progress {
        Progress::default()
    }
}

/// `_connect_vol`: logs in, scans and waits for the disk. Errors on the way mean "not found".
pub(super) async fn connect_vol(
    cx: &Context<'_>,
    path: &IscsiPath,
    auth: Option<&Chap>,
    progress: &Progress,
) -> Result<Option<DeviceName>, BrickError> {
    let portal = &path.portal;
    let session = match connect_to_iscsi_portal(cx, path, auth).await {
        Ok(session) => session,
        Err(e) => {
            cx.error(format!("Exception connecting to {portal}: {e}"));
            None
        }
    };
    progress.logins_done.set(progress.logins_done.get() + 1);
    let found = match session {
        Some((sid, manual_scan)) => wait_for_device(cx, path, sid, manual_scan, progress).await?,
        None => {
            cx.warning(format!("Failed to connect to iSCSI portal {portal}."));
            None
        }
    };
    match &found {
        Some(device) => progress.found.borrow_mut().push(device.clone()),
        None if session.is_some() => cx.warning(format!(
            "LUN {} on iSCSI portal {portal} not found on sysfs after logging in.",
            path.lun
        )),
        None => {}
    }
    progress.stopped.set(progress.stopped.get() + 1);
    Ok(found)
}

/// Looks every second; scans at once when iscsid does not, then after 4, 9, 16 s… more.
async fn wait_for_device(
    cx: &Context<'_>,
    path: &IscsiPath,
    sid: Sid,
    manual_scan: bool,
    progress: &Progress,
) -> Result<Option<DeviceName>, BrickError> {
    let limit = i64::from(cx.conf().num_volume_scan_tries);
    // The first scan of the manual mode does not count.
    let (mut rescans, mut next_scan): (i64, i64) = if manual_scan { (-1, 0) } else { (0, 4) };
    let mut hctl = None;
    if limit == 0 && !manual_scan {
        return Ok(None);
    }
    for _ in 0..LOOKS {
        match look(cx, path, sid, &mut hctl, &mut rescans, &mut next_scan).await {
            Ok(Some(device)) => return Ok(Some(device)),
            Ok(None) => {}
            Err(e) => cx.error(format!("Exception scanning {}: {e}", path.portal)),
        }
        if rescans > limit || progress.stop_connecting.get() {
            break;
        }
        cx.port.sleep(Duration::from_secs(1)).await?;
        next_scan -= 1;
    }
    Ok(None)
}

async fn look(
    cx: &Context<'_>,
    path: &IscsiPath,
    sid: Sid,
    known: &mut Option<Hctl>,
    rescans: &mut i64,
    next_scan: &mut i64,
) -> Result<Option<DeviceName>, BrickError> {
    if known.is_none() {
        *known = cx.call(SessionHctl { sid }).await?;
    }
    // Here a LUN given as a text does no harm: it is put into a command and into a path.
    let Some((at, lun)) = (*known).zip(path.lun.in_path()) else { return Ok(None) };
    let hctl = Hctl { lun, ..at };
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
    path: &IscsiPath,
    auth: Option<&Chap>,
) -> Result<Option<(Sid, bool)>, BrickError> {
    let IscsiPath { portal, iqn, .. } = path;
    let name = format!("os-brick-connect_to_iscsi_portal-{portal}-{iqn}");
    let body = pin!(async {
        let mut attempt = 1;
        loop {
            match connect_to_iscsi_portal_unsafe(cx, path, auth).await {
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
    path: &IscsiPath,
    auth: Option<&Chap>,
) -> Result<Option<(Sid, bool)>, BrickError> {
    let target = Target { portal: &path.portal, iqn: &path.iqn };
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
    set_chap(cx, target, auth).await?;

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
