//! nova.conf: what an operator sets, as opposed to what the code decides ([`Policy`]).

use castoff_ports::{HostName, ProjectId, Secret, UserId};

use crate::policy::Policy;

/// `compute_driver`: which hypervisor driver nova-compute loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeDriver {
    /// `libvirt.LibvirtDriver`.
    Libvirt,
}

/// `[service_user]`: nova's own account, for `send_service_user_token`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceUser {
    /// `username`.
    pub user: UserId,
    /// `password`.
    pub password: Secret,
    /// `project_name`.
    pub project: ProjectId,
}

/// nova.conf of one host.
#[derive(Clone, Debug, PartialEq)]
pub struct Conf {
    /// The decisions of the code that reads this file.
    pub policy: Policy,
    /// `host`.
    pub host: HostName,
    /// `my_block_storage_ip`.
    pub my_ip: String,
    /// `compute_driver`.
    pub compute_driver: ComputeDriver,
    /// `[cells]enable`: honoured only where the policy still has cells v1.
    pub cells_v1: bool,
    /// `[libvirt]volume_use_multipath`.
    pub use_multipath: bool,
    /// `[libvirt]num_volume_scan_tries`.
    pub num_volume_scan_tries: u32,
    /// `shelved_offload_time`, in seconds: 0 offloads at once, and so far nothing else does it.
    pub shelved_offload_time: u32,
    /// `[service_user]`; set means `send_service_user_token=true`.
    pub service_user: Option<ServiceUser>,
    /// Whether the installed iscsiadm knows `node.session.scan`: os-brick reads that from the
    /// binary when it is imported, and corrects it on every connect (B2).
    pub iscsiadm_manual_scan: bool,
}

impl Conf {
    /// The defaults for a host under this policy.
    pub fn new(policy: Policy, host: HostName) -> Conf {
        Conf {
            policy,
            host,
            my_ip: "192.0.2.11".to_owned(),
            compute_driver: ComputeDriver::Libvirt,
            cells_v1: false,
            use_multipath: false,
            num_volume_scan_tries: 5,
            shelved_offload_time: 0,
            service_user: None,
            iscsiadm_manual_scan: true,
        }
    }
}
