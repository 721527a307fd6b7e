//! Arguments, and the way from a subcommand to an exit code.

mod ablate;
mod ablation;
mod bugs;
mod calibrate;
mod compute;
mod conform;
mod coverage;
mod doctor;
mod explore;
mod findings;
mod list;
mod merge;
mod problem;
mod records;
mod replay;
mod report;
mod results;
mod run;
mod run_args;
mod select;
mod serve;
mod shrink;
mod table;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use castoff_sim::properties::Class;
use clap::{Args, Parser, Subcommand, ValueEnum};

use problem::Problem;
use run_args::{MergeArgs, RunArgs};

/// Simulation and conformance test harness for OpenStack volume detach.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a subcommand: `castoff run`.
    #[command(flatten)]
    run: RunArgs,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all as expected
  1  an unexpected safety violation
  2  bad usage
  3  an unexpected liveness violation, a run that ended otherwise than expected, or a planted bug
     that no search finds
  4  a conformance case failed
  5  something is missing on this machine
130  conform was interrupted, and has cleared up";

#[derive(Subcommand)]
enum Command {
    /// Run scenarios over seeds; alone: the standard campaign.
    Run(RunArgs),
    /// Join the results of a campaign's shards.
    Merge(MergeArgs),
    /// Try every fault at every point of a scenario, alone and in pairs.
    Explore(ExploreArgs),
    /// Change each decision of a policy in turn, or plant known bugs, and search for what breaks.
    Ablate(AblateArgs),
    /// Run one identity again and show its trace.
    Replay(ReplayArgs),
    /// Find the smallest run that breaks the same property.
    Shrink(ShrinkArgs),
    /// Make a scenario file of a run, with what it shows as its expectation.
    Keep(KeepArgs),
    /// List what there is.
    List(ListArgs),
    /// Detach a real volume from a real guest through the same pipeline.
    Conform(conform::ConformArgs),
    /// Show the results of `conform` as JUnit XML, TAP or a page.
    Report(records::RecordsArgs),
    /// Make a timing profile of a host from the results of `conform` on it.
    Calibrate(calibrate::CalibrateArgs),
    /// Tell what this machine lacks for each job, or what nova.conf and cinder.conf make of a detach.
    Doctor(doctor::DoctorArgs),
    /// Take detach_volume from RabbitMQ as nova-compute does, with a real cinder and database.
    Compute(Box<compute::ComputeArgs>),
    /// Serve keystone, nova and cinder on loopback sockets, for OpenStack clients.
    Serve(ServeArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BindingArg {
    /// Models in process.
    Direct,
    /// Models behind HTTP, a broker and links.
    Network,
    /// Both.
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Args)]
struct ExploreArgs {
    /// Names of scenarios, or paths of scenario files [default: all that castoff has]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Faults at once: 1 is every fault, 2 every pair, 3 for those who wait
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    depth: u8,
    /// Only this policy (may be given several times) [default: all]
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
    /// How everything else behaves [default: each policy's own]
    #[arg(long, value_name = "NAME")]
    release: Option<String>,
    /// Seed of every run
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Write the findings, grouped, as a document there
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Show every cause, not only the first of each property
    #[arg(long)]
    all: bool,
    /// What to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Args)]
struct AblateArgs {
    /// Names of scenarios, or paths of scenario files, to search [default: all that castoff has]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// The policy whose decisions are changed
    #[arg(long, value_name = "NAME", default_value = "2026.1")]
    policy: String,
    /// Only this field (may be given several times) [default: all]
    #[arg(long, value_name = "FIELD")]
    field: Vec<String>,
    /// Plant the known bugs of nova, os-brick and cinder instead, one after the other
    #[arg(long, conflicts_with_all = ["policy", "field", "release"])]
    bugs: bool,
    /// Only this bug, as N24 (may be given several times)
    #[arg(long, value_name = "ID", conflicts_with_all = ["policy", "field", "release"])]
    bug: Vec<String>,
    /// Write the results into this file too, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// How everything else behaves [default: the policy's own]
    #[arg(long, value_name = "NAME")]
    release: Option<String>,
    /// Faults at once in the search
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    depth: u8,
    /// Seeds of each scenario without further faults
    #[arg(long, value_name = "N", default_value_t = 20)]
    seeds: u64,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// What to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Args)]
struct ReplayArgs {
    #[command(flatten)]
    of: ReplayOf,
    /// Form of the trace
    #[arg(long, value_enum, default_value = "text")]
    trace: TraceForm,
}

#[derive(Args)]
struct ShrinkArgs {
    #[command(flatten)]
    of: ReplayOf,
    /// The property that must stay broken [default: the first that is]
    #[arg(long, value_name = "NAME")]
    property: Option<String>,
    /// Write the identity of the smallest run there
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where a smaller scenario is written, if the smallest run needs one
    #[arg(long, value_name = "FILE")]
    scenario_out: Option<PathBuf>,
}

#[derive(Args)]
struct KeepArgs {
    #[command(flatten)]
    of: ReplayOf,
    /// The scenario file to write; the scenario is named after it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// One line for tables
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

/// One run: a file, or what would be in it.
#[derive(Args)]
struct ReplayOf {
    /// An identity that `castoff run --out` wrote
    #[arg(value_name = "FILE", conflicts_with_all = ["scenario", "policy", "release", "binding", "seed", "plan", "fault", "schedule"])]
    file: Option<PathBuf>,
    /// Name of a scenario, or path of a scenario file
    #[arg(long, value_name = "S")]
    scenario: Option<String>,
    /// Policy
    #[arg(long, value_name = "P", default_value = "2026.1")]
    policy: String,
    /// Release [default: the policy's own]
    #[arg(long, value_name = "NAME")]
    release: Option<String>,
    /// Binding
    #[arg(long, value_name = "B", value_enum, default_value = "direct")]
    binding: ReplayBinding,
    /// Seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A plan (JSON) whose faults are added to the scenario's
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// A fault that is added, PROCESS:OPERATION#NTH[@REQUEST]:KIND[=FIGURES]; may be given several times
    #[arg(long, value_name = "FAULT")]
    fault: Vec<castoff_ports::plan::Fault>,
    /// Order of steps on direct: fifo, random, pct:DEPTH or order:POINT=CHOICE,…
    #[arg(long, value_name = "SCHEDULE", default_value = "fifo")]
    schedule: castoff_ports::schedule::Schedule,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReplayBinding {
    /// Models in process.
    Direct,
    /// Models behind HTTP, a broker and links.
    Network,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TraceForm {
    /// Fixed columns.
    Text,
    /// An object a line.
    Jsonl,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Scenarios that castoff has.
    Scenarios,
    /// Policies of the pipeline.
    Policies,
    /// Releases of everything else.
    Releases,
    /// Properties that are checked.
    Properties,
    /// Operations that a fault can strike.
    Operations,
    /// Fields of a policy, with the values that `hardened` has.
    Fields,
    /// Kinds of faults, with their figures, as --fault has them.
    Faults,
}

#[derive(Args)]
struct ListArgs {
    /// What to list
    #[arg(value_enum)]
    what: What,
    /// What to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CloudFormat {
    /// clouds.yaml.
    Clouds,
    /// `export OS_…` for a shell.
    Env,
    /// An object with every URL and user.
    Json,
}

#[derive(Args)]
struct ServeArgs {
    /// Name of a scenario, or path of a scenario file: the starting state and its faults
    #[arg(value_name = "SCENARIO", default_value = "healthy")]
    scenario: String,
    /// Policy
    #[arg(long, value_name = "P", default_value = "2026.1")]
    policy: String,
    /// Release [default: the policy's own]
    #[arg(long, value_name = "NAME")]
    release: Option<String>,
    /// Address to listen on; one that is not loopback opens the cloud to others
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    listen: IpAddr,
    /// Keystone's port; nova, cinder and admin get the next three; 0: free ones
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=65_532))]
    port_base: u16,
    /// So many times faster than real time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    speed: u32,
    /// What to print
    #[arg(long, value_enum, default_value = "clouds")]
    format: CloudFormat,
    /// Write clouds.yaml there too, once the cloud is up
    #[arg(long, value_name = "FILE")]
    clouds: Option<PathBuf>,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// As expected.
    Fine,
    /// An unexpected safety violation.
    Safety,
    /// An unexpected liveness violation or end.
    Liveness,
    /// A conformance case failed.
    #[cfg_attr(not(feature = "real"), allow(dead_code))]
    Conformance,
    /// A code that a command run in the lab gave.
    #[cfg_attr(not(feature = "real"), allow(dead_code))]
    Code(u8),
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Exit::Fine => 0,
            Exit::Safety => 1,
            Exit::Liveness => 3,
            Exit::Conformance => 4,
            Exit::Code(code) => code,
        }
    }
    fn of(worst: Option<Class>) -> Exit {
        match worst {
            None => Exit::Fine,
            Some(Class::Safety) => Exit::Safety,
            Some(Class::Liveness) => Exit::Liveness,
        }
    }
}

/// Parses, runs, reports.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => run::run(&cli.run),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Ablate(args)) if args.bugs || !args.bug.is_empty() => bugs::bugs(&args),
        Some(Command::Ablate(args)) => ablate::ablate(&args),
        Some(Command::Merge(args)) => merge::merge(&args),
        Some(Command::Explore(args)) => explore::explore(&args),
        Some(Command::Replay(args)) => replay::replay(&args),
        Some(Command::Shrink(args)) => shrink::shrink(&args),
        Some(Command::Keep(args)) => shrink::keep(&args),
        Some(Command::List(args)) => list::list(&args),
        Some(Command::Conform(args)) => conform::conform(&args),
        Some(Command::Report(args)) => records::report(&args),
        Some(Command::Calibrate(args)) => calibrate::calibrate(&args),
        Some(Command::Doctor(args)) => doctor::doctor(&args),
        Some(Command::Compute(args)) => compute::compute(&args),
        Some(Command::Serve(args)) => serve::serve(&args),
    };
    result.map_or_else(Problem::report, |exit| ExitCode::from(exit.code()))
}
