//! The binding: each system over its own way.

use std::cell::RefCell;
use std::rc::Rc;

use castoff_model::broker::Message;
use castoff_model::release::CinderRelease;
use castoff_model::wire::rpc::{Api, Envelope};
use castoff_openstack::{Broker, HttpClient, NovaDb, Requests};
use castoff_ports::trace::Note;
use castoff_ports::{Binding, Call, CallCx, Failure, Refusal, Reply, SimTime, rpc};
use futures::future::LocalBoxFuture;
use serde_json::json;

use super::host::Host;
use super::log::{Log, one_line};

/// Everything outside of the pipeline.
pub(super) struct Plane {
    pub(super) host: Host,
    pub(super) http: HttpClient,
    pub(super) db: NovaDb,
    pub(super) requests: Rc<Requests>,
    /// The connection of the moment.
    pub(super) broker: RefCell<Option<Rc<Broker>>>,
    pub(super) api: CinderRelease,
    pub(super) log: Log,
}

impl Plane {
    async fn carry_out(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        match call {
            Call::Keystone(_) | Call::Cinder(_) => self.http.call(cx, call).await,
            Call::NovaDb(call) => self.db.call(self.host.now(), cx, call).await.map(Reply::NovaDb),
            Call::Rpc(rpc::Call::Cast(cast)) => {
                self.cast(cx, cast).await.map(|()| Reply::Rpc(rpc::Reply::Cast(())))
            }
            // nova-compute calls nobody, and is no nova-api.
            Call::Rpc(rpc::Call::CallMethod(_)) | Call::Nova(_) => {
                Err(Refusal::Unsupported { operation: call.name().to_owned() }.into())
            }
            Call::Libvirt(_) | Call::Iscsi(_) | Call::Host(_) | Call::Runtime(_) => {
                self.host.call(cx, call).await
            }
        }
    }

    async fn cast(&self, cx: &CallCx, cast: rpc::Cast) -> Result<(), Failure> {
        let broker = self.broker.borrow().clone();
        let broker = broker.ok_or_else(|| Failure::Unreachable { system: "broker".to_owned() })?;
        let message = Message {
            server: cast.server.clone(),
            request: cx.request,
            auth: cx.auth.clone(),
            method: cast.method,
        };
        let unique = u64::from(cx.request.0) << 32 | self.host.now().0 & 0xffff_ffff;
        let mut envelope = Envelope::cast(&message, Api::of(self.api), unique);
        let name = self.requests.name(cx.request);
        envelope.context.insert("request_id".to_owned(), json!(name));
        broker.publish(&cast.server, &envelope).await
    }
}

impl Binding for Plane {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(async move {
            let (began, text) = (self.host.now(), call.describe());
            let system = call.system();
            let result = self.carry_out(cx, call).await;
            let now = self.host.now();
            let outcome = match &result {
                Ok(_) => "ok".to_owned(),
                Err(failure) => one_line(failure),
            };
            let took = now.since(began).as_secs_f64();
            let line = format!("{system}: {text}: {outcome} ({took:.3} s)");
            self.log.about(now, self.requests.name(cx.request), line);
            result
        })
    }

    fn now(&self) -> SimTime {
        self.host.now()
    }

    fn note(&self, cx: &CallCx, note: Note) {
        let text = match note {
            Note::Station(name) => name.to_owned(),
            Note::Step(number, name) => format!("step {number}: {name}"),
            Note::Notification(event) => format!("notification {event}"),
            Note::Warning(text) => format!("warning: {text}"),
            Note::Error(text) => format!("error: {text}"),
        };
        self.log.about(self.host.now(), self.requests.name(cx.request), text);
    }
}
