//! A rollback that gives everything back, or none.
//!
//! nova rolls back on any failure, without asking the guest: it may have let go already, and then
//! the volume is `in-use` and nobody has it; it always has lost the disk from its persistent config
//! (property S14). Here the guest is asked first. Does it have the disk, everything is given back.
//! Does it not, the detach goes on. Where nobody can tell, neither is done, and the reconciler asks
//! again.

use castoff_ports::InstanceId;
use castoff_ports::journal::JournalStep;
use castoff_ports::libvirt::GuestDisk;
use castoff_ports::novadb::Bdm;

use super::journal;
use crate::context::Context;
use crate::error::NovaError;
use crate::{roll, virt};

/// Rolls back and raises `error`; returns where the guest has let go after all.
pub(super) async fn if_guest_keeps_it(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &InstanceId,
    error: NovaError,
) -> Result<(), NovaError> {
    let disk = match virt::driver::disk_of(cx, bdm, instance).await {
        Ok(Some(disk)) => disk,
        Ok(None) => {
            cx.warning(format!("The guest let go of volume {} after all", bdm.volume_id));
            // Its config may be what could not be changed: it would have the disk when it starts.
            virt::driver::forget_config(cx, bdm, instance).await?;
            return journal::write(cx, bdm, JournalStep::Released).await;
        }
        Err(e) => {
            cx.error(format!("Volume {} is left as it is: failed to {e}", bdm.volume_id));
            return Err(error);
        }
    };
    // First of all: whoever goes on after a crash must not ask the guest again.
    journal::write(cx, bdm, JournalStep::GivenUp).await?;
    give_back(cx, bdm, instance, disk).await?;
    Err(error)
}

/// Rolls back where the guest's memory is saved, with the disk, and raises `error`. Where the config
/// has lost the disk an unplug was under way: it goes on when the guest is back.
pub(super) async fn if_config_keeps_it(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &InstanceId,
    error: NovaError,
) -> Result<(), NovaError> {
    if let Some(disk) = virt::driver::disk_of(cx, bdm, instance).await? {
        journal::write(cx, bdm, JournalStep::GivenUp).await?;
        give_back(cx, bdm, instance, disk).await?;
    }
    Err(error)
}

/// The guest's config, then cinder's status. The intent stands until the user has been told.
pub(super) async fn give_back(
    cx: &Context<'_>,
    bdm: &Bdm,
    instance: &InstanceId,
    disk: GuestDisk,
) -> Result<(), NovaError> {
    virt::driver::restore_config(cx, instance, disk).await?;
    roll::roll_detaching(cx, &bdm.volume_id).await?;
    journal::write(cx, bdm, JournalStep::RolledBack).await
}
