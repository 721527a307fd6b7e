//! What a host shows of a target and of a guest's disks, LUN by LUN. It only reads.

use castoff_ports::libvirt::{
    Call as LibvirtCall, GetInfo, GuestDisk, PowerState, Reply as LibvirtReply,
};
use castoff_ports::{Call, DeviceName, Failure, InstanceId, Iqn, Lun, Portal, Reply, Sid};

use crate::RealHost;
use crate::fixture::target::identity;
use crate::leftovers::{disks, node_records, onlooker};

/// What is there of a target's sessions and of a guest's disks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Sessions to the target, over any portal.
    pub sessions: Vec<Sid>,
    /// Its node records, as `iscsiadm -m node` shows them.
    pub node_records: Vec<String>,
    /// SCSI disks of those sessions.
    pub devices: Vec<(Lun, DeviceName)>,
    /// Multipath maps over those disks, and maps of the run's LUNs without any path.
    pub maps: Vec<DeviceName>,
    /// The running guests' disks; none of a guest that does not run.
    pub live: Vec<GuestDisk>,
    /// The disks of their persistent configs.
    pub persistent: Vec<GuestDisk>,
}

/// Looks.
///
/// # Errors
/// When libvirt or iscsiadm do not answer.
pub async fn look(
    host: &RealHost,
    iqn: &Iqn,
    portals: &[Portal],
    domains: &[InstanceId],
    run: &str,
) -> Result<Seen, Failure> {
    let identity = identity(run);
    let sysfs = &host.sysfs;
    let mut seen = Seen::default();
    for sid in sysfs.sessions() {
        if sysfs.target(sid).is_some_and(|(portal, name)| name == *iqn && portals.contains(&portal))
        {
            seen.sessions.push(sid);
            let devices = sysfs.session_devices(sid).into_iter();
            seen.devices.extend(devices.map(|d| (d.hctl.lun, d.name)));
        }
    }
    for dm in sysfs.dm_devices() {
        let paths = sysfs.slaves(&dm);
        let ours = |p: &DeviceName| seen.devices.iter().any(|(_, d)| d == p);
        // A map without paths shows no target, only an identity.
        let ours = |wwid: String| match paths.is_empty() {
            true => wwid.contains(&identity),
            false => paths.iter().any(ours),
        };
        if sysfs.dm_wwid(&dm).is_some_and(ours) {
            seen.maps.push(dm);
        }
    }
    seen.node_records = node_records(host, iqn, portals).await?;
    for domain in domains {
        seen.persistent.extend(disks(host, domain, true).await?);
        if runs(host, domain).await? {
            seen.live.extend(disks(host, domain, false).await?);
        }
    }
    Ok(seen)
}

/// The name of a map (`mpatha`), which `multipath -f` wants.
pub fn map_name(host: &RealHost, dm: &DeviceName) -> Option<String> {
    host.sysfs.dm_name(dm)
}

/// The XML of a guest that does not run is its persistent config.
async fn runs(host: &RealHost, domain: &InstanceId) -> Result<bool, Failure> {
    let call = GetInfo { instance: domain.clone() };
    match host.carry_out(&onlooker(), Call::Libvirt(LibvirtCall::GetInfo(call))).await? {
        Reply::Libvirt(LibvirtReply::GetInfo(state)) => {
            Ok(matches!(state, PowerState::Running | PowerState::Paused))
        }
        other => unreachable!("GetInfo was answered {other:?}"),
    }
}
