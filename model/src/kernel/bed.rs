//! A world with one guest and one mapped volume, for the tests of the host's models.

use std::time::Duration;

use castoff_ports::libvirt::GuestDisk;
use castoff_ports::{
    Auth, CallCx, Failure, InstanceId, Iqn, Lun, Operation, Portal, Process, Reply, RequestId,
    SimTime, VolumeId, iscsi, libvirt,
};

use crate::storage::IscsiAddress;
use crate::world::{Outcome, Ticket};
use crate::{Release, World};

/// A world and the time in it.
pub(crate) struct Bed {
    pub(crate) world: World,
    pub(crate) now: SimTime,
    pub(crate) cx: CallCx,
}

pub(crate) fn volume(n: u32) -> VolumeId {
    VolumeId::new(format!("v{n}"))
}

pub(crate) fn guest() -> InstanceId {
    InstanceId::new("server-1")
}

/// `vdb` of this volume on this host device, as nova 2026.1 writes it.
pub(crate) fn disk(target: &str, source: &str, volume: &VolumeId) -> GuestDisk {
    GuestDisk {
        target_dev: target.to_owned(),
        source_dev: source.to_owned(),
        serial: Some(volume.clone()),
        alias: Some(format!("ua-{volume}").as_str().into()),
    }
}

impl Bed {
    /// A guest without disks; libvirt's calls block for `blocks`; guests write only when they must.
    pub(crate) fn new(blocks: Duration) -> Bed {
        let release = Release::named("2026.1").expect("a known release");
        Bed::of(Release { detach_blocks: blocks, ..release })
    }

    pub(crate) fn of(release: Release) -> Bed {
        let mut world = World::new(release);
        world.hypervisor.guest_writes_every = None;
        world.hypervisor.start_guest(guest(), true);
        let cx = CallCx {
            process: Process::NovaCompute,
            incarnation: 0,
            request: RequestId(1),
            auth: Auth::default(),
            deadline: None,
        };
        Bed { world, now: SimTime::ZERO, cx }
    }

    /// Calls at the time that it is; the answer must come at once.
    pub(crate) fn ask<O: Operation>(&mut self, op: O) -> Result<O::Reply, Failure> {
        match self.world.call(self.now, &self.cx, op.into_call()) {
            Outcome::Done(result) => result.map(|r| O::from_reply(r).expect("its own reply")),
            Outcome::Blocked(ticket) => panic!("{} blocks with {ticket:?}", O::NAME),
        }
    }

    /// Calls at the time that it is; the answer must not come at once.
    pub(crate) fn block<O: Operation>(&mut self, op: O) -> Ticket {
        match self.world.call(self.now, &self.cx, op.into_call()) {
            Outcome::Done(result) => panic!("{} answered at once: {result:?}", O::NAME),
            Outcome::Blocked(ticket) => ticket,
        }
    }

    /// Lets time pass up to `millis`; the answers that became due, each with its time.
    pub(crate) fn until(&mut self, millis: u64) -> Vec<(SimTime, Ticket, Result<Reply, Failure>)> {
        let (end, mut answers) = (SimTime(millis * 1000), Vec::new());
        while let Some(at) = self.world.next_timer().filter(|at| *at <= end) {
            self.world.advance(at);
            let due = self.world.take_completed().into_iter();
            answers.extend(due.map(|(ticket, result)| (at, ticket, result)));
        }
        self.now = end;
        answers
    }

    /// Maps a volume to the host.
    pub(crate) fn map(&mut self, n: u32) -> IscsiAddress {
        let initiator = self.world.kernel.initiator.clone();
        self.world.storage.add_volume(volume(n));
        self.world.storage.map(&mut self.world.facts, &volume(n), &initiator)
    }

    pub(crate) fn unmap(&mut self, n: u32) {
        let initiator = self.world.kernel.initiator.clone();
        self.world.storage.unmap(&mut self.world.facts, &volume(n), &initiator);
    }

    /// Maps a volume and logs in; a session that scans by itself brings its disks.
    pub(crate) fn connect(&mut self, n: u32) -> IscsiAddress {
        let to = self.map(n);
        let (iqn, portal) = (to.iqn.clone(), to.portal.clone());
        let new = iscsi::NodeNew { iqn: iqn.clone(), portal: portal.clone() };
        assert_eq!(self.ask(new).unwrap().exit, 0);
        let login = iscsi::Login { iqn, portal };
        let exit = self.ask(login).unwrap().exit;
        assert!(exit == 0 || exit == iscsi::exit::SESS_EXISTS, "login exits with {exit}");
        to
    }

    /// Connects the volume and gives it to the guest.
    pub(crate) fn attach(&mut self, n: u32, target: &str, source: &str) -> IscsiAddress {
        let to = self.connect(n);
        let disk = disk(target, source, &volume(n));
        let instance = guest();
        let attach = libvirt::AttachDeviceFlags { instance, disk, config: true, live: true };
        self.ask(attach).expect("the guest takes the disk");
        to
    }

    pub(crate) fn session_of(&self, to: &IscsiAddress) -> (Portal, Iqn, Lun) {
        (to.portal.clone(), to.iqn.clone(), to.lun)
    }
}
