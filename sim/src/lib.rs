//! The simulated bindings, and what is done with them: runs, properties, campaigns.
//!
//! - [`rng`], [`latency`]: the seed's choices; how long things take.
//! - [`direct`]: models in process on virtual time, with an executor of its own.
//! - [`network`]: the same models behind HTTP, a broker and links, on turmoil hosts.
//! - [`prepare`]: a scenario's starting state, made by the attach pipeline.
//! - [`host_spec`]: its QEMU, and what happens to its host by itself.
//! - [`users`], [`actors`]: who asks, and what they do, on any binding.
//! - [`observe`], [`properties`]: every change is traced and checked.
//! - [`run`]: one run from its identity to its report.
//! - [`exemptions`]: what `hardened` does not hold, and whose duty it would be.
//! - [`standing`]: whether anything has moved.
//! - [`schedule`]: every order of a run.
//! - [`campaign`]: many runs, in rows.
//! - [`suite`][]: `castoff::scenario("…").policy("…").seeds(0..100).check()`.

#[cfg(not(tokio_unstable))]
compile_error!(
    "castoff needs RUSTFLAGS=\"--cfg tokio_unstable\" (.cargo/config.toml sets it): without it \
     tokio::select! draws from a generator that no seed reaches"
);

pub mod ablate;
pub mod actors;
pub mod bugs;
pub mod campaign;
pub mod direct;
pub mod exemptions;
pub mod explore;
pub mod host_spec;
pub mod hunt;
pub mod keep;
pub mod latency;
pub mod network;
pub mod observe;
pub mod parallel;
pub mod prepare;
pub mod properties;
pub mod rng;
pub mod run;
pub mod schedule;
pub mod shrink;
pub mod standing;
pub mod suite;
pub mod users;
