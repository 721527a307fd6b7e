//! The binding of the pipeline's processes on `network`: each system over its own way.

use std::rc::Rc;
use std::time::Duration;

use castoff_model::Fact;
use castoff_model::wire::client;
use castoff_ports::plan::EnvironmentEvent;
use castoff_ports::trace::Note;
use castoff_ports::{
    Binding, Call, CallCx, Failure, Process, Refusal, Reply, SimTime, iscsi, runtime,
};
use futures::future::LocalBoxFuture;

use super::frames;
use super::hosts::{BROKER, CONDUCTOR};
use super::shared::Shared;

/// The binding; one for all processes, as the caller says who it is.
pub(super) struct NetBinding {
    shared: Rc<Shared>,
}

impl NetBinding {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        NetBinding { shared }
    }

    async fn over_http(&self, cx: &CallCx, to: &'static str, call: Call) -> Result<Reply, Failure> {
        let Some(request) = client::encode(&call, cx) else {
            return Err(Refusal::Unsupported { operation: call.name().to_owned() }.into());
        };
        self.shared.asks(cx, &call);
        let connections = &self.shared.connections[cx.process as usize];
        let response = connections.request(to, call.system(), request).await?;
        client::decode(&call, response)
    }

    async fn carry_out(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        match &call {
            Call::Keystone(_) => self.over_http(cx, "keystone", call).await,
            Call::Cinder(_) => self.over_http(cx, "cinder", call).await,
            Call::Nova(_) => self.over_http(cx, "nova-api", call).await,
            Call::Rpc(_) => frames::ask(&self.shared, BROKER, cx, call).await,
            // nova-api opens the database itself; nova-compute asks the conductor.
            Call::NovaDb(_) if cx.process == Process::NovaCompute => {
                frames::ask(&self.shared, CONDUCTOR, cx, call).await
            }
            Call::Runtime(runtime::Call::Sleep(s)) => {
                tokio::time::sleep(s.duration).await;
                Ok(Reply::Runtime(runtime::Reply::Sleep(())))
            }
            Call::Iscsi(iscsi::Call::Login(c)) => {
                let up = self.shared.links.login(&c.portal, &c.iqn).await;
                // Where the model knows why, it has iscsiadm's own words.
                if up || !self.shared.world.borrow().storage.answers(&c.portal) {
                    self.shared.transition(cx, call).await
                } else {
                    let out = iscsi::CommandOutput::failed(
                        iscsi::exit::TRANS_TIMEOUT,
                        "iscsiadm: Could not login: encountered connection failure",
                    );
                    Ok(Reply::Iscsi(iscsi::Reply::Login(out)))
                }
            }
            Call::Iscsi(iscsi::Call::Logout(c)) => {
                let (portal, iqn) = (c.portal.clone(), c.iqn.clone());
                let result = self.shared.transition(cx, call).await;
                self.shared.links.logout(portal, iqn);
                result
            }
            Call::NovaDb(_)
            | Call::Libvirt(_)
            | Call::Iscsi(_)
            | Call::Host(_)
            | Call::Runtime(_) => self.shared.transition(cx, call).await,
        }
    }
}

impl Binding for NetBinding {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        self.shared.calls.set(self.shared.calls.get() + 1);
        self.shared.observer.borrow_mut().begun(cx.request, call.name());
        Box::pin(self.carry_out(cx, call))
    }
    fn now(&self) -> SimTime {
        self.shared.now()
    }
    fn note(&self, cx: &CallCx, note: Note) {
        if let Note::Notification(event) = note {
            let fact = Fact::Notified { request: cx.request, event };
            self.shared.world.borrow_mut().facts.push(fact);
            self.shared.settle();
        }
    }
    fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        self.shared.crash(cx, restart_after);
    }
    fn cut_off(&self, process: Process, system: &'static str, until: SimTime) {
        self.shared.cuts.cut(process, system, until);
    }
    fn environment(&self, event: EnvironmentEvent) {
        if event == EnvironmentEvent::PortalsDown {
            self.shared.cuts.storage_down();
        }
        self.shared.world.borrow_mut().environment(self.shared.now(), event);
        self.shared.settle();
    }
    fn lasts_until(&self, at: SimTime) {
        self.shared.lasts_until(at);
    }
}
