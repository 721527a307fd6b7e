//! `castoff ablate --bugs`: what finds each known bug of nova, os-brick and cinder.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use castoff_sim::bugs::{self, Bug, HuntError, Hunted};
use castoff_sim::hunt::{Hunt, Noticed};
use comfy_table::{CellAlignment, Table, presets};

use super::ablate::{bar, replay, unwritten};
use super::run::{jobs, seconds};
use super::{AblateArgs, Exit, Format, Problem, select};

/// Plants each bug and searches for it.
pub(super) fn bugs(args: &AblateArgs) -> Result<Exit, Problem> {
    let listed = chosen(&args.bug)?;
    let hunt = Hunt::new(select::scenarios(&args.scenarios)?, args.depth, args.seeds);
    let bar = bar(listed.len(), "bugs");
    let done = AtomicU64::new(0);
    let begun = Instant::now();
    let progress = |n| bar.set_position(done.fetch_add(n, Ordering::Relaxed) + n);
    let hunted = bugs::hunt(&listed, &hunt, jobs(args.jobs), &progress);
    bar.finish_and_clear();
    let hunted = hunted.map_err(|error| match error {
        HuntError::Bug(wrong) => Problem::usage(wrong.to_string(), "correct sim/bugs.toml"),
        HuntError::Prepare(error) => error.into(),
    })?;
    if let Some(path) = &args.markdown {
        std::fs::write(path, markdown(&hunted)?).map_err(|error| unwritten(path, &error))?;
    }
    let shown = match args.format {
        Format::Text => text(&hunted, begun.elapsed())?,
        Format::Json => json(&hunted)?,
    };
    // A reader who went away has seen enough.
    let _ = writeln!(anstream::stdout(), "{shown}");
    Ok(match hunted.iter().any(Hunted::missed) {
        true => Exit::Liveness,
        false => Exit::Fine,
    })
}

/// The bugs of these ids; all when none is given.
fn chosen(ids: &[String]) -> Result<Vec<Bug>, Problem> {
    let all =
        bugs::all().map_err(|error| Problem::usage(error.to_string(), "correct sim/bugs.toml"))?;
    if let Some(unknown) = ids.iter().find(|id| all.iter().all(|b| b.id != **id)) {
        return Err(Problem::usage(
            format!("unknown bug {unknown:?}"),
            "docs/bugs.md lists them, as N24, B01, C04",
        ));
    }
    Ok(all.into_iter().filter(|b| ids.is_empty() || ids.contains(&b.id)).collect())
}

/// The command that repeats what found the bug.
fn command(hunted: &Hunted) -> Result<Option<String>, Problem> {
    match (&hunted.planted, &hunted.found.noticed) {
        (Some(planted), Some(noticed)) => Ok(Some(replay(&planted.changed, noticed)?)),
        (None, _) | (_, None) => Ok(None),
    }
}

/// What was changed, and on what where that is not 2026.1 itself.
fn change(bug: &Bug) -> String {
    let base = bug.base.iter().filter(|base| *base != "2026.1").chain(&bug.base_release);
    base.chain(&bug.change).chain(&bug.release).cloned().collect::<Vec<_>>().join(" ")
}

/// Whether the history of the bug tells of this property too.
fn recorded(bug: &Bug, noticed: &Noticed) -> bool {
    broken(noticed).any(|name| bug.broke.iter().any(|b| b == name))
}

/// What the run breaks that the unchanged cloud does not.
fn broken(noticed: &Noticed) -> impl Iterator<Item = &'static str> + '_ {
    std::iter::once(noticed.property.name).chain(noticed.also.iter().copied())
}

fn plan(noticed: &Noticed) -> String {
    let faults = noticed.plan.iter().map(ToString::to_string);
    let mut parts: Vec<String> = faults.collect();
    if !noticed.schedule.is_fifo() {
        parts.push(format!("order {}, seed {}", noticed.schedule, noticed.seed));
    } else if noticed.seed != 0 {
        parts.push(format!("seed {}", noticed.seed));
    }
    match parts.is_empty() {
        true => "-".to_owned(),
        false => parts.join(" + "),
    }
}

/// Found, missed, out.
fn count(hunted: &[Hunted]) -> (usize, usize, usize) {
    let missed = hunted.iter().filter(|h| h.missed()).count();
    let out = hunted.iter().filter(|h| h.planted.is_none()).count();
    (hunted.len() - missed - out, missed, out)
}

