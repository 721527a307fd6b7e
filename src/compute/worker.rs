//! Messages, one task each; report_state; the reconciler; the end.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use castoff_model::wire::rpc::{Envelope, answer};
use castoff_openstack::rpc::{Delivery, queue};
use castoff_openstack::{Broker, Clock, HttpClient, NovaDb, RequestInfo, Requests};
use castoff_pipeline::{NovaProcess, nova_compute, reconcile};
use castoff_ports::rpc::Method;
use castoff_ports::{Auth, CallCx, Failure, HostName, Port, Process, RequestId, Secret};
use futures::future::{Either, select};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use super::host::Host;
use super::log::{Log, one_line};
use super::plane::Plane;
use super::{ComputeError, Settings};

/// `report_interval`.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// kombu's pauses between tries: 1 s, then 2 s more each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MORE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

struct Worker {
    plane: Rc<Plane>,
    process: Rc<NovaProcess>,
    transport: Secret,
    /// The connection on which it serves its queue, while it does.
    broker: RefCell<Option<Rc<Broker>>>,
    /// It has begun to serve its queue.
    served: Notify,
    server: HostName,
    log: Log,
    /// Messages under way.
    working: RefCell<JoinSet<()>>,
    /// Messages that it still takes.
    left: Cell<Option<u64>>,
}

pub(super) async fn serve(
    settings: Settings,
    log: Log,
    stop: impl Future<Output = ()>,
) -> Result<(), ComputeError> {
    let server = settings.conf.host.clone();
    let host = Host::connect(settings.host)?;
    let (clock, requests) = (Clock::of_run(host.now()), Rc::new(Requests::default()));
    let db = NovaDb::connect(&settings.database, clock, requests.clone(), server.clone())
        .await
        .map_err(ComputeError::Database)?;
    let http = HttpClient::new(settings.keystone, settings.cinder, clock, requests.clone(), None);
    log.say(
        host.now(),
        format!("{server}: policy {}, {}", settings.conf.policy.name, host.describe()),
    );
    let plane = Rc::new(Plane { host, http, db, requests, log: log.clone() });
    let worker = Rc::new(Worker {
        plane,
        process: Rc::new(NovaProcess::new(Rc::new(settings.conf))),
        transport: settings.transport,
        broker: RefCell::new(None),
        served: Notify::new(),
        server,
        log,
        working: RefCell::default(),
        left: Cell::new(settings.messages),
    });
    let mut background = Vec::new();
    if settings.report_state {
        background.push(tokio::task::spawn_local(worker.clone().report_state()));
    }
    if worker.process.conf().policy.reconcile_period_s.is_some() {
        background.push(tokio::task::spawn_local(worker.clone().passes()));
    }
    match select(pin!(worker.take_messages()), pin!(stop)).await {
        Either::Left(((), _)) => worker.say("has taken as many messages as it was told to"),
        Either::Right(((), _)) => worker.say("is told to stop"),
    }
    let ended = worker.end(settings.grace).await;
    for task in background {
        task.abort();
    }
    ended
}

impl Worker {
    fn say(&self, text: impl std::fmt::Display) {
        self.log.say(self.plane.host.now(), format!("{}: {text}", self.server));
    }

    fn port(&self, request: RequestId, auth: Auth) -> Port {
        let process = Process::NovaCompute;
        let cx = CallCx { process, incarnation: 0, request, auth, deadline: None };
        Port::new(self.plane.clone(), cx)
    }

    /// Until it has taken as many as it may; whatever happens to the broker meanwhile.
    async fn take_messages(self: &Rc<Self>) {
        let mut pause = FIRST_PAUSE;
        while self.left.get() != Some(0) {
            match self.connected(&mut pause).await {
                Ok(()) if self.left.get() == Some(0) => {}
                Ok(()) => self.say("the broker has cancelled the consumer"),
                Err(e) => self.say(format_args!("{}; again in {pause:?}", one_line(&e))),
            }
            self.broker.replace(None);
            if self.left.get() != Some(0) {
                tokio::time::sleep(pause).await;
                pause = (pause + MORE).min(LONGEST_PAUSE);
            }
        }
    }

