//! `castoff conform --lab`: this same command in labs, one a kind of guest or several side by side,
//! and their results put together.

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use castoff::conform::Settings;
use castoff::conform::case::Case;
use castoff::conform::record::{self, CaseRecord, Head};

use castoff_sim::latency::profile::Profile;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::share::{self, Lab};
use super::{ConformArgs, here};
use crate::cli::{Exit, Problem};

/// Boots as many labs as the cases have kinds of guests.
pub(super) fn run(args: &ConformArgs, cases: &[&'static Case]) -> Result<Exit, Problem> {
    if let Some(timing) = &args.timing {
        Profile::resolve(timing)
            .map_err(|e| Problem::usage(e.to_string(), "name another --timing"))?;
    }
    let Some(up) = lab() else {
        return Err(Problem::missing(
            "the lab's scripts (real/lab) are not where this castoff was built",
            "set CASTOFF_LAB to the folder real/lab of a checkout",
        ));
    };
    let work = std::env::temp_dir().join(format!("castoff-conform-{}", std::process::id()));
    let result = all(args, cases, &up, &work);
    // Only copies of the labs' own files.
    let _ = fs::remove_dir_all(&work);
    result
}

fn all(
    args: &ConformArgs,
    cases: &[&'static Case],
    up: &Path,
    work: &Path,
) -> Result<Exit, Problem> {
    let me = own_program(work)?;
    let labs = share::share(cases, args.labs.get().into());
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Results::default());
    let play = || {
        while !stop.load(Ordering::SeqCst)
            && let Some(lab) = labs.get(next.fetch_add(1, Ordering::SeqCst))
        {
            let ended = play_one(args, lab, up, work, &me);
            // A panic in the other thread is told by its scope.
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            if results.add(args, cases, lab, ended).is_break() {
                stop.store(true, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|s| {
        for _ in 1..args.labs.get() {
            s.spawn(play);
        }
        play();
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    here::print(args.format, &results.records);
    results.failed.map_or(Ok(results.worst.unwrap_or(Exit::Fine)), Err)
}

/// The exit code of what Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// How a lab ended, unless we were interrupted, and what it left.
struct Ended {
    status: Option<ExitStatus>,
    records: String,
}

fn play_one(
    args: &ConformArgs,
    lab: &Lab,
    up: &Path,
    work: &Path,
    me: &Path,
) -> Result<Ended, Problem> {
    let out = work.join(&lab.name);
    fs::create_dir_all(&out).map_err(|e| {
        Problem::missing(format!("cannot write {}: {e}", out.display()), "set TMPDIR")
    })?;
    let status = boot(args, lab, up, &out, me)?;
    if let Some(dir) = &args.trace_dir {
        copy_traces(&out, dir)?;
    }
    Ok(Ended { status, records: fs::read_to_string(out.join("records.jsonl")).unwrap_or_default() })
}

/// What the labs have come to until now.
#[derive(Default)]
struct Results {
    head: Option<Head>,
    records: Vec<CaseRecord>,
    worst: Option<Exit>,
    /// The first lab that failed; the others are played all the same.
    failed: Option<Problem>,
}

impl Results {
    /// Takes in a lab; says whether more are worth booting.
    fn add(
        &mut self,
        args: &ConformArgs,
        cases: &[&'static Case],
        lab: &Lab,
        ended: Result<Ended, Problem>,
    ) -> ControlFlow<()> {
        let Ended { status, records } = match ended {
            Ok(ended) => ended,
            Err(problem) => {
                self.failed.get_or_insert(problem);
                return ControlFlow::Break(());
            }
        };
        match record::read(&records) {
            Ok(found) => {
                self.records.extend(found.cases);
                // In the order of the cases, however many labs there are.
                let place = |r: &CaseRecord| cases.iter().position(|c| c.id == r.id);
                self.records.sort_by_key(place);
                self.head.get_or_insert(found.head);
            }
            // One that was told to end need not have begun.
            Err(_) if status.is_none() => {}
            Err(e) => drop(writeln!(
                anstream::stderr(),
                "the lab with a guest of type {} left no results that can be read: {e}",
                lab.machine.as_str()
            )),
        }
        // At once: whatever comes of the next lab, these are kept.
        if let (Some(path), Some(head)) = (&args.out, &self.head)
            && let Err(problem) = write_out(path, head, cases, &self.records)
        {
            self.failed.get_or_insert(problem);
            return ControlFlow::Break(());
        }
        let Some(status) = status else {
            self.worst = Some(Exit::Code(INTERRUPTED));
            return ControlFlow::Break(());
        };
        match status.code() {
            Some(0) => {}
            Some(4) => {
                self.worst.get_or_insert(Exit::Conformance);
            }
            // The cases' own codes; 101 would be a bug of ours in there, 130 is Ctrl-C.
            Some(code @ (2 | 5 | 101 | 130)) => {
                self.worst = Some(Exit::Code(code as u8));
                return ControlFlow::Break(());
            }
            Some(code) if code < 128 => {
                self.failed.get_or_insert(Problem::missing(
                    format!("the lab failed ({code}): see its messages above"),
                    "run it again; if it stays so, real/lab/test.sh shows what does not work here",
                ));
            }
            // By a signal: of the script, or of what it ran.
            Some(_) | None => {
                self.failed = Some(Problem::missing("the lab was interrupted", "run it again"));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// The results until now.
fn write_out(
    path: &Path,
    head: &Head,
    cases: &[&'static Case],
    records: &[CaseRecord],
) -> Result<(), Problem> {
    let selected = cases.iter().map(|c| c.id.to_owned()).collect();
    let mut text = record::line(&Head { selected, ..head.clone() });
    text.extend(records.iter().map(record::line));
    fs::write(path, text).map_err(|e| {
        Problem::usage(format!("cannot write {}: {e}", path.display()), "name another --out")
    })
}

/// A copy of this program for all labs: the file it was started from may be built anew meanwhile.
fn own_program(work: &Path) -> Result<PathBuf, Problem> {
    let missing = |e: std::io::Error| {
        Problem::missing(format!("cannot copy my own program: {e}"), "run it by its full path")
    };
    let me = std::env::current_exe().map_err(missing)?;
    let copy = work.join(me.file_name().unwrap_or_default());
    fs::create_dir_all(work).map_err(missing)?;
    fs::copy(&me, &copy).map_err(missing)?;
    Ok(copy)
}

/// One lab: `up` prints on our stderr, so that stdout has the results alone.
fn boot(
    args: &ConformArgs,
    lab: &Lab,
    up: &Path,
    out: &Path,
    me: &Path,
) -> Result<Option<ExitStatus>, Problem> {
    let Lab { machine, cases, .. } = lab;
    let name = me.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // All of the cases' deadlines would be hours; each is enforced inside.
    let seconds: u64 = 120 + cases.iter().map(|c| c.deadline_s).sum::<u64>();
    // A file of times is shown inside as the programs are.
    let named = args.timing.as_deref().unwrap_or("lab");
    let file = Profile::named(named).is_none().then(|| Path::new(named));
    let timing = match file.and_then(Path::file_name) {
        Some(name) => format!("/castoff/bin/{}", name.to_string_lossy()),
        None => named.to_owned(),
    };
    let missing = || Problem::missing("stderr is closed", "run it with an open stderr");
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().map_err(|_| missing())?;
    #[allow(clippy::disallowed_methods, reason = "the command line starts the lab's script")]
    let mut command = Command::new("setpriv");
    command
        // A castoff that is killed takes its lab along.
        .args(["--pdeathsig", "TERM"])
        .arg(up)
        .args(["--machine", machine.as_str(), "--deadline", &seconds.to_string(), "--quiet"])
        .arg("--out")
        .arg(out)
        .arg("--bin")
        .arg(me)
        .args(file.iter().flat_map(|f| ["--bin".as_ref(), f.as_os_str()]))
        .stdin(Stdio::null())
        .stdout(Stdio::from(stderr))
        // The lab tells the command inside where its guest is; the shell there reads it.
        .args(["--", "sh", "-c", INSIDE, &name])
        .args(settings(args))
        .arg(format!("--timing={timing}"))
        .args(["--machine", machine.as_str()])
        .args(cases.iter().map(|c| c.id));
    let _ = writeln!(
        anstream::stderr(),
        "a lab with a guest of type {}: {} cases",
        machine.as_str(),
        cases.len()
    );
    wait(command).map_err(|e| {
        let install = up.with_file_name("install.sh");
        Problem::missing(
            format!("cannot run {}: {e}", up.display()),
            format!("run {} once", install.display()),
        )
    })
}

/// How the lab ended; none when it was told to, as we were. A terminal sends Ctrl-C to it as well,
/// a CI runner to us alone.
fn wait(command: Command) -> std::io::Result<Option<ExitStatus>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut lab = tokio::process::Command::from(command).spawn()?;
        tokio::select! {
            status = lab.wait() => return Ok(Some(status?)),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let pid = lab.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        // One that is gone has ended by itself.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        lab.wait().await?;
        Ok(None)
    })
}

const INSIDE: &str = "exec \"$0\" conform --inner --connect qemu:///system --domain \"$CASTOFF_LAB_DOMAIN\" --console \"$CASTOFF_LAB_CONSOLE\" \
--local-target --may-kill-guest --may-restart-daemons --state-dir /run/castoff-conform --out /castoff/out/records.jsonl --trace-dir /castoff/out \"$@\"";

/// Nova's options inside: those given, else short ones.
fn settings(args: &ConformArgs) -> Vec<String> {
    let short = Settings::SHORT;
    [
        ("--device-detach-attempts", args.device_detach_attempts, short.device_detach_attempts),
        ("--device-detach-timeout", args.device_detach_timeout, short.device_detach_timeout),
        ("--flush-timeout", args.flush_timeout, short.flush_timeout),
        ("--replacement-timeout", args.replacement_timeout, short.replacement_timeout),
        ("--reconcile-period", args.reconcile_period, short.reconcile_period),
    ]
    .into_iter()
    .filter_map(|(name, given, short)| Some(format!("{name}={}", given.or(short)?)))
    .collect()
}

fn copy_traces(from: &Path, to: &Path) -> Result<(), Problem> {
    let failed = |e: std::io::Error| {
        Problem::usage(format!("cannot write {}: {e}", to.display()), "name another --trace-dir")
    };
    fs::create_dir_all(to).map_err(failed)?;
    #[allow(clippy::disallowed_methods, reason = "the order of copies does not matter")]
    let files = fs::read_dir(from).map_err(failed)?;
    for file in files {
        let path = file.map_err(failed)?.path();
        if let (Some("trace" | "log"), Some(name)) =
            (path.extension().and_then(|e| e.to_str()), path.file_name())
        {
            fs::copy(&path, to.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Where the lab's scripts are: beside the sources that this was built from, or where one is told.
fn lab() -> Option<PathBuf> {
    let told = std::env::var_os("CASTOFF_LAB").map(PathBuf::from);
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("real/lab");
    [told, Some(built)].into_iter().flatten().map(|p| p.join("up")).find(|p| p.is_file())
}
