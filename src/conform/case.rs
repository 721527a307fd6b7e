//! A conformance case as data: what is attached, what happens to the host and when, what must hold.
//!
//! It compiles without real bindings, so that `castoff conform --list` needs none.

use castoff_ports::plan::EnvironmentEvent;
use castoff_ports::qemu;

use super::recorded::Recording;

/// Which guest a case needs. A lab boots one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    /// `q35`: lets go by ACPI.
    Q35,
    /// `pc` (i440FX): lets go by ACPI.
    Pc,
    /// `q35` without ACPI hotplug behind bridges: lets go by the PCIe slot, after five seconds.
    Q35Native,
    /// Nobody in the guest who would let go.
    NoOs,
}

impl Machine {
    /// All of them, in the order in which labs are booted.
    pub const ALL: [Machine; 4] = [Machine::Q35, Machine::Q35Native, Machine::NoOs, Machine::Pc];

    /// As `--machine` and the lab call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Machine::Q35 => "q35",
            Machine::Pc => "pc",
            Machine::Q35Native => "q35-native",
            Machine::NoOs => "no-os",
        }
    }

    /// The simulation's word for it; none where nobody lets go.
    pub fn qemu(self) -> Option<qemu::Machine> {
        match self {
            Machine::Q35 => Some(qemu::Machine::Q35),
            Machine::Pc => Some(qemu::Machine::Pc),
            Machine::Q35Native => Some(qemu::Machine::Q35Native),
            Machine::NoOs => None,
        }
    }
}

/// What a case needs besides libvirt, QEMU, open-iscsi and a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A target of the run's own (`--local-target`): LUNs, portals and a tgtd that may be frozen.
    LocalTarget,
    /// multipath-tools, and multipathd running or startable (`--may-restart-daemons`).
    Multipath,
    /// A guest that may be paused, reset and killed (`--may-kill-guest`).
    GuestOfOurs,
    /// libvirtd and multipathd may be killed and started again (`--may-restart-daemons`).
    DaemonsOfOurs,
    /// A file system that the kernel and mkfs know.
    FileSystem,
}

impl Need {
    /// Why a case is skipped without it.
    pub fn reason(self) -> &'static str {
        match self {
            Need::LocalTarget => "needs a target of castoff's own: give --local-target",
            Need::Multipath => {
                "needs multipath-tools, and multipathd running or --may-restart-daemons"
            }
            Need::GuestOfOurs => "pauses, resets or kills the guest: give --may-kill-guest",
            Need::DaemonsOfOurs => "kills libvirtd or multipathd: give --may-restart-daemons",
            Need::FileSystem => "needs mkfs.ext4 and a kernel with ext4",
        }
    }
}

/// Something that is done to the host by others than the pipeline. Volumes are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The target answers no more, and does not hang up (SIGSTOP).
    FreezeTarget,
    /// It goes on (SIGCONT).
    ThawTarget,
    /// The target dies (SIGKILL).
    KillTarget,
    /// The target runs again, with what is on its disks.
    StartTarget,
    /// The target drops every connection; the initiator comes back.
    DropConnections,
    /// What goes to this portal (0 or 1) is swallowed.
    LosePortal(usize),
    /// The guest's processors stop.
    PauseGuest,
    /// They go on.
    ResumeGuest,
    /// The guest's reset button.
    ResetGuest,
    /// The guest's QEMU dies (SIGKILL).
    KillQemu,
    /// libvirtd dies (SIGKILL) and is started again at once.
    RestartLibvirtd,
    /// Until libvirtd answers.
    AwaitLibvirtd,
    /// multipathd stops.
    StopMultipathd,
    /// Somebody else takes the disk out of the running guest (`virsh detach-disk --live`).
    DetachLive(u8),
    /// Somebody else takes it out of the persistent config.
    DetachPersistent(u8),
    /// Somebody else detaches it by its alias, which waits for nothing, and it goes.
    DetachByAlias(u8),
    /// A process of the host opens the disk.
    HoldOpen(u8),
    /// A process of the host opens the disk and leaves 4 MiB of it dirty in the page cache.
    Dirty(u8),
    /// The host makes a file system on the disk, mounts it, and writes a file.
    Mount(u8),
    /// The host activates a logical volume on the disk, writes a text to it, and syncs it.
    MapOn(u8),
    /// The host deactivates it.
    MapOff,
    /// The guest's QEMU writes 1 MiB to the disk and flushes, as a guest's driver asks it to.
    GuestWrites(u8),
    /// The guest's QEMU writes 64 MiB, each 8 MiB durable before the next.
    GuestWritesMuch(u8),
    /// The first half of them.
    GuestWritesHalf(u8),
    /// The second half: a write that is refused, was told so, ends it.
    GuestWritesRest(u8),
    /// The target stops exporting the volume's LUN.
    Unmap(u8),
    /// The target exports the second volume under the first one's LUN.
    ReuseLun {
        /// Whose number it was.
        of: u8,
        /// Whose data it has now.
        by: u8,
    },
    /// The other guest's QEMU is ended.
    EndOther,
    /// A node record of the target is there from an earlier time, with `node.startup=automatic`.
    StaleRecord,
    /// A user resets the volume from `detaching` to `in-use` (os-roll_detaching).
    RollDetaching(u8),
}

