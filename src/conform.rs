//! The same pipeline on a real host: libvirt, QEMU, the kernel and open-iscsi are real, the
//! control plane (keystone, cinder, nova's database, the broker) is the models'.
//!
//! What a run found is data that needs no libvirt to be read: [`record`], shown as
//! [`junit`], [`tap`] and [`html`]. Everything that touches
//! a host comes with the feature `real`.

pub mod html;
pub mod junit;
pub mod record;
pub mod refine;
pub mod tap;

#[cfg(feature = "real")]
mod detach;
#[cfg(feature = "real")]
pub use detach::{Check, ConformError, Report, Target, detach_case};
