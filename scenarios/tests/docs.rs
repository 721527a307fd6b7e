//! The example of the manual page is a scenario.

use castoff_scenarios::{POLICIES, parse};

#[test]
fn the_example_in_the_documentation_is_accepted() {
    let page = include_str!("../../docs/scenarios.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let scenario = parse("logout-fails.toml", example.unwrap(), POLICIES).unwrap();
    assert_eq!(scenario.faults.len(), 1);
}

#[test]
fn the_documentation_names_every_key_of_the_schema() {
    let page = include_str!("../../docs/scenarios.md");
    let schema: serde_json::Value =
        serde_json::from_str(&castoff_scenarios::schema::json_schema()).unwrap();
    let mut keys = Vec::new();
    property_names(&schema, &mut keys);
    assert!(keys.contains(&"after_retry".to_owned()), "{keys:?}");
    for key in keys {
        assert!(
            page.contains(&format!("`{key}`"))
                || page.contains(&format!("`[[{key}]]`"))
                || page.contains(&format!("`[{key}]`")),
            "docs/scenarios.md does not explain {key}"
        );
    }
}

/// The names under every `properties` of the schema.
fn property_names(schema: &serde_json::Value, keys: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                if name == "properties"
                    && let Some(properties) = value.as_object()
                {
                    keys.extend(properties.keys().cloned());
                }
                property_names(value, keys);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| property_names(v, keys)),
        _ => {}
    }
}
