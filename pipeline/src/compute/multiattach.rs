//! Servers of this host that have a multiattach volume leave it, and come to it, one after the other.
//!
//! The last one that leaves disconnects the host. Two that leave at once would each count the other
//! (nova bug 2048837), and one that comes would find the disk that the one before it takes away.

use castoff_ports::VolumeId;
use castoff_ports::novadb::Bdm;
use castoff_ports::runtime::LockScope;
use futures::future::LocalBoxFuture;

use crate::context::Context;
use crate::error::NovaError;
use crate::policy::MultiattachUsers;

/// `body`, while no other server here attaches or detaches this volume; nova has this for deletes
/// alone.
pub(super) async fn in_turn<T>(
    cx: &Context<'_>,
    volume: &VolumeId,
    multiattach: bool,
    body: impl Future<Output = Result<T, NovaError>>,
) -> Result<T, NovaError> {
    if !multiattach || cx.policy().multiattach_users == MultiattachUsers::Attached {
        return body.await;
    }
    cx.port.locked(&lock_name(volume), LockScope::InProcess, body).await
}

/// The multiattach volumes among these, in an order that is the same for all servers. What was never
/// connected to its end may be one, and the host may have it all the same: nova does not ask.
pub(super) fn shared(cx: &Context<'_>, bdms: &[Bdm]) -> Vec<VolumeId> {
    let unknown = cx.policy().multiattach_users == MultiattachUsers::Exported;
    let multiattach = |b: &&Bdm| b.connection_info.as_ref().map_or(unknown, |i| i.multiattach);
    let mut shared: Vec<_> = bdms.iter().filter(multiattach).map(|b| b.volume_id.clone()).collect();
    shared.sort_unstable();
    shared.dedup();
    shared
}

/// One server at a time of all that have one of these volumes.
pub(super) fn with_locks<'a>(
    cx: &'a Context<'_>,
    volumes: &'a [VolumeId],
    body: std::pin::Pin<&'a mut (dyn Future<Output = Result<(), NovaError>> + 'a)>,
) -> LocalBoxFuture<'a, Result<(), NovaError>> {
    match volumes.split_first() {
        None => Box::pin(body),
        Some((volume, rest)) => Box::pin(async move {
            let locked = with_locks(cx, rest, body);
            cx.port.locked(&lock_name(volume), LockScope::InProcess, locked).await
        }),
    }
}

fn lock_name(volume: &VolumeId) -> String {
    format!("multi_attach_volume_{volume}")
}
