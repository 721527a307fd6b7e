//! `castoff doctor`: what this machine has for each job; what nova.conf and cinder.conf make of a
//! detach.

use std::io::Write as _;
use std::path::PathBuf;

use castoff::doctor::advice::{Advice, Severity, advise};
use castoff::doctor::conf::Conf;
use castoff::doctor::jobs::{Job, Machine, Need};
use clap::Args;

use super::{Exit, Format, Problem};

/// Arguments of `castoff doctor`.
#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Only these jobs; the exit code is 5 when one of them lacks something [default: all, and 0]
    #[arg(value_name = "JOB", value_enum, conflicts_with_all = ["nova_conf", "cinder_conf"])]
    jobs: Vec<Job>,
    /// Read nova's configuration instead (may be given several times: later files win)
    #[arg(long, value_name = "FILE")]
    nova_conf: Vec<PathBuf>,
    /// Read cinder's configuration (may be given several times: later files win)
    #[arg(long, value_name = "FILE")]
    cinder_conf: Vec<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Looks and tells.
pub(super) fn doctor(args: &DoctorArgs) -> Result<Exit, Problem> {
    let (text, exit) = match args.nova_conf.is_empty() && args.cinder_conf.is_empty() {
        true => of_the_machine(args),
        false => of_the_cloud(args)?,
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
    Ok(exit)
}

// The environment is what is looked at.
#[allow(clippy::disallowed_methods)]
fn machine() -> Machine {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A user's PATH often lacks what root's has.
    let also = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    // As real/lab/common.sh finds it.
    let cache = set("CASTOFF_LAB_CACHE").or_else(|| {
        let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
        Some(caches.join("castoff/lab"))
    });
    let path = std::env::split_paths(&path).chain(also).collect();
    Machine { root: PathBuf::from("/"), path, cache }
}

fn of_the_machine(args: &DoctorArgs) -> (String, Exit) {
    let jobs = if args.jobs.is_empty() { Job::ALL.to_vec() } else { args.jobs.clone() };
    let machine = machine();
    let needs: Vec<Need> = jobs.iter().flat_map(|job| machine.needs(*job)).collect();
    let lacks = needs.iter().any(|n| n.required && !n.found);
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&serde_json::json!({ "needs": needs })).unwrap_or_default()
        }
        Format::Text => {
            jobs.iter().map(|job| job_text(*job, &needs)).collect::<Vec<_>>().join("\n")
        }
    };
    // 5: something is missing on this machine. Who names no job asks, and does not demand.
    let exit = if lacks && !args.jobs.is_empty() { Exit::Code(5) } else { Exit::Fine };
    (text, exit)
}

fn job_text(job: Job, needs: &[Need]) -> String {
    let mine: Vec<&Need> = needs.iter().filter(|n| n.job == job).collect();
    let lacks = mine.iter().filter(|n| n.required && !n.found).count();
    let ready = if lacks == 0 { "ready".to_owned() } else { format!("{lacks} missing") };
    let mut out = format!("{:<8} {ready}\n", job.as_str());
    for need in mine {
        let word = match (need.found, need.required) {
            (true, _) => "there",
            (false, true) => "MISSING",
            (false, false) => "absent",
        };
        let at = if need.found { &need.place } else { &need.install };
        out.push_str(&format!("  {word:<8} {:<30} {at}\n", need.what));
    }
    out
}

fn of_the_cloud(args: &DoctorArgs) -> Result<(String, Exit), Problem> {
    let read = |files: &[PathBuf]| match files {
        [] => Ok(None),
        files => Conf::read(files).map(Some).map_err(|e| {
            Problem::usage(e.to_string(), "give the files that the service itself is started with")
        }),
    };
    let (nova, cinder) = (read(&args.nova_conf)?, read(&args.cinder_conf)?);
    let advice = advise(nova.as_ref(), cinder.as_ref());
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&serde_json::json!({ "advice": advice }))
            .unwrap_or_default(),
        Format::Text => advice_text(&advice, nova.is_some(), cinder.is_some()),
    };
    let exit = match advice.first().map(|a| a.severity) {
        Some(Severity::Unsafe) => Exit::Safety,
        Some(Severity::Stuck) => Exit::Liveness,
        Some(Severity::Note) | None => Exit::Fine,
    };
    Ok((text, exit))
}

fn advice_text(advice: &[Advice], nova: bool, cinder: bool) -> String {
    let mut out = String::new();
    for a in advice {
        let word = match a.severity {
            Severity::Unsafe => "UNSAFE",
            Severity::Stuck => "STUCK",
            Severity::Note => "note",
        };
        let place = a.place.as_deref().map(|p| format!(" ({p})")).unwrap_or_default();
        let found = a.found.replace('\n', " ");
        out.push_str(&format!("{word:<7} {}: {} = {found}{place}\n", a.service, a.option));
        out.push_str(&format!("        {}\n", a.what));
        out.push_str(&format!("        do:  {}\n        see: {}\n\n", a.fix, a.reference));
    }
    let count = |severity| advice.iter().filter(|a| a.severity == severity).count();
    let (unsafe_, stuck, notes) =
        (count(Severity::Unsafe), count(Severity::Stuck), count(Severity::Note));
    out.push_str(&format!("{unsafe_} unsafe, {stuck} stuck, {notes} notes"));
    for (name, given) in [("nova", nova), ("cinder", cinder)] {
        if !given {
            out.push_str(&format!("; {name}'s configuration was not given"));
        }
    }
    out
}
