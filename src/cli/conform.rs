//! `castoff conform`: the cases, on this host or in the lab.

use std::path::PathBuf;

use castoff::conform::case::{Case, Machine};
use castoff::conform::select::select;
use clap::{Args, ValueEnum};

use super::{Exit, Format, Problem};

#[cfg(feature = "real")]
mod here;
#[cfg(feature = "real")]
mod lab;
mod listing;
#[cfg(feature = "real")]
mod share;
#[cfg(feature = "real")]
mod shown;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MachineArg {
    /// Lets go by ACPI.
    Q35,
    /// i440FX, by ACPI.
    Pc,
    /// By the PCIe slot, after five seconds.
    Q35Native,
    /// Nobody in it who would let go.
    NoOs,
}

impl MachineArg {
    #[cfg_attr(not(feature = "real"), allow(dead_code))]
    fn machine(self) -> Machine {
        match self {
            MachineArg::Q35 => Machine::Q35,
            MachineArg::Pc => Machine::Pc,
            MachineArg::Q35Native => Machine::Q35Native,
            MachineArg::NoOs => Machine::NoOs,
        }
    }
}

#[derive(Args)]
#[command(after_help = "\
Exit codes: 0 every case passed, differs safely or was skipped; 2 bad usage, or the state directory is another live run's;
4 a case failed, or what the run made could not be taken away; 5 something is missing; 130 interrupted.")]
#[cfg_attr(not(feature = "real"), allow(dead_code))]
pub(super) struct ConformArgs {
    /// Ids of cases; `*` stands for anything, a group's name for all of it [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// List the cases
    #[arg(long)]
    list: bool,
    /// Say what would be run, where, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Boot labs (User-mode Linux: initiator, libvirtd, guest), one a kind of guest, and run there
    #[arg(long, conflicts_with_all = ["domain", "portal", "target_iqn", "lun", "local_target", "machine", "console"])]
    lab: bool,
    /// Labs side by side; each takes most of a core and 2.5 GB
    #[arg(long, value_name = "N", default_value = "1", requires = "lab")]
    labs: std::num::NonZeroU8,
    /// libvirt connection URI
    #[arg(long, value_name = "URI", default_value = "qemu:///system")]
    connect: String,
    /// Name of the running guest to attach to and detach from
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// What kind of guest it is; cases for others are skipped
    #[arg(long, value_enum, default_value = "q35")]
    machine: MachineArg,
    /// The guest's serial console, if that is a file where its user land writes GUEST-READY, and GUEST-BLK when its disks change
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
    /// Make a target of our own (tgtd), with as many LUNs as the cases need, on 127.0.77.1 and .2
    #[arg(long, conflicts_with_all = ["portal", "target_iqn", "lun"])]
    local_target: bool,
    /// iSCSI portal of your target
    #[arg(long, value_name = "IP:PORT", requires = "target_iqn")]
    portal: Option<String>,
    /// Its name
    #[arg(long, value_name = "IQN", requires = "portal")]
    target_iqn: Option<String>,
    /// LUN of the volume in that target; nothing else may use it
    #[arg(long, value_name = "N", default_value_t = 1)]
    lun: u32,
    /// The guest may be paused, reset and killed
    #[arg(long)]
    may_kill_guest: bool,
    /// libvirtd and multipathd may be killed and started again
    #[arg(long)]
    may_restart_daemons: bool,
    /// Journal and files of runs; what an earlier one left is taken away first
    #[arg(long, value_name = "DIR", default_value = "/var/lib/castoff/conform")]
    state_dir: PathBuf,
    /// Only cases of this policy [default: each case's own]
    #[arg(long, value_name = "P")]
    policy: Option<String>,
    /// `[libvirt]device_detach_attempts` [default: nova's; in the lab 3]
    #[arg(long, value_name = "N")]
    device_detach_attempts: Option<u32>,
    /// `[libvirt]device_detach_timeout` [default: nova's; in the lab 6]
    #[arg(long, value_name = "SECONDS")]
    device_detach_timeout: Option<u32>,
    /// How long one flush of a disk may take [default: os-brick's; in the lab 20]
    #[arg(long, value_name = "SECONDS")]
    flush_timeout: Option<u32>,
    /// `node.session.timeo.replacement_timeout` of our sessions [default: open-iscsi's; in the lab 4]
    #[arg(long, value_name = "SECONDS")]
    replacement_timeout: Option<u32>,
    /// Seconds between two passes of the hardened reconciler [default: 60; in the lab 3]
    #[arg(long, value_name = "SECONDS")]
    reconcile_period: Option<u32>,
    /// Compare healthy detaches' times with this profile: lab, or a file that `castoff calibrate` wrote [default: none; in the lab: lab]
    #[arg(long, value_name = "PROFILE")]
    timing: Option<String>,
    /// Write the results there: JSON lines, one a case
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write each case's trace into this folder
    #[arg(long, value_name = "DIR")]
    trace_dir: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Only progress, no table: the one that started this run prints it
    #[arg(long, hide = true)]
    inner: bool,
}

/// Lists, says, or runs.
pub(super) fn conform(args: &ConformArgs) -> Result<Exit, Problem> {
    let chosen = select(&args.cases)
        .map_err(|e| Problem::usage(e.to_string(), "castoff conform --list shows all cases"))?;
    let of_policy = |c: &&'static Case| args.policy.as_ref().is_none_or(|p| p == c.policy);
    if let Some(policy) = &args.policy {
        super::select::policy(policy)?;
    }
    let chosen: Vec<&'static Case> = chosen.into_iter().filter(of_policy).collect();
    if chosen.is_empty() {
        return Err(Problem::usage(
            "no case that you named is of this policy",
            "castoff conform --list shows each case's own",
        ));
    }
    if args.list {
        return Ok(listing::list(&chosen, args.format));
    }
    if args.dry_run {
        return Ok(listing::dry_run(&chosen, args.lab));
    }
    run(args, &chosen)
}

/// Without the feature there is nothing to bind to.
#[cfg(not(feature = "real"))]
fn run(_args: &ConformArgs, _cases: &[&'static Case]) -> Result<Exit, Problem> {
    Err(Problem::missing(
        "this castoff was built without real bindings",
        "install libvirt's headers (Debian: apt-get install libvirt-dev pkg-config), then \
         `cargo run --release --features real -- conform --lab`",
    ))
}

#[cfg(feature = "real")]
fn run(args: &ConformArgs, cases: &[&'static Case]) -> Result<Exit, Problem> {
    if args.lab { lab::run(args, cases) } else { here::run(args, cases) }
}
