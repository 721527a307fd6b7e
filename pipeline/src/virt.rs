//! nova.virt: hypervisor drivers.
//!
//! - [`driver`]: `ComputeDriver`, chosen by `compute_driver`.
//! - [`libvirt`]: `LibvirtDriver` and what it is made of.

pub mod driver;
pub mod libvirt;
