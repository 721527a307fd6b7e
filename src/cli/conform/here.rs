//! `castoff conform` on this host.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::rc::Rc;

use castoff::conform::Settings;
use castoff::conform::case::Case;
use castoff::conform::record::{self, CaseRecord, Grade, Head};
use castoff::conform::suite::{self, ConformError, Options, Progress, TargetOption};
use castoff_ports::{Iqn, Lun, Portal};
use castoff_sim::latency::profile::Profile;
use tokio::signal::unix::{SignalKind, signal};

use super::{ConformArgs, shown};
use crate::cli::{Exit, Format, Problem};

/// Runs the cases and prints what came of them.
pub(super) fn run(args: &ConformArgs, cases: &[&'static Case]) -> Result<Exit, Problem> {
    let options = options(args)?;
    if let Some(timing) = &args.timing {
        Profile::resolve(timing)
            .map_err(|e| Problem::usage(e.to_string(), "name another --timing"))?;
    }
    if let Some(dir) = &args.trace_dir {
        std::fs::create_dir_all(dir).map_err(|e| {
            let why = format!("cannot write {}: {e}", dir.display());
            Problem::usage(why, "name another --trace-dir")
        })?;
    }
    let out = args.out.as_ref().map(|path| {
        File::create(path).map_err(|e| {
            Problem::usage(format!("cannot write {}: {e}", path.display()), "name another --out")
        })
    });
    let out = out.transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::missing(format!("cannot start: {e}"), "free some file handles"))?;
    let records: Rc<RefCell<Vec<CaseRecord>>> = Rc::default();
    let kept = records.clone();
    let selected: Vec<String> = cases.iter().map(|c| c.id.to_owned()).collect();
    let policy = args.policy.clone().unwrap_or_else(|| "each case's own".to_owned());
    let started = started();
    let write = move |text: String| {
        if let Some(mut file) = out.as_ref() {
            // Whole, and before the next case begins: a kill tears the last line at most.
            let _ = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        }
    };
    let text = args.format == Format::Text;
    let inner = args.inner;
    let tell = RefCell::new(move |progress: Progress<'_>| match progress {
        Progress::Start(run, host) => write(record::line(&Head {
            format: record::VERSION,
            run: run.to_owned(),
            castoff: env!("CARGO_PKG_VERSION").to_owned(),
            policy: policy.clone(),
            started: started.clone(),
            host: host.clone(),
            selected: selected.clone(),
        })),
        Progress::Begin(_) => {}
        Progress::End(record) => {
            write(record::line(record));
            if inner || text {
                let _ = writeln!(anstream::stderr(), "{}", shown::line(record));
            }
            kept.borrow_mut().push(record.clone());
        }
    });
    let local = tokio::task::LocalSet::new();
    let ended =
        local.block_on(&runtime, async { suite::run(&options, cases, stopped(), &tell).await });
    drop(local);
    // A call of libvirt that blocks cannot be ended, and nobody waits for it.
    runtime.shutdown_background();
    if !args.inner {
        print(args.format, &records.borrow());
    }
    match ended {
        Ok(()) => Ok(exit(&records.borrow())),
        Err(e @ ConformError::Interrupted) => {
            let _ = writeln!(anstream::stderr(), "{e}");
            Ok(Exit::Code(130))
        }
        Err(e @ ConformError::Left(_)) => {
            let _ = writeln!(anstream::stderr(), "castoff could not {e}; the next run tries again");
            Ok(Exit::Conformance)
        }
        Err(e @ (ConformError::Missing(_) | ConformError::Fixture(_)))
            if !matches!(
                e,
                ConformError::Fixture(castoff_real::fixture::FixtureError::LiveRun { .. })
            ) =>
        {
            Err(Problem::missing(e.to_string(), "or run in the lab: castoff conform --lab"))
        }
        Err(e) => {
            Err(Problem::usage(e.to_string(), "castoff touches nothing that it did not make"))
        }
    }
}

/// Prints the results on stdout.
pub(super) fn print(format: Format, records: &[CaseRecord]) {
    let text = match format {
        Format::Text => {
            let (table, failures) = (shown::table(records), shown::failures(records));
            format!("{table}{failures}{}", shown::differences(records))
        }
        Format::Json => serde_json::to_string_pretty(records).unwrap_or_default(),
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// What these results mean for a script.
pub(super) fn exit(records: &[CaseRecord]) -> Exit {
    if records.iter().any(|r| r.grade == Grade::Fail) { Exit::Conformance } else { Exit::Fine }
}

async fn stopped() {
    let mut waits = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // Without a handler the signal ends the process, and the next run sweeps.
        if let Ok(mut signal) = signal(kind) {
            waits.push(Box::pin(async move { signal.recv().await }));
        }
    }
    futures::future::select_all(waits).await;
}

/// RFC 3339, UTC.
pub(super) fn started() -> String {
    // The one place of a run that wants the calendar; no clock of the run depends on it.
    #[allow(clippy::disallowed_methods)]
    let said = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    said.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

fn options(args: &ConformArgs) -> Result<Options, Problem> {
    let Some(domain) = args.domain.clone() else {
        return Err(Problem::usage(
            "no guest is named",
            "give --domain NAME and a target (--local-target, or --portal and --target-iqn), or --lab",
        ));
    };
    let target = match (&args.portal, &args.target_iqn, args.local_target) {
        (_, _, true) => TargetOption::Local,
        (Some(portal), Some(iqn), false) => TargetOption::Named {
            portal: Portal::new(portal.as_str()),
            iqn: Iqn::new(iqn.as_str()),
            lun: Lun(args.lun),
        },
        _ => {
            return Err(Problem::usage(
                "no target is named",
                "give --local-target, or --portal IP:PORT and --target-iqn IQN",
            ));
        }
    };
    Ok(Options {
        uri: args.connect.clone(),
        domain,
        machine: args.machine.machine(),
        console: args.console.clone(),
        target,
        settings: settings(args),
        state_dir: args.state_dir.clone(),
        may_kill_guest: args.may_kill_guest,
        may_restart_daemons: args.may_restart_daemons,
        timing: args.timing.clone(),
        trace_dir: args.trace_dir.clone(),
    })
}

fn settings(args: &ConformArgs) -> Settings {
    Settings {
        device_detach_attempts: args.device_detach_attempts,
        device_detach_timeout: args.device_detach_timeout,
        flush_timeout: args.flush_timeout,
        replacement_timeout: args.replacement_timeout,
        reconcile_period: args.reconcile_period,
    }
}
