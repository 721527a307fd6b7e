//! The adapters that carry out castoff's operations on a real control plane: keystone and cinder
//! over HTTP, nova's database over SQL, casts over RabbitMQ.
//!
//! Like `castoff-real` it knows no pipeline. What is on the wire is the model's own ([`wire`]):
//! requests and answers, the envelope and connection_info are written in one place for every binding.
//!
//! - [`Clock`]: the run's time against the calendar of databases and tokens.
//! - [`Requests`]: castoff numbers requests, nova names them `req-<uuid>`.
//! - [`http`]: keystone and cinder.
//! - [`rpc`]: the broker.
//! - [`NovaDb`]: nova's own tables, on SQLite and MySQL or MariaDB.
//!
//! It runs on one thread, inside a tokio `LocalSet`. TLS is not spoken: that is a proxy's work.
//!
//! [`wire`]: castoff_model::wire

// The clock and random numbers of the machine are this crate's subject; no simulated run links it
// (clippy.toml lists what the other crates must not use).
#![allow(clippy::disallowed_methods)]

mod clock;
pub mod http;
pub mod novadb;
mod requests;
pub mod rpc;

pub use self::http::{Endpoint, HttpClient};
pub use clock::Clock;
pub use novadb::NovaDb;
pub use requests::{RequestInfo, Requests};
pub use rpc::Broker;
