//! The reconciler: takes up what intents and journal show to be unfinished.
//!
//! It runs when nova-compute has started and on a period. What it does it does under the server's
//! lock, by the stations of a detach and in the name of the request that asked for it; a detach
//! that is under way holds that lock, so what is found under it has no worker. Each pass looks
//! again: nothing is remembered between two of them but which volumes looked deserted.

use std::pin::pin;

use castoff_ports::cinder::{Volume, VolumeStatus};
use castoff_ports::journal::{JournalEntry, JournalStep};
use castoff_ports::novadb::{
    Bdm, BdmsByInstance, BdmsByVolume, GetInstance, Instance, InstancesByProject,
};
use castoff_ports::{InstanceId, Port, RequestId, VolumeId};

use super::block_device::confirm_disconnect;
use super::init_host::admin_context;
use super::manager::{do_detach_volume, synchronized};
use super::pause::check_not_saved;
use super::settle::{self, Settled};
use super::tell::{EVENT, tell, tell_if_begun, tell_of};
use super::{delete, fence, homeless, journal, rollback, shelve, tasks};
use crate::context::{Context, NovaProcess};
use crate::error::NovaError;
use crate::intent::{self, Intent, Task};
use crate::{roll, virt, volume_api};

/// One pass over this host's servers. Its errors are logged: the next pass looks again.
pub async fn reconcile(process: &NovaProcess, port: &Port) {
    if process.conf().policy.reconcile_period_s.is_none() {
        return;
    }
    // A pass that failed with 401 would fail for as long as the token is remembered.
    process.forget_service_token();
    let port = &port.with_auth(admin_context(process, port).await);
    let cx = &Context::new(process, port);
    cx.station("castoff.compute.reconcile");
    let pass = Pass { cx };
    if let Err(e) = pass.host().await {
        cx.warning(format!("The reconciler did not get through: failed to {e}"));
    }
}

struct Pass<'a> {
    cx: &'a Context<'a>,
}

