//! `castoff list`: names with a line each.

use std::io::Write as _;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::plan::FaultKind;
use castoff_sim::properties::CATALOGUE;

use super::{Exit, Format, ListArgs, Problem, What};

/// Prints the list.
pub(super) fn list(args: &ListArgs) -> Result<Exit, Problem> {
    let entries: Vec<(String, String)> = match args.what {
        What::Scenarios => {
            castoff_scenarios::all().into_iter().map(|s| (s.name, s.title)).collect()
        }
        What::Policies => Policy::all()
            .into_iter()
            .map(|p| {
                (p.name.clone(), format!("{} (release {})", title(&p.name), p.default_release))
            })
            .collect(),
        What::Releases => {
            Release::all().into_iter().map(|r| (r.name.clone(), describe(&r))).collect()
        }
        What::Properties => CATALOGUE
            .iter()
            .map(|p| (p.name.to_owned(), format!("{}: {}", p.title, p.statement)))
            .collect(),
        What::Operations => {
            castoff_ports::call::operation_names().map(|n| (n.to_owned(), String::new())).collect()
        }
        What::Fields => Policy::all()
            .last()
            .map(Policy::fields)
            .unwrap_or_default()
            .into_iter()
            .map(|(field, value)| (field, value.to_string()))
            .collect(),
        What::Faults => {
            FaultKind::DESCRIBED.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect()
        }
    };
    let text = match args.format {
        Format::Text => {
            let width = entries.iter().map(|(n, _)| n.len()).max().unwrap_or(0);
            let lines =
                entries.iter().map(|(n, d)| format!("{n:<width$}  {d}").trim_end().to_owned());
            lines.collect::<Vec<_>>().join("\n")
        }
        Format::Json => {
            let rows: Vec<serde_json::Value> = entries
                .iter()
                .map(|(n, d)| serde_json::json!({ "name": n, "description": d }))
                .collect();
            serde_json::to_string_pretty(&rows).unwrap_or_default()
        }
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{text}");
    Ok(Exit::Fine)
}

fn describe(release: &Release) -> String {
    format!(
        "cinder {:?}, libvirt waits {} s for the guest, {}",
        release.cinder,
        release.detach_blocks.as_secs(),
        if release.service_token { "service token" } else { "no service token" }
    )
}

/// What a policy is, in a line: what its fields cannot say of themselves.
fn title(policy: &str) -> &'static str {
    match policy {
        "pike" => "nova master of spring 2017 with os-brick 1.12",
        "2026.1" => "nova 33 with os-brick 7",
        "hardened" => "ours; for now equal to 2026.1",
        _ => "",
    }
}
