//! The envelope of an answer: what the caller of an RPC call finds in its reply queue.
//!
//! oslo.messaging's rabbit driver takes one with `ending` as the last of `_msg_id`; a `failure` is
//! JSON in a text once more, and is raised again at the caller as the exception that it names.

use serde_json::json;

use super::wrapped;

/// The answer to a call that is not carried out: oslo.messaging's `UnsupportedVersion`, as its own
/// dispatcher gives for a method that an endpoint does not have.
pub fn unsupported(msg_id: &str, message: &str) -> Vec<u8> {
    let failure = json!({
        "class": "UnsupportedVersion", "module": "oslo_messaging.rpc.client",
        "message": message, "tb": [], "args": [message], "kwargs": {},
    });
    wrapped(&json!({
        "result": null, "failure": failure.to_string(), "ending": true,
        "_msg_id": msg_id, "_unique_id": msg_id,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_caller_unwraps_the_exception_that_it_is_to_raise() {
        let text = |v: &Value| serde_json::from_str::<Value>(v.as_str().unwrap()).unwrap();
        let outer: Value =
            serde_json::from_slice(&unsupported("m-1", "no \"such\" method")).unwrap();
        assert_eq!(outer["oslo.version"], "2.0");
        let inner = text(&outer["oslo.message"]);
        assert_eq!((&inner["_msg_id"], &inner["ending"]), (&json!("m-1"), &json!(true)));
        let failure = text(&inner["failure"]);
        assert_eq!(failure["class"], "UnsupportedVersion");
        assert_eq!(failure["args"], json!(["no \"such\" method"]));
    }
}