impl Pass<'_> {
    async fn host(&self) -> Result<(), NovaError> {
        let cx = self.cx;
        let entries = journal::all(cx).await?;
        let mut servers = cx.call(InstancesByProject { project: None }).await?;
        for server in servers.iter().filter(|s| s.host.is_none()) {
            if let Err(e) = homeless::reconcile(cx, server).await {
                cx.warning(format!("Server {} is not reconciled: failed to {e}", server.uuid));
            }
        }
        servers.retain(|s| s.host.as_ref() == Some(&cx.conf().host));
        for server in &servers {
            let mine = entries.iter().filter(|e| e.instance == server.uuid);
            if let Err(e) = self.server(server, mine.map(|e| e.volume_id.clone()).collect()).await {
                cx.warning(format!("Server {} is not reconciled: failed to {e}", server.uuid));
            }
        }
        for entry in entries.iter().filter(|e| !servers.iter().any(|s| s.uuid == e.instance)) {
            if let Err(e) = self.volume(&entry.instance, &entry.volume_id).await {
                cx.warning(format!("Volume {} stays: failed to {e}", entry.volume_id));
            }
        }
        Ok(())
    }

    /// Volumes with an entry, with an intent that is old enough, or left `detaching` by nobody.
    async fn server(&self, server: &Instance, found: Vec<VolumeId>) -> Result<(), NovaError> {
        let (cx, uuid) = (self.cx, &server.uuid);
        let mut volumes = found;
        let (intents, attaches) = intent::all(cx, uuid).await?;
        let old = intents.iter().chain(&attaches).filter(|i| intent::is_old(self.cx, i.since));
        volumes.extend(old.map(|i| i.volume.clone()));
        for bdm in cx.call(BdmsByInstance { instance: uuid.clone() }).await? {
            let known = volumes.contains(&bdm.volume_id)
                || intents.iter().chain(&attaches).any(|i| i.volume == bdm.volume_id);
            if !known && self.is_deserted(&bdm).await? {
                volumes.push(bdm.volume_id);
            }
        }
        volumes.sort_unstable();
        volumes.dedup();
        for volume in volumes {
            if let Err(e) = self.volume(uuid, &volume).await {
                cx.warning(format!("Volume {volume} is not reconciled: failed to {e}"));
            }
        }
        tasks::resume(cx, server).await
    }

    /// `detaching`, or taken from this server and given free, in two passes running, with neither
    /// intent nor entry.
    async fn is_deserted(&self, bdm: &Bdm) -> Result<bool, NovaError> {
        let volume = volume_api::get(self.cx, &bdm.volume_id, 0).await?;
        let deserted = volume.status == VolumeStatus::Detaching || self.is_lost(&volume, bdm);
        let seen = self.cx.process.seen_deserted(bdm.volume_id.as_str(), deserted);
        Ok(seen && deserted)
    }

    /// Anybody may have the volume, and this server has it.
    fn is_lost(&self, volume: &Volume, bdm: &Bdm) -> bool {
        self.cx.policy().detaches_lost_volumes
            && volume.status == VolumeStatus::Available
            && bdm.attachment_id.is_some()
            && volume.attachments.is_empty()
    }

    async fn volume(&self, instance: &InstanceId, volume: &VolumeId) -> Result<(), NovaError> {
        synchronized(self.cx, instance, pin!(self.locked(instance, volume))).await
    }

    /// Looks again, now that nobody else works on the server.
    async fn locked(&self, instance: &InstanceId, volume: &VolumeId) -> Result<(), NovaError> {
        let cx = self.cx;
        let entry = journal::entry(cx, volume, instance).await?;
        let (intents, attaches) = intent::both_of_volume(cx, instance, volume).await?;
        let bdm = settle::bdm_of(cx, instance, volume).await?;
        let cut_short = entry.as_ref().filter(|e| e.step == JournalStep::Attaching);
        if cut_short.is_some() || !attaches.is_empty() {
            // Another request's cast may be on its way.
            let waits = |i: &Intent| {
                !intent::is_old(self.cx, i.since)
                    && cut_short.is_none_or(|e| e.request != i.request)
            };
            if attaches.iter().any(waits) {
                return Ok(());
            }
            // An entry of an earlier BDM says nothing of this attach.
            let of_row = |e: &JournalEntry| bdm.as_ref().is_none_or(|b| b.id == e.bdm);
            let its = entry.as_ref().is_some_and(of_row);
            // Neither does an intent to detach, which may never have got further.
            if !its || cut_short.is_some() {
                let request = cut_short.map_or_else(|| attaches[0].request, |e| e.request);
                return self.settle(instance, volume, request).await;
            }
            // A detach of it has begun since: the attach has ended.
            for attach in &attaches {
                let request = attach.request;
                intent::clear(cx, Task::Attach, instance, volume, request).await;
            }
        }
        let Some(bdm) = bdm else { return self.ended(instance, volume, entry).await };
        let row = match volume_api::get(cx, volume, 0).await {
            Ok(row) => Some(row),
            Err(NovaError::VolumeNotFound { .. }) => None,
            Err(e) => return Err(e),
        };
        // What cinder has let go of, or deleted, the guest and nova have to let go of too.
        let gone = row
            .as_ref()
            .is_none_or(|v| bdm.attachment_id.is_some() && v.status == VolumeStatus::Available);
        let lost = row.as_ref().is_some_and(|v| self.is_lost(v, &bdm));
        let status = row.map_or(VolumeStatus::Available, |v| v.status);
        let entry = match entry {
            // The volume has been attached anew: the entry tells of an earlier row.
            Some(e) if e.bdm != bdm.id => {
                journal::remove(cx, volume, instance).await;
                None
            }
            other => other,
        };
        match entry {
            Some(e) if gone => self.carry_out(instance, volume, e.request).await,
            None if gone && !intents.is_empty() => {
                self.carry_out(instance, volume, intents[0].request).await
            }
            // Nobody has asked for it: it is done in nobody's name.
            None if lost => self.carry_out(instance, volume, cx.port.cx.request).await,
            None => self.without_entry(instance, volume, &intents, status).await,
            Some(e) => self.resume(instance, &bdm, &e, &intents, status).await,
        }
    }

    /// An attach whose worker has died, or that never came to this host.
    async fn settle(
        &self,
        instance: &InstanceId,
        volume: &VolumeId,
        request: RequestId,
    ) -> Result<(), NovaError> {
        let port = self.cx.in_the_name_of(request);
        let cx = &Context::new(self.cx.process, &port);
        let settled = settle::settle(cx, instance, volume).await?;
        tell_of(
            cx,
            instance,
            "attach_volume",
            "compute_attach_volume",
            settled == Settled::Attached,
        )
        .await;
        Ok(())
    }

    /// No BDM: the detach has ended, or the server's delete has taken it over.
    async fn ended(
        &self,
        instance: &InstanceId,
        volume: &VolumeId,
        entry: Option<JournalEntry>,
    ) -> Result<(), NovaError> {
        let cx = self.cx;
        if let Some(entry) = &entry {
            let others = cx.call(BdmsByVolume { volume_id: volume.clone() }).await?;
            if entry.step < JournalStep::Disconnected
                && let Some(info) = &entry.connection_info
                && others.is_empty()
                && !virt::driver::devices_left(cx, info).await?.is_empty()
            {
                virt::driver::disconnect_volume(cx, instance, volume, Some(info), None).await?;
                confirm_disconnect(cx, instance, info).await?;
            }
            if let Some(attachment) = &entry.attachment_id {
                volume_api::attachment_delete(cx, attachment).await?;
            }
            if entry.step == JournalStep::Unmapped {
                let port = self.cx.in_the_name_of(entry.request);
                tell(&Context::new(cx.process, &port), instance, true).await;
            }
        }
        journal::forget(cx, Task::Detach, instance, volume).await;
        Ok(())
    }

    /// nova-compute has not begun.
    async fn without_entry(
        &self,
        instance: &InstanceId,
        volume: &VolumeId,
        intents: &[Intent],
        status: VolumeStatus,
    ) -> Result<(), NovaError> {
        let Some(old) = intents.iter().find(|i| intent::is_old(self.cx, i.since)) else {
            // Nobody stands for it: cinder was asked by a request that was told it had failed.
            if intents.is_empty()
                && status == VolumeStatus::Detaching
                && !self.another_detaches(instance, volume).await?
            {
                return roll::roll_detaching(self.cx, volume).await;
            }
            return Ok(());
        };
        if status == VolumeStatus::Detaching {
            return self.carry_out(instance, volume, old.request).await;
        }
        // os-begin_detaching never came, or was undone: of that its user may not have been told.
        for intent in intents.iter().filter(|i| intent::is_old(self.cx, i.since)) {
            let port = self.cx.in_the_name_of(intent.request);
            let cx = &Context::new(self.cx.process, &port);
            if tell_if_begun(cx, instance, EVENT, false).await {
                intent::clear(self.cx, Task::Detach, instance, volume, intent.request).await;
            }
        }
        Ok(())
    }

    /// A status is the whole volume's: of a multiattach one it may be another server's detach.
    async fn another_detaches(
        &self,
        instance: &InstanceId,
        volume: &VolumeId,
    ) -> Result<bool, NovaError> {
        let mut rows = self.cx.call(BdmsByVolume { volume_id: volume.clone() }).await?;
        rows.retain(|b| b.instance_uuid != *instance);
        for row in rows {
            let intents = intent::of_volume(self.cx, Task::Detach, &row.instance_uuid, volume);
            if !intents.await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A worker has died, or could not go on.
    async fn resume(
        &self,
        instance: &InstanceId,
        bdm: &Bdm,
        entry: &JournalEntry,
        intents: &[Intent],
        status: VolumeStatus,
    ) -> Result<(), NovaError> {
        let volume = &bdm.volume_id;
        match (entry.step, status) {
            (JournalStep::Released | JournalStep::Disconnected | JournalStep::Unmapped, _)
            | (JournalStep::Unplugging, VolumeStatus::Detaching) => {
                self.carry_out(instance, volume, entry.request).await
            }
            // Somebody else has set the status; the guest may let go all the same.
            (JournalStep::RolledBack, _) => {
                self.rolled_back(instance, bdm, entry, intents, status).await
            }
            (JournalStep::Attaching | JournalStep::Unplugging | JournalStep::GivenUp, _) => {
                match virt::driver::disk_of(self.cx, bdm, instance).await? {
                    Some(disk) => {
                        let port = self.cx.in_the_name_of(entry.request);
                        let cx = &Context::new(self.cx.process, &port);
                        journal::write(cx, bdm, JournalStep::GivenUp).await?;
                        rollback::give_back(cx, bdm, instance, disk).await?;
                        fence::rolled_back(cx, instance, volume).await;
                        Ok(())
                    }
                    None => self.late_unplug(instance, bdm, entry, status).await,
                }
            }
        }
    }

    /// The guest kept its disk. It may let go yet; a new request's cast may have been lost.
    async fn rolled_back(
        &self,
        instance: &InstanceId,
        bdm: &Bdm,
        entry: &JournalEntry,
        intents: &[Intent],
        status: VolumeStatus,
    ) -> Result<(), NovaError> {
        if intents.iter().any(|i| i.request == entry.request) {
            let port = self.cx.in_the_name_of(entry.request);
            let cx = &Context::new(self.cx.process, &port);
            fence::rolled_back(cx, instance, &bdm.volume_id).await;
        }
        if virt::driver::disk_of(self.cx, bdm, instance).await?.is_none() {
            return self.late_unplug(instance, bdm, entry, status).await;
        }
        let mut others = intents.to_vec();
        others.retain(|i| i.request != entry.request);
        if others.iter().any(|i| intent::is_old(self.cx, i.since)) {
            return self.without_entry(instance, &bdm.volume_id, &others, status).await;
        }
        Ok(())
    }

    /// The guest let go after nova had given up: the databases follow it (property L4).
    async fn late_unplug(
        &self,
        instance: &InstanceId,
        bdm: &Bdm,
        entry: &JournalEntry,
        status: VolumeStatus,
    ) -> Result<(), NovaError> {
        let server = self.cx.call(GetInstance { uuid: instance.clone() }).await?;
        if server.host.as_ref() != Some(&self.cx.conf().host) {
            // It has left the host, with the volume: nobody let go of anything.
            journal::remove(self.cx, &bdm.volume_id, instance).await;
            return Ok(());
        }
        // Whoever takes it from the host takes the volume along, unless cinder calls that detaching.
        let leaves = shelve::is_unfinished(&server) || delete::is_unfinished(&server);
        if leaves && status != VolumeStatus::Detaching {
            return Ok(());
        }
        check_not_saved(self.cx, instance, "detach_volume").await?;
        let port = self.cx.in_the_name_of(entry.request);
        let cx = &Context::new(self.cx.process, &port);
        cx.warning(format!("The guest let go of volume {} late", bdm.volume_id));
        if status != VolumeStatus::Detaching {
            intent::write(cx, Task::Detach, instance, &bdm.volume_id).await?;
            volume_api::begin_detaching(cx, &bdm.volume_id).await?;
        }
        // Its request has ended, with an error: there is nothing more to tell.
        do_detach_volume(cx, instance, &bdm.volume_id, None).await?;
        journal::forget(cx, Task::Detach, instance, &bdm.volume_id).await;
        Ok(())
    }

    /// The detach itself, from where it was left.
    async fn carry_out(
        &self,
        instance: &InstanceId,
        volume: &VolumeId,
        request: RequestId,
    ) -> Result<(), NovaError> {
        let port = self.cx.in_the_name_of(request);
        let cx = &Context::new(self.cx.process, &port);
        let result = do_detach_volume(cx, instance, volume, None).await;
        if let Err(e @ NovaError::LeftToReconciler { .. }) = result {
            return Err(e);
        }
        tell(cx, instance, result.is_ok()).await;
        if result.is_ok() {
            journal::forget(cx, Task::Detach, instance, volume).await;
        }
        result
    }
}
