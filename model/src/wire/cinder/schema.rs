//! What cinder says of a body that its schema refuses: the path, the value, and the rule.

use castoff_ports::Refusal;
use serde_json::Value;

use super::super::python;

/// A property that is not there, of the object that the body has under `field`.
pub(super) fn required<'v>(
    field: &str,
    object: &'v Value,
    key: &str,
) -> Result<&'v Value, Refusal> {
    object
        .get(key)
        .ok_or_else(|| refused(field, object, &format!("'{key}' is a required property")))
}

/// A property of the body itself, which has no path.
pub(super) fn of_body<'v>(body: &'v Value, key: &str) -> Result<&'v Value, Refusal> {
    body.get(key).ok_or_else(|| Refusal::http(400, format!("'{key}' is a required property")))
}

/// A text.
pub(super) fn text<'v>(field: &str, value: &'v Value) -> Result<&'v str, Refusal> {
    value.as_str().ok_or_else(|| {
        refused(field, value, &format!("{} is not of type 'string'", python::repr(value)))
    })
}

/// Any value that breaks a rule.
pub(super) fn refused(field: &str, value: &Value, rule: &str) -> Refusal {
    let value = python::str(value);
    let message = format!("Invalid input for field/attribute {field}. Value: {value}. {rule}");
    Refusal::http(400, message)
}
