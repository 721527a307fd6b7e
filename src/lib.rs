//! castoff: a simulation and conformance test harness for OpenStack volume detach.
//!
//! One Rust implementation of the detach pipeline (nova-api, nova-compute, os-brick) runs
//! unchanged against models in process (`direct`), against the same models behind HTTP, a broker
//! and links (`network`), and against real libvirt and open-iscsi (`real`).
//!
//! Fault scenarios in anybody's `cargo test` are one line:
//!
//! ```
//! castoff::scenario("guest-never-lets-go").policy("hardened").seeds(0..5).check();
//! ```

pub use castoff_sim::properties::{CATALOGUE, Class, Property, Violation};
pub use castoff_sim::run::BindingKind;
pub use castoff_sim::suite::{Failed, Suite};

/// The scenario of this name, or of this TOML file, to be checked.
///
/// # Panics
/// When there is no such scenario, or its file is wrong: the message says what is known and what
/// was expected.
#[track_caller]
pub fn scenario(name_or_path: &str) -> Suite {
    match castoff_scenarios::resolve(name_or_path) {
        Ok(scenario) => Suite::new(std::sync::Arc::new(scenario)),
        Err(error) => panic!("{:?}", miette::Report::new(error)),
    }
}

#[cfg(feature = "openstack")]
pub mod compute;
pub mod conform;
pub mod doctor;
pub mod serve;
