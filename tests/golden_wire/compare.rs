//! Two responses: the recorded one and ours.

use http::Response;
use serde_json::Value;

use super::ids::{Ids, is_id, is_time, shape};
use super::session::RecordedResponse;

/// The headers that carry meaning, as the records spell them.
const HEADERS: [&str; 7] = [
    "Content-Type",
    "Location",
    "Openstack-Api-Version",
    "Vary",
    "Www-Authenticate",
    "X-Openstack-Nova-Api-Version",
    "X-Subject-Token",
];

/// One thing that differs.
#[derive(Debug)]
pub(crate) struct Difference {
    /// `status`, `header NAME`, or `body` with the path in it.
    pub(crate) place: String,
    /// What is there in the record and in ours.
    pub(crate) what: String,
    /// The two values, where there are two.
    pub(crate) values: Option<(Value, Value)>,
}

impl Difference {
    fn new(place: &str, what: String) -> Difference {
        Difference { place: place.to_owned(), what, values: None }
    }

    fn of(place: &str, recorded: &Value, ours: &Value, what: String) -> Difference {
        let values = Some((recorded.clone(), ours.clone()));
        Difference { place: place.to_owned(), what, values }
    }

    /// The last key on the way to it.
    pub(crate) fn key(&self) -> &str {
        self.place.rsplit('/').next().unwrap_or(&self.place)
    }
}

/// Everything in which ours differs; `ids` learns on the way.
pub(crate) fn differences(
    recorded: &RecordedResponse,
    ours: &Response<Vec<u8>>,
    ids: &mut Ids,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let status = ours.status().as_u16();
    if recorded.status != status {
        found.push(Difference::new("status", format!("{} recorded, {status}", recorded.status)));
    }
    for name in HEADERS {
        let theirs = recorded.headers.get(name).map(String::as_str);
        let ours = ours.headers().get(name).and_then(|value| value.to_str().ok());
        if let Err(what) = header(name, theirs, ours, ids) {
            found.push(Difference::new(&format!("header {name}"), what));
        }
    }
    let body = match ours.body().as_slice() {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from("not JSON")),
    };
    // What an id is may show later in a body than a text that has it inside: learn first.
    value("body", &recorded.body, &body, ids, &mut Vec::new());
    value("body", &recorded.body, &body, ids, &mut found);
    found
}

fn header(
    name: &str,
    recorded: Option<&str>,
    ours: Option<&str>,
    ids: &mut Ids,
) -> Result<(), String> {
    match (recorded, ours) {
        (None, None) => Ok(()),
        (Some(token), Some(ours)) if name == "X-Subject-Token" => ids.learn_token(token, ours),
        (Some(recorded), Some(ours)) if ids.translate(recorded) == ours => Ok(()),
        _ => Err(format!("{recorded:?} recorded, {ours:?}")),
    }
}

fn value(place: &str, recorded: &Value, ours: &Value, ids: &mut Ids, found: &mut Vec<Difference>) {
    match (recorded, ours) {
        (Value::Object(theirs), Value::Object(mine)) => {
            for (key, recorded) in theirs {
                let place = format!("{place}/{key}");
                match mine.get(key) {
                    Some(ours) => value(&place, recorded, ours, ids, found),
                    None => found.push(Difference::new(&place, "missing".to_owned())),
                }
            }
            for key in mine.keys().filter(|key| !theirs.contains_key(*key)) {
                found.push(Difference::new(&format!("{place}/{key}"), "not recorded".to_owned()));
            }
        }
        (Value::Array(theirs), Value::Array(mine)) => {
            if theirs.len() != mine.len() {
                let what = format!("{} elements recorded, {}", theirs.len(), mine.len());
                found.push(Difference::new(place, what));
            }
            for (n, (recorded, ours)) in theirs.iter().zip(mine).enumerate() {
                value(&format!("{place}/{n}"), recorded, ours, ids, found);
            }
        }
        (Value::String(theirs), Value::String(mine)) => {
            if let Err(what) = text(place, theirs, mine, ids) {
                found.push(Difference::of(place, recorded, ours, what));
            }
        }
        (theirs, mine) if theirs == mine => {}
        (theirs, mine) => {
            let what = format!("{theirs} recorded, {mine}");
            found.push(Difference::of(place, theirs, mine, what));
        }
    }
}

fn text(place: &str, recorded: &str, ours: &str, ids: &mut Ids) -> Result<(), String> {
    let differs = || Err(format!("{recorded:?} recorded, {ours:?}"));
    if is_time(recorded) {
        // Versions carry dates that are the software's, not the clock's.
        let fixed = place.starts_with("body/version") && place.ends_with("/updated");
        return match if fixed { recorded == ours } else { shape(recorded) == shape(ours) } {
            true => Ok(()),
            false => differs(),
        };
    }
    let varies = is_id(recorded) && is_id(ours)
        || place.contains("/audit_ids/") && recorded.len() == ours.len()
        // A service that no session asks anything: its address is the recorder's own.
        || recorded.starts_with("http://127.0.0.1:") && ours.starts_with("http://");
    if varies {
        return ids.learn(recorded, ours);
    }
    match ids.translate(without_request(recorded)) == without_request(ours) {
        true => Ok(()),
        false => differs(),
    }
}

/// A message of cinder that nova passes on ends with cinder's request id.
fn without_request(text: &str) -> &str {
    text.split_once(" (Request-ID: req-").map_or(text, |(before, _)| before)
}
