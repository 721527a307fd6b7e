//! open-iscsi and the kernel's SCSI disks against their rules on paper: one shared target, three
//! volumes, whose LUN numbers are given away again as soon as they are free.
//!
//! What the paper must say too is the trap of the whole field: a disk that is there is not looked
//! at again, so it keeps the volume of its probe while its LUN serves another one.

use castoff_ports::iscsi::{self, NodeValue, exit};
use castoff_ports::{Hctl, Iqn, Lun, Portal, host};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::bed::{Bed, volume};
use crate::Release;

/// A session may scan by itself or not; a disk is a LUN and the volume that its probe found.
#[derive(Clone, Debug, Default)]
struct Paper {
    /// LUN n serves `luns[n - 1]`.
    luns: Vec<Option<u32>>,
    /// The node record, and whether it says that scans are manual.
    record: Option<bool>,
    /// The session's disks.
    session: Option<Vec<(u32, u32)>>,
    /// What the last call must exit with.
    exit: i32,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Map(u32),
    Unmap(u32),
    NodeNew,
    ManualScan,
    Login,
    Rescan,
    ScanLun(u32),
    DeleteDisk(usize),
    Logout,
    NodeDelete,
}

/// ISCSI_ERR_LOGIN_AUTH_FAILED: no LUN of the target admits this initiator.
const NOT_ADMITTED: i32 = 24;

impl Paper {
    fn serves(&self, lun: u32) -> Option<u32> {
        self.luns.get(lun as usize - 1).copied().flatten()
    }

    fn scan(&mut self, only: Option<u32>) {
        let found: Vec<(u32, u32)> = (1..=self.luns.len() as u32)
            .filter(|lun| only.is_none_or(|o| o == *lun))
            .filter_map(|lun| self.serves(lun).map(|volume| (lun, volume)))
            .collect();
        let Some(disks) = &mut self.session else { return };
        for (lun, volume) in found {
            if disks.iter().all(|(known, _)| *known != lun) {
                disks.push((lun, volume));
            }
        }
    }

    fn map(&mut self, volume: u32) {
        if self.luns.contains(&Some(volume)) {
            return;
        }
        match self.luns.iter().position(Option::is_none) {
            Some(free) => self.luns[free] = Some(volume),
            None => self.luns.push(Some(volume)),
        }
    }

    fn login(&mut self) -> i32 {
        let Some(manual) = self.record else { return exit::NO_OBJS_FOUND };
        if self.session.is_some() {
            return exit::SESS_EXISTS;
        }
        if self.luns.iter().all(Option::is_none) {
            return NOT_ADMITTED;
        }
        self.session = Some(Vec::new());
        if !manual {
            self.scan(None);
        }
        0
    }
}

impl ReferenceStateMachine for Paper {
    type State = Paper;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Paper> {
        Just(Paper::default()).boxed()
    }

    fn transitions(paper: &Paper) -> BoxedStrategy<Act> {
        let disks = paper.session.as_ref().map_or(0, Vec::len);
        let any = prop_oneof![
            3 => (1..4_u32).prop_map(Act::Map),
            2 => (1..4_u32).prop_map(Act::Unmap),
            2 => Just(Act::NodeNew),
            1 => Just(Act::ManualScan),
            3 => Just(Act::Login),
            1 => Just(Act::Rescan),
            2 => (1..4_u32).prop_map(Act::ScanLun),
            1 => Just(Act::Logout),
            1 => Just(Act::NodeDelete),
        ];
        match disks {
            0 => any.boxed(),
            n => prop_oneof![8 => any, 1 => (0..n).prop_map(Act::DeleteDisk)].boxed(),
        }
    }

    fn preconditions(paper: &Paper, act: &Act) -> bool {
        match *act {
            Act::DeleteDisk(n) => paper.session.as_ref().is_some_and(|disks| n < disks.len()),
            // Only who has a session knows its SCSI host.
            Act::ScanLun(_) => paper.session.is_some(),
            Act::Map(_)
            | Act::Unmap(_)
            | Act::NodeNew
            | Act::ManualScan
            | Act::Login
            | Act::Rescan
            | Act::Logout
            | Act::NodeDelete => true,
        }
    }

