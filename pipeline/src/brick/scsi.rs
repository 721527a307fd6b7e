//! What both generations do to a SCSI disk and a portal: flush, delete, wait, log out.

use std::time::Duration;

use castoff_ports::host::{DeleteDevice, DeviceExists, FlushBufs};
use castoff_ports::iscsi::{Login, Logout, Node, NodeDelete, NodeNew, NodeUpdate, NodeValue};
use castoff_ports::{DeviceName, Iqn, Portal};

use super::BrickError;
use super::error::Chainer;
use super::execute::{OK, execute, execute_attempts, flush_attempts, usual};
use crate::context::Context;
use crate::policy::RemovalWait;

/// Exit codes that mean "logged out and forgotten": 21 nothing there, 255 old iscsiadm's other.
const GONE: &[i32] = &[0, 21, 255];

/// How often the deletion of a node record is tried: exit 15 while a session still uses it.
const NODE_DELETE_ATTEMPTS: u32 = 5;

/// One target at one portal.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) portal: &'a Portal,
    pub(crate) iqn: &'a Iqn,
}

impl Target<'_> {
    pub(crate) fn node(self) -> Node {
        Node { iqn: self.iqn.clone(), portal: self.portal.clone() }
    }
    pub(crate) fn new_node(self) -> NodeNew {
        NodeNew { iqn: self.iqn.clone(), portal: self.portal.clone() }
    }
    pub(crate) fn update(self, name: &'static str, value: NodeValue) -> NodeUpdate {
        let (iqn, portal) = (self.iqn.clone(), self.portal.clone());
        NodeUpdate { iqn, portal, name: name.to_owned(), value }
    }
    pub(crate) fn login(self) -> Login {
        Login { iqn: self.iqn.clone(), portal: self.portal.clone() }
    }
}

/// A plain node setting.
pub(crate) fn plain(value: &str) -> NodeValue {
    NodeValue::Plain(value.to_owned())
}

/// `remove_scsi_device`: flush, then delete; nothing where the device is already gone.
pub(crate) async fn remove_scsi_device(
    cx: &Context<'_>,
    device: &DeviceName,
    flush: bool,
    chain: &mut Chainer,
) -> Result<(), BrickError> {
    if !cx.call(DeviceExists { device: device.clone() }).await? {
        return Ok(());
    }
    if flush {
        let flushed = flush_device_io(cx, device).await;
        chain.step(flushed)?;
    }
    let deleted = execute(cx, || DeleteDevice { device: device.clone() }, OK).await;
    chain.step(deleted.map(drop))
}

/// `flush_device_io`. os-brick bug 1502534: 1.12 logs a failure and goes on, and the write is lost.
async fn flush_device_io(cx: &Context<'_>, device: &DeviceName) -> Result<(), BrickError> {
    let flush = cx.policy().flush;
    let command = || FlushBufs { device: device.clone() };
    match execute_attempts(cx, command, OK, flush_attempts(cx)).await {
        Ok(_) => Ok(()),
        Err(e) => {
            cx.warning(format!("Failed to flush IO buffers prior to removing device: {e}"));
            // 1.12 catches ProcessExecutionError alone.
            match e {
                BrickError::ProcessExecutionError { .. } if !flush.failure_is_fatal => Ok(()),
                e => Err(e),
            }
        }
    }
}

/// Sleeps between the looks of a wait for removal; `None` after the last one.
pub(crate) fn removal_pause(wait: RemovalWait, look: u32) -> Option<Duration> {
    match wait {
        RemovalWait::Backoff { attempts } => {
            (look < attempts).then(|| Duration::from_secs(2u64.saturating_pow(look)))
        }
        RemovalWait::Poll { checks, interval_ms } => {
            (look < checks).then(|| Duration::from_millis(interval_ms.into()))
        }
    }
}

/// `_connect_to_iscsi_portal`, the part that tells iscsiadm how to authenticate.
pub(crate) async fn set_chap(
    cx: &Context<'_>,
    target: Target<'_>,
    auth: Option<&castoff_ports::cinder::Chap>,
) -> Result<(), BrickError> {
    let Some(chap) = auth else { return Ok(()) };
    let settings = [
        ("node.session.auth.authmethod", plain("CHAP")),
        ("node.session.auth.username", plain(&chap.username)),
        ("node.session.auth.password", NodeValue::Secret(chap.password.clone())),
    ];
    for (name, value) in settings {
        execute(cx, || target.update(name, value.clone()), OK).await?;
    }
    Ok(())
}

/// `_disconnect_from_iscsi_portal`: not logged in at boot any more, logged out, forgotten.
pub(crate) async fn disconnect_from_iscsi_portal(
    cx: &Context<'_>,
    target: Target<'_>,
) -> Result<(), BrickError> {
    let Target { portal, iqn } = target;
    execute(cx, || target.update("node.startup", plain("manual")), GONE).await?;
    execute(cx, || Logout { iqn: iqn.clone(), portal: portal.clone() }, GONE).await?;
    let delete = || NodeDelete { iqn: iqn.clone(), portal: portal.clone() };
    execute_attempts(cx, delete, GONE, usual(cx, NODE_DELETE_ATTEMPTS)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_waits_for_removal_as_long_as_it_did() {
        let total = |wait| {
            (1..).map_while(|look| removal_pause(wait, look)).map(|d| d.as_millis()).sum::<u128>()
        };
        assert_eq!(total(RemovalWait::Backoff { attempts: 3 }), 6_000);
        assert_eq!(total(RemovalWait::Poll { checks: 61, interval_ms: 500 }), 30_000);
    }
}
