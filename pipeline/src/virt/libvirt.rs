//! nova.virt.libvirt.
//!
//! - [`driver`]: `LibvirtDriver`: guest first, then host; the other way round for attach.
//! - [`guest`]: one domain: its state, its disks, single detach calls.
//! - [`unplug`]: how a guest is made to let go: polling, or waiting for events.
//! - [`volume`]: volume drivers by `driver_volume_type`.

pub mod driver;
pub mod guest;
pub mod unplug;
pub mod volume;
