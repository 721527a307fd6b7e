//! Policy: the decisions of the pipeline, as data.
//!
//! Nova's detach has changed for fifteen years, mostly in answer to bugs. Each decision is one
//! field here, named with the bug or commit that it answers; no station asks which binding it runs
//! on, or which generation it belongs to, only what the policy says. So a historical bug is a
//! policy with one field changed.
//!
//! - [`pike`]: nova master of spring 2017 with os-brick 1.12.
//! - [`v2026_1`]: nova 33 with os-brick 7.
//! - [`hardened`]: ours; begins as 2026.1.

use castoff_ports::runtime::LockScope;
pub use fixes::Fixes;
use serde::{Deserialize, Serialize};

pub mod change;
mod failures;
pub mod fixes;
pub mod hardened;
pub mod pike;
pub mod v2026_1;

pub use failures::{FailedAttach, FailedLook, LostReply, Rollback};

/// How the guest is made to let go of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Unplug {
    /// Ask again and look at the XML, with growing sleeps: `detach_device_with_retry`.
    Poll {
        /// How often to try again.
        max_retry_count: u32,
        /// By how many seconds each sleep grows.
        inc_sleep_time: u32,
        /// The longest sleep, in seconds.
        max_sleep_time: u32,
    },
    /// Ask, and take libvirt's word for it (nova bug 1374508).
    Once,
    /// Ask and wait for libvirt's event: `_detach_with_retry` (nova e56cc4f439).
    AwaitEvents {
        /// `[libvirt]device_detach_attempts`.
        attempts: u32,
        /// `[libvirt]device_detach_timeout`, in seconds.
        timeout_s: u32,
    },
}

/// Which of cinder's APIs binds a volume to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeApi {
    /// os-reserve, os-initialize_connection, os-attach; os-terminate_connection, os-detach.
    Legacy,
    /// The attachments of volume API 3.44: create, update, complete, delete.
    Attachments,
}

/// Which other servers of a host count as users of a multiattach volume when one leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MultiattachUsers {
    /// Cinder's `attached` rows, the leaving server's own among them: one that is left is taken for
    /// it, though it may be the other's.
    Attached,
    /// Every other one whose attachment cinder exports, complete or not; and servers take turns.
    Exported,
}

/// Which os-brick algorithm connects and disconnects iSCSI volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Brick {
    /// 1.12: by-path links, before the refactoring 400ca5d.
    V1_12,
    /// 7.x: sysfs of the session, manual scans.
    V7,
}

/// What a disk that is missing in the guest means for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingGuestDevice {
    /// DeviceNotFound becomes DiskNotFound: the host keeps its session and device.
    SkipHostDisconnect,
    /// The host is disconnected all the same.
    Continue,
    /// The detach fails, whatever an earlier attempt has done (nova bug 1367964).
    Fail,
}

/// How nova-api finds the BDM of a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BdmLookup {
    /// Lists the server's BDMs and looks for the volume among them.
    ScanInstance,
    /// Asks for the one row of volume and server.
    ByVolumeAndInstance,
}

/// Whose project a role must be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessRule {
    /// `admin_or_owner` against the request's own project, before the server is loaded.
    AdminOrOwner,
    /// `PROJECT_MEMBER_OR_ADMIN` against the server's project, after it is loaded.
    ProjectMemberOrAdmin,
}

/// How a SCSI disk is flushed before it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flush {
    /// How often `blockdev --flushbufs` is tried.
    pub attempts: u32,
    /// Base of the sleeps between tries, in seconds: `interval * 2^n`.
    pub interval_s: u32,
    /// How long one try may take, in seconds.
    pub timeout_s: Option<u32>,
    /// Whether a failed flush ends the disconnect, or is only logged.
    pub failure_is_fatal: bool,
}

/// How long os-brick waits for a deleted device to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum RemovalWait {
    /// Looks `attempts` times, sleeping 2 s, 4 s, … in between.
    Backoff {
        /// How often to look.
        attempts: u32,
    },
    /// Looks `checks` times at a fixed distance.
    Poll {
        /// How often to look.
        checks: u32,
        /// Milliseconds between two looks.
        interval_ms: u32,
    },
}