fn text(hunted: &[Hunted], elapsed: std::time::Duration) -> Result<String, Problem> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["BUG", "CHANGE", "BREAKS", "IN", "PLAN", "RUNS"]);
    for one in hunted.iter().filter(|h| h.planted.is_some()) {
        let (breaks, place, plan) = match &one.found.noticed {
            None => ("NOT FOUND".to_owned(), "-".to_owned(), "-".to_owned()),
            Some(n) => (
                format!("{} {}", n.property.name, n.property.title),
                n.scenario.name.clone(),
                plan(n),
            ),
        };
        let runs = one.found.tried.to_string();
        table.add_row([one.bug.id.clone(), change(&one.bug), breaks, place, plan, runs]);
    }
    if let Some(column) = table.column_mut(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut out = table.trim_fmt();
    out.push('\n');
    for one in hunted {
        if let (Some(noticed), Some(command)) = (&one.found.noticed, command(one)?) {
            let Bug { id, title, .. } = &one.bug;
            out.push_str(&format!("\n{id} {title}: {}\n  {command}\n", noticed.facts));
        }
    }
    let (found, missed, beyond) = count(hunted);
    let runs: u64 = hunted.iter().map(|h| h.found.tried).sum();
    out.push_str(&format!(
        "\n{} bugs, {found} found, {missed} not found, {beyond} out of scope, {runs} runs in {} s",
        hunted.len(),
        seconds(elapsed),
    ));
    Ok(out)
}

fn json(hunted: &[Hunted]) -> Result<String, Problem> {
    let mut rows = Vec::new();
    for one in hunted {
        let noticed = one.found.noticed.as_ref();
        rows.push(serde_json::json!({
            "id": one.bug.id,
            "reference": one.bug.reference,
            "title": one.bug.title,
            "out": one.bug.out,
            "base": one.bug.base,
            "change": one.bug.change,
            "release": one.bug.release,
            "found": one.planted.as_ref().map(|_| noticed.is_some()),
            "property": noticed.map(|n| n.property.name),
            "also": noticed.map(|n| n.also.clone()),
            "recorded": noticed.map(|n| recorded(&one.bug, n)),
            "alone": noticed.map(|n| n.alone),
            "scenario": noticed.map(|n| n.scenario.name.clone()),
            "plan": noticed.map(|n| n.plan.clone()),
            "facts": noticed.map(|n| n.facts.clone()),
            "replay": command(one)?,
            "runs": one.found.tried,
        }));
    }
    let (found, missed, out) = count(hunted);
    let all = serde_json::json!({
        "version": 1, "found": found, "not_found": missed, "out": out, "bugs": rows,
    });
    // Strings, booleans and integers: always JSON.
    Ok(serde_json::to_string_pretty(&all).unwrap_or_default())
}

const HEAD: &str = "# Known bugs, and what finds them

Written by `castoff ablate --bugs --markdown docs/bugs.md` from `sim/bugs.toml`. Each bug of the
list is planted as one field of a policy or a release changed; then a search that knows nothing of
it goes through the scenarios as they are (over seeds, and over random orders of those with several
actors) and through every single fault. A property that the unchanged cloud breaks nowhere in that
scenario finds the bug; a planted bug that nothing finds is exit code 3.

The column *breaks* has the property that found the bug and, after a semicolon, what else the same run
breaks and the unchanged cloud nowhere in that scenario; in bold those that the bug's history tells of. A star: the
unchanged cloud breaks this property too, in other runs of that scenario; in this run, with the same
history up to the fault, it does not. *Runs* counts those until the bug was found.
";

fn markdown(hunted: &[Hunted]) -> Result<String, Problem> {
    let (found, missed, out) = count(hunted);
    let mut text = HEAD.to_owned();
    let mut commands = String::new();
    let all = hunted.len();
    // Writing into a string cannot fail.
    let _ = write!(text, "\n{all} bugs: {found} found, {missed} not found, {out} out.\n\n");
    text.push_str(
        "| bug | reference | what was wrong | change | breaks | scenario | plan | runs |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for one in hunted.iter().filter(|h| h.planted.is_some()) {
        let Bug { id, reference, title, .. } = &one.bug;
        let (breaks, place, plan) = match &one.found.noticed {
            None => ("not found".to_owned(), String::new(), String::new()),
            Some(n) => {
                let star = if n.alone { "" } else { " \\*" };
                let named = |name: &str| match one.bug.broke.iter().any(|b| b == name) {
                    true => format!("**{name}**"),
                    false => name.to_owned(),
                };
                let also: Vec<String> = n.also.iter().map(|name| named(name)).collect();
                let also =
                    if also.is_empty() { String::new() } else { format!("; {}", also.join(", ")) };
                let first = named(n.property.name);
                let shown = format!("{first} {}{also}{star}", n.property.title);
                (shown, n.scenario.name.clone(), plan(n))
            }
        };
        let (change, runs) = (change(&one.bug), one.found.tried);
        let _ = writeln!(
            text,
            "| {id} | {reference} | {title} | `{change}` | {breaks} | {place} | {plan} | {runs} |"
        );
        if let Some(command) = command(one)? {
            let _ = writeln!(commands, "# {id}\n{command}");
        }
    }
    text.push_str(
        "\n## Out\n\n| bug | reference | what was wrong | why it is out |\n|---|---|---|---|\n",
    );
    for Bug { id, reference, title, out, .. } in hunted.iter().map(|h| &h.bug) {
        if let Some(why) = out {
            let _ = writeln!(text, "| {id} | {reference} | {title} | {why} |");
        }
    }
    let _ = write!(text, "\n## The runs again\n\n```sh\n{commands}```\n");
    Ok(text)
}
