//! The two simulated bindings, as a run drives them.

use std::cell::RefCell;
use std::time::Duration;

use castoff_model::World;
use castoff_ports::fault::Passed;
use castoff_ports::plan::Fault;
use castoff_ports::{Port, RequestId, SimTime};

use crate::actors::Answer;
use crate::direct::{Direct, Quiet};
use crate::network::Network;
use crate::observe::Observer;
use crate::prepare;

pub(super) type Restarter = Box<dyn Fn(Duration)>;

/// The two simulated bindings, as a run drives them.
pub(super) trait Engine {
    fn client_port(&self, request: RequestId) -> Port;
    fn spawn_client(&self, future: futures::future::LocalBoxFuture<'static, ()>);
    /// Stops nova-compute, and starts it so much later.
    fn restarter(&self) -> Restarter;
    fn now(&self) -> SimTime;
    fn world(&self) -> &RefCell<World>;
    fn observer(&self) -> &RefCell<Observer>;
    fn run_until_quiet(&mut self, limit: SimTime) -> Quiet;
    fn heal(&mut self);
    fn faults(&self) -> (Vec<Fault>, Vec<Fault>);
    fn passed(&self) -> Vec<Passed>;
    fn calls(&self) -> u64;
    /// Tells the observer of an answer as soon as the client has it.
    fn hears(&self) -> Box<dyn Fn(&Answer)>;
}

impl Engine for Direct {
    fn client_port(&self, request: RequestId) -> Port {
        prepare::client_port(self, request)
    }
    fn spawn_client(&self, future: futures::future::LocalBoxFuture<'static, ()>) {
        self.core().spawn(castoff_ports::Process::Client, future);
    }
    fn restarter(&self) -> Restarter {
        let core = self.core().clone();
        Box::new(move |after| core.stop_compute(after))
    }
    fn now(&self) -> SimTime {
        self.core().now()
    }
    fn world(&self) -> &RefCell<World> {
        &self.core().world
    }
    fn observer(&self) -> &RefCell<Observer> {
        &self.core().observer
    }
    fn run_until_quiet(&mut self, limit: SimTime) -> Quiet {
        Direct::run_until_quiet(self, limit)
    }
    fn heal(&mut self) {
        prepare::heal_world(&mut self.core().world.borrow_mut(), self.core().now());
        Direct::heal(self);
    }
    fn faults(&self) -> (Vec<Fault>, Vec<Fault>) {
        Direct::faults(self)
    }
    fn passed(&self) -> Vec<Passed> {
        Direct::passed(self)
    }
    fn calls(&self) -> u64 {
        self.core().calls()
    }
    fn hears(&self) -> Box<dyn Fn(&Answer)> {
        let core = self.core().clone();
        Box::new(move |answer| {
            let (world, mut observer) = (core.world.borrow(), core.observer.borrow_mut());
            observer.answered(&world, core.now(), answer.request, &answer.result);
        })
    }
}

impl Engine for Network {
    fn client_port(&self, request: RequestId) -> Port {
        Network::client_port(self, request)
    }
    fn spawn_client(&self, future: futures::future::LocalBoxFuture<'static, ()>) {
        Network::spawn_client(self, future);
    }
    fn restarter(&self) -> Restarter {
        Network::restarter(self)
    }
    fn now(&self) -> SimTime {
        Network::now(self)
    }
    fn world(&self) -> &RefCell<World> {
        Network::world(self)
    }
    fn observer(&self) -> &RefCell<Observer> {
        Network::observer(self)
    }
    fn run_until_quiet(&mut self, limit: SimTime) -> Quiet {
        Network::run_until_quiet(self, limit)
    }
    fn heal(&mut self) {
        Network::heal(self);
    }
    fn faults(&self) -> (Vec<Fault>, Vec<Fault>) {
        Network::faults(self)
    }
    fn passed(&self) -> Vec<Passed> {
        Network::passed(self)
    }
    fn calls(&self) -> u64 {
        Network::calls(self)
    }
    fn hears(&self) -> Box<dyn Fn(&Answer)> {
        Network::hears(self)
    }
}
