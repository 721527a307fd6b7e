//! A run as JUnit XML, for CI servers.
//!
//! It keeps to what both schemas in use allow: Ant's (the strict one: a fixed order of children,
//! a test case with one child at most) and that of Maven Surefire and Jenkins. A suite is a group
//! of cases, the first part of their ids. What differs safely is a test that passed; the suite's
//! output names it.

use std::fmt::Write as _;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::record::{CaseRecord, Grade, Head, Records};

/// A text without the characters that XML 1.0 (section 2.2) has no place for.
fn clean(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect()
}

/// An xs:token: no line ends, no spaces at its ends or in a row.
fn token(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// `2026-03-04T05:06:07`: Ant's schema wants no zone.
fn timestamp(started: &str) -> &str {
    started.get(..19).unwrap_or("1970-01-01T00:00:00")
}

/// A case, or one that never ran.
enum Case<'a> {
    Ran(&'a CaseRecord),
    NeverRan(&'a str),
}

impl Case<'_> {
    fn id(&self) -> &str {
        match self {
            Case::Ran(case) => &case.id,
            Case::NeverRan(id) => id,
        }
    }
    fn is(&self, wanted: Grade) -> bool {
        match self {
            Case::Ran(case) => case.grade == wanted,
            Case::NeverRan(_) => false,
        }
    }
}

struct Xml(Writer<Vec<u8>>);

impl Xml {
    fn event(&mut self, event: Event<'_>) {
        // A Vec takes everything.
        let _ = self.0.write_event(event);
    }
    fn start(&mut self, name: &str, attributes: &[(&str, String)]) {
        let start = BytesStart::new(name)
            .with_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())));
        self.event(Event::Start(start));
    }
    fn end(&mut self, name: &str) {
        self.event(Event::End(BytesEnd::new(name)));
    }
    fn element(&mut self, name: &str, attributes: &[(&str, String)], text: &str) {
        if text.is_empty() {
            // Not a pair of tags: an empty type has no place for the line end between them.
            let attributes = attributes.iter().map(|(name, value)| (*name, value.as_str()));
            return self.event(Event::Empty(BytesStart::new(name).with_attributes(attributes)));
        }
        self.start(name, attributes);
        self.event(Event::Text(BytesText::new(&clean(text))));
        self.end(name);
    }
}

/// The document.
pub fn junit(records: &Records) -> String {
    let never: Vec<&str> = records.never_ran();
    let cases = records.cases.iter().map(Case::Ran).chain(never.into_iter().map(Case::NeverRan));
    let mut groups: Vec<(String, Vec<Case<'_>>)> = Vec::new();
    for case in cases {
        let name = token(super::record::group(case.id()));
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, cases)) => cases.push(case),
            None => groups.push((name, vec![case])),
        }
    }
    let mut xml = Xml(Writer::new_with_indent(Vec::new(), b' ', 2));
    xml.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
    xml.start("testsuites", &[]);
    for (number, (name, cases)) in groups.iter().enumerate() {
        suite(&mut xml, &records.head, number, name, cases);
    }
    xml.end("testsuites");
    // What quick-xml writes of our texts is UTF-8.
    let mut text = String::from_utf8_lossy(&xml.0.into_inner()).into_owned();
    text.push('\n');
    text
}

fn suite(xml: &mut Xml, head: &Head, number: usize, name: &str, cases: &[Case<'_>]) {
    let count = |grade| cases.iter().filter(|c| c.is(grade)).count();
    let never = cases.iter().filter(|c| matches!(c, Case::NeverRan(_))).count();
    let took = cases.iter().map(|c| match c {
        Case::Ran(case) => case.took_ms,
        Case::NeverRan(_) => 0,
    });
    xml.start(
        "testsuite",
        &[
            ("name", name.to_owned()),
            ("package", "castoff.conform".to_owned()),
            ("id", number.to_string()),
            ("tests", cases.len().to_string()),
            ("failures", count(Grade::Fail).to_string()),
            ("errors", never.to_string()),
            ("skipped", count(Grade::Skip).to_string()),
            ("time", seconds(took.sum())),
            ("timestamp", timestamp(&head.started).to_owned()),
            ("hostname", head.host.name.as_deref().map_or("localhost".to_owned(), token)),
        ],
    );
    xml.start("properties", &[]);
    for (name, value) in head.facts() {
        xml.element("property", &[("name", name.to_owned()), ("value", clean(&value))], "");
    }
    xml.end("properties");
    let mut out = String::new();
    for case in cases {
        test_case(xml, case);
        if let Case::Ran(case) = case {
            tell(&mut out, case);
        }
    }
    xml.element("system-out", &[], &out);
    xml.element("system-err", &[], "");
    xml.end("testsuite");
}

fn test_case(xml: &mut Xml, case: &Case<'_>) {
    let id = case.id();
    let (class, name) = id.rsplit_once('/').unwrap_or(("conform", id));
    let took = match case {
        Case::Ran(case) => case.took_ms,
        Case::NeverRan(_) => 0,
    };
    xml.start(
        "testcase",
        &[
            ("name", token(name)),
            ("classname", token(&class.replace('/', "."))),
            ("time", seconds(took)),
        ],
    );
    let kind = |kind: &str, message: &str| [("type", kind.to_owned()), ("message", clean(message))];
    match case {
        Case::NeverRan(_) => {
            let message = "the run ended before this case, or during it";
            xml.element("error", &kind("never-ran", message), "");
        }
        Case::Ran(case) => {
            let reason = case.reason.as_deref().unwrap_or_default();
            match case.grade {
                Grade::Pass | Grade::Differs => {}
                Grade::Skip => {
                    xml.element("skipped", &[("message", clean(reason))], "");
                }
                Grade::Fail => {
                    let mut text = String::new();
                    tell(&mut text, case);
                    xml.element("failure", &kind("conformance", reason), &text);
                }
            }
        }
    }
    xml.end("testcase");
}

/// A case in words: its grade, what does not hold, what nothing explains.
fn tell(out: &mut String, case: &CaseRecord) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{:<7} {}: {}", case.grade, case.id, case.title);
    if let Some(reason) = &case.reason {
        let _ = write!(out, ": {reason}");
    }
    out.push('\n');
    for check in case.checks.iter().filter(|c| !c.ok) {
        let _ = writeln!(out, "        does not hold: {}: {}", check.name, check.found);
    }
    for d in case.refinement.iter().flat_map(|r| r.unexplained()) {
        let _ = writeln!(out, "        at {}: host {:?}, model {:?}", d.at, d.real, d.model);
    }
    if let Some(replay) = &case.replay {
        let _ = writeln!(out, "        {replay}");
    }
}

#[cfg(test)]
mod tests;