    fn apply(mut paper: Paper, act: &Act) -> Paper {
        let present = |is: bool| if is { 0 } else { exit::NO_OBJS_FOUND };
        paper.exit = match *act {
            Act::Map(volume) => {
                paper.map(volume);
                0
            }
            Act::Unmap(volume) => {
                paper.luns.iter_mut().filter(|v| **v == Some(volume)).for_each(|v| *v = None);
                0
            }
            Act::NodeNew => {
                paper.record = Some(false);
                0
            }
            Act::ManualScan => {
                let known = paper.record.is_some();
                paper.record = paper.record.map(|_| true);
                present(known)
            }
            Act::Login => paper.login(),
            Act::Rescan => {
                paper.scan(None);
                present(paper.session.is_some())
            }
            Act::ScanLun(lun) => {
                paper.scan(Some(lun));
                0
            }
            Act::DeleteDisk(n) => {
                if let Some(disks) = &mut paper.session {
                    disks.remove(n);
                }
                0
            }
            Act::Logout => present(paper.session.take().is_some()),
            Act::NodeDelete if paper.record.is_none() => exit::NO_OBJS_FOUND,
            Act::NodeDelete if paper.session.is_some() => exit::SESS_EXISTS,
            Act::NodeDelete => {
                paper.record = None;
                0
            }
        };
        paper
    }
}

struct HostOfOneTarget {
    bed: Bed,
    iqn: Iqn,
    portal: Portal,
}

impl HostOfOneTarget {
    fn run(&mut self, act: Act) -> i32 {
        let (iqn, portal) = (self.iqn.clone(), self.portal.clone());
        let b = &mut self.bed;
        let answer = match act {
            Act::Map(n) => {
                b.map(n);
                return 0;
            }
            Act::Unmap(n) => {
                b.unmap(n);
                return 0;
            }
            Act::NodeNew => b.ask(iscsi::NodeNew { iqn, portal }),
            Act::ManualScan => b.ask(iscsi::NodeUpdate {
                iqn,
                portal,
                name: "node.session.scan".to_owned(),
                value: NodeValue::Plain("manual".to_owned()),
            }),
            Act::Login => b.ask(iscsi::Login { iqn, portal }),
            Act::Rescan => b.ask(iscsi::Rescan { iqn, portal }),
            Act::ScanLun(lun) => {
                let host = b.world.kernel.sessions()[0].host;
                b.ask(host::ScanLun { hctl: Hctl { host, channel: 0, target: 0, lun: Lun(lun) } })
            }
            Act::DeleteDisk(n) => {
                let device =
                    b.world.kernel.devices().nth(n).expect("the paper has it").name.clone();
                b.ask(host::DeleteDevice { device })
            }
            Act::Logout => b.ask(iscsi::Logout { iqn, portal }),
            Act::NodeDelete => b.ask(iscsi::NodeDelete { iqn, portal }),
        };
        answer.expect("a command answers").exit
    }
}

impl StateMachineTest for HostOfOneTarget {
    type SystemUnderTest = HostOfOneTarget;
    type Reference = Paper;

    fn init_test(_: &Paper) -> HostOfOneTarget {
        let mut bed = Bed::of(Release::named("2026.1").expect("a known release"));
        bed.world.storage.shared_target = true;
        let portal = bed.world.storage.portal().clone();
        HostOfOneTarget { bed, iqn: Iqn::new("iqn.2010-10.org.openstack:shared"), portal }
    }

    fn apply(mut host: HostOfOneTarget, after: &Paper, act: Act) -> HostOfOneTarget {
        assert_eq!(host.run(act), after.exit, "{act:?}");
        host
    }

    fn check_invariants(host: &HostOfOneTarget, paper: &Paper) {
        let kernel = &host.bed.world.kernel;
        let records: Vec<bool> = kernel.nodes().iter().map(|n| n.manual_scan).collect();
        assert_eq!(records, Vec::from_iter(paper.record));
        assert_eq!(kernel.sessions().len(), usize::from(paper.session.is_some()));
        let disks = kernel.devices().map(|d| (d.lun.0, d.volume.clone()));
        let expected = paper.session.iter().flatten().map(|(lun, n)| (*lun, volume(*n)));
        assert!(disks.eq(expected), "{:?}", kernel.devices().collect::<Vec<_>>());
        for disk in kernel.devices() {
            // What a read of it reaches is what its LUN serves now, whatever its probe found.
            let served = kernel.serving(&host.bed.world.storage, disk);
            assert_eq!(served.cloned(), paper.serves(disk.lun.0).map(volume), "{disk:?}");
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_keeps_the_volume_of_its_probe_while_its_lun_moves_on(
        sequential 1..60 => HostOfOneTarget
    );
}
