//! The one flavor that every server has: that of the recorded cloud.

use serde_json::{Value, json};

use super::View;

/// Its id.
pub(super) const ID: &str = "42";

const NAME: &str = "m1.nano";

/// Microversions that changed flavors: a description, embedded in servers, with extra specs.
const DESCRIPTION: u16 = 55;
const EMBEDDED: u16 = 47;
const EXTRA_SPECS: u16 = 61;

/// A flavor within a server.
pub(super) fn of_server(view: &View<'_>) -> Value {
    if view.minor < EMBEDDED {
        let href = format!("{}/flavors/{ID}", view.base);
        return json!({"id": ID, "links": [{"rel": "bookmark", "href": href}]});
    }
    json!({
        "vcpus": 1,
        "ram": 64,
        "disk": 0,
        "ephemeral": 0,
        "swap": 0,
        "original_name": NAME,
        "extra_specs": {},
    })
}

/// What a path below `/flavors` shows: the list, the list in full, or the flavor.
pub(super) fn document(view: &View<'_>) -> Value {
    match view.path.trim_end_matches('/').rsplit('/').next() {
        Some(ID) => json!({"flavor": shown(view)}),
        Some("detail") => json!({"flavors": [shown(view)]}),
        _ => {
            let mut row = json!({"id": ID, "name": NAME, "links": links(view)});
            if view.minor >= DESCRIPTION {
                row["description"] = Value::Null;
            }
            json!({"flavors": [row]})
        }
    }
}

fn shown(view: &View<'_>) -> Value {
    let mut body = json!({
        "id": ID,
        "name": NAME,
        "ram": 64,
        "disk": 0,
        "swap": if view.minor >= 75 { json!(0) } else { json!("") },
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": false,
        "vcpus": 1,
        "os-flavor-access:is_public": true,
        "rxtx_factor": 1.0,
        "links": links(view),
    });
    if view.minor >= DESCRIPTION {
        body["description"] = Value::Null;
    }
    if view.minor >= EXTRA_SPECS {
        body["extra_specs"] = json!({});
    }
    // A flavor recorded at 2.103 shows neither; which microversion dropped them is not recorded.
    if view.minor >= 103 {
        for key in ["OS-FLV-DISABLED:disabled", "rxtx_factor"] {
            body.as_object_mut().map(|o| o.remove(key));
        }
    }
    body
}

fn links(view: &View<'_>) -> Value {
    let base = view.base;
    json!([
        {"rel": "self", "href": format!("{base}/v2.1/flavors/{ID}")},
        {"rel": "bookmark", "href": format!("{base}/flavors/{ID}")},
    ])
}