    /// One connection, as long as it lasts.
    async fn connected(self: &Rc<Self>, pause: &mut Duration) -> Result<(), Failure> {
        let broker = Rc::new(Broker::connect(&self.transport).await?);
        let mut inbox = broker.consume(&self.server).await?;
        self.broker.replace(Some(broker.clone()));
        self.served.notify_waiters();
        *pause = FIRST_PAUSE;
        self.say(format_args!("takes messages from {}", queue(&self.server)));
        while self.left.get() != Some(0) {
            match inbox.next().await? {
                None => return Ok(()),
                Some(Delivery::Unreadable(why)) => {
                    self.say(format_args!("drops a message: {why}"));
                }
                Some(Delivery::Message(envelope)) => self.take(&broker, *envelope).await,
            }
            self.left.set(self.left.get().map(|left| left.saturating_sub(1)));
        }
        broker.cancel(&inbox).await;
        Ok(())
    }

    async fn take(self: &Rc<Self>, broker: &Broker, envelope: Envelope) {
        let context = |key: &str| envelope.context.get(key).and_then(Value::as_str);
        let request = self.plane.requests.number(RequestInfo {
            name: context("request_id").unwrap_or("req-none").to_owned(),
            user: context("user_id").map(Into::into),
            project: context("project_id").map(Into::into),
        });
        let name = self.plane.requests.name(request);
        let about = |text: String| self.log.about(self.plane.host.now(), name.clone(), text);
        let refusal = match envelope.method() {
            Ok(method @ Method::DetachVolume { .. }) => {
                about(format!("takes {} from {}", describe(&method), queue(&self.server)));
                let auth = Auth { token: envelope.auth_token.clone(), service_token: None };
                let mut working = self.working.borrow_mut();
                while let Some(ended) = working.try_join_next() {
                    raise(ended);
                }
                working.spawn_local(self.clone().work(request, auth, method));
                return;
            }
            Ok(other) => format!("{} is not carried out here", other.name()),
            Err(e) => e.to_string(),
        };
        about(format!("drops a message: {refusal}"));
        if let (Some(msg_id), Some(reply_q)) = (&envelope.msg_id, &envelope.reply_q) {
            let answered = broker.reply(reply_q, &answer::unsupported(msg_id, &refusal)).await;
            if let Err(e) = answered {
                about(format!("its caller was not told: {}", one_line(&e)));
            }
        }
    }

    async fn work(self: Rc<Self>, request: RequestId, auth: Auth, method: Method) {
        let what = describe(&method);
        let port = self.port(request, auth);
        let ended = match nova_compute(&self.process, &port, method).await {
            Ok(_) => "done".to_owned(),
            // A cast has no one to answer to: the manager has recorded what went wrong.
            Err(e) => format!("failed: {e}"),
        };
        let name = self.plane.requests.name(request);
        self.log.about(self.plane.host.now(), name, format!("{what}: {ended}"));
    }

    /// Waits until the queue is its own: where another nova-compute serves it, neither the services
    /// row nor what is half done is ours.
    async fn serves(&self) {
        while self.broker.borrow().is_none() {
            self.served.notified().await;
        }
    }

    async fn report_state(self: Rc<Self>) {
        loop {
            self.serves().await;
            if let Err(e) = self.plane.db.report_state(self.plane.host.now()).await {
                self.say(format_args!("reports no state: {}", one_line(&e)));
            }
            tokio::time::sleep(REPORT_INTERVAL).await;
        }
    }

    async fn passes(self: Rc<Self>) {
        let period = self.process.conf().policy.reconcile_period_s.unwrap_or(60);
        loop {
            self.serves().await;
            let request = self.plane.requests.number_of("req-reconcile");
            reconcile(&self.process, &self.port(request, Auth::default())).await;
            tokio::time::sleep(Duration::from_secs(period.into())).await;
        }
    }

    /// Messages under way end; those not taken stay in their queue.
    async fn end(&self, grace: Duration) -> Result<(), ComputeError> {
        // What is taken and not acknowledged goes back to its queue with the connection.
        let broker = self.broker.replace(None);
        if let Some(broker) = &broker {
            broker.close().await;
        }
        let mut working = self.working.take();
        let idle = async {
            while let Some(ended) = working.join_next().await {
                raise(ended);
            }
        };
        let in_time = tokio::time::timeout(grace, idle).await.is_ok();
        self.plane.db.close().await;
        if !in_time {
            return Err(ComputeError::Unfinished { left: working.len(), grace });
        }
        self.say("has stopped");
        Ok(())
    }
}

/// A bug of ours in a message's work ends the process, as it would have there.
fn raise(ended: Result<(), JoinError>) {
    if let Err(e) = ended
        && let Ok(panic) = e.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// A method in the words of a log: ids alone.
fn describe(method: &Method) -> String {
    match method {
        Method::DetachVolume { instance, volume_id, .. } => {
            format!("detach_volume of {volume_id} from {instance}")
        }
        other => other.name().to_owned(),
    }
}
