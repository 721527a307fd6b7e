//! The files: one session each, grouped by the cloud they were recorded from, in recorded order.
//!
//! Nothing here knows a session by name. Which sessions are of one cloud shows in the ids that
//! the services made, and which came first in the times that the services wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::ids::{is_id, is_time};

/// A recorded session.
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// A request and its response.
#[derive(Deserialize)]
pub(crate) struct Step {
    pub(crate) label: String,
    /// Whose token it carries; none where headers name tokens themselves.
    #[serde(rename = "as")]
    pub(crate) who: Option<String>,
    pub(crate) request: RecordedRequest,
    pub(crate) response: RecordedResponse,
}

#[derive(Deserialize, PartialEq)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// JSON; a text is sent as it is, for it is none.
    pub(crate) body: Value,
}

#[derive(Deserialize)]
pub(crate) struct RecordedResponse {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Session {
    /// Whether a step is a look while work goes on: the recorder looked again, and again, until
    /// it had ended. Before any other step all work has ended.
    pub(crate) fn looks_on(&self, index: usize) -> bool {
        let step = &self.steps[index];
        step.request.method == "GET"
            && self.steps.get(index + 1).is_some_and(|next| {
                next.label == step.label && next.who == step.who && next.request == step.request
            })
    }

    /// The newest time that a service wrote into an answer.
    fn recorded_at(&self) -> String {
        let mut newest = String::new();
        for step in &self.steps {
            each_text(&step.response.body, "", &mut |key, text| {
                let told = ["created", "updated", "created_at", "updated_at", "issued_at"];
                if told.contains(&key) && is_time(text) && *text > *newest {
                    text.clone_into(&mut newest);
                }
            });
        }
        newest
    }

    /// The ids that the services made, which no two clouds have in common.
    fn made(&self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for step in &self.steps {
            each_text(&step.response.body, "", &mut |key, text| {
                let made = ["id", "serverId", "tenant_id", "user_id"].contains(&key);
                if made && is_id(text) {
                    ids.insert(text.to_owned());
                }
            });
        }
        ids
    }
}

fn each_text(value: &Value, key: &str, told: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, v)| each_text(v, key, told)),
        Value::Array(elements) => elements.iter().for_each(|v| each_text(v, key, told)),
        Value::String(text) => told(key, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The folder of the project's sessions.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire")
}

/// Every session in a folder, a list for each cloud that was recorded from.
pub(crate) fn load_all(folder: &Path) -> Vec<Vec<Session>> {
    let mut sessions: Vec<Session> = files(folder).iter().map(|path| load(path)).collect();
    assert!(!sessions.is_empty(), "there are recorded sessions in {}", folder.display());
    sessions.sort_by_cached_key(|s| (s.recorded_at(), s.name.clone()));
    let mut clouds: Vec<(BTreeSet<String>, Vec<Session>)> = Vec::new();
    for session in sessions {
        let mut made = session.made();
        let mut cloud = Vec::new();
        // A session may show that what looked like two clouds is one.
        let (same, rest): (Vec<_>, Vec<_>) =
            clouds.into_iter().partition(|(ids, _)| !ids.is_disjoint(&made));
        for (ids, earlier) in same {
            made.extend(ids);
            cloud.extend(earlier);
        }
        cloud.push(session);
        cloud.sort_by_cached_key(|s| (s.recorded_at(), s.name.clone()));
        clouds = rest;
        clouds.push((made, cloud));
    }
    clouds.into_iter().map(|(_, sessions)| sessions).collect()
}

// The order of the directory does not matter: paths are sorted.
#[allow(clippy::disallowed_methods)]
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be listed");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("its entries can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    paths
}

/// A file's session. One that is none may not pass for a session without steps.
fn load(path: &Path) -> Session {
    let text = std::fs::read_to_string(path).expect("a listed file can be read");
    let steps: Vec<Step> = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{} is no recorded session: {e}", path.display()));
    let name = path.file_stem().expect("a listed file has a name").to_string_lossy();
    assert!(!steps.is_empty(), "{name} has no steps");
    Session { name: name.into_owned(), steps }
}
