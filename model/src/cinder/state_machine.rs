//! Cinder's attachments API against its rules on paper: one volume, three servers, two hosts.
//!
//! The paper has no code of the model's: a row is a server, a state and a host, and the volume's
//! status follows from the rules of cinder 28 (`cinder/volume/api.py`: `_attachment_reserve`,
//! `attachment_update`, `begin_detaching`; `cinder/volume/manager.py`: `attachment_update`).

use castoff_ports::cinder::{
    AttachStatus, AttachmentCreate, AttachmentUpdate, Call, Reply, VolumeStatus,
};
use castoff_ports::{AttachmentId, InstanceId, Iqn, Refusal};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::tests::{Bench, begin, complete, connector, delete, roll, volume};
use crate::release::CinderRelease;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    server: u8,
    status: AttachStatus,
    host: Option<u8>,
}

#[derive(Clone, Debug)]
struct Paper {
    multiattach: bool,
    status: VolumeStatus,
    /// The volume's own attach_status says attached: what os-begin_detaching asks besides the status.
    is_attached: bool,
    rows: Vec<Row>,
    /// The hosts that are admitted.
    mapped: [bool; 2],
    /// What the last call must answer.
    answer: Result<(), u16>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Create(u8),
    Update(usize, u8),
    Complete(usize),
    Delete(usize),
    Begin,
    Roll,
}

impl Paper {
    fn create(&mut self, server: u8) -> Result<(), u16> {
        let free = self.status == VolumeStatus::Available
            || (self.multiattach && self.status == VolumeStatus::InUse);
        let again = matches!(self.status, VolumeStatus::InUse | VolumeStatus::Reserved)
            && self.rows.iter().any(|r| r.server == server);
        if !free && !again {
            return Err(400);
        }
        self.rows.push(Row { server, status: AttachStatus::Reserved, host: None });
        if free {
            self.status = VolumeStatus::Reserved;
        }
        Ok(())
    }

    fn update(&mut self, at: usize, host: u8) -> Result<(), u16> {
        let connected = self.rows.iter().any(|r| r.host.is_some());
        if !self.multiattach && self.rows.len() > 1 && connected {
            return Err(409);
        }
        self.rows[at].status = AttachStatus::Attaching;
        // A connector that replaces another leaves the other's host admitted.
        self.rows[at].host = Some(host);
        self.mapped[usize::from(host)] = true;
        (self.status, self.is_attached) = (VolumeStatus::Attaching, false);
        Ok(())
    }

    fn delete(&mut self, at: usize) {
        let row = self.rows.remove(at);
        if let Some(host) = row.host.filter(|_| !self.rows.iter().any(|r| r.host == row.host)) {
            self.mapped[usize::from(host)] = false;
        }
        // The status is that of the row that is furthest.
        let any = |status| self.rows.iter().any(|r| r.status == status);
        (self.status, self.is_attached) = if any(AttachStatus::Attached) {
            (VolumeStatus::InUse, true)
        } else if any(AttachStatus::Attaching) {
            (VolumeStatus::Attaching, false)
        } else if any(AttachStatus::Reserved) {
            (VolumeStatus::Reserved, false)
        } else {
            (VolumeStatus::Available, false)
        };
    }
}

impl ReferenceStateMachine for Paper {
    type State = Paper;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Paper> {
        let paper = |multiattach| Paper {
            multiattach,
            status: VolumeStatus::Available,
            is_attached: false,
            rows: Vec::new(),
            mapped: [false; 2],
            answer: Ok(()),
        };
        any::<bool>().prop_map(paper).boxed()
    }

    fn transitions(paper: &Paper) -> BoxedStrategy<Act> {
        let whole = prop_oneof![
            3 => (0..3_u8).prop_map(Act::Create),
            1 => Just(Act::Begin),
            1 => Just(Act::Roll),
        ];
        if paper.rows.is_empty() {
            return whole.boxed();
        }
        let row = 0..paper.rows.len();
        prop_oneof![
            3 => whole,
            3 => (row.clone(), 0..2_u8).prop_map(|(row, host)| Act::Update(row, host)),
            2 => row.clone().prop_map(Act::Complete),
            2 => row.prop_map(Act::Delete),
        ]
        .boxed()
    }

