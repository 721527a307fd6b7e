//! A nova-compute on a real control plane: it takes `detach_volume` from the queue of its host in
//! RabbitMQ and carries it out by the pipeline, with nova's own database, cinder and keystone.
//!
//! What a detach does to guest and host goes to the real libvirt and open-iscsi, where castoff is
//! built with them and told which; without a host every such operation is refused, and the pipeline
//! rolls the detach back. Only what was named may be touched (`castoff_real`'s guard).
//!
//! - `plane`: the binding, each system over its own way.
//! - `host`: the host, or none.
//! - `log`: what is said about each message, without a secret.
//! - `worker`: messages, one task each; report_state; the reconciler; the end.

mod host;
mod log;
mod plane;
mod worker;

use std::time::Duration;

use castoff_openstack::Endpoint;
use castoff_pipeline::conf::Conf;
use castoff_ports::{Failure, Secret};

pub use host::HostSettings;
pub use log::{Line, Log};

/// What `castoff compute` is told.
pub struct Settings {
    /// `transport_url`.
    pub transport: Secret,
    /// `[database]connection` of the cell.
    pub database: Secret,
    /// Keystone.
    pub keystone: Endpoint,
    /// Cinder.
    pub cinder: Endpoint,
    /// nova.conf: host, policy, service user.
    pub conf: Conf,
    /// The host, or none.
    pub host: HostSettings,
    /// Whether the services row gets heartbeats, as a nova-compute gives them.
    pub report_state: bool,
    /// How long messages under way may take once it is told to stop (`graceful_shutdown_timeout`).
    pub grace: Duration,
    /// End by itself after so many messages.
    pub messages: Option<u64>,
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// Nova's database.
    #[error("connect to nova's database: {0}")]
    Database(Failure),
    /// The host.
    #[cfg(feature = "real")]
    #[error(transparent)]
    Host(#[from] castoff_real::RealError),
    /// Messages were still under way after the grace.
    #[error(
        "stop: {left} messages were still under way after {grace:?}; they are lost, as nova's are"
    )]
    Unfinished {
        /// How many.
        left: usize,
        /// How long they were waited for.
        grace: Duration,
    },
}

/// Takes messages until `stop` says so, then lets those under way end.
///
/// It must run inside a tokio `LocalSet` on a `current_thread` runtime.
///
/// # Errors
/// What it needs from the beginning is not there. A broker that is not there, or goes, is tried
/// again for ever, as nova does.
pub async fn serve(
    settings: Settings,
    log: Log,
    stop: impl Future<Output = ()>,
) -> Result<(), ComputeError> {
    worker::serve(settings, log, stop).await
}
