//! What reaches nova-compute through the broker: RPC calls, casts, and first of all its own start.

use std::rc::Rc;
use std::time::Duration;

use castoff_model::World;
use castoff_pipeline::{init_host, nova_compute, reconcile};
use castoff_ports::{Auth, CallCx, Process, Refusal, Reply, RequestId, rpc};
use castoff_sim::latency;
use tokio::task::spawn_local;

use super::cloud::{Answer, Cloud, middle};

/// rpc_response_timeout.
const RPC_RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// What nova-compute does of its own accord when it starts has no user's request.
const STARTING: RequestId = RequestId(0);

impl Cloud {
    /// nova-compute starts again: first it looks after its servers.
    pub(super) fn start_compute(self: &Rc<Self>) {
        let port = self.port(Process::NovaCompute, STARTING, Auth::default());
        let (cloud, nova) = (self.clone(), self.process(Process::NovaCompute));
        self.spawn(Process::NovaCompute, STARTING, async move {
            init_host(&nova, &port).await;
            // Only now does its RPC server open.
            cloud.world.borrow_mut().broker.consumer_up();
            let waiting = cloud.world.borrow().broker.queued();
            for _ in 0..waiting {
                cloud.schedule_delivery();
            }
            cloud.start_passes(Duration::ZERO);
        });
    }

    /// The periodic task of nova-compute, where the policy has one; its first pass is `after` from
    /// now. It is no task that a crash must end: it looks whether its process still lives.
    pub(super) fn start_passes(self: &Rc<Self>, mut after: Duration) {
        let nova = self.process(Process::NovaCompute);
        let Some(seconds) = nova.conf().policy.reconcile_period_s else { return };
        let cloud = self.clone();
        spawn_local(async move {
            loop {
                cloud.clock.sleep(after).await;
                let same = Rc::ptr_eq(&nova, &cloud.process(Process::NovaCompute));
                if !same || cloud.is_dead(Process::NovaCompute) {
                    return;
                }
                let port = cloud.port(Process::NovaCompute, STARTING, Auth::default());
                let nova = nova.clone();
                let pass = async move { reconcile(&nova, &port).await };
                // A crash aborts it; the next look at the process ends this loop then.
                let _ = cloud.spawn(Process::NovaCompute, STARTING, pass).await;
                after = Duration::from_secs(seconds.into());
            }
        });
    }

    /// Carries out an RPC call: it waits for the reply, though not for ever.
    pub(super) async fn rpc_call(self: &Rc<Self>, cx: &CallCx, call: rpc::CallMethod) -> Answer {
        let rpc::CallMethod { server, method } = call;
        let silence = || Refusal::MessagingTimeout { server: server.to_string() };
        if self.is_dead(Process::NovaCompute) {
            self.clock.sleep(RPC_RESPONSE_TIMEOUT).await;
            return Err(silence().into());
        }
        let port = self.port(Process::NovaCompute, cx.request, cx.auth.clone());
        let process = self.process(Process::NovaCompute);
        let task = self.spawn(Process::NovaCompute, cx.request, async move {
            nova_compute(&process, &port, method).await
        });
        let limit = self.clock.real(RPC_RESPONSE_TIMEOUT);
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(Ok(returned))) => Ok(Reply::Rpc(rpc::Reply::CallMethod(returned))),
            Ok(Ok(Err(error))) => Err(error.to_remote().into()),
            Err(_) => Err(silence().into()),
            // It died at work: its caller waits in vain, as long as anybody waits.
            Ok(Err(_)) => {
                self.clock.sleep(RPC_RESPONSE_TIMEOUT).await;
                Err(silence().into())
            }
        }
    }

    /// The broker has one message more: it arrives a delivery's time from now, whatever else is on
    /// its way.
    pub(super) fn schedule_delivery(self: &Rc<Self>) {
        let cloud = self.clone();
        spawn_local(async move {
            cloud.clock.sleep(middle(latency::DELIVERY)).await;
            cloud.deliver();
        });
    }

    /// Hands the oldest message to nova-compute, which works on each in a task of its own; it is
    /// acknowledged as it is handed over (at most once).
    fn deliver(self: &Rc<Self>) {
        if self.is_dead(Process::NovaCompute) {
            return;
        }
        let Some(message) = self.with_world(World::deliver) else { return };
        let request = message.request;
        let port = self.port(Process::NovaCompute, request, message.auth);
        let process = self.process(Process::NovaCompute);
        let done = self.clone();
        self.spawn(Process::NovaCompute, request, async move {
            // A cast has no one to answer to: the manager has recorded what went wrong.
            let _ = nova_compute(&process, &port, message.method).await;
            done.world.borrow_mut().broker.finished(request);
        });
    }
}
