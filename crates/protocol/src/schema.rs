//! JSON Schema (draft 2020-12) of both directions, generated from the message types.
//!
//! Each schema says what its sender should write. Unknown fields are valid. A message of an unknown type is
//! not, although a receiver ignores it: a schema cannot describe messages that do not exist yet.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::{AgentMessage, DashboardMessage};

/// What the agent sends. A field is required if this agent always writes it; the others are absent while
/// unknown, and never null.
pub fn agent() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = document::<AgentMessage>(settings.into_generator(), "urn:nixfleet:protocol:agent");
    for_each_field(&mut schema, |field, required| {
        // A default is for readers in Rust. A dashboard does not have to know the defaults.
        field.remove("default");
        if !required {
            forbid_null(field);
        }
    });
    schema
}

/// What a dashboard sends. A field is required if the agent does not accept the message without it; null is
/// valid for all others.
pub fn dashboard() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    let mut schema =
        document::<DashboardMessage>(settings.into_generator(), "urn:nixfleet:protocol:dashboard");
    for_each_field(&mut schema, |field, required| {
        if !required {
            allow_null(field);
        }
    });
    allow_missing_payloads(&mut schema);
    schema
}

fn document<T: JsonSchema>(generator: SchemaGenerator, id: &str) -> Schema {
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), id.into());
    RecursiveTransform(one_line_descriptions).transform(&mut schema);
    RecursiveTransform(standard_numbers).transform(&mut schema);
    schema
}

/// Doc comments have line breaks where the source file has them.
fn one_line_descriptions(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace("\n\n", "\u{0}").replace('\n', " ").replace('\u{0}', "\n\n");
    }
}

/// Replaces the formats of Rust's number types, which strict validators reject, by bounds. 64-bit numbers
/// have no upper bound: most JSON libraries cannot represent it exactly.
fn standard_numbers(schema: &mut Schema) {
    let bounds = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => Some((json!(0), json!(u32::MAX))),
        Some("int32") => Some((json!(i32::MIN), json!(i32::MAX))),
        Some("uint64" | "double") => None,
        _ => return,
    };
    schema.remove("format");
    if let Some((minimum, maximum)) = bounds {
        schema.insert("minimum".to_owned(), minimum);
        schema.insert("maximum".to_owned(), maximum);
    }
}

/// Calls `change` with each field of each payload and nested object, and whether the field is required.
fn for_each_field(schema: &mut Schema, change: impl Fn(&mut Map<String, Value>, bool)) {
    let definitions = schema.get_mut("$defs").and_then(Value::as_object_mut);
    for definition in definitions.into_iter().flat_map(Map::values_mut) {
        let required = definition.get("required").cloned().unwrap_or_default();
        let fields = definition.get_mut("properties").and_then(Value::as_object_mut);
        for (name, field) in fields.into_iter().flatten() {
            let is_required = required.as_array().is_some_and(|names| names.iter().any(|n| n == name));
            if let Some(field) = field.as_object_mut() {
                change(field, is_required);
            }
        }
    }
}

fn allow_null(field: &mut Map<String, Value>) {
    if let Some(reference) = field.remove("$ref") {
        field.insert("anyOf".to_owned(), json!([{ "$ref": reference }, { "type": "null" }]));
    } else if let Some(kind @ Value::String(_)) = field.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    }
}

fn forbid_null(field: &mut Map<String, Value>) {
    let reference = field.get("anyOf").and_then(|any| any.get(0)?.get("$ref")).cloned();
    if let Some(reference) = reference {
        field.remove("anyOf");
        field.insert("$ref".to_owned(), reference);
    } else if let Some(Value::Array(kinds)) = field.get("type")
        && let Some(kind) = kinds.first().cloned()
    {
        field.insert("type".to_owned(), kind);
    }
}

/// A missing or null payload is the same as an empty one: valid where no field of the payload is required.
fn allow_missing_payloads(schema: &mut Schema) {
    let definitions = schema.get("$defs").cloned().unwrap_or_default();
    let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    for variant in variants.into_iter().flatten() {
        let Some(payload) = variant.pointer_mut("/properties/payload").and_then(Value::as_object_mut) else {
            continue;
        };
        let name = payload.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
        let definition = name.and_then(|name| definitions.get(name));
        if definition.is_some_and(|definition| definition.get("required").is_none()) {
            allow_null(payload);
            if let Some(required) = variant.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|name| name != "payload");
            }
        }
    }
}
