//! The broker against a queue on paper: order, at most once, and what a dead consumer takes along.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::Broker;
use super::tests::{cast, deliver, with_step};
use crate::Facts;
use crate::fact::Fact;

#[derive(Clone, Debug, Default)]
struct Paper {
    sent: u32,
    queued: VecDeque<u32>,
    in_flight: Vec<u32>,
    lost: Vec<u32>,
    is_down: bool,
}

#[derive(Clone, Debug)]
enum Act {
    Cast,
    Deliver,
    Finish(u32),
    Die,
    Up,
}

impl ReferenceStateMachine for Paper {
    type State = Paper;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Paper> {
        Just(Paper::default()).boxed()
    }

    fn transitions(paper: &Paper) -> BoxedStrategy<Act> {
        let any = prop_oneof![
            4 => Just(Act::Cast),
            4 => Just(Act::Deliver),
            1 => Just(Act::Die),
            2 => Just(Act::Up),
        ];
        match paper.in_flight.is_empty() {
            true => any.boxed(),
            false => {
                let one = prop::sample::select(paper.in_flight.clone()).prop_map(Act::Finish);
                prop_oneof![4 => any, 1 => one].boxed()
            }
        }
    }

    fn preconditions(paper: &Paper, act: &Act) -> bool {
        match act {
            Act::Finish(request) => paper.in_flight.contains(request),
            Act::Cast | Act::Deliver | Act::Die | Act::Up => true,
        }
    }

    fn apply(mut paper: Paper, act: &Act) -> Paper {
        match act {
            Act::Cast => {
                paper.sent += 1;
                paper.queued.push_back(paper.sent);
            }
            Act::Deliver if paper.is_down => {}
            Act::Deliver => paper.in_flight.extend(paper.queued.pop_front()),
            Act::Finish(request) => paper.in_flight.retain(|r| r != request),
            Act::Die => {
                paper.is_down = true;
                paper.lost.append(&mut paper.in_flight);
            }
            Act::Up => paper.is_down = false,
        }
        paper
    }
}

struct Queue {
    broker: Broker,
    facts: Facts,
}

impl StateMachineTest for Queue {
    type SystemUnderTest = Queue;
    type Reference = Paper;

    fn init_test(_: &Paper) -> Queue {
        Queue { broker: Broker::new(), facts: Facts::new() }
    }

    fn apply(mut queue: Queue, after: &Paper, act: Act) -> Queue {
        let Queue { broker, facts } = &mut queue;
        match act {
            Act::Cast => cast(broker, facts, after.sent),
            Act::Deliver => {
                let taken = deliver(broker, facts);
                assert!(taken.is_none() || taken.as_ref() == after.in_flight.last());
            }
            Act::Finish(request) => broker.finished(castoff_ports::RequestId(request)),
            Act::Die => with_step(facts, |s| broker.consumer_died(s)),
            Act::Up => broker.consumer_up(),
        }
        queue
    }

    fn check_invariants(Queue { broker, facts }: &Queue, paper: &Paper) {
        let queued: Vec<u32> = broker.queued_requests().map(|r| r.0).collect();
        assert_eq!(queued, Vec::from(paper.queued.clone()));
        let in_flight: Vec<u32> = broker.in_flight().map(|r| r.0).collect();
        assert_eq!(in_flight, paper.in_flight);
        let lost = facts.iter().filter_map(|f| match f {
            Fact::MessageLost { request, .. } => Some(request.0),
            _ => None,
        });
        assert_eq!(lost.collect::<Vec<_>>(), paper.lost);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_broker_is_a_queue_that_forgets_what_a_dead_consumer_had(sequential 1..60 => Queue);
}
