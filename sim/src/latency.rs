//! How long an operation takes on the way to its effect and back, in microseconds.
//!
//! Integer ranges, drawn by the seed. The orders of magnitude are those measured on a real host
//! and with the real control plane (2 cores, User-mode Linux): a database row a few milliseconds,
//! a cinder call tens, `iscsiadm` about a tenth of a second, a delivered cast up to half a second
//! (oslo.messaging polls). What blocks inside a model (libvirt waiting for the guest) comes on top.

pub mod profile;

use castoff_ports::{Call, cinder, host, iscsi, libvirt, rpc};

/// Ranges of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// From the call to its effect.
    pub there: (u32, u32),
    /// From the effect to the reply.
    pub back: (u32, u32),
}

const fn ms(there: (u32, u32), back: (u32, u32)) -> Latency {
    Latency { there: (there.0 * 1000, there.1 * 1000), back: (back.0 * 1000, back.1 * 1000) }
}

/// From a cast's arrival at the broker to nova-compute's dispatch.
pub const DELIVERY: (u32, u32) = (50_000, 500_000);

/// The ranges of `call` on a host that was measured; those of [`of`] where it was not.
pub fn under(profile: Option<&profile::Profile>, call: &Call) -> Latency {
    let measured = profile.and_then(|p| p.range(call.name()));
    // What blocks within a model (the guest's unplug, a wait, a lock) takes its time there.
    let blocks = matches!(
        call,
        Call::Libvirt(libvirt::Call::DetachDeviceFlags(_) | libvirt::Call::WaitForEvent(_))
            | Call::Runtime(_)
    );
    match measured {
        Some(range) if !blocks => {
            let half = (range.min_us / 2, range.p90_us / 2);
            Latency { there: half, back: half }
        }
        Some(_) | None => of(call),
    }
}

/// The ranges of `call`.
pub fn of(call: &Call) -> Latency {
    match call {
        Call::Keystone(_) => ms((3, 8), (3, 8)),
        Call::Nova(_) => ms((1, 4), (1, 4)),
        Call::NovaDb(_) => ms((1, 5), (1, 5)),
        Call::Rpc(rpc::Call::Cast(_)) => ms((1, 5), (0, 1)),
        Call::Rpc(rpc::Call::CallMethod(_)) => ms((50, 500), (50, 500)),
        Call::Cinder(c) => match c {
            cinder::Call::GetVolume(_)
            | cinder::Call::GetEncryption(_)
            | cinder::Call::AttachmentGet(_)
            | cinder::Call::AttachmentList(_) => ms((8, 20), (4, 10)),
            cinder::Call::BeginDetaching(_)
            | cinder::Call::RollDetaching(_)
            | cinder::Call::Reserve(_)
            | cinder::Call::Unreserve(_)
            | cinder::Call::DeleteVolume(_)
            | cinder::Call::ResetStatus(_)
            | cinder::Call::AttachmentCreate(_)
            | cinder::Call::AttachmentComplete(_) => ms((15, 40), (5, 20)),
            // These wait for an RPC call to cinder-volume and its driver.
            cinder::Call::InitializeConnection(_)
            | cinder::Call::TerminateConnection(_)
            | cinder::Call::Attach(_)
            | cinder::Call::Detach(_)
            | cinder::Call::ForceDetach(_)
            | cinder::Call::AttachmentUpdate(_)
            | cinder::Call::AttachmentDelete(_) => ms((200, 600), (50, 300)),
        },
        Call::Libvirt(c) => match c {
            libvirt::Call::AttachDeviceFlags(_) => ms((5, 10), (8, 15)),
            libvirt::Call::CreateWaiter(_)
            | libvirt::Call::DeleteWaiter(_)
            | libvirt::Call::WaitForEvent(_) => ms((0, 0), (0, 0)),
            // QEMU ends within a second of its SIGTERM, and starts in about as long.
            libvirt::Call::Destroy(_) | libvirt::Call::Create(_) => ms((200, 600), (20, 80)),
            _ => ms((1, 3), (1, 4)),
        },
        Call::Iscsi(c) => match c {
            iscsi::Call::Login(_) => ms((300, 600), (200, 500)),
            iscsi::Call::Logout(_) => ms((80, 300), (40, 100)),
            _ => ms((30, 90), (10, 80)),
        },
        Call::Host(c) => match c {
            host::Call::FlushBufs(_) => ms((10, 30), (5, 20)),
            host::Call::DeleteDevice(_) => ms((20, 200), (20, 300)),
            // luksOpen derives a key on purpose slowly (LUKS1, two seconds of iterations).
            host::Call::CryptsetupOpen(_) => ms((1000, 2000), (10, 60)),
            host::Call::ScanLun(_) => ms((50, 200), (50, 200)),
            // Measured on the real host: 0.1 to 0.7 s.
            host::Call::MultipathFlush(_) => ms((50, 350), (50, 350)),
            host::Call::InitiatorName(_)
            | host::Call::ScsiIdOfLink(_)
            | host::Call::Lsblk(_)
            | host::Call::MultipathList(_)
            | host::Call::MultipathTopology(_)
            | host::Call::MultipathReady(_)
            | host::Call::MultipathAddWwid(_)
            | host::Call::MultipathReload(_)
            | host::Call::MultipathdShowPaths(_)
            | host::Call::MultipathdAddPath(_)
            | host::Call::MultipathdDelPath(_)
            | host::Call::MultipathdDelMap(_)
            | host::Call::MultipathdShowStatus(_)
            | host::Call::CryptsetupClose(_)
            | host::Call::ScsiId(_) => ms((10, 40), (10, 60)),
            _ => ms((0, 1), (0, 1)),
        },
        Call::Runtime(_) => ms((0, 0), (0, 0)),
    }
}
