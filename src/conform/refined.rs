//! The report of refinement, as Markdown: which detaches on a host were compared with the model and
//! with what a real Nova issued, call by call, and how long each operation took on either side.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use castoff_sim::latency::profile::{Profile, Range};

use super::record::{CaseRecord, Difference, Grade, Records, Refinement};
use super::recorded::ISSUES;

/// The document. Writing to a String cannot fail.
pub fn markdown(records: &Records) -> String {
    let mut out = String::new();
    let facts = records.head.facts();
    let about = ["kernel", "libvirt", "qemu", "open-iscsi", "multipath-tools"];
    let known = facts.iter().filter(|(name, _)| about.contains(name));
    let known: Vec<String> = known.map(|(name, value)| format!("{name} {value}")).collect();
    let counts = Grade::ALL.map(|g| format!("{} {g}", records.count(g)));
    let _ = writeln!(
        out,
        "Run {} of {}: {}.",
        records.head.run,
        records.head.started,
        known.join(", ")
    );
    let _ = writeln!(out, "{} cases: {}.\n", records.cases.len(), counts.join(", "));
    let compared: Vec<(&CaseRecord, &Refinement)> =
        records.cases.iter().filter_map(|c| Some((c, c.refinement.as_ref()?))).collect();
    with_the_model(&mut out, &compared);
    with_nova(&mut out, &records.cases);
    times(&mut out, &compared);
    others(&mut out, records);
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn with_the_model(out: &mut String, compared: &[(&CaseRecord, &Refinement)]) {
    out.push_str("### Beside the model, call by call\n\n");
    out.push_str("| case | calls | differ, with a reason | differ, without | times beside |\n|---|---|---|---|---|\n");
    for (case, r) in compared {
        let without = r.unexplained().count();
        let with = r.differences.len() - without;
        let times = r.times.as_deref().unwrap_or("none");
        let _ = writeln!(
            out,
            "| {} | {} | {with} | {without} | {} |",
            case.id,
            r.compared,
            cell(times)
        );
    }
    out.push('\n');
    for (case, r) in compared {
        for Difference { at, real, model, explained } in &r.differences {
            let side = |text: &str| {
                if text.is_empty() { "nothing".to_owned() } else { format!("`{text}`") }
            };
            let why = explained.as_deref().unwrap_or("**no reason is known**");
            let _ = writeln!(
                out,
                "- {}, call {at}: the host {}; the model {}: {why}",
                case.id,
                side(real),
                side(model)
            );
        }
    }
    out.push('\n');
}

fn with_nova(out: &mut String, cases: &[CaseRecord]) {
    out.push_str("### Beside what a real Nova issued\n\n| case | beside | the same | found |\n|---|---|---|---|\n");
    for case in cases {
        for check in case.checks.iter().filter(|c| c.name.starts_with(ISSUES)) {
            let (beside, same) =
                (check.name.trim_start_matches(ISSUES), if check.ok { "yes" } else { "no" });
            let _ = writeln!(out, "| {} | {beside} | {same} | {} |", case.id, cell(&check.found));
        }
    }
    out.push('\n');
}

/// Of the cases that were compared, by operation; beside the profile of one path.
fn times(out: &mut String, compared: &[(&CaseRecord, &Refinement)]) {
    let name = compared.iter().find_map(|(_, r)| r.times.as_deref());
    let profile = name.and_then(|name| Profile::resolve(name).ok());
    let mut took: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for step in compared.iter().flat_map(|(case, _)| &case.steps) {
        // A pause is the pipeline's own, not the host's.
        if !step.operation.starts_with("runtime::") {
            let micros = u32::try_from(step.took_us).unwrap_or(u32::MAX);
            took.entry(&step.operation).or_default().push(micros);
        }
    }
    out.push_str("### Times of those cases, ms\n\n| operation | n | shortest | median | 9 of 10 within | profile: shortest to 9 of 10 |\n|---|---|---|---|---|---|\n");
    let ms = |us: u32| format!("{:.1}", f64::from(us) / 1000.0);
    for (operation, took) in took {
        let Some(Range { n, min_us, median_us, p90_us }) = Range::of(took) else { continue };
        let kept = profile.as_ref().and_then(|p: &std::rc::Rc<Profile>| p.range(operation));
        let kept =
            kept.map_or("–".to_owned(), |r| format!("{} to {}", ms(r.min_us), ms(r.p90_us)));
        let (min, median, most) = (ms(min_us), ms(median_us), ms(p90_us));
        let _ = writeln!(out, "| {operation} | {n} | {min} | {median} | {most} | {kept} |");
    }
    out.push('\n');
}

/// Cases to which something happens: what must hold was looked for on the host.
fn others(out: &mut String, records: &Records) {
    out.push_str("### Cases to which something happens\n\nTheir calls are not compared, what is left at the end is.\n\n| case | grade | s | checks that hold |\n|---|---|---|---|\n");
    for case in records.cases.iter().filter(|c| c.refinement.is_none()) {
        let held = case.checks.iter().filter(|c| c.ok).count();
        let why = case.reason.as_ref().map(|r| format!(": {}", cell(r))).unwrap_or_default();
        let seconds = case.took_ms as f64 / 1000.0;
        let all = case.checks.len();
        let _ =
            writeln!(out, "| {} | {}{why} | {seconds:.1} | {held} of {all} |", case.id, case.grade);
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{CheckRecord, samples};
    use super::*;

    #[test]
    fn every_case_stands_in_its_table_and_every_difference_has_a_line() {
        let mut records = samples::every_grade();
        let mut plain = samples::case("guest/plain");
        plain.refinement = None;
        let name = format!("{ISSUES}a detach with one path");
        let found = "13 calls of libvirt | 9 commands".to_owned();
        plain.checks.push(CheckRecord { name, ok: true, found });
        records.cases.push(plain);
        let text = markdown(&records);
        for case in &records.cases {
            assert!(text.contains(&format!("| {} | ", case.id)), "{}", case.id);
        }
        let differences = records.cases.iter().filter_map(|c| c.refinement.as_ref());
        let differences: usize = differences.map(|r| r.differences.len()).sum();
        assert_eq!(text.lines().filter(|l| l.starts_with("- ")).count(), differences);
        assert!(text.contains("no reason is known") && text.contains("LIO answers so"));
        let nova =
            "| guest/plain | a detach with one path | yes | 13 calls of libvirt \\| 9 commands |";
        assert!(text.contains(nova), "{text}");
        assert!(text.contains("| libvirt::DetachDeviceFlags | "), "{text}");
    }
}