    fn preconditions(paper: &Paper, act: &Act) -> bool {
        match *act {
            Act::Update(at, _) | Act::Complete(at) | Act::Delete(at) => at < paper.rows.len(),
            Act::Create(_) | Act::Begin | Act::Roll => true,
        }
    }

    fn apply(mut paper: Paper, act: &Act) -> Paper {
        paper.answer = match *act {
            Act::Create(server) => paper.create(server),
            Act::Update(at, host) => paper.update(at, host),
            Act::Complete(at) => {
                paper.rows[at].status = AttachStatus::Attached;
                (paper.status, paper.is_attached) = (VolumeStatus::InUse, true);
                Ok(())
            }
            Act::Delete(at) => {
                paper.delete(at);
                Ok(())
            }
            Act::Begin if paper.status == VolumeStatus::InUse && paper.is_attached => {
                paper.status = VolumeStatus::Detaching;
                Ok(())
            }
            Act::Begin => Err(400),
            Act::Roll => {
                if paper.status == VolumeStatus::Detaching {
                    paper.status = VolumeStatus::InUse;
                }
                Ok(())
            }
        };
        paper
    }
}

struct Cinder28 {
    bench: Bench,
    ids: Vec<AttachmentId>,
}

impl Cinder28 {
    fn call(&mut self, act: Act) -> Result<Reply, Refusal> {
        self.bench.call(match act {
            Act::Create(server) => Call::AttachmentCreate(AttachmentCreate {
                volume_id: volume(),
                instance: server_id(server),
            }),
            Act::Update(at, host) => Call::AttachmentUpdate(AttachmentUpdate {
                attachment_id: self.ids[at].clone(),
                connector: connector(&format!("vm{host}")),
                mountpoint: "/dev/vdb".to_owned(),
            }),
            Act::Complete(at) => complete(&self.ids[at]),
            Act::Delete(at) => delete(&self.ids[at]),
            Act::Begin => begin(),
            Act::Roll => roll(),
        })
    }
}

fn server_id(n: u8) -> InstanceId {
    format!("server-{n}").as_str().into()
}

impl StateMachineTest for Cinder28 {
    type SystemUnderTest = Cinder28;
    type Reference = Paper;

    fn init_test(paper: &Paper) -> Cinder28 {
        let mut bench = Bench::new(CinderRelease::V28);
        let row = bench.cinder.volume_mut(&volume()).expect("the bench's own volume");
        row.multiattach = paper.multiattach;
        Cinder28 { bench, ids: Vec::new() }
    }

    fn apply(mut cinder: Cinder28, after: &Paper, act: Act) -> Cinder28 {
        let answer = cinder.call(act);
        let code = answer.as_ref().map(|_| ()).map_err(|refusal| match refusal {
            Refusal::Http { status, .. } => *status,
            other => panic!("{other:?}"),
        });
        assert_eq!(code, after.answer, "{act:?} answered {answer:?}");
        match (act, answer) {
            (Act::Create(_), Ok(Reply::AttachmentCreate(made))) => cinder.ids.push(made.id),
            (Act::Delete(at), Ok(_)) => drop(cinder.ids.remove(at)),
            _ => {}
        }
        cinder
    }

    fn check_invariants(cinder: &Cinder28, paper: &Paper) {
        assert_eq!(cinder.bench.status(), paper.status);
        let rows = cinder.bench.cinder.live_attachments().map(|row| {
            (row.instance.clone(), row.attach_status, row.host.as_ref().map(ToString::to_string))
        });
        let expected = paper
            .rows
            .iter()
            .map(|r| (server_id(r.server), r.status, r.host.map(|n| format!("vm{n}"))));
        assert!(rows.eq(expected), "{paper:?}");
        let admitted = |initiator: Option<Iqn>| {
            let mappings = cinder.bench.storage.mappings().iter();
            mappings.filter(|m| Some(&m.initiator) == initiator.as_ref()).count()
        };
        for (host, wanted) in paper.mapped.iter().enumerate() {
            let found = admitted(connector(&format!("vm{host}")).initiator);
            assert_eq!(found, usize::from(*wanted), "host vm{host}: {paper:?}");
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_attachments_api_keeps_the_rules_of_cinder_28(sequential 1..40 => Cinder28);
}
