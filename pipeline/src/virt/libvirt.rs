//! nova.virt.libvirt.
//!
//! - [`driver`]: `LibvirtDriver`: guest first, then host; the other way round for attach.
//! - [`encryptor`]: LUKS, by cryptsetup on the host or by QEMU with a secret.
//! - [`guest`]: one domain: its state, its disks, single detach calls.
//! - [`lifecycle`]: destroy, reboot, power: what it does to volumes.
//! - [`multiattach`]: which other servers of this host have the volume.
//! - [`rollback`]: what a rollback needs of the guest.
//! - [`unplug`]: how a guest is made to let go: polling, or waiting for events.
//! - [`volume`]: volume drivers by `driver_volume_type`.

pub mod driver;
mod encryptor;
pub mod guest;
pub mod lifecycle;
pub mod multiattach;
pub mod rollback;
pub mod unplug;
pub mod volume;