/// Every decision of the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policy {
    /// Name on the command line.
    pub name: String,
    /// The release of the outside that it was made for.
    pub default_release: String,

    /// Who may detach (A2): checked before or after the server is loaded.
    pub access_rule: AccessRule,
    /// nova-api's BDM lookup (A2).
    pub bdm_lookup: BdmLookup,
    /// Status for the root device: 403, or 400 since nova d2e40a3e49.
    pub root_refusal_status: u16,
    /// nova checks the volume snapshot before os-begin_detaching; removed by nova 363146cbcb.
    pub check_detach: bool,
    /// Refuses a detach while another task works on the server (nova bug 1274627).
    pub task_state_check: bool,
    /// begin_detaching is left out for an offloaded server's volume of the attachments API, which
    /// is only reserved (nova bug 1808089).
    pub offloaded_skips_begin: bool,
    /// Refuses a detach while the compute service is down (nova bug 1909120, db8213af83).
    pub compute_is_up_check: bool,
    /// Refuses to attach a volume that already has a BDM (nova bug 1937375, 2209b0007f).
    pub duplicate_attach_check: bool,
    /// Destroys the BDM when its reservation was not answered (nova bug 1960401, 9eb116b99c).
    pub destroy_bdm_on_reserve_timeout: bool,
    /// Cells v1 may be configured; removed by nova 817dcc89a9.
    pub cells_v1: bool,
    /// Writes instance actions and their events, so that a user sees how a detach ended.
    pub instance_action_events: bool,

    /// detach_volume takes the server's lock (nova bug 1662483, 2e4e203c1a).
    pub instance_lock: bool,
    /// The BDM goes when cinder has let go of the volume, not before (nova bea6ff62af).
    pub bdm_destroyed_last: bool,
    /// An attach that fails at the guest takes the volume from the host again (nova bugs 1685185
    /// and 1812945).
    pub failed_attach_disconnects: bool,
    /// get_volume_connector runs first, outside any rollback (A8).
    pub connector_first: bool,
    /// Holds os-brick's lock of the backend from unplug to unmap (nova bug 2035375, os-brick bug
    /// 1961102).
    pub guard_connection: bool,
    /// Cinder's API for attach and detach (nova 39e2760f35).
    pub volume_api: VolumeApi,
    /// Attempts of unmapping calls when cinder answers 500 (attachments: 504 too) (nova bugs
    /// 1834659, 1944043 and 1970642).
    pub cinder_attempts: u32,
    /// An attachment that is already gone counts as deleted (nova bug 1937084).
    pub ignore_missing_attachment: bool,
    /// `[cinder]http_retries`: retries of a connection error, blind to whether it took effect.
    pub http_retries: u32,
    /// Sends nova's own token beside the user's (CVE-2023-2088: cinder 28 asks for it).
    pub service_token: bool,

    /// How the guest lets go (nova bugs 1374508, 1882521 and 1894804).
    pub unplug: Unplug,
    /// The persistent config is changed in a call of its own, and a disk missing there does not
    /// hide the live one (nova bug 1707238).
    pub persistent_first: bool,
    /// Asks whether the domain is persistent at all (nova bug 1669857).
    pub check_is_persistent: bool,
    /// Finds the disk by the alias `ua-<volume id>` that attach gave it, then by target.
    pub alias_lookup: bool,
    /// Knows INVALID_ARG with "no target device" (nova bug 1633236); only polling asks.
    pub no_target_device_error: bool,
    /// Knows libvirt's DEVICE_MISSING (nova bug 1887946).
    pub device_missing_error: bool,
    /// "already in the process of unplug" is no failure (nova bug 1882521).
    pub ignore_unplug_in_progress: bool,
    /// A disk that the guest does not have (nova bug 1727260, ce531dd1b7).
    pub missing_guest_device: MissingGuestDevice,
    /// Looks for the volume's libvirt secret before the host is disconnected (B5).
    pub secret_lookup: bool,
    /// Closes the host's mapping after the guest's release (nova bug 1642628); pike's way alone.
    pub encryptor_after_guest: bool,
    /// How often cryptsetup is asked to close a mapping that udev may hold (nova bug 1374458).
    pub encryptor_close_attempts: u32,
    /// Counts the servers of this host before disconnecting a multiattach volume (nova bug
    /// 1757190).
    pub multiattach_count: bool,
    /// Who is counted then. An attach that fails is not `attached` yet, so its rollback takes the
    /// disk from the other server's guest (nova bug 1757190 once more; property S03).
    pub multiattach_users: MultiattachUsers,
    /// reboot_instance takes the server's lock: without it a detach goes on beside it (B5).
    pub reboot_lock: bool,
    /// A reboot compares BDMs and cinder's attachments, and deletes what only one side knows (nova
    /// bug 2019078, 9d5935d007).
    pub reboot_deletes_dangling: bool,
    /// Offloading a shelved server takes its volumes from the host in cinder too (nova bug
    /// 1547142).
    pub offload_terminates: bool,
    /// A hard reboot disconnects every volume from the host before it connects it again. By force,
    /// so a disk that cannot be deleted loses its session under it (S07), and a logout that fails
    /// ends the reboot with neither disk nor guest (S08, L5); without it the connect finds the disk.
    pub reboot_disconnects: bool,
    /// Destroying a guest disconnects its volumes by force: on past every failing step.
    pub destroy_forces_disconnect: bool,
    /// os-brick 7 takes a failed connect back by force: a disk that cannot be deleted loses its
    /// session under it (property S07). Without, it stays for whoever connects or disconnects next.
    pub failed_connect_forces: bool,
    /// OPERATION_FAILED of an attach becomes DeviceIsBusy (attach, A5).
    pub attach_busy_error: bool,

    /// os-brick's algorithm (os-brick bug 1502534, 400ca5d).
    pub brick: Brick,
    /// Where os-brick's `connect_volume` lock holds (os-brick bug 1947370, 6a43669).
    pub connect_volume_lock: LockScope,
    /// Flush before delete (os-brick bug 1502534).
    pub flush: Flush,
    /// Wait after delete (os-brick bug 1794829, b9c7bc2).
    pub removal_wait: RemovalWait,
    /// os-brick's limit for any other command, in seconds (3c15f88).
    pub command_timeout_s: Option<u32>,

    /// nova-api writes what it is about to detach into instance_system_metadata, before
    /// os-begin_detaching, and nova-compute acts on a cast only while that row names its request.
    /// So a cast that was lost, or never sent, is noticed (F07, F08), and one that comes late or
    /// twice does nothing (F08, F09). Of a server without a host it keeps other requests, and a host
    /// that would take the server, away from the volume until nova-api has done with it.
    pub detach_intent: bool,
    /// How an unknown outcome of os-begin_detaching is settled (F06).
    pub begin_lost_reply: LostReply,
    /// A journal on the compute host says how far each detach has come: one that was cut short
    /// goes on from there instead of staying `detaching` for ever (F11, F13, F14, F17, F25).
    pub detach_journal: bool,
    /// Seconds between two passes of the reconciler, which takes up what intents and journal show
    /// to be unfinished; none: nobody does (properties L2 and L4).
    pub reconcile_period_s: Option<u32>,
    /// When os-roll_detaching is called (properties S13 and S14).
    pub rollback: Rollback,
    /// Whether a guest still has a disk is asked of QEMU too (virDomainBlockStats): the XML of a
    /// libvirtd that lags lists a disk that is gone, and what is rolled back then is no one's (nova
    /// bug 1815949; property S14).
    pub asks_qemu: bool,
    /// A domain XML that could not be read (F31): nova takes the disk for gone and disconnects it
    /// under the guest.
    pub unreadable_xml: FailedLook,
    /// A discovery database that could not be read: os-brick skips the whole disconnect in silence,
    /// and the volume is unmapped under its disk.
    pub unreadable_discoverydb: FailedLook,
    /// Looks once more that the host has no disk of the volume before cinder unmaps it (property
    /// S02; os-brick bug 1732199).
    pub confirm_disconnect: bool,
    /// A detach deletes attachments of this server and volume that no BDM names (nova bugs 1960401
    /// and 2019078): they would keep the volume `in-use` for ever.
    pub delete_stale_attachments: bool,
    /// nova-api writes what it is about to attach before it reserves a device name, and
    /// nova-compute acts on a cast only while that row names its request: a BDM or an attachment
    /// whose request has died is found (nova bug 1960401), and an attach that was undone does not
    /// come back with a late or repeated cast.
    pub attach_intent: bool,
    /// The journal of the compute host says what an attach may have connected before its BDM does
    /// (nova bugs 1327218 and 2019078): one that was cut short is finished or undone.
    pub attach_journal: bool,
    /// How a failed attach is rolled back (nova bugs 1685185 and 1812945).
    pub failed_attach: FailedAttach,
    /// How an unknown outcome of an attachment's creation is settled: asking again makes a second
    /// one, and nobody deletes the first (A2).
    pub create_lost_reply: LostReply,
    /// A volume that cinder has taken away from a server and given free, while the server has it,
    /// is detached (os-reset_status, nova bug 2019078: a reboot destroys the BDM): the next server
    /// that gets it would write beside the first (property S06).
    pub detaches_lost_volumes: bool,
    /// The task_state of a server that is shelved or unshelved is its intent: nova-compute acts on
    /// a cast only while it stands, and takes it up where nobody has (`_init_instance`
    /// knows no task_state of these: the server keeps it, and every detach is refused with 409).
    pub shelve_resumes: bool,
    /// The same for a server that is rebooted, paused, suspended, stopped, or comes back from that:
    /// a reboot that fails leaves its server in error, one that is lost leaves it with a task, and
    /// either refuses every detach with 409 until an administrator helps (property L3).
    pub power_resumes: bool,
    /// nova-compute looks whether the guest's memory is saved before it takes a disk out or puts one
    /// in: nova-api refuses both of a suspended server (nova bug 1240922), and a suspend may come
    /// between it and nova-compute. The config would lose a disk that the saved guest comes back
    /// with, or have one that it lacks (property S16).
    ///
    /// What counts is nova's row: a server that an administrator has set active is not known for saved.
    pub saved_guest_kept: bool,
    /// A server that is deleted goes when the host has let go of its volumes and cinder has deleted
    /// their attachments. Until then it is `deleting`, and taken up again (nova swallows every
    /// error of both: properties S02 and S10).
    pub delete_confirms: bool,
    /// A server leaves its host only when the host has let go of its volumes, and a volume leaves
    /// an offloaded server only when cinder has (nova bug 1547142; properties S02, S10 and S26).
    pub offload_confirms: bool,
    /// What single fixes have brought.
    #[serde(flatten)]
    pub fixes: Fixes,
}

