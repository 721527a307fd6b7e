//! Values as Python writes them: in the services' error messages a bad value is a Python literal.

use std::fmt::Write as _;

use serde_json::Value;

/// `str(value)`: a text as it is, anything else as its `repr`.
pub(super) fn str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// `repr(value)` of a value that came as JSON.
pub(super) fn repr(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{number}");
        }
        Value::String(text) => quote(out, text),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(items) => {
            out.push('{');
            for (n, (key, item)) in items.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                quote(out, key);
                out.push_str(": ");
                write(out, item);
            }
            out.push('}');
        }
    }
}

/// Python prefers single quotes, and takes double ones for a text that has only single ones in it.
fn quote(out: &mut String, text: &str) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == mark => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(mark);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_python_literals() {
        let value = json!({"a": [null, true, false, 1, 1.5], "b": "it's", "c": {}});
        assert_eq!(repr(&value), r#"{'a': [None, True, False, 1, 1.5], 'b': "it's", 'c': {}}"#);
        assert_eq!(repr(&json!("'\"\n\\")), r#"'\'"\n\\'"#);
        assert_eq!(str(&json!("x")), "x");
        assert_eq!(str(&json!({})), "{}");
    }
}
