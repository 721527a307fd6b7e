//! A whole detach on a real host and each of its steps, beside the bare commands.
//!
//! `cargo bench --features real --bench real` boots the lab (real/lab) and measures in there. Per
//! round the pipeline detaches once and bare commands detach once, in turns who is first, in the
//! same boot and on the same volume: what drifts, drifts for both. Criterion's estimates come back
//! as `target/real-bench/criterion`; a table is printed last.

#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a bench boots the lab, and its clock is real")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use castoff::conform::Settings;
use castoff::conform::case::{Machine, Paths};
use castoff::conform::measure::{
    Bed, DELETE, Detach, FLUSH, LOGOUT, MAP, MeasureError, RECORD, UNPLUG_CONFIG, UNPLUG_LIVE,
};
use castoff::conform::suite::{Options, TargetOption};
use criterion::{BenchmarkId, Criterion, SamplingMode};
use tokio::task::LocalSet;

/// Rounds that count; one more before them does not.
const ROUNDS: usize = 10;

/// A step of the pipeline, and the command that does the same.
const PAIRS: [(&str, &str); 7] = [
    ("libvirt::DetachDeviceFlags CONFIG", UNPLUG_CONFIG),
    ("libvirt::DetachDeviceFlags LIVE", UNPLUG_LIVE),
    ("host::MultipathFlush", MAP),
    ("host::FlushBufs", FLUSH),
    ("host::DeleteDevice", DELETE),
    ("iscsi::Logout", LOGOUT),
    ("iscsi::NodeDelete", RECORD),
];

/// The times of one step, a round each.
type Times = BTreeMap<String, Vec<Duration>>;

fn main() -> ExitCode {
    // `cargo test --benches` is no reason to boot a lab.
    if !env::args().any(|a| a == "--bench") {
        return ExitCode::SUCCESS;
    }
    match env::var("CASTOFF_LAB_DOMAIN") {
        Err(_) => in_the_lab(),
        Ok(domain) => match measure(domain) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("real: {e}");
                ExitCode::FAILURE
            }
        },
    }
}

/// This same program in the lab.
fn in_the_lab() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let out = target.join("real-bench");
    let Ok(me) = env::current_exe() else {
        eprintln!("real: cannot find my own program");
        return ExitCode::FAILURE;
    };
    // Criterion compares with what the last run left in there.
    let inside = "CRITERION_HOME=/castoff/out/criterion exec \"/castoff/bin/${0##*/}\" \"$@\"";
    // A bench that is killed takes its lab along. On a busy machine a round takes a minute.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "TERM"])
        .arg(root.join("real/lab/up"))
        .args(["--deadline", "3600", "--out"])
        .arg(&out)
        .arg("--bin")
        .arg(&me)
        .args(["--", "sh", "-c", inside])
        .arg(&me)
        .args(env::args_os().skip(1))
        .status();
    match status.map(|s| s.code()) {
        // `up` has said what is missing.
        Ok(Some(5)) => {
            eprintln!(
                "real: skipped, the lab is not installed: real/lab/install.sh (Debian 12, as root or with sudo, once)"
            );
            ExitCode::SUCCESS
        }
        Ok(Some(0)) => {
            println!("criterion's estimates: {}", out.join("criterion").display());
            ExitCode::SUCCESS
        }
        Ok(code) => {
            eprintln!(
                "real: the lab ended with {code:?}; its log: {}",
                out.join("lab.log").display()
            );
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("real: skipped, real/lab/up cannot be started: {e}");
            ExitCode::SUCCESS
        }
    }
}

fn options(domain: String) -> Options {
    Options {
        uri: "qemu:///system".to_owned(),
        domain,
        machine: Machine::Q35,
        console: env::var_os("CASTOFF_LAB_CONSOLE").map(PathBuf::from),
        target: TargetOption::Local,
        settings: Settings::DEFAULTS,
        state_dir: PathBuf::from("/run/castoff-bench"),
        may_kill_guest: true,
        may_restart_daemons: true,
        timing: None,
        trace_dir: None,
    }
}

fn measure(domain: String) -> Result<(), MeasureError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs a few file handles");
    let local = LocalSet::new();
    let bed = local.block_on(&runtime, Bed::make(options(domain)))?;
    let all = [(Paths::One, "one-path"), (Paths::Two, "two-paths")]
        .map(|(paths, name)| (name, local.block_on(&runtime, rounds(&bed, paths, name))));
    local.block_on(&runtime, bed.take_away())?;
    drop(local);
    runtime.shutdown_background();
    let mut criterion = Criterion::default().configure_from_args();
    let mut tables = String::new();
    let mut failed = Ok(());
    for (name, times) in all {
        match times {
            Ok(times) => {
                report(&mut criterion, name, &times);
                tables += &table(name, &times);
            }
            Err(e) => failed = Err(e),
        }
    }
    criterion.final_summary();
    print!("{tables}");
    failed
}

