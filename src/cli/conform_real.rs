//! `castoff conform` with real bindings: boots the lab or uses this host, prints checks and steps.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use castoff::conform::{ConformError, Report, Target, detach_case};
use castoff_ports::{Iqn, Lun, Portal};
use castoff_real::prerequisites;

use crate::cli::{ConformArgs, Exit, Format, Problem, select};

/// Runs the case here, or this same command inside the lab.
pub(crate) fn conform(args: &ConformArgs) -> Result<Exit, Problem> {
    let policy = select::policy(&args.policy)?;
    if args.lab {
        return in_the_lab(args);
    }
    let missing: Vec<String> = prerequisites::check()
        .into_iter()
        .filter(|p| p.required && !p.found)
        .map(|p| format!("{} (looked at {}): {}", p.what, p.place, p.advice))
        .collect();
    if !missing.is_empty() {
        return Err(Problem::missing(
            format!("this host cannot run a conformance case: {}", missing.join("; ")),
            "install what is missing, or run in the lab: castoff conform --lab",
        ));
    }
    let target = Target {
        uri: args.connect.clone(),
        // clap asks for these unless --lab is given.
        domain: args.domain.clone().unwrap_or_default(),
        portal: Portal::new(args.portal.as_deref().unwrap_or_default()),
        iqn: Iqn::new(args.target_iqn.as_deref().unwrap_or_default()),
        lun: Lun(args.lun),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::missing(format!("cannot start: {e}"), "free some file handles"))?;
    let locks = std::env::temp_dir().join("castoff-locks");
    let local = tokio::task::LocalSet::new();
    let report = local.block_on(&runtime, detach_case(&target, &policy, locks));
    let report = report.map_err(|e| match e {
        ConformError::InUse { .. } => {
            Problem::usage(e.to_string(), "castoff touches nothing that it did not make")
        }
        ConformError::Host(_) | ConformError::Look(_) => {
            Problem::missing(e.to_string(), "or run in the lab: castoff conform --lab")
        }
    })?;
    let text = match args.format {
        Format::Text => text(&report),
        Format::Json => json(&report),
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
    Ok(if report.passed() { Exit::Fine } else { Exit::Conformance })
}

/// Where the lab's scripts are: beside the sources that this was built from, or where one is told.
fn lab() -> Option<PathBuf> {
    let told = std::env::var_os("CASTOFF_LAB").map(PathBuf::from);
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("real/lab");
    [told, Some(built)].into_iter().flatten().map(|p| p.join("up")).find(|p| p.is_file())
}

fn in_the_lab(args: &ConformArgs) -> Result<Exit, Problem> {
    let Some(up) = lab() else {
        return Err(Problem::missing(
            "the lab's scripts (real/lab) are not where this castoff was built",
            "set CASTOFF_LAB to the folder real/lab of a checkout",
        ));
    };
    let me = std::env::current_exe().map_err(|e| {
        Problem::missing(format!("cannot find my own program: {e}"), "run it by its full path")
    })?;
    let format = if args.format == Format::Json { "json" } else { "text" };
    // The lab tells the command inside where target and guest are; the shell there reads it.
    let inside = format!(
        "exec {} conform --connect qemu:///system --domain \"$CASTOFF_LAB_DOMAIN\" --portal \"$CASTOFF_LAB_PORTAL\" --target-iqn \"$CASTOFF_LAB_IQN\" --lun \"$CASTOFF_LAB_LUN\" --policy {} --format {format}",
        me.file_name().unwrap_or_default().to_string_lossy(),
        args.policy,
    );
    let mut command = Command::new(&up);
    command.arg("--bin").arg(&me).args(["--", "sh", "-c", &inside]);
    let status = command.status().map_err(|e| {
        Problem::missing(
            format!("cannot run {}: {e}", up.display()),
            format!("run {} once", up.with_file_name("install.sh").display()),
        )
    })?;
    match status.code() {
        // The case's own codes; 101 would be a bug of ours in there.
        Some(code @ (0..=5 | 101)) => Ok(Exit::Code(code as u8)),
        Some(code) => Err(Problem::missing(
            format!("the lab failed ({code}): see its messages above"),
            "run it again; if it stays so, real/lab/test.sh shows what does not work here",
        )),
        None => Err(Problem::missing("the lab was interrupted", "run it again")),
    }
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for check in &report.checks {
        let word = if check.ok { "pass" } else { "FAIL" };
        out.push_str(&format!("{word}  {:<48} {}\n", check.name, check.found));
    }
    out.push_str("\nsteps of the detach on the host, seconds after DELETE:\n");
    for step in report.steps.iter().filter(|s| s.started >= report.detach_began) {
        if step.operation == "runtime::Sleep" {
            continue;
        }
        let at = step.started.since(report.detach_began);
        let exit = step.exit.map(|e| format!("  exit {e}")).unwrap_or_default();
        out.push_str(&format!(
            "{:>8.3}  {:>7.3} s  {}{exit}{}\n",
            at.as_secs_f64(),
            step.took.as_secs_f64(),
            step.text,
            if step.ok { "" } else { "  refused" }
        ));
    }
    let passed = report.checks.iter().filter(|c| c.ok).count();
    out.push_str(&format!(
        "\ndetach took {:.3} s; {passed} of {} checks passed",
        report.detach_took.as_secs_f64(),
        report.checks.len()
    ));
    out
}

fn json(report: &Report) -> String {
    let checks: Vec<serde_json::Value> = report
        .checks
        .iter()
        .map(|c| serde_json::json!({ "name": c.name, "ok": c.ok, "found": c.found }))
        .collect();
    let steps: Vec<serde_json::Value> = report
        .steps
        .iter()
        .map(|s| {
            serde_json::json!({
                "operation": s.operation, "text": s.text, "at": s.started.to_string(),
                "seconds": s.took.as_secs_f64(), "ok": s.ok, "exit": s.exit,
                "detach": s.started >= report.detach_began,
            })
        })
        .collect();
    let value = serde_json::json!({
        "passed": report.passed(), "checks": checks, "steps": steps,
        "detach_seconds": report.detach_took.as_secs_f64(),
    });
    serde_json::to_string_pretty(&value).unwrap_or_default()
}
