//! A run as one page: no file beside it, no script, light or dark as the reader's screen is.

mod style;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::record::{self, CaseRecord, Grade, Records, Refinement, StepRecord};

/// Steps that are shown for themselves: pauses and locks are time between others.
fn is_shown(step: &StepRecord) -> bool {
    !step.operation.starts_with("runtime::")
}

fn seconds(micros: u64) -> String {
    format!("{}.{:03}", micros / 1_000_000, micros % 1_000_000 / 1000)
}

/// A part of the whole in percent, with two digits.
fn percent(part: u64, whole: u64) -> String {
    let basis = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02}", basis / 100, basis % 100)
}

/// A case's place on the page.
fn anchor(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("case-{}", id.chars().map(plain).collect::<String>())
}

/// The document.
pub fn html(records: &Records) -> String {
    let head = &records.head;
    let never = records.never_ran();
    let title = format!("castoff conform: run {}", head.run);
    let mut groups: Vec<(&str, Vec<&CaseRecord>)> = Vec::new();
    for case in &records.cases {
        let name = record::group(&case.id);
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, cases)) => cases.push(case),
            None => groups.push((name, vec![case])),
        }
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(style::CSS)) }
            }
            body {
                h1 { "Conformance of " (head.host.name.as_deref().unwrap_or("this host")) }
                p.counts {
                    @for grade in Grade::ALL {
                        span class=(grade) { b { (records.count(grade)) } " " (word(grade)) }
                    }
                    @if !never.is_empty() {
                        span.fail { b { (never.len()) } " never ran" }
                    }
                }
                dl.facts {
                    @for (name, value) in head.facts() {
                        div { dt { (name) } dd { (value) } }
                    }
                }
                @if records.torn {
                    p.warn { "The run was ended while it wrote its last result; that case is not shown." }
                }
                @for (name, cases) in &groups { (group(name, cases)) }
                @if !never.is_empty() {
                    h2 { "Never ran" }
                    p { "The run ended before these cases, or during the first of them." }
                    ul { @for id in &never { li { code { (id) } } } }
                }
                h2 { "Cases" }
                @for case in &records.cases { (self::case(case)) }
            }
        }
    };
    page.into_string() + "\n"
}

fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Pass => "pass",
        Grade::Differs => "differ safely",
        Grade::Fail => "fail",
        Grade::Skip => "skipped",
    }
}

fn group(name: &str, cases: &[&CaseRecord]) -> Markup {
    let count = |grade| cases.iter().filter(|c| c.grade == grade).count();
    html! {
        h2 { (name) }
        div.scroll {
            table {
                thead {
                    tr { th { "grade" } th { "case" } th { "what" } th.number { "seconds" } th { "why" } }
                }
                tbody {
                    @for case in cases {
                        tr {
                            td { span class={ "grade " (case.grade) } { (case.grade) } }
                            td { a href={ "#" (anchor(&case.id)) } { code { (case.id) } } }
                            td { (case.title) }
                            td.number { (seconds(case.took_ms.saturating_mul(1000))) }
                            td { (case.reason.as_deref().unwrap_or_default()) }
                        }
                    }
                }
                tfoot {
                    tr {
                        td colspan="5" {
                            @for grade in Grade::ALL {
                                @if count(grade) > 0 { (count(grade)) " " (word(grade)) ". " }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn case(case: &CaseRecord) -> Markup {
    let opened = matches!(case.grade, Grade::Fail | Grade::Differs);
    html! {
        details id=(anchor(&case.id)) open[opened] {
            summary {
                span class={ "grade " (case.grade) } { (case.grade) }
                " " code { (case.id) } " " span.title { (case.title) }
            }
            @if let Some(reason) = &case.reason { p.reason { (reason) } }
            @if !case.cites.is_empty() {
                p.cites { "Checks " (case.cites.join("; ")) "." }
            }
            @if !case.checks.is_empty() {
                div.scroll {
                    table {
                        thead { tr { th { "check" } th { "holds" } th { "found" } } }
                        tbody {
                            @for check in &case.checks {
                                tr {
                                    td { (check.name) }
                                    td {
                                        @if check.ok { "yes" } @else { span.grade.fail { "no" } }
                                    }
                                    td.found { (check.found) }
                                }
                            }
                        }
                    }
                }
            }
            @if case.steps.iter().any(is_shown) { (steps(&case.steps)) }
            @if let Some(refinement) = &case.refinement { (self::refinement(refinement)) }
            @if let Some(replay) = &case.replay {
                p { "Again: " code { (replay) } }
            }
        }
    }
}

fn steps(steps: &[StepRecord]) -> Markup {
    let end = steps.iter().map(|s| s.from_us.saturating_add(s.took_us)).max().unwrap_or(0);
    html! {
        h3 { "Steps of the detach: " (seconds(end)) " s" }
        div.bars {
            @for step in steps.iter().filter(|s| is_shown(s)) {
                div.step {
                    span.name { (step.operation) }
                    span.number { (seconds(step.from_us)) }
                    span.track {
                        span.bar style={
                            "left:" (percent(step.from_us, end)) "%;width:"
                            (percent(step.took_us, end)) "%"
                        } {}
                    }
                    span.number { (seconds(step.took_us)) " s" }
                }
            }
        }
    }
}

fn refinement(refinement: &Refinement) -> Markup {
    let unexplained = refinement.unexplained().count();
    html! {
        h3 { "Against the models: " (refinement.compared) " calls compared, "
            (refinement.differences.len()) " differ, " (unexplained) " unexplained" }
        @if !refinement.differences.is_empty() {
            div.scroll {
                table.sides {
                    thead { tr { th { "at" } th { "this host" } th { "the model" } th { "why" } } }
                    tbody {
                        @for d in &refinement.differences {
                            tr {
                                td { (d.at) }
                                td.found { @if d.real.is_empty() { i { "nothing" } } @else { (d.real) } }
                                td.found { @if d.model.is_empty() { i { "nothing" } } @else { (d.model) } }
                                td {
                                    @match &d.explained {
                                        Some(why) => (why),
                                        None => span.grade.fail { "unexplained" },
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::samples;
    use super::*;

    #[test]
    fn the_page_stands_by_itself_and_nothing_in_it_is_markup_of_a_host() {
        let page = html(&samples::every_grade());
        for outside in ["http://", "https://", "<script", "<link", "<img", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(!page.contains("<b>&\"'"), "a host's text is escaped");
        assert!(page.contains("&lt;b&gt;&amp;&quot;']]&gt;"));
        assert!(page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn every_case_of_the_run_is_there_and_can_be_linked() {
        let records = samples::every_grade();
        let page = html(&records);
        for case in &records.cases {
            let id = anchor(&case.id);
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
            assert!(page.contains(&format!("href=\"#{id}\"")), "{id}");
        }
        assert!(page.contains("<code>initiator/never</code>"));
        assert!(page.contains("<b>1</b> differ safely"));
    }

    #[test]
    fn a_step_lies_where_it_was() {
        let page = html(&samples::every_grade());
        // From 2.0 s for 0.5 s of 2.5 s.
        assert!(page.contains("left:80.00%;width:20.00%"), "{page}");
    }

    #[test]
    fn what_nothing_explains_stands_out() {
        let page = html(&samples::every_grade());
        assert!(page.contains("9 calls compared, 2 differ, 1 unexplained"));
        assert!(page.contains("<span class=\"grade fail\">unexplained</span>"));
    }
}