/// A policy and a release that cannot work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("run policy {policy} against release {release}: {reason}")]
pub struct Incompatible {
    /// The policy.
    pub policy: String,
    /// The release.
    pub release: String,
    /// Why not.
    pub reason: &'static str,
}

impl Policy {
    /// The policy of this name.
    pub fn named(name: &str) -> Option<Policy> {
        Self::all().into_iter().find(|p| p.name == name)
    }

    /// Every known policy, oldest first.
    pub fn all() -> Vec<Policy> {
        vec![pike::policy(), v2026_1::policy(), hardened::policy()]
    }

    /// Whether it can work against this release of the outside.
    pub fn works_with(&self, release: &str) -> Result<(), Incompatible> {
        // A changed release is still made from the one that it is named after.
        let base = release.split('+').next().unwrap_or_default();
        let reason = match (base, self.volume_api, self.service_token) {
            ("ocata", VolumeApi::Attachments, _) => {
                "cinder ocata has no attachments API (volume API 3.44)"
            }
            ("2026.1", _, false) => {
                "cinder 28 answers 409 to os-terminate_connection, os-detach and attachment \
                 delete without a service token (CVE-2023-2088)"
            }
            _ => return Ok(()),
        };
        Err(Incompatible { policy: self.name.clone(), release: release.to_owned(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_works_with_its_default_release_and_survives_serde() {
        for policy in Policy::all() {
            assert_eq!(policy.works_with(&policy.default_release), Ok(()));
            let text = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        }
    }

    #[test]
    fn pairs_that_cannot_work_are_refused_with_the_reason() {
        let pike = Policy::named("pike").unwrap();
        let refused = pike.works_with("2026.1").unwrap_err();
        assert!(refused.to_string().contains("CVE-2023-2088"), "{refused}");
        for name in ["2026.1", "hardened"] {
            let refused = Policy::named(name).unwrap().works_with("ocata").unwrap_err();
            assert!(refused.reason.contains("attachments API"), "{refused}");
        }
        assert_eq!(Policy::named("queens"), None);
    }
}
