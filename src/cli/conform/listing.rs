//! What `castoff conform --list` and `--dry-run` print.

use std::io::Write as _;

use castoff::conform::case::{Act, Case, Machine, Step};
use comfy_table::{Table, presets};
use serde_json::json;

use crate::cli::{Exit, Format};

/// The cases, in the order in which they run.
pub(super) fn list(cases: &[&'static Case], format: Format) -> Exit {
    let text = match format {
        Format::Text => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["CASE", "GUEST", "POLICY", "WHAT"]);
            for c in cases {
                table.add_row([c.id, c.machine.as_str(), c.policy, c.title]);
            }
            let lines = table.lines().map(|l| l.trim().to_owned());
            lines.collect::<Vec<_>>().join("\n")
        }
        Format::Json => {
            let all: Vec<_> = cases
                .iter()
                .map(|c| {
                    json!({
                        "id": c.id, "title": c.title, "cites": c.cites, "policy": c.policy,
                        "machine": c.machine.as_str(), "deadline_s": c.deadline_s,
                        "needs": c.needs.iter().map(|n| n.reason()).collect::<Vec<_>>(),
                    })
                })
                .collect();
            serde_json::to_string_pretty(&all).unwrap_or_default()
        }
    };
    say(&text)
}

/// What would happen, case by case.
pub(super) fn dry_run(cases: &[&'static Case], lab: bool) -> Exit {
    let mut out = String::new();
    for machine in Machine::ALL {
        let mine: Vec<_> = cases.iter().filter(|c| c.machine == machine).collect();
        if mine.is_empty() {
            continue;
        }
        let place = if lab { "a lab is booted with" } else { "only with" };
        out.push_str(&format!("{place} a guest of type {}:\n", machine.as_str()));
        for case in mine {
            out.push_str(&format!("  {} ({})\n", case.id, case.policy));
            for step in case.steps {
                if let Some(line) = step_line(step) {
                    out.push_str(&format!("    {line}\n"));
                }
            }
        }
    }
    say(out.trim_end())
}

fn step_line(step: &Step) -> Option<String> {
    let act = |act: &Act| format!("{act:?}");
    match step {
        Step::Attach(volumes) => Some(format!("attach {volumes:?}")),
        Step::AttachToOther(n) => Some(format!("attach [{n}] to another guest")),
        Step::Do(a) => Some(act(a)),
        Step::At(operation, nth, when, a) => {
            Some(format!("{} {when:?} call {nth} of {operation}", act(a)))
        }
        Step::Fault(text) => Some(format!("fault {text}")),
        Step::Detach(volumes) => Some(format!("detach {volumes:?}")),
        Step::DetachFor(volumes, s) => Some(format!("detach {volumes:?}, for {s} s at most")),
        Step::DetachTwice(n, ms) => Some(format!("detach [{n}], again after {ms} ms")),
        Step::Until(seconds, _) => Some(format!("wait up to {seconds} s")),
        Step::Check(_) | Step::Usual(_) => None,
    }
}

fn say(text: &str) -> Exit {
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
    Exit::Fine
}
