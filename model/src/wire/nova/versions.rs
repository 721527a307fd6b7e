//! The version documents of nova-api: `GET /` and `GET /v2.1`.

use castoff_ports::nova::Microversion;
use serde_json::{Value, json};

/// Whether a path is the one that lists all versions.
pub(super) fn is_root(path: &str) -> bool {
    path.trim_matches('/').is_empty()
}

/// Every version: the body of `GET /`.
pub(super) fn list(base: &str) -> Value {
    let v20 = json!({
        "id": "v2.0",
        "status": "DEPRECATED",
        "version": "",
        "min_version": "",
        "updated": "2025-07-04T12:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/v2/")}],
    });
    let mut v21 = current();
    v21["links"] = json!([{"rel": "self", "href": format!("{base}/v2.1/")}]);
    json!({"versions": [v20, v21]})
}

/// 2.1 alone, with its media type.
pub(super) fn v21(base: &str) -> Value {
    let mut version = current();
    version["links"] = json!([
        {"rel": "self", "href": format!("{base}/v2.1/")},
        {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"},
    ]);
    version["media-types"] = json!([{
        "base": "application/json",
        "type": "application/vnd.openstack.compute+json;version=2.1",
    }]);
    version
}

fn current() -> Value {
    json!({
        "id": "v2.1",
        "status": "CURRENT",
        "version": format!("2.{}", Microversion::LATEST.0),
        "min_version": format!("2.{}", Microversion::MIN.0),
        "updated": "2013-07-23T11:33:21Z",
    })
}
