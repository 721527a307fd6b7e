#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;

use super::*;
use crate::properties::Property;

/// The numbers of the survey that the list was made from.
const NOVA: &[u32] = &[
    1, 2, 3, 5, 6, 8, 10, 11, 12, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
    30, 32, 33, 34, 35, 36, 37, 38, 39, 41, 42, 43, 44, 45, 47, 48, 49, 51, 52, 53, 54, 55, 57, 59,
    60, 61, 62, 63, 65, 66, 67, 69, 70, 71, 73, 74, 75, 76, 77,
];
const BRICK: &[u32] = &[
    1, 3, 4, 6, 7, 8, 9, 11, 13, 14, 15, 17, 18, 20, 23, 24, 25, 27, 28, 29, 30, 31, 32, 33, 34,
    35, 36,
];
const CINDER: &[u32] =
    &[1, 3, 4, 5, 8, 9, 10, 13, 14, 16, 17, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28];

#[test]
fn every_bug_of_the_survey_is_there_once_in_its_order() {
    let expected: Vec<String> = [('N', NOVA), ('B', BRICK), ('C', CINDER)]
        .iter()
        .flat_map(|(letter, all)| all.iter().map(move |n| format!("{letter}{n:02}")))
        .collect();
    let ids: Vec<String> = all().unwrap().into_iter().map(|b| b.id).collect();
    assert_eq!(ids, expected);
    assert_eq!(ids.len(), 112);
}

#[test]
fn every_change_parses_and_makes_another_cloud() {
    for bug in all().unwrap() {
        let planted = bug.plant().unwrap();
        assert_eq!(planted.is_none(), bug.out.is_some(), "{}", bug.id);
        let Some(Planted { base, changed }) = planted else { continue };
        let same = |a: &Cloud, b: &Cloud| {
            let named = |p: &Policy| Policy { name: String::new(), ..p.clone() };
            named(&a.policy) == named(&b.policy)
                && Release { name: String::new(), ..a.release.clone() }
                    == Release { name: String::new(), ..b.release.clone() }
        };
        assert!(!same(&base, &changed), "{} changes nothing", bug.id);
    }
}

#[test]
fn what_a_bug_broke_is_named_as_a_property() {
    for bug in all().unwrap() {
        for name in &bug.broke {
            let well_formed = name.len() <= 3 && (name.starts_with('S') || name.starts_with('L'));
            assert!(well_formed, "{}: {name}", bug.id);
        }
        assert!(!bug.title.is_empty() && !bug.reference.is_empty(), "{}", bug.id);
    }
}

#[test]
fn an_entry_needs_a_change_or_a_reason_and_not_both() {
    let bug = all().unwrap().into_iter().find(|b| b.id == "N24").unwrap();
    let both = Bug { out: Some("why".to_owned()), ..bug.clone() };
    let neither = Bug { change: None, ..bug.clone() };
    for wrong in [both, neither] {
        assert!(wrong.plant().unwrap_err().reason.contains("either"));
    }
    let unknown = Bug { change: Some("lock=false".to_owned()), ..bug };
    assert!(unknown.plant().unwrap_err().to_string().contains("bug N24: policies have no field"));
}

/// The search finds a bug that a test may wait for, and nothing where nothing is changed.
#[test]
fn the_search_finds_a_planted_bug_and_nothing_in_two_equal_clouds() {
    let scenarios: BTreeSet<&str> = ["healthy", "guest-never-lets-go"].into();
    let all_scenarios = castoff_scenarios::all().into_iter();
    let some = all_scenarios.filter(|s| scenarios.contains(s.name.as_str())).map(Into::into);
    let search = Hunt::new(some.collect(), 1, 5);
    let bug = all().unwrap().into_iter().find(|b| b.id == "N01").unwrap();
    let Planted { base, changed } = bug.plant().unwrap().unwrap();
    let found = search.find(&base, &changed).unwrap().noticed.unwrap();
    let Property { name, .. } = found.property;
    assert!(bug.broke.iter().any(|b| b == name), "{name}: {}", found.facts);
    let nothing = search.find(&base, &base).unwrap();
    assert!(nothing.noticed.is_none() && nothing.tried > 100);
}
