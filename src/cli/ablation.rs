//! `castoff ablate --markdown FILE`: what each decision of a policy is for, as a document.

use std::fmt::Write as _;

use castoff_sim::ablate::{Ablate, Ablated};

use super::Problem;
use super::ablate::command;

/// A value in a cell of a table.
fn code(value: &str) -> String {
    format!("`{}`", value.replace('|', "\\|"))
}

/// The document: the same for the same search, without times.
pub(super) fn markdown(ablate: &Ablate<'_>, results: &[Ablated]) -> Result<String, Problem> {
    let policy = &ablate.base.policy.name;
    let fields = ablate.base.policy.fields();
    let is = |result: &Ablated| {
        fields.get(&result.change.field).map(ToString::to_string).unwrap_or_default()
    };
    let noticed = results.iter().filter(|r| r.found.noticed.is_some()).count();
    let cannot = results.iter().filter(|r| r.policy.is_err()).count();
    let mut out = format!(
        "# What each decision of {policy} is for\n\n\
         Written by `castoff ablate --policy {policy} --depth {} --markdown FILE`. Each field of the policy is \
         changed to each of its other values, one at a time, and a search that knows nothing of \
         it goes through {} scenarios as they are and through every fault{}. A change is noticed \
         when a property breaks that {policy} keeps.\n\n\
         {} changes: {noticed} noticed, {} not, {cannot} that cannot run.\n",
        ablate.hunt.depth,
        ablate.hunt.scenarios.len(),
        if ablate.hunt.depth > 1 { " and every pair" } else { "" },
        results.len(),
        results.len() - noticed - cannot,
    );
    out.push_str(
        "\n## Noticed\n\n| field | is | changed to | breaks | in | what happens | runs |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for result in results {
        let (Some(n), Some(command)) = (&result.found.noticed, command(ablate, result)?) else {
            continue;
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} {}{} | {} | {}<br>{} | {} |",
            code(&result.change.field),
            code(&is(result)),
            code(&result.change.value.to_string()),
            n.property.name,
            n.property.title,
            if n.alone { "" } else { " \\*" },
            n.scenario.name,
            n.facts.replace('|', "\\|"),
            code(&command),
            result.found.tried,
        );
    }
    let starred =
        results.iter().filter_map(|r| r.found.noticed.as_ref()).any(|noticed| !noticed.alone);
    if starred {
        let _ = writeln!(
            out,
            "\n\\* {policy} breaks this property too, in other runs of that scenario; with the same \
             history up to the fault it does not."
        );
    }
    out.push_str(
        "\n## Not noticed\n\nNothing that the search reaches breaks without these: they decide \
         what a caller is told, or what is called, or they answer what no fault or scenario here \
         brings about.\n\n| field | is | changed to | runs |\n|---|---|---|---|\n",
    );
    for result in results.iter().filter(|r| r.policy.is_ok() && r.found.noticed.is_none()) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            code(&result.change.field),
            code(&is(result)),
            code(&result.change.value.to_string()),
            result.found.tried,
        );
    }
    for result in results {
        if let Err(reason) = &result.policy {
            let _ = writeln!(
                out,
                "\n{} changed to {} cannot run: {reason}.",
                code(&result.change.field),
                code(&result.change.value.to_string()),
            );
        }
    }
    Ok(out)
}
