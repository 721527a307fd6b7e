//! The adapters that carry out castoff's operations on a real host: libvirt and open-iscsi.
//!
//! This crate knows [`castoff_ports`] and nothing of the pipeline, so no decision of a detach can
//! creep in: a call comes in, the host's own tool or library does it, its own answer goes back.
//! What was not named ([`RealConfig::domains`], [`RealConfig::targets`]) is never touched: the
//! guard refuses the call before anything runs.
//!
//! - [`RealConfig`]: what a run may touch.
//! - [`real_host`]: [`RealHost`], the one entry; dispatch and deadlines.
//! - [`Timing`]: how long each step took.
//! - `guard`: which calls touch only what was named.
//! - `hypervisor`, `libvirt_error`, `domain_xml`, `waiters`, `events`: libvirt; only `events` has
//!   unsafe code.
//! - [`fixture`]: what a conformance run makes on the host, does to it, and takes away again.
//! - `issued`: the calls of libvirt and the commands that went out.
//! - `initiator`, `kernel`, `sysfs`, `command`: iscsiadm, block devices, sysfs and udev's links.
//! - `journal`: castoff's own files.
//! - `locks`: in-process locks and the lock files that os-brick uses too.
//! - [`look`]: what is there of a target and of a guest's disks.
//! - [`leftovers`]: what a finished detach must not leave on the host.
//! - [`prerequisites`]: what the host needs, and how to install what it lacks.
//!
//! It runs on one thread, a tokio `current_thread` runtime with I/O and time enabled; libvirt's
//! calls block, so they run on tokio's blocking threads.

// The clock, the environment, processes and /sys are this crate's subject; no simulated run
// links it (clippy.toml lists what the other crates must not use).
#![allow(clippy::disallowed_methods)]

mod command;
mod config;
mod domain_xml;
#[cfg(test)]
mod domain_xml_fuzz;
mod error;
mod events;
pub mod fixture;
mod guard;
mod hypervisor;
mod initiator;
mod issued;
mod journal;
mod kernel;
pub mod leftovers;
mod libvirt_error;
mod locks;
pub mod look;
pub mod prerequisites;
pub mod real_host;
mod sysfs;
mod timing;
mod waiters;

pub use config::RealConfig;
pub use error::RealError;
pub use real_host::RealHost;
pub use timing::Timing;
