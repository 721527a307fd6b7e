//! The same pipeline on a real host: libvirt, QEMU, the kernel and open-iscsi are real, the
//! control plane (keystone, cinder, nova's database, the broker) is the models'.
//!
//! What a run found is data that needs no libvirt to be read: [`record`], shown as
//! [`junit`], [`tap`], [`html`] and [`refined`]. Everything that touches
//! a host comes with the feature `real`.
//!
//! - [`case`]: a case as data; [`cases`]: all of them; [`select`]: which ones a user means.
//! - `suite`: a run of cases; `capabilities`: which can be played on this host.
//! - `play`: one case: attach, what happens to the host, detach, checks; `checks`.
//! - [`recorded`]: what a real Nova issued, beside what a detach issues here.
//! - `hybrid`, `cloud`: the control plane's models in front of the host.
//! - `measure`: healthy detaches, timed, beside the bare commands (benches/real.rs).
//! - `acts`, `stage`, `guest_io`, `users`, `other`: what is done to the host, and at which operation of the pipeline.

#[cfg(feature = "real")]
mod acts;
pub mod calibrate;
#[cfg(feature = "real")]
mod capabilities;
pub mod case;
pub mod cases;
#[cfg(feature = "real")]
mod checks;
#[cfg(feature = "real")]
mod cloud;
#[cfg(feature = "real")]
mod guest_io;
#[cfg(feature = "real")]
mod host_facts;
pub mod html;
#[cfg(feature = "real")]
mod hybrid;
pub mod junit;
#[cfg(feature = "real")]
pub mod measure;
#[cfg(feature = "real")]
mod multipathd;
#[cfg(feature = "real")]
mod other;
#[cfg(feature = "real")]
mod play;
pub mod record;
pub mod recorded;
pub mod refine;
pub mod refined;
pub mod select;
#[cfg(feature = "real")]
mod stage;
#[cfg(feature = "real")]
pub mod suite;
pub mod tap;
#[cfg(feature = "real")]
mod users;
#[cfg(feature = "real")]
pub use cloud::Settings;
