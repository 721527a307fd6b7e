//! The files: one session each, in the order in which they were recorded.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// Sessions that need what an earlier one made; any other comes after them, by name.
const ORDER: [&str; 7] = [
    "cinder-setup",
    "cinder-volume-actions",
    "cinder-attachments",
    "nova-setup",
    "nova-server-show",
    "nova-volume-attachments",
    "nova-detach-compute-down",
];

/// A recorded session.
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

impl Session {
    /// Whether it needs a cloud of its own: it only looks at versions, or only asks keystone.
    pub(crate) fn alone(&self) -> bool {
        self.name == "versions"
            || self.steps.iter().all(|s| s.request.url.starts_with("{keystone}"))
    }
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

#[derive(Deserialize)]
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

/// Every session in `tests/golden/wire`: those that stand alone first.
pub(crate) fn load_all() -> Vec<Session> {
    let mut sessions: Vec<Session> = files().into_iter().filter_map(load).collect();
    assert!(!sessions.is_empty(), "there are recorded sessions");
    let place = |s: &Session| ORDER.iter().position(|name| *name == s.name).unwrap_or(ORDER.len());
    sessions.sort_by_cached_key(|s| (!s.alone(), place(s), s.name.clone()));
    sessions
}

// The order of the directory does not matter: the sessions are sorted above.
#[allow(clippy::disallowed_methods)]
fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire");
    let entries = std::fs::read_dir(&folder).expect("tests/golden/wire can be listed");
    let paths = entries.map(|entry| entry.expect("its entries can be read").path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "json")).collect()
}

/// A file's session; none when it has another form than that of the wire.
fn load(path: PathBuf) -> Option<Session> {
    let text = std::fs::read_to_string(&path).expect("a listed file can be read");
    let steps: Vec<Step> = serde_json::from_str(&text).ok()?;
    let name = path.file_stem()?.to_str()?.to_owned();
    Some(Session { name, steps })
}
