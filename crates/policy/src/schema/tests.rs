//! The schema against the reader: both know the same fields.

use serde_json::{Value, json};

use super::schema;
use crate::{Document, Policy};

const EVERYTHING: &str = include_str!("../../tests/everything.yaml");

/// Whether a schema accepts a value. As much of the standard as [`schema`] uses, but for patterns.
fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        return accepts(root, &root["$defs"][name.trim_start_matches("#/$defs/")], value);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|one| accepts(root, one, value));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_kind = |name: &Value| name == kind || (name == "number" && kind == "integer");
    let typed = match &schema["type"] {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is_kind),
        name => is_kind(name),
    };
    let one_of = schema["enum"].as_array().is_none_or(|known| known.contains(value));
    let constant = schema.get("const").is_none_or(|only| only == value);
    let items = value.as_array().is_none_or(|items| {
        items.iter().all(|item| schema.get("items").is_none_or(|of| accepts(root, of, item)))
    });
    let fields = value.as_object().is_none_or(|fields| {
        fields.iter().all(|(name, field)| match schema["properties"].get(name) {
            Some(property) => accepts(root, property, field),
            None => match &schema["additionalProperties"] {
                Value::Bool(allowed) => *allowed,
                Value::Null => true,
                other => accepts(root, other, field),
            },
        })
    });
    let required = schema["required"]
        .as_array()
        .is_none_or(|names| names.iter().all(|name| value.get(name.as_str().unwrap_or_default()).is_some()));
    typed && one_of && constant && items && fields && required
}

#[test]
fn what_reads_is_accepted() {
    let schema = schema();
    let everything = Policy::parse(EVERYTHING).unwrap().to_json();
    assert!(accepts(&schema, &schema, &everything));
    assert!(accepts(&schema, &schema, &json!({})));
    for wrong in [
        json!({ "statik": {} }),
        json!({ "version": 2 }),
        json!({ "dynamic": { "mode": "enfoce" } }),
        json!({ "dynamic": { "network": { "http": { "host": "h.test" } } } }),
        json!({ "dynamic": { "network": { "http": [{ "hots": "h.test" }] } } }),
        json!({ "dynamic": { "llm_routing": { "provider": "opneai" } } }),
        json!({ "static": { "process": { "blocked_syscalls": ["ptrase"] } } }),
    ] {
        assert!(!accepts(&schema, &schema, &wrong), "{wrong}");
        assert!(Policy::parse(&wrong.to_string()).is_err(), "{wrong}");
    }
}

/// Each field of the schema, asked of the reader with a value of an impossible kind: it must be known there.
#[test]
fn every_field_of_the_schema_is_read() {
    let schema = schema();
    let mut asked = 0;
    for (place, wrap) in [
        (&schema, "{}"),
        (&schema["properties"]["static"], "{\"static\": {}}"),
        (&schema["properties"]["static"]["properties"]["filesystem"], "{\"static\": {\"filesystem\": {}}}"),
        (&schema["properties"]["static"]["properties"]["process"], "{\"static\": {\"process\": {}}}"),
        (&schema["properties"]["static"]["properties"]["resources"], "{\"static\": {\"resources\": {}}}"),
        (&schema["properties"]["dynamic"], "{\"dynamic\": {}}"),
        (&schema["properties"]["dynamic"]["properties"]["network"], "{\"dynamic\": {\"network\": {}}}"),
        (&schema["$defs"]["http"], "{\"dynamic\": {\"network\": {\"http\": [{}]}}}"),
        (
            &schema["$defs"]["credential"]["anyOf"][1],
            "{\"dynamic\": {\"network\": {\"http\": [{\"credential\": {}}]}}}",
        ),
        (&schema["$defs"]["given"], "{\"extends\": [{}]}"),
        (&schema["$defs"]["tcp"], "{\"dynamic\": {\"network\": {\"tcp\": [{}]}}}"),
        (&schema["$defs"]["route"], "{\"dynamic\": {\"llm_routing\": {}}}"),
    ] {
        for name in place["properties"].as_object().unwrap().keys() {
            let text = wrap.replacen("{}", &format!("{{\"{name}\": {{\"no-such\": [[1]]}}}}"), 1);
            let errors = Document::parse(&text).unwrap().check().err().map(|errors| errors.to_string());
            let errors = errors.unwrap_or_default();
            assert!(!errors.contains(&format!("no field `{name}`")), "{errors}");
            asked += 1;
        }
    }
    assert!(asked > 40);
}
