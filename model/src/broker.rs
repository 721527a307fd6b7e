//! The message broker between nova-api and nova-compute: one ordered queue, at most once.
//!
//! oslo.messaging acknowledges a message before it dispatches it, so a message is in exactly one
//! place: queued, in flight in its consumer, or gone. When the consumer dies the queued ones stay
//! for the next consumer (and may be acted on much later: a zombie detach), the ones in flight are
//! lost without a word to anyone. A cast has no reply: its sender knows only that it was queued.

use std::collections::VecDeque;

use castoff_ports::rpc::{Call, Method, Reply};
use castoff_ports::{Auth, CallCx, HostName, Operation as _, Refusal, RequestId, rpc};

use crate::fact::Fact;
use crate::world::Step;

/// A cast, as it lies in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The compute host whose queue it is in.
    pub server: HostName,
    /// The request it serves.
    pub request: RequestId,
    /// The caster's tokens: the request context carries them, and they age with the message.
    pub auth: Auth,
    /// What to do.
    pub method: Method,
}

/// The broker, and the compute host's connection to it.
#[derive(Clone, Debug)]
pub struct Broker {
    queue: VecDeque<Message>,
    connected: bool,
    in_flight: Vec<(RequestId, &'static str)>,
}

impl Default for Broker {
    fn default() -> Self {
        Broker::new()
    }
}

impl Broker {
    /// An empty queue with its consumer connected.
    pub fn new() -> Broker {
        Broker { queue: VecDeque::new(), connected: true, in_flight: Vec::new() }
    }

    /// Queues a cast; a call needs someone who answers and is not for a model.
    pub fn call(&mut self, step: &mut Step, cx: &CallCx, call: Call) -> Result<Reply, Refusal> {
        match call {
            Call::Cast(c) => {
                step.facts
                    .push(Fact::MessageQueued { request: cx.request, method: c.method.name() });
                self.queue.push_back(Message {
                    server: c.server,
                    request: cx.request,
                    auth: cx.auth.clone(),
                    method: c.method,
                });
                Ok(Reply::Cast(()))
            }
            Call::CallMethod(_) => {
                Err(Refusal::Unsupported { operation: rpc::CallMethod::NAME.to_owned() })
            }
        }
    }

    /// Hands the oldest message to nova-compute, if it is connected.
    ///
    /// The message is acknowledged by that: from here on it is in flight until [`finished`], and
    /// lost if its consumer dies first.
    ///
    /// [`finished`]: Broker::finished
    pub fn deliver(&mut self, step: &mut Step) -> Option<Message> {
        if !self.connected {
            return None;
        }
        let message = self.queue.pop_front()?;
        let method = message.method.name();
        self.in_flight.push((message.request, method));
        step.facts.push(Fact::MessageDelivered { request: message.request, method });
        Some(message)
    }

    /// nova-compute has dealt with a message of this request, well or badly.
    pub fn finished(&mut self, request: RequestId) {
        if let Some(at) = self.in_flight.iter().position(|(r, _)| *r == request) {
            self.in_flight.remove(at);
        }
    }

    /// nova-compute has connected.
    pub fn consumer_up(&mut self) {
        self.connected = true;
    }

    /// nova-compute is gone: what it had in flight is lost, what is queued stays.
    pub fn consumer_died(&mut self, step: &mut Step) {
        self.connected = false;
        for (request, method) in self.in_flight.drain(..) {
            step.facts.push(Fact::MessageLost { request, method });
        }
    }

    /// How many messages wait in the queue.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Requests whose message waits in the queue, oldest first.
    pub fn queued_requests(&self) -> impl Iterator<Item = RequestId> {
        self.queue.iter().map(|m| m.request)
    }

    /// Requests whose message nova-compute is working on.
    pub fn in_flight(&self) -> impl Iterator<Item = RequestId> {
        self.in_flight.iter().map(|(request, _)| *request)
    }
}

#[cfg(test)]
mod state_machine;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Facts;
    use crate::world::Completed;
    use castoff_ports::{Process, SimTime};

    pub(super) fn with_step<T>(facts: &mut Facts, body: impl FnOnce(&mut Step) -> T) -> T {
        body(&mut Step {
            now: SimTime::ZERO,
            facts,
            completed: &mut Completed::new(),
            next_ticket: &mut 0,
        })
    }

    fn cx(request: u32) -> CallCx {
        CallCx {
            process: Process::NovaApi,
            incarnation: 0,
            request: RequestId(request),
            auth: Auth::default(),
            deadline: None,
        }
    }

    fn detach() -> Method {
        Method::DetachVolume { instance: "i".into(), volume_id: "v".into(), attachment_id: None }
    }

    pub(super) fn cast(b: &mut Broker, facts: &mut Facts, request: u32) {
        let call = Call::Cast(rpc::Cast { server: "vm".into(), method: detach() });
        let reply = with_step(facts, |s| b.call(s, &cx(request), call));
        assert_eq!(reply, Ok(Reply::Cast(())));
    }

    pub(super) fn deliver(b: &mut Broker, facts: &mut Facts) -> Option<u32> {
        with_step(facts, |s| b.deliver(s)).map(|m| m.request.0)
    }

    #[test]
    fn messages_are_delivered_in_the_order_of_their_casts_and_once_each() {
        let (mut b, mut facts) = (Broker::new(), Facts::new());
        for request in [3, 1, 2] {
            cast(&mut b, &mut facts, request);
        }
        assert_eq!(b.queued(), 3);
        let order: Vec<_> = std::iter::from_fn(|| deliver(&mut b, &mut facts)).collect();
        assert_eq!(order, [3, 1, 2]);
        assert_eq!(b.queued(), 0);
    }

    #[test]
    fn a_dead_consumer_loses_what_is_in_flight_and_leaves_what_is_queued() {
        let (mut b, mut facts) = (Broker::new(), Facts::new());
        for request in [1, 2, 3] {
            cast(&mut b, &mut facts, request);
        }
        assert_eq!(deliver(&mut b, &mut facts), Some(1));
        assert_eq!(deliver(&mut b, &mut facts), Some(2));
        b.finished(RequestId(1));
        facts.clear();
        with_step(&mut facts, |s| b.consumer_died(s));
        let lost = Fact::MessageLost { request: RequestId(2), method: "detach_volume" };
        assert_eq!(facts, [lost]);
        assert_eq!(deliver(&mut b, &mut facts), None);
        b.consumer_up();
        assert_eq!(deliver(&mut b, &mut facts), Some(3));
    }

    #[test]
    fn a_call_is_left_to_the_binding() {
        let (mut b, mut facts) = (Broker::new(), Facts::new());
        let call = Call::CallMethod(rpc::CallMethod { server: "vm".into(), method: detach() });
        let refused = with_step(&mut facts, |s| b.call(s, &cx(1), call));
        assert!(matches!(refused, Err(Refusal::Unsupported { .. })));
        assert!(facts.is_empty());
    }
}
