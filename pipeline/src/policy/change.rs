//! A policy with fields changed: `2026.1+instance-lock=false`.
//!
//! A historical bug is a policy with one field changed; so it needs a name that a command line and
//! an identity can carry. Values are JSON; a word that is no JSON is a string.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Policy;

/// A text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyTextError {
    /// No such policy.
    #[error("unknown policy {name:?}: the policies are {}", known())]
    Unknown {
        /// The name.
        name: String,
    },
    /// A change without `=`.
    #[error("{change:?} changes nothing: expected FIELD=VALUE after each +")]
    Shape {
        /// The change.
        change: String,
    },
    /// No such field.
    #[error("policies have no field {field:?}: `castoff list fields` has them")]
    Field {
        /// The field.
        field: String,
    },
    /// The field takes other values.
    #[error("{field} cannot be {value}: {reason}")]
    Value {
        /// The field.
        field: String,
        /// The value.
        value: String,
        /// What it takes.
        reason: String,
    },
}

fn known() -> String {
    Policy::all().into_iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
}

/// The other fields say which policy it is, and what it was made for.
fn is_decision(field: &str) -> bool {
    field != "name" && field != "default-release"
}

impl Policy {
    /// The policy of this text: a name, and any number of changes.
    ///
    /// # Errors
    /// When the name, a field or a value is none.
    pub fn parse(text: &str) -> Result<Policy, PolicyTextError> {
        let mut parts = text.split('+');
        let name = parts.next().unwrap_or_default();
        let base = Policy::named(name)
            .ok_or_else(|| PolicyTextError::Unknown { name: name.to_owned() })?;
        parts.try_fold(base, |policy, change| {
            let (field, value) = change
                .split_once('=')
                .ok_or_else(|| PolicyTextError::Shape { change: change.to_owned() })?;
            let value =
                serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            policy.changed(field, &value)
        })
    }

    /// The same policy with one field changed; its name says so.
    ///
    /// # Errors
    /// When there is no such field, or it takes other values.
    pub fn changed(&self, field: &str, value: &Value) -> Result<Policy, PolicyTextError> {
        let mut fields = self.fields();
        if !fields.contains_key(field) {
            return Err(PolicyTextError::Field { field: field.to_owned() });
        }
        let shown = match value {
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        fields.insert(field.to_owned(), value.clone());
        fields.insert("name".to_owned(), Value::String(format!("{}+{field}={shown}", self.name)));
        let map = serde_json::Map::from_iter(fields);
        serde_json::from_value(Value::Object(map)).map_err(|e| PolicyTextError::Value {
            field: field.to_owned(),
            value: shown,
            reason: e.to_string(),
        })
    }

    /// The name without changes: what scenarios and plans know it by.
    pub fn base(&self) -> &str {
        self.name.split('+').next().unwrap_or_default()
    }

    /// Its fields and their values, as JSON.
    pub fn fields(&self) -> BTreeMap<String, Value> {
        // A struct of named fields is an object, and all its values have a JSON form.
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map.into_iter().collect(),
            _ => BTreeMap::new(),
        }
    }

    /// The names of its decisions.
    pub fn decisions(&self) -> BTreeSet<String> {
        self.fields().into_keys().filter(|field| is_decision(field)).collect()
    }

    /// The decisions that can be changed alone, each with every other value that a known policy
    /// gives it, and the opposite of a yes or no.
    pub fn alternatives(&self) -> Vec<(String, Value)> {
        let others: Vec<_> = Policy::all().iter().map(Policy::fields).collect();
        let mut all = Vec::new();
        let mut fields = self.fields();
        fields.retain(|field, _| is_decision(field));
        for (field, value) in fields {
            let mut values: Vec<Value> = Vec::new();
            if let Value::Bool(yes) = value {
                values.push(Value::Bool(!yes));
            }
            for other in others.iter().filter_map(|o| o.get(&field)) {
                if *other != value && !values.contains(other) {
                    values.push(other.clone());
                }
            }
            all.extend(values.into_iter().map(|v| (field.clone(), v)));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_policy_is_named_after_its_change_and_reads_back() {
        for base in Policy::all() {
            for (field, value) in base.alternatives() {
                let changed = base.changed(&field, &value).unwrap();
                assert_ne!(changed.fields()[&field], base.fields()[&field]);
                assert_eq!(Policy::parse(&changed.name).unwrap(), changed, "{}", changed.name);
                assert_eq!(changed.base(), base.name);
            }
        }
    }

    #[test]
    fn every_yes_or_no_has_its_opposite_among_the_alternatives() {
        let policy = Policy::named("2026.1").unwrap();
        let fields = policy.fields();
        let asked: Vec<_> = fields.iter().filter(|(_, v)| v.is_boolean()).map(|(f, _)| f).collect();
        let all = policy.alternatives();
        assert!(asked.len() > 10 && asked.iter().all(|f| all.iter().any(|(g, _)| g == *f)));
    }

    #[test]
    fn what_names_no_policy_is_refused_with_what_does() {
        for (text, says) in [
            ("queens", "the policies are pike, 2026.1, hardened"),
            ("2026.1+instance-lock", "expected FIELD=VALUE"),
            ("2026.1+lock=false", "no field \"lock\""),
            ("2026.1+instance-lock=maybe", "instance-lock cannot be maybe"),
        ] {
            let error = Policy::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
