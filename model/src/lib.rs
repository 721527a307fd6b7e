//! The seven systems outside the pipeline, as pure state machines.
//!
//! A model is a struct and its transitions: no async, no clock (time is an argument), no
//! randomness (choices are arguments), no I/O. A transition records what it touched as
//! [`Fact`]s, so that properties and the trace look only at what changed.
//!
//! - [`world`]: all models together; the one entry [`World::call`], timers and tickets.
//! - [`fact`]: what changed.
//! - [`release`]: how the outside behaves, as data (cinder, QEMU and libvirt versions).
//! - [`keystone`], [`cinder`], [`novadb`], [`broker`]: the control plane.
//! - [`hypervisor`]: libvirt, QEMU and the guest of the compute host.
//! - [`kernel`]: the compute host's initiator and SCSI devices.
//! - [`storage`]: targets, LUN maps and the blocks of every volume.
//! - [`locks`]: in-process semaphores and the host's file locks.
//! - [`wire`]: request to response of the HTTP services, pure functions over the same models.

pub mod broker;
pub mod cinder;
mod environment;
pub mod fact;
pub mod hypervisor;
pub mod kernel;
pub mod keystone;
pub mod locks;
pub mod novadb;
pub mod release;
pub mod storage;
pub mod wire;
pub mod world;

pub use fact::{Cause, Fact, Facts};
pub use release::Release;
pub use world::{Outcome, Ticket, World};
