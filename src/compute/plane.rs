//! The binding: each system over its own way.

use std::rc::Rc;

use castoff_openstack::{HttpClient, NovaDb, Requests};
use castoff_ports::trace::Note;
use castoff_ports::{Binding, Call, CallCx, Failure, Refusal, Reply, SimTime};
use futures::future::LocalBoxFuture;

use super::host::Host;
use super::log::{Log, one_line};

/// Everything outside of the pipeline.
pub(super) struct Plane {
    pub(super) host: Host,
    pub(super) http: HttpClient,
    pub(super) db: NovaDb,
    pub(super) requests: Rc<Requests>,
    pub(super) log: Log,
}

impl Plane {
    async fn carry_out(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        match call {
            Call::Keystone(_) | Call::Cinder(_) => self.http.call(cx, call).await,
            Call::NovaDb(call) => self.db.call(self.host.now(), cx, call).await.map(Reply::NovaDb),
            // nova-compute casts to nobody and calls nobody, and is no nova-api.
            Call::Rpc(_) | Call::Nova(_) => {
                Err(Refusal::Unsupported { operation: call.name().to_owned() }.into())
            }
            Call::Libvirt(_) | Call::Iscsi(_) | Call::Host(_) | Call::Runtime(_) => {
                self.host.call(cx, call).await
            }
        }
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
