//! The control plane's models in front of a real host: the binding of a conformance run.
//!
//! The root crate alone puts the pipeline on the real adapters: `real` knows no pipeline, the
//! pipeline knows no binding. nova-compute is a process here too: it can be killed, which drops
//! its tasks and gives its locks back, and started again, as on `direct`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use castoff_model::{Outcome, World};
use castoff_pipeline::conf::Conf;
use castoff_pipeline::{NovaProcess, init_host, nova_api, nova_compute, reconcile};
use castoff_ports::plan::EnvironmentEvent;
use castoff_ports::{
    Auth, Binding, Call, CallCx, Failure, Port, Process, Refusal, Reply, RequestId, SimTime, rpc,
};
use castoff_real::RealHost;
use futures::future::LocalBoxFuture;
use tokio::task::{JoinHandle, spawn_local};

/// The models of the control plane and the real host behind one binding.
pub(super) struct Hybrid {
    /// The models.
    pub(super) world: RefCell<World>,
    /// The host.
    pub(super) host: RealHost,
    conf: Rc<Conf>,
    api: NovaProcess,
    compute: RefCell<Rc<NovaProcess>>,
    /// How often nova-compute was started; none while it is dead.
    incarnation: Cell<u32>,
    dead: Cell<bool>,
    layered: RefCell<Option<Rc<dyn Binding>>>,
    /// nova-compute's tasks: messages that it works on.
    tasks: RefCell<Vec<JoinHandle<()>>>,
    /// Its periodic task, and restarts to come.
    daemons: RefCell<Vec<JoinHandle<()>>>,
}

impl Hybrid {
    /// The binding of a run; nova-compute is up.
    pub(super) fn new(world: World, host: RealHost, conf: Rc<Conf>) -> Rc<Hybrid> {
        Rc::new(Hybrid {
            world: RefCell::new(world),
            host,
            api: NovaProcess::new(conf.clone()),
            compute: RefCell::new(Rc::new(NovaProcess::new(conf.clone()))),
            conf,
            incarnation: Cell::new(0),
            dead: Cell::new(false),
            layered: RefCell::new(None),
            tasks: RefCell::default(),
            daemons: RefCell::default(),
        })
    }

    /// What processes call from now on: this binding under layers.
    pub(super) fn lay(self: &Rc<Self>, layered: Rc<dyn Binding>) {
        *self.layered.borrow_mut() = Some(layered);
        self.start_periods();
    }

    /// A handle of this process.
    pub(super) fn port(&self, cx: &CallCx, process: Process, auth: Auth) -> Result<Port, Failure> {
        let Some(binding) = self.layered.borrow().clone() else {
            return Err(Failure::Unreachable { system: process.to_string() });
        };
        let incarnation = match process {
            Process::NovaCompute => self.incarnation.get(),
            Process::Client | Process::NovaApi => 0,
        };
        Ok(Port::new(binding, CallCx { process, incarnation, auth, ..cx.clone() }))
    }

    /// A client's handle for this request.
    pub(super) fn client(&self, request: RequestId) -> Result<Port, Failure> {
        self.port(&caller(request), Process::Client, Auth::default())
    }

