//! The document against the rules of both schemas in use: Ant's JUnit schema, and that of Maven
//! Surefire as Jenkins' xunit plugin has it. What both allow is written down here, rule by rule.

#![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

use quick_xml::Reader;
use quick_xml::events::Event;

use super::super::record::{Records, samples};
use super::*;

struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    fn get(&self, attribute: &str) -> &str {
        let found = self.attributes.iter().find(|(name, _)| name == attribute);
        &found.unwrap_or_else(|| panic!("{} has no {attribute}", self.name)).1
    }
    fn number(&self, attribute: &str) -> usize {
        self.get(attribute).parse().unwrap()
    }
    fn all(&self, name: &str) -> Vec<&Element> {
        self.children.iter().filter(|c| c.name == name).collect()
    }
}

fn element(start: &quick_xml::events::BytesStart<'_>) -> Element {
    let attribute = |a: quick_xml::events::attributes::Attribute<'_>| {
        let value = quick_xml::escape::unescape(&a.value).unwrap().into_owned();
        (a.key.as_ref().to_owned(), value)
    };
    Element {
        name: start.name().as_ref().to_owned(),
        attributes: start.attributes().map(|a| attribute(a.unwrap())).collect(),
        children: Vec::new(),
        text: String::new(),
    }
}

fn parse(text: &str) -> Element {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element {
        name: String::new(),
        attributes: Vec::new(),
        children: Vec::new(),
        text: String::new(),
    }];
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => open.push(element(&start)),
            Event::Empty(start) => open.last_mut().unwrap().children.push(element(&start)),
            Event::End(_) => {
                let done = open.pop().unwrap();
                open.last_mut().unwrap().children.push(done);
            }
            Event::Text(text) => open.last_mut().unwrap().text.push_str(&text),
            Event::GeneralRef(_) => open.last_mut().unwrap().text.push('?'),
            Event::Decl(_) => {}
            Event::Eof => break,
            other => panic!("{other:?}"),
        }
    }
    let mut root = open.pop().unwrap();
    assert!(open.is_empty() && root.children.len() == 1);
    root.children.pop().unwrap()
}

fn is_token(text: &str) -> bool {
    token(text) == text
}

fn is_decimal(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap();
    // Surefire's pattern takes groups of three digits after a comma, or up to three: any number.
    [whole, part].iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn is_timestamp(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00"
}

fn has_exactly(element: &Element, required: &[&str], optional: &[&str]) {
    for name in required {
        element.get(name);
    }
    for (name, _) in &element.attributes {
        let known = required.contains(&name.as_str()) || optional.contains(&name.as_str());
        assert!(known, "{} has an attribute {name}", element.name);
    }
}

fn check_case(case: &Element) {
    assert_eq!(case.name, "testcase");
    has_exactly(case, &["name", "classname", "time"], &[]);
    assert!(is_token(case.get("name")) && is_token(case.get("classname")));
    assert!(is_decimal(case.get("time")));
    assert!(case.children.len() <= 1, "Ant's schema has a choice");
    for child in &case.children {
        match child.name.as_str() {
            "skipped" => has_exactly(child, &[], &["message"]),
            "error" | "failure" => has_exactly(child, &["type"], &["message"]),
            other => panic!("a test case has no {other}"),
        }
        assert!(child.children.is_empty());
    }
}

fn check_suite(suite: &Element, number: usize) {
    assert_eq!(suite.name, "testsuite");
    let required =
        ["name", "package", "id", "tests", "failures", "errors", "time", "timestamp", "hostname"];
    has_exactly(suite, &required, &["skipped"]);
    assert!(is_token(suite.get("name")) && !suite.get("name").is_empty());
    assert!(is_token(suite.get("hostname")) && !suite.get("hostname").is_empty());
    assert!(is_timestamp(suite.get("timestamp")), "{}", suite.get("timestamp"));
    assert!(is_decimal(suite.get("time")));
    assert_eq!(suite.number("id"), number);
    // Ant's schema has an order: properties, any number of test cases, the two outputs.
    let names: Vec<&str> = suite.children.iter().map(|c| c.name.as_str()).collect();
    let [first, cases @ .., out, err] = names.as_slice() else { panic!("{names:?}") };
    assert_eq!([*first, *out, *err], ["properties", "system-out", "system-err"]);
    assert!(cases.iter().all(|c| *c == "testcase"), "{cases:?}");
    for property in &suite.children[0].children {
        assert_eq!(property.name, "property");
        assert_eq!((property.text.as_str(), property.children.len()), ("", 0), "an empty type");
        has_exactly(property, &["name", "value"], &[]);
        assert!(is_token(property.get("name")) && !property.get("name").is_empty());
    }
    let cases = suite.all("testcase");
    cases.iter().for_each(|c| check_case(c));
    let with = |name| cases.iter().filter(|c| !c.all(name).is_empty()).count();
    assert_eq!(suite.number("tests"), cases.len());
    assert_eq!(suite.number("failures"), with("failure"));
    assert_eq!(suite.number("errors"), with("error"));
    assert_eq!(suite.number("skipped"), with("skipped"));
}

fn checked(records: &Records) -> Element {
    let text = junit(records);
    assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"));
    let root = parse(&text);
    assert_eq!(root.name, "testsuites");
    has_exactly(&root, &[], &[]);
    root.children.iter().enumerate().for_each(|(number, suite)| check_suite(suite, number));
    root
}

#[test]
fn a_run_with_every_grade_keeps_to_both_schemas() {
    let root = checked(&samples::every_grade());
    let names: Vec<&str> = root.children.iter().map(|s| s.get("name")).collect();
    assert_eq!(names, ["guest", "initiator"]);
    let initiator = &root.children[1];
    let counts = ["tests", "failures", "errors", "skipped"].map(|a| initiator.number(a));
    assert_eq!(counts, [3, 1, 1, 1]);
    let first = initiator.all("testcase")[0];
    assert_eq!((first.get("classname"), first.get("name")), ("initiator.logout", "fail"));
    assert_eq!(root.children[0].get("time"), "16.500");
    let never = initiator.all("testcase")[2];
    assert_eq!((never.get("name"), never.all("error")[0].get("type")), ("never", "never-ran"));
}

#[test]
fn what_differs_safely_passes_and_is_named_in_the_output() {
    let root = checked(&samples::every_grade());
    let guest = &root.children[0];
    assert!(guest.all("testcase").iter().all(|c| c.children.is_empty()));
    assert!(guest.all("system-out")[0].text.contains("differs guest/unplug/differs"));
}

#[test]
fn no_text_of_a_host_breaks_the_document() {
    let text = junit(&samples::every_grade());
    let allowed = |c: char| c == '\n' || (c >= ' ' && c != '\u{fffe}' && c != '\u{ffff}');
    assert!(text.chars().all(allowed));
    let root = parse(&text);
    let failure = root.children[1].all("testcase")[0].all("failure")[0];
    let message = failure.get("message");
    assert!(message.contains("<b>&\"']]>\u{fffd}"), "{message}");
}

#[test]
fn a_run_without_cases_is_an_empty_document() {
    let empty = Records { cases: Vec::new(), torn: false, ..samples::every_grade() };
    let none = Records { head: Head { selected: Vec::new(), ..empty.head.clone() }, ..empty };
    assert!(checked(&none).children.is_empty());
}

#[test]
fn a_head_with_a_bad_time_still_makes_a_document() {
    let mut records = samples::every_grade();
    records.head.started = "now".to_owned();
    checked(&records);
}
