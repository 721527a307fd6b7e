//! os-brick 7, connect with multipath: `_connect_multipath_volume` (A7).
//!
//! One thread a portal logs in and looks for its disk; meanwhile this one waits for a map to
//! appear over whatever was found, and tells multipathd once that the WWID is a multipath. It goes
//! on as soon as there is a map and every portal has logged in or failed: late paths join by
//! themselves. Without a map, 10 s after the last thread, a bare path has to do.

use std::time::Duration;

use castoff_ports::cinder::{IscsiData, IscsiPath};
use castoff_ports::host::{MultipathAddWwid, MultipathReady, MultipathdAddPath, SysfsWwn};
use futures::future::{join, try_join_all};

use super::execute::{ANY, Attempts, OK, execute, execute_attempts};
use super::iscsi_v7_connect::{ATTEMPTS, Progress, connect_vol, pause};
use super::{BrickError, discovery, multipath};
use crate::context::Context;

/// How long a map may take after every thread has ended.
const MAP_MAY_TAKE: Duration = Duration::from_secs(10);

/// Looks for the map, one a second. os-brick has no such bound: its threads end by themselves, and
/// so do ours, so this is only a guard for the loop.
const LOOKS: u32 = 1200;

/// `[os_brick]wait_mpath_device_attempts` and `wait_mpath_device_interval`.
const MAP_READY: Attempts =
    Attempts { attempts: 4, interval: Some(Duration::from_secs(1)), timeout: None };

/// `_connect_multipath_volume`: `/dev/dm-N`, or a bare path where no map appeared.
pub(super) async fn connect_multipath_volume(
    cx: &Context<'_>,
    data: &IscsiData,
) -> Result<String, BrickError> {
    let mut attempt = 1;
    loop {
        match connect_once(cx, data).await {
            Err(BrickError::VolumeDeviceNotFound { .. }) if attempt < ATTEMPTS => {
                cx.port.sleep(pause(attempt)).await?;
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn connect_once(cx: &Context<'_>, data: &IscsiData) -> Result<String, BrickError> {
    let targets = discovery::discovered_paths(cx, data).await?;
    let progress = Progress::default();
    let threads = targets.iter().map(|p: &IscsiPath| {
        let progress = &progress;
        async move { connect_vol(cx, p, data.auth.as_ref(), progress).await }
    });
    let watch = async {
        let watched = wait_for_map(cx, targets.len(), &progress).await;
        progress.stop_connecting.set(true);
        watched
    };
    let (map, threads) = join(watch, try_join_all(threads)).await;
    threads?;
    let map = map?;
    let found = progress.found.into_inner();
    let Some(first) = found.first() else {
        let device = format!("lun {} of {}", data.target_lun, data.target_iqn);
        return Err(BrickError::VolumeDeviceNotFound { device });
    };
    let Some(dm) = map else {
        cx.warning(
            "No dm was created, connection to volume is probably bad and will perform poorly."
                .to_owned(),
        );
        return Ok(format!("/dev/{first}"));
    };
    execute_attempts(cx, || MultipathReady { dm: dm.clone() }, OK, MAP_READY).await?;
    Ok(format!("/dev/{dm}"))
}

/// The main thread: `dm-N` when it has appeared.
async fn wait_for_map(
    cx: &Context<'_>,
    targets: usize,
    progress: &Progress,
) -> Result<Option<String>, BrickError> {
    let (mut wwn, mut map, mut last_try) = (None, None, None);
    let (mut wwid_added, mut asked) = (false, 0);
    for _ in 0..LOOKS {
        let ended = progress.stopped.get() == targets;
        let found = progress.found.borrow().clone();
        if (ended && found.is_empty()) || (map.is_some() && progress.logins_done.get() == targets) {
            break;
        }
        if wwn.is_none() && !found.is_empty() {
            wwn = cx.call(SysfsWwn { devices: found.clone(), dm: map.clone() }).await?;
        }
        if map.is_none() {
            map = multipath::holder(cx, &found).await?;
            if let (Some(wwid), None, false) = (&wwn, &map, wwid_added) {
                let out = execute(cx, || MultipathAddWwid { wwid: wwid.clone() }, ANY).await?;
                wwid_added = out.stdout.trim() == format!("wwid '{wwid}' added");
                while let (None, Some(device)) = (&map, found.get(asked)) {
                    let command = || MultipathdAddPath { device: device.clone() };
                    execute_attempts(cx, command, ANY, multipath::multipathd()).await?;
                    asked += 1;
                    map = multipath::holder(cx, &found).await?;
                }
            }
        }
        match last_try {
            None if ended && !found.is_empty() => last_try = Some(cx.port.now() + MAP_MAY_TAKE),
            Some(last) if last < cx.port.now() => break,
            _ => {}
        }
        cx.port.sleep(Duration::from_secs(1)).await?;
    }
    Ok(map)
}
