//! What a scenario file says: the world before, what goes wrong, who does what, what must come of it.
//!
//! The types are the file: `deny_unknown_fields` everywhere, so that a misspelt key is an error
//! and not a silent default. Keys are snake_case, values kebab-case. What types cannot say
//! (a volume that an actor names exists, an operation has that name) is in [`mod@crate::check`].

use std::collections::BTreeMap;

use castoff_ports::plan::Fault;
use castoff_ports::qemu::{Machine, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::actor::{Action, Actor, Standing};
pub use crate::before::{Leftover, TokenSpec, VolumeSpec};

/// One scenario.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name on the command line, in kebab-case; the file is named after it.
    #[schemars(regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub name: String,
    /// The file it was read from, when it is not a built-in one: what a replay has to name.
    #[serde(skip)]
    #[schemars(skip)]
    pub source: Option<String>,
    /// One line for tables.
    #[schemars(length(min = 1))]
    pub title: String,
    /// What happens and why it matters, with the bug or the reference.
    #[serde(default)]
    pub story: String,
    /// The volumes; all of one server unless said otherwise.
    #[serde(rename = "volume")]
    #[schemars(length(min = 1))]
    pub volumes: Vec<VolumeSpec>,
    /// The storage backend.
    #[serde(default)]
    pub storage: StorageSpec,
    /// The guest.
    #[serde(default)]
    pub guest: GuestSpec,
    /// The compute host.
    #[serde(default)]
    pub host: HostSpec,
    /// The user's token.
    #[serde(default)]
    pub token: TokenSpec,
    /// What an earlier failure has left behind.
    #[serde(default, rename = "leftover")]
    pub leftovers: Vec<Leftover>,
    /// Who does what, from the start of the run.
    #[serde(rename = "actor")]
    #[schemars(length(min = 1))]
    pub actors: Vec<Actor>,
    /// What strikes which operation.
    #[serde(default, rename = "fault")]
    #[schemars(schema_with = "crate::schema::faults")]
    pub faults: Vec<Fault>,
    /// What must come of it, by policy name.
    #[schemars(extend("minProperties" = 1))]
    pub expect: BTreeMap<String, Expectation>,
}

/// The server of every volume and actor that names none.
pub const FIRST_SERVER: &str = "a";

impl Scenario {
    /// Every server: the first one, then the others in the order in which volumes and actors name
    /// them. All are on the one compute host.
    pub fn servers(&self) -> Vec<&str> {
        let of_volumes = self.volumes.iter().filter_map(|v| v.server.as_deref());
        let of_actors = self.actors.iter().filter_map(|a| a.server.as_deref());
        let mut servers = vec![FIRST_SERVER];
        for name in of_volumes.chain(of_actors) {
            if !servers.contains(&name) {
                servers.push(name);
            }
        }
        servers
    }

    /// The server that an actor acts on: the one that it names, else its volume's.
    pub fn server_of<'a>(&'a self, actor: &'a Actor) -> &'a str {
        let of_volume = || self.volumes.iter().find(|v| v.name == actor.volume);
        match &actor.server {
            Some(server) => server,
            None => of_volume().and_then(|v| v.server.as_deref()).unwrap_or(FIRST_SERVER),
        }
    }

    /// What names it on the command line: its file, or its own name when it is built in.
    pub fn argument(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.name)
    }
}

/// The storage backend.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageSpec {
    /// All volumes are LUNs of one target; otherwise each has its own (LVM).
    #[serde(default)]
    pub shared_target: bool,
    /// Portals, each with every target behind it; cinder lists them when there are several.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 8))]
    pub portals: u8,
    /// So many of the portals, the last ones, stop answering when the run starts, until faults stop.
    #[serde(default)]
    pub lost_portals: u8,
    /// cinder does not list the portals: a host with multipath asks the target for them.
    #[serde(default, skip_serializing_if = "no")]
    pub unlisted_portals: bool,
}

fn no(value: &bool) -> bool {
    !value
}

fn one() -> u8 {
    1
}

impl Default for StorageSpec {
    fn default() -> Self {
        StorageSpec {
            shared_target: false,
            portals: one(),
            lost_portals: 0,
            unlisted_portals: false,
        }
    }
}

/// When the guest lets go of a disk after the first unplug request that reaches it:
/// `"promptly"`, `{ after_ms = 25000 }` or `"never"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetsGo {
    /// Within half a second, as measured; the seed draws.
    #[default]
    Promptly,
    /// After so many milliseconds.
    AfterMs(u64),
    /// Never, until faults stop; what is pending then completes, as measured when a paused guest
    /// is resumed.
    Never,
}

