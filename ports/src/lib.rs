//! What the pipeline may call on the outside, and nothing else.
//!
//! Every call is a small serialisable value named as its owner names it
//! ([`cinder::BeginDetaching`], [`libvirt::DetachDeviceFlags`], [`iscsi::Logout`]). The pipeline
//! sees typed methods through [`Port`]; under them is one enum ([`Call`]) and one object-safe
//! trait ([`Binding`]), so that layers (trace, faults) are written once and the same compiled
//! pipeline runs on every binding.
//!
//! - [`ids`], [`time`], [`secret`]: the vocabulary.
//! - [`keystone`], [`nova`], [`novadb`], [`rpc`], [`cinder`], [`libvirt`], [`iscsi`], [`host`],
//!   [`runtime`]: the operations, a file a system.
//! - [`call`]: the sum of them, [`CallCx`], [`Binding`], [`Port`].
//! - [`failure`]: what can come back instead of a reply.
//! - [`qemu`]: version and machine type of what runs the guests.
//! - [`plan`] and [`fault`]: which fault strikes where, and the layer that makes it strike.
//! - [`trace`] and [`trace_layer`]: what is recorded, its text form and its JSON lines; the layer
//!   that records what a process asked and was told.

pub mod call;
pub mod cinder;
pub mod failure;
pub mod fault;
pub mod fault_space;
pub mod host;
pub mod ids;
pub mod iscsi;
pub mod journal;
pub mod keystone;
pub mod libvirt;
pub mod nova;
pub mod novadb;
pub mod operation;
pub mod plan;
pub mod plan_text;
pub mod qemu;
pub mod rpc;
pub mod runtime;
pub mod schedule;
pub mod secret;
pub mod time;
pub mod trace;
pub mod trace_layer;

pub use call::{Auth, Binding, Call, CallCx, Port, Process, Reply};
pub use failure::{Failure, Refusal};
pub use ids::*;
pub use operation::Operation;
pub use secret::Secret;
pub use time::SimTime;