    /// Whether nova-compute works on no message and is not about to be started.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.borrow_mut().retain(|t| !t.is_finished());
        self.tasks.borrow().is_empty() && !(self.dead.get() && self.comes_back())
    }

    /// Whether somebody takes up what was left.
    pub(super) fn reconciles(&self) -> bool {
        self.conf.policy.reconcile_period_s.is_some() && self.comes_back()
    }

    fn comes_back(&self) -> bool {
        self.daemons.borrow_mut().retain(|t| !t.is_finished());
        !self.daemons.borrow().is_empty()
    }

    /// Ends everything: what is layered holds this, which holds it.
    pub(super) fn end(&self) {
        for task in self.tasks.borrow_mut().drain(..).chain(self.daemons.borrow_mut().drain(..)) {
            task.abort();
        }
        self.layered.borrow_mut().take();
    }

    fn model(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        let mut world = self.world.borrow_mut();
        let name = call.name();
        let outcome = world.call(self.host.now(), cx, call);
        world.facts.clear();
        match outcome {
            Outcome::Done(result) => result,
            // Only libvirt and locks block, and those are real here.
            Outcome::Blocked(_) => Err(Refusal::Unsupported { operation: name.to_owned() }.into()),
        }
    }

    async fn carry_out(self: &Rc<Self>, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        match call {
            Call::Nova(call) => {
                let auth = Auth { token: cx.auth.token.clone(), service_token: None };
                let port = self.port(cx, Process::NovaApi, auth)?;
                Ok(nova_api(&self.api, &port, call).await.map(Reply::Nova)?)
            }
            Call::Rpc(rpc::Call::CallMethod(call)) => {
                let port = self.port(cx, Process::NovaCompute, cx.auth.clone())?;
                let compute = self.compute.borrow().clone();
                match nova_compute(&compute, &port, call.method).await {
                    Ok(returned) => Ok(Reply::Rpc(rpc::Reply::CallMethod(returned))),
                    Err(e) => Err(e.to_remote().into()),
                }
            }
            Call::Rpc(rpc::Call::Cast(_)) => {
                let reply = self.model(cx, call)?;
                self.deliver()?;
                Ok(reply)
            }
            Call::Keystone(_) | Call::Cinder(_) | Call::NovaDb(_) => self.model(cx, call),
            Call::Libvirt(_) | Call::Iscsi(_) | Call::Host(_) | Call::Runtime(_) => {
                self.host.call(cx, call).await
            }
        }
    }

    /// Hands nova-compute every message that waits; a dead one's wait on.
    fn deliver(self: &Rc<Self>) -> Result<(), Failure> {
        loop {
            let message = self.world.borrow_mut().deliver(self.host.now());
            let Some(message) = message else { return Ok(()) };
            let request = message.request;
            let port = self.port(&caller(request), Process::NovaCompute, message.auth)?;
            let (compute, this) = (self.compute.borrow().clone(), self.clone());
            self.tasks.borrow_mut().push(spawn_local(async move {
                // A cast has no one to answer to: the manager records what went wrong.
                let _ = nova_compute(&compute, &port, message.method).await;
                this.world.borrow_mut().broker.finished(request);
            }));
        }
    }

    fn kill_compute(self: &Rc<Self>, restart_after: Option<Duration>) {
        let incarnation = self.incarnation.get();
        for task in self.tasks.borrow_mut().drain(..).chain(self.daemons.borrow_mut().drain(..)) {
            task.abort();
        }
        self.dead.set(true);
        self.host.release_locks(Process::NovaCompute, incarnation);
        self.world.borrow_mut().kill(self.host.now(), Process::NovaCompute, incarnation);
        if let Some(after) = restart_after {
            let this = self.clone();
            self.daemons.borrow_mut().push(spawn_local(async move {
                tokio::time::sleep(after).await;
                this.restart_compute().await;
            }));
        }
    }

    async fn restart_compute(self: &Rc<Self>) {
        self.incarnation.set(self.incarnation.get() + 1);
        let fresh = Rc::new(NovaProcess::new(self.conf.clone()));
        *self.compute.borrow_mut() = fresh.clone();
        self.dead.set(false);
        let cx = caller(RequestId(0));
        let Ok(port) = self.port(&cx, Process::NovaCompute, Auth::default()) else { return };
        init_host(&fresh, &port).await;
        self.world.borrow_mut().broker.consumer_up();
        // Nothing is layered any more when this fails: the run is over.
        let _ = self.deliver();
        // What the last incarnation left is taken up at once.
        reconcile(&fresh, &port).await;
        self.start_periods();
    }

    fn start_periods(self: &Rc<Self>) {
        let Some(period) = self.conf.policy.reconcile_period_s else { return };
        let (this, incarnation) = (self.clone(), self.incarnation.get());
        self.daemons.borrow_mut().push(spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(period.into())).await;
                if this.dead.get() || this.incarnation.get() != incarnation {
                    return;
                }
                let cx = caller(RequestId(0));
                let Ok(port) = this.port(&cx, Process::NovaCompute, Auth::default()) else {
                    return;
                };
                let compute = this.compute.borrow().clone();
                reconcile(&compute, &port).await;
            }
        }));
    }
}

/// Who serves this request.
fn caller(request: RequestId) -> CallCx {
    CallCx {
        process: Process::Client,
        incarnation: 0,
        request,
        auth: Auth::default(),
        deadline: None,
    }
}

/// The binding itself.
pub(super) struct Shared(pub(super) Rc<Hybrid>);

impl Binding for Shared {
    fn call<'a>(
        &'a self,
        cx: &'a CallCx,
        call: Call,
    ) -> LocalBoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.0.carry_out(cx, call))
    }
    fn now(&self) -> SimTime {
        self.0.host.now()
    }
    fn crash(&self, cx: &CallCx, restart_after: Option<Duration>) {
        match cx.process {
            Process::NovaCompute => self.0.kill_compute(restart_after),
            // nova-api's steps run in the client's own task: it waits for ever, until its deadline.
            Process::Client | Process::NovaApi => {}
        }
    }
    fn environment(&self, event: EnvironmentEvent) {
        // What happens to guest and target is the act layer's; tokens are the models'.
        if event == EnvironmentEvent::TokensExpired {
            let now = self.0.host.now();
            self.0.world.borrow_mut().environment(now, event);
        }
    }
}