/// The pipeline's times and the commands', a round each.
async fn rounds(bed: &Bed, paths: Paths, name: &str) -> Result<[Times; 2], MeasureError> {
    let mut times = [Times::new(), Times::new()];
    for round in 0..=ROUNDS {
        let (pipeline, hand);
        if round % 2 == 0 {
            pipeline = bed.by_pipeline(paths).await?;
            hand = bed.by_hand(paths).await?;
        } else {
            hand = bed.by_hand(paths).await?;
            pipeline = bed.by_pipeline(paths).await?;
        }
        let (ours, theirs) = (pipeline.whole.as_secs_f64(), hand.whole.as_secs_f64());
        eprintln!("real: {name}: round {round}: pipeline {ours:.3} s, by hand {theirs:.3} s");
        // The first one warms up: programs are read from disk, udev and libvirt fill their caches.
        if round > 0 {
            for (times, detach) in times.iter_mut().zip([pipeline, hand]) {
                note(times, detach);
            }
        }
    }
    Ok(times)
}

fn note(times: &mut Times, detach: Detach) {
    let steps: Duration = detach.steps.iter().map(|s| s.took).sum();
    let mut add = |step: &str, took| times.entry(step.to_owned()).or_default().push(took);
    add("whole", detach.whole);
    // The pipeline and the control plane's models; by hand, this program between two commands.
    add("between the steps", detach.whole.saturating_sub(steps));
    for step in detach.steps {
        add(&step.step, step.took);
    }
}

/// Criterion is handed what the rounds measured: one benchmark at a time, as it would measure, the
/// two sides would not be interleaved.
fn report(criterion: &mut Criterion, name: &str, times: &[Times; 2]) {
    let mut group = criterion.benchmark_group(format!("real/{name}"));
    group.sample_size(ROUNDS).sampling_mode(SamplingMode::Flat);
    // Nothing runs, so nothing warms up, and criterion's "iterations" count nothing.
    group.warm_up_time(Duration::from_nanos(1)).measurement_time(Duration::from_millis(1));
    for (side, times) in ["pipeline", "by-hand"].into_iter().zip(times) {
        for (step, times) in times.iter().filter(|(_, t)| t.len() == ROUNDS) {
            // The first call is criterion's warm-up.
            let mut calls = times.iter().take(1).chain(times.iter().cycle());
            group.bench_function(BenchmarkId::new(side, step), |b| {
                b.iter_custom(|n| calls.next().copied().unwrap_or_default().mul_f64(n as f64));
            });
        }
    }
    group.finish();
}

/// Median, and the shortest and longest.
fn shown(times: Option<&Vec<Duration>>) -> String {
    let Some(mut times) = times.filter(|t| !t.is_empty()).cloned() else { return "–".to_owned() };
    times.sort_unstable();
    let ms = |t: Duration| {
        let ms = t.as_secs_f64() * 1000.0;
        if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
    };
    let middle = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2;
    let few = if times.len() < ROUNDS { format!(", n={}", times.len()) } else { String::new() };
    format!("{} ({}–{}{few})", ms(middle), ms(times[0]), ms(times[times.len() - 1]))
}

fn table(name: &str, [pipeline, hand]: &[Times; 2]) -> String {
    let mut text = format!(
        "\n{name}, n={ROUNDS}, ms: median (min–max)\n\n| step of the pipeline | ms | bare command | ms |\n|---|---|---|---|\n"
    );
    let mut row = |ours: &str, theirs: &str| {
        if pipeline.contains_key(ours) || hand.contains_key(theirs) {
            let cells = [ours, &shown(pipeline.get(ours)), theirs, &shown(hand.get(theirs))];
            text += &format!("| {} |\n", cells.join(" | "));
        }
    };
    row("whole", "whole");
    for (ours, theirs) in PAIRS {
        row(ours, theirs);
    }
    row("between the steps", "between the steps");
    let paired = |step: &str| {
        step == "whole" || step == "between the steps" || PAIRS.iter().any(|p| p.0 == step)
    };
    for step in pipeline.keys().filter(|s| !paired(s)) {
        row(step, "");
    }
    text
}