/// The guest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestSpec {
    /// How it answers unplug requests.
    #[serde(default)]
    pub lets_go: LetsGo,
}

/// The compute host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// Something on the host keeps SCSI disks from going away after their delete:
    /// `{ for_ms = 8000 }` or `"forever"`. Absent: they go within a second, as measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_lingers: Option<Linger>,
    /// Guest writes are held in the host's page cache (cache=writeback) until flushed.
    #[serde(default)]
    pub writeback: bool,
    /// multipathd runs and nova.conf says `volume_use_multipath = true`.
    #[serde(default)]
    pub multipath: bool,
    /// nova.conf says `volume_use_multipath = false` again when the run starts.
    #[serde(default, skip_serializing_if = "no")]
    pub multipath_switched_off: bool,
    /// The host's open-iscsi, where it is not the release's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_iscsi: Option<OpenIscsi>,
    /// iscsiadm warns of something when it lists sessions.
    #[serde(default, skip_serializing_if = "no")]
    pub iscsiadm_warns: bool,
    /// So many milliseconds later than QEMU, libvirtd hears of a disk that the guest let go of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirtd_lags_ms: Option<u64>,
    /// QEMU's version, `"4.2"`: what a second unplug request does while one is pending hangs on
    /// it. Absent: the release's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9]{1,5}\\.[0-9]{1,5}$"))]
    pub qemu: Option<Version>,
    /// The guest's machine type: how it is told to let go, and how long `"promptly"` takes.
    /// Absent: the release's, and any time that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Machine>")]
    pub machine: Option<Machine>,
    /// What happens to the host by itself.
    #[serde(default, rename = "event", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<HostEvent>,
}

/// An open-iscsi that does not know `node.session.scan`: iscsid scans by itself (os-brick f67d46c).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OpenIscsi {
    /// It has always been so old.
    Old,
    /// It was put back to an old one when nova-compute was running: os-brick looks for the word in
    /// iscsiadm when it is imported, and hears of the change when it next connects.
    Downgraded,
}

/// Something that happens to the host by itself, whatever nova does.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostEvent {
    /// libvirtd stops: calls under way lose their connection, and device events are lost until
    /// nova has called it again.
    LibvirtdRestarts {
        /// When, in milliseconds from the start.
        at_ms: u64,
        /// It is back after so many milliseconds.
        for_ms: u64,
    },
    /// QEMU is killed: the guest is shut off.
    QemuDies {
        /// When, in milliseconds from the start.
        at_ms: u64,
    },
    /// The guest restarts its system: a pending unplug completes, and requests that come before
    /// it is up again are missed.
    GuestReboots {
        /// When, in milliseconds from the start.
        at_ms: u64,
        /// It is up again after so many milliseconds.
        for_ms: u64,
    },
    /// Somebody pauses the guest behind nova's back; it answers nothing meanwhile.
    GuestPauses {
        /// When, in milliseconds from the start.
        at_ms: u64,
        /// It goes on after so many milliseconds; when faults stop if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
}

/// How long a deleted SCSI disk stays.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Linger {
    /// So many milliseconds.
    ForMs(u64),
    /// It never goes, until faults stop.
    #[serde(rename = "forever")]
    Never,
}

/// How a volume stands when everything has become quiet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Available, no attachment, no BDM, no disk in the live guest.
    Detached,
    /// In-use, with its BDM; the attempt ended with an error that the user can see.
    RolledBack,
    /// `detaching`, and nobody works on it.
    StuckDetaching,
    /// Nova has no BDM, cinder still has an attachment.
    Orphaned,
    /// Anything else: the report says what.
    Other,
}

impl End {
    /// Its name in files and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            End::Detached => "detached",
            End::RolledBack => "rolled-back",
            End::StuckDetaching => "stuck-detaching",
            End::Orphaned => "orphaned",
            End::Other => "other",
        }
    }
}

/// What must come of a scenario under one policy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The volume of the first detach when everything is quiet for the first time.
    pub end: End,
    /// The same, after the faults have stopped and the user has retried once.
    pub after_retry: End,
    /// Properties (S01 to S27, L1 to L8) that this policy is known to break here; any other violation is unexpected,
    /// and so is one of these that no seed shows.
    #[serde(default)]
    #[schemars(inner(regex(pattern = "^(S(0[1-9]|1[0-9]|2[0-7])|L[1-8])$")))]
    pub violates: Vec<String>,
    /// Why, in one line.
    #[serde(default)]
    pub because: String,
}
