//! What both generations do with multipath-tools: maps and the paths that multipathd watches.
//!
//! Commands that only one generation runs are with it; what they print is read in
//! [`parse`](super::parse).

use std::time::Duration;

use castoff_ports::DeviceName;
use castoff_ports::host::{
    DmName, MultipathFlush, MultipathHolder, MultipathdDelMap, MultipathdDelPath,
    MultipathdShowPaths, MultipathdShowStatus, SysfsWwn,
};

use super::BrickError;
use super::execute::{ANY, Attempts, OK, execute, execute_attempts, flush_attempts};
use super::iscsi_v7_connect::{ATTEMPTS, pause};
use crate::context::Context;

/// Limit of one command to multipathd, which may be busy for long.
const MULTIPATHD: Attempts =
    Attempts { attempts: 1, interval: None, timeout: Some(Duration::from_secs(5)) };

/// `is_multipath_running`: an exit code or a text says no (os-brick bug 1789699).
pub(super) async fn is_running(cx: &Context<'_>) -> Result<bool, BrickError> {
    let out = execute(cx, || MultipathdShowStatus {}, ANY).await?;
    Ok(out.exit == 0 && !out.stdout.starts_with("error receiving packet"))
}

/// `find_sysfs_multipath_dm`: `dm-N` over any of these disks.
pub(super) async fn holder(
    cx: &Context<'_>,
    devices: &[DeviceName],
) -> Result<Option<String>, BrickError> {
    for device in devices {
        if let Some(dm) = cx.call(MultipathHolder { device: device.clone() }).await? {
            return Ok(Some(dm));
        }
    }
    Ok(None)
}

/// What `multipath -f` is told of a map: its name (os-brick bug 1663925).
pub(super) async fn flushable(
    cx: &Context<'_>,
    devices: &[DeviceName],
    dm: String,
) -> Result<Option<String>, BrickError> {
    if cx.policy().fixes.map_flushed_by_name {
        return Ok(cx.call(DmName { dm }).await?);
    }
    Ok(cx.call(SysfsWwn { devices: devices.to_vec(), dm: Some(dm) }).await?)
}

/// os-brick 7's `flush_multipath_device`: limits and retries are those of a disk's flush.
pub(super) async fn flush_map(cx: &Context<'_>, map: &str) -> Result<(), BrickError> {
    let command = || MultipathFlush { map: map.to_owned() };
    execute_attempts(cx, command, OK, flush_attempts(cx)).await?;
    Ok(())
}

/// `wait_multipathd_remove_paths`; what multipathd has not let go of by itself it is told to.
pub(super) async fn let_go_of_paths(
    cx: &Context<'_>,
    devices: &[DeviceName],
) -> Result<(), BrickError> {
    for attempt in 1..=ATTEMPTS {
        let out = execute_attempts(cx, || MultipathdShowPaths {}, ANY, MULTIPATHD).await?;
        let watched = |d: &DeviceName| out.stdout.split_ascii_whitespace().any(|w| w == d.as_str());
        if !devices.iter().any(watched) {
            return Ok(());
        }
        if attempt < ATTEMPTS {
            cx.port.sleep(pause(attempt)).await?;
        }
    }
    for device in devices {
        let command = || MultipathdDelPath { device: device.clone() };
        execute_attempts(cx, command, ANY, MULTIPATHD).await?;
    }
    Ok(())
}

/// `multipath_del_map`. os-brick hands it the map's name where sysfs knows only `dm-N`, so a map
/// that could not be flushed is found under no name and stays.
pub(super) async fn del_map(cx: &Context<'_>, dm: &str) -> Result<(), BrickError> {
    let mut attempt = 1;
    loop {
        let Some(map) = cx.call(DmName { dm: dm.to_owned() }).await? else { return Ok(()) };
        let command = || MultipathdDelMap { map: map.clone() };
        let error = match execute_attempts(cx, command, OK, MULTIPATHD).await {
            Ok(_) if cx.call(DmName { dm: dm.to_owned() }).await?.is_none() => return Ok(()),
            Ok(_) => BrickError::MultipathStays { map },
            Err(e @ BrickError::ProcessExecutionError { .. }) => e,
            Err(e) => return Err(e),
        };
        if attempt >= ATTEMPTS {
            return Err(error);
        }
        cx.port.sleep(pause(attempt)).await?;
        attempt += 1;
    }
}

/// A command to multipathd with its limit; any exit code will do.
pub(super) const fn multipathd() -> Attempts {
    MULTIPATHD
}