impl Act {
    /// What an event of the simulation's plans is on a host; tokens are the models' own.
    pub fn of(event: EnvironmentEvent) -> &'static [Act] {
        match event {
            EnvironmentEvent::GuestDeaf => &[Act::PauseGuest],
            EnvironmentEvent::QemuKilled => &[Act::KillQemu],
            EnvironmentEvent::PortalsDown => &[Act::LosePortal(0), Act::LosePortal(1)],
            EnvironmentEvent::TokensExpired => &[],
        }
    }
}

/// When an act strikes, seen from an operation of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the operation is carried out; it waits for the act.
    Before,
    /// After it has been carried out, before the pipeline sees its reply.
    After,
    /// While it is carried out: so many milliseconds after it was called.
    During(u64),
    /// As [`When::After`], but so many milliseconds after its turn has come, while what stands
    /// behind it goes on.
    Beside(u64),
}

/// A condition of the end, or of the moment between two steps. Volumes are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The last DELETE was answered so (202, 400, 404, 409).
    Answered(u16),
    /// The second of two DELETEs was refused so.
    SecondAnswered(u16),
    /// Cinder's status of the volume.
    Volume(u8, &'static str),
    /// Whether nova has a BDM of it.
    Bdm(u8, bool),
    /// Whether cinder has an attachment of it.
    Attachment(u8, bool),
    /// It is in-use with a BDM, an attachment and a SCSI device; or it is available with none.
    AllOrNone(u8),
    /// The persistent config has it exactly when it is in-use.
    ConfigAgrees(u8),
    /// Whether the running guest has it.
    Live(u8, bool),
    /// Whether the persistent config has it.
    Persistent(u8, bool),
    /// Whether the host has a SCSI device of it.
    Device(u8, bool),
    /// Whether a session to the target is there.
    Session(bool),
    /// Whether a node record of the target is there.
    Records(bool),
    /// Whether a multipath map of the target's disks, or one without paths, is there.
    Maps(bool),
    /// Whether the action's event of the last detach succeeded.
    ActionSucceeded(bool),
    /// What was written to the volume (by [`Act::Dirty`], [`Act::Mount`], [`Act::MapOn`], the guest) and
    /// was told durable is on the target.
    DataIntact(u8),
    /// The guest can still read and write this volume.
    GuestReads(u8),
    /// The last detach issued the calls of libvirt and the commands that a real Nova issued.
    AsRecorded(Recording),
    /// The last detach took at least and at most so many milliseconds.
    Took(u64, u64),
    /// This operation was called so often during the last detach.
    Called(&'static str, usize),
}

/// A step of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Attaches these volumes by the attach pipeline, one after the other.
    Attach(&'static [u8]),
    /// Makes another guest on the host, and attaches this volume to it.
    AttachToOther(u8),
    /// Does this now.
    Do(Act),
    /// Does this when the pipeline calls this operation for the n-th time from now on.
    At(&'static str, u32, When, Act),
    /// A fault of the simulation, as `--fault` has it; it counts from now on.
    Fault(&'static str),
    /// Detaches these volumes at the same time, and waits until nothing moves.
    Detach(&'static [u8]),
    /// Detaches these, and goes on when nothing moves, or after so many seconds.
    DetachFor(&'static [u8], u64),
    /// Detaches this one, and again so many milliseconds later while the first is under way.
    DetachTwice(u8, u64),
    /// These must hold now.
    Check(&'static [Check]),
    /// So hosts usually are now; else is safe too: a failing one makes the case differ, not fail.
    Usual(&'static [Check]),
    /// These must hold within so many seconds.
    Until(u64, &'static [Check]),
}

/// How many paths a case's volumes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// One portal, no multipath.
    One,
    /// Two portals and a multipath map.
    Two,
}

/// A case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Hierarchical id.
    pub id: &'static str,
    /// One line for people.
    pub title: &'static str,
    /// What it checks: bugs, functions of nova and os-brick, the host's own rules.
    pub cites: &'static [&'static str],
    /// The policy of the pipeline.
    pub policy: &'static str,
    /// The guest.
    pub machine: Machine,
    /// What else it needs.
    pub needs: &'static [Need],
    /// Paths to its volumes.
    pub paths: Paths,
    /// `[libvirt]device_detach_attempts`, where the case is about it.
    pub attempts: Option<u32>,
    /// `[libvirt]device_detach_timeout` in seconds, where the case is about it.
    pub timeout_s: Option<u32>,
    /// How long all of it may take, seconds.
    pub deadline_s: u64,
    /// What happens.
    pub steps: &'static [Step],
}

impl Case {
    /// The volumes that it attaches, each once.
    pub fn volumes(&self) -> Vec<u8> {
        let mut all = std::collections::BTreeSet::new();
        for step in self.steps {
            match step {
                Step::Attach(volumes) => all.extend(volumes.iter().copied()),
                Step::AttachToOther(volume) => drop(all.insert(*volume)),
                Step::Do(_) | Step::At(..) | Step::Fault(_) => {}
                Step::Check(_) | Step::Usual(_) | Step::Until(..) => {}
                Step::Detach(_) | Step::DetachFor(..) | Step::DetachTwice(..) => {}
            }
        }
        all.into_iter().collect()
    }

    /// Whether it is one detach of one volume to which nothing happens, from a guest that lets go:
    /// the simulation's scenario `healthy`.
    pub fn is_healthy(&self) -> bool {
        let plain = |s: &Step| matches!(s, Step::Attach(_) | Step::Check(_) | Step::Detach([_]));
        let detaches = self.steps.iter().filter(|s| matches!(s, Step::Detach(_))).count();
        detaches == 1
            && self.volumes().len() == 1
            && self.machine.qemu().is_some()
            && self.steps.iter().all(plain)
    }
}

/// A case about a healthy one-path detach under 2026.1, which the others are variations of.
pub const ONE_PATH: Case = Case {
    id: "",
    title: "",
    cites: &[],
    policy: "2026.1",
    machine: Machine::Q35,
    needs: &[],
    paths: Paths::One,
    attempts: None,
    timeout_s: None,
    deadline_s: 90,
    steps: &[],
};

/// What must hold once a volume has been detached and the host knows it no more.
macro_rules! gone {
    ($($volume:literal),*) => {
        $crate::conform::case::Step::Check(&[$(
            $crate::conform::case::Check::Volume($volume, "available"),
            $crate::conform::case::Check::Bdm($volume, false),
            $crate::conform::case::Check::Attachment($volume, false),
            $crate::conform::case::Check::Live($volume, false),
            $crate::conform::case::Check::Persistent($volume, false),
            $crate::conform::case::Check::Device($volume, false),
        )*])
    };
}
pub(crate) use gone;

/// A volume is attached, this happens, it is detached, and nothing is left of it; after a `;`: what
/// must hold besides.
macro_rules! detached {
    ($($step:expr),* $(; $($check:expr),+)?) => {
        &[
            $crate::conform::case::Step::Attach(&[1]),
            $($step,)*
            $crate::conform::case::Step::Detach(&[1]),
            $crate::conform::case::ACCEPTED,
            $crate::conform::case::gone!(1),
            $crate::conform::case::NOTHING_LEFT,
            $($crate::conform::case::Step::Check(&[$($check),+]),)?
        ]
    };
}
pub(crate) use detached;

/// nova's request to libvirt; its first call is for the persistent config, the second for the
/// running guest.
pub const REQUEST: &str = "libvirt::DetachDeviceFlags";

/// After a rollback: everything is as before the DELETE, but for the persistent config.
pub const STILL_THERE: Step = Step::Check(&[
    Check::Answered(202),
    Check::Volume(1, "in-use"),
    Check::Bdm(1, true),
    Check::Attachment(1, true),
    Check::Live(1, true),
    Check::Device(1, true),
    Check::Session(true),
    Check::ActionSucceeded(false),
]);

/// After QEMU has died during a detach under hardened: ended, or given back whole.
pub const QEMU_ENDED: Step = Step::Check(&[
    Check::Answered(202),
    Check::Live(1, false),
    Check::AllOrNone(1),
    Check::ConfigAgrees(1),
]);

/// Ended, usually.
pub const USUALLY_ENDED: Step =
    Step::Usual(&[Check::Volume(1, "available"), Check::Device(1, false), Check::Session(false)]);

/// What must hold of the host when no volume of the target is attached.
pub const NOTHING_LEFT: Step =
    Step::Check(&[Check::Session(false), Check::Records(false), Check::Maps(false)]);

/// A DELETE that was taken, and a detach that nova calls a success.
pub const ACCEPTED: Step = Step::Check(&[Check::Answered(202), Check::ActionSucceeded(true)]);
