//! `castoff serve`: a cloud on loopback sockets that any OpenStack client can talk to.
//!
//! Keystone, nova-api and cinder answer as on `network`, by the same pure functions on the same
//! models; behind nova-api runs the real pipeline, in real time or N times faster. What a user
//! sees while a volume is stuck can so be tried with the user's own tools.
//!
//! - `cloud`: models, processes and faults on one thread.
//! - `messages`: what reaches nova-compute through the broker.
//! - `clock`: real time as the models see it.
//! - `http`, `services`: the sockets, and what stands behind each.
//! - `admin`, `show`: castoff's own port.
//! - `credentials`: clouds.yaml and `OS_*`.

mod admin;
mod clock;
mod cloud;
mod credentials;
mod http;
mod messages;
mod services;
mod show;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::keystone::Role;
use castoff_ports::plan::Plan;
use castoff_ports::{Process, ProjectId, Secret, SimTime, UserId};
use castoff_scenarios::Scenario;
use castoff_sim::prepare::{PrepareError, Prepared};
use castoff_sim::rng::SimRng;
use tokio::net::TcpListener;
use tokio::task::spawn_local;

pub use credentials::{Account, Credentials};

use clock::Clock;
use cloud::Cloud;
use services::Endpoints;

/// The seed of the starting state.
const SEED: u64 = 0;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The starting state and its faults.
    pub scenario: Arc<Scenario>,
    /// The pipeline's decisions.
    pub policy: Policy,
    /// How everything else behaves.
    pub release: Release,
    /// The address to listen on.
    pub listen: IpAddr,
    /// Keystone's port; nova, cinder and admin are the next three. 0: four free ones.
    pub port_base: u16,
    /// How many times faster than real time.
    pub speed: u32,
    /// The time at which the cloud begins, since 2026 began.
    pub start: SimTime,
}

/// Why a cloud could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The scenario's starting state was not reached.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A port could not be had.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The four listening sockets, in the order of their ports.
const SERVICES: u16 = 4;

/// Starts serving; tasks run on the current `LocalSet` until it is dropped.
///
/// # Errors
/// When the scenario cannot be prepared, or a port is taken.
pub async fn start(config: &Config) -> Result<Credentials, ServeError> {
    let mut listeners = Vec::new();
    for i in 0..SERVICES {
        let port = if config.port_base == 0 { 0 } else { config.port_base.saturating_add(i) };
        let address = SocketAddr::new(config.listen, port);
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        listeners.push((listener, format!("http://{}", reachable(bound))));
    }
    let urls: Vec<String> = listeners.iter().map(|(_, url)| url.clone()).collect();
    let [identity, compute, volume, admin] =
        <[String; 4]>::try_from(urls).expect("as many sockets were bound as there are services");
    let endpoints = Endpoints::new(&identity, &compute, &volume);
    let prepared = Prepared::new(&config.scenario, &config.policy, &config.release)?;
    let credentials = Credentials {
        auth_url: format!("{identity}/v3"),
        compute: format!("{compute}/v2.1"),
        volume: format!("{volume}/v3"),
        admin,
        accounts: accounts(&prepared),
    };
    let cloud = open(config, &prepared, &credentials);
    let mut sockets = listeners.into_iter().map(|(listener, _)| listener);
    let mut next = || sockets.next().expect("as many sockets were bound as there are services");
    let (at, urls) = (cloud.clone(), endpoints.clone());
    spawn_local(http::serve(
        next(),
        || true,
        move |request| {
            let answer = services::keystone(&at, &request).map(|r| urls.localize(r));
            async move { answer }
        },
    ));
    let (at, up, urls) = (cloud.clone(), cloud.clone(), endpoints.clone());
    let is_up = move || !up.is_dead(Process::NovaApi);
    spawn_local(http::serve(next(), is_up, move |request| {
        let (at, urls) = (at.clone(), urls.clone());
        async move { services::nova(at, request).await.map(|r| urls.localize(r)) }
    }));
    let (at, urls) = (cloud.clone(), endpoints);
    spawn_local(http::serve(
        next(),
        || true,
        move |request| {
            let answer = services::cinder(&at, &request).map(|r| urls.localize(r));
            async move { answer }
        },
    ));
    spawn_local(http::serve(
        next(),
        || true,
        move |request| {
            let answer = admin::answer(&cloud, &request);
            async move { Ok(answer) }
        },
    ));
    Ok(credentials)
}

/// An address that a client on this machine can call.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn accounts(prepared: &Prepared) -> Vec<Account> {
    let demo = Account {
        cloud: "castoff",
        username: prepared.users.member.user.to_string(),
        password: prepared.users.member.password.clone(),
        project: prepared.users.member.project.to_string(),
    };
    let admin = Account {
        cloud: "castoff-admin",
        username: "admin".to_owned(),
        password: Secret::new("admin-password"),
        project: demo.project.clone(),
    };
    vec![demo, admin]
}

fn open(config: &Config, prepared: &Rc<Prepared>, credentials: &Credentials) -> Rc<Cloud> {
    let mut world = prepared.world(&mut SimRng::new(SEED));
    for admin in credentials.accounts.iter().skip(1) {
        world.keystone.add_user(
            UserId::new(&admin.username),
            admin.password.clone(),
            ProjectId::new(&admin.project),
            &[Role::Admin],
        );
    }
    let faults = config.scenario.faults.iter();
    let plan =
        Plan { faults: faults.filter(|f| f.applies_to(config.policy.base())).cloned().collect() };
    let clock = Clock::new(config.start.max(prepared.start), config.speed);
    Cloud::start(world, prepared.conf.clone(), &plan, clock)
}
