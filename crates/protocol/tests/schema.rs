//! The committed JSON Schema and docs/schema.md agree with the message types, and the schema tells messages
//! from broken ones.
//!
//! `UPDATE_SCHEMA=1 cargo test -p nixfleet-protocol --test schema` writes the files anew.

// The repository's Cargo.toml enables the feature for the tests; that of the published crate does not.
#![cfg(feature = "schema")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use nixfleet_protocol::{DashboardMessage, schema};
use serde_json::{Value, json};

/// Types that the dashboard sends; all other golden files are the agent's.
const DASHBOARD_TYPES: [&str; 4] = ["registered", "command", "kill_command", "heartbeat_ack"];

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn agent() -> Value {
    schema::agent().to_value()
}

fn dashboard() -> Value {
    schema::dashboard().to_value()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap()
}

/// The committed text, or the new one if the environment asks for an update.
fn committed(path: &Path, generated: &str) -> String {
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, generated).unwrap();
    }
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

const HOW: &str = "run `UPDATE_SCHEMA=1 cargo test -p nixfleet-protocol --test schema` and commit the result";

#[test]
fn the_committed_schema_is_that_of_the_types() {
    for (file, generated) in
        [("schema/agent.schema.json", schema::agent()), ("schema/dashboard.schema.json", schema::dashboard())]
    {
        let text = format!("{}\n", serde_json::to_string_pretty(&generated).unwrap());
        let generated = generated.to_value();
        let found: Value = serde_json::from_str(&committed(&root(file), &text)).unwrap();
        // Values, not texts: the order of keys depends on the features that serde_json is built with.
        assert!(found == generated, "{file} is out of date; {HOW}");
        jsonschema::meta::validate(&generated).unwrap();
    }
}

#[test]
fn every_golden_file_is_valid_in_its_direction_and_in_no_other() {
    let (agent, dashboard) = (validator(&agent()), validator(&dashboard()));
    let mut count = 0;
    for file in fs::read_dir(root("tests/wire")).unwrap() {
        let path = file.unwrap().path();
        let message: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let is_dashboards = DASHBOARD_TYPES.contains(&message["type"].as_str().unwrap());
        let (own, other) = if is_dashboards { (&dashboard, &agent) } else { (&agent, &dashboard) };
        own.validate(&message).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        assert!(!other.is_valid(&message), "{}", path.display());
        count += 1;
    }
    assert!(count > 20, "{count} files");
}

#[test]
fn broken_messages_are_not_valid() {
    let heartbeat = |field: &str, value: Value| {
        let mut payload = json!({
            "generation": "a", "nixpkgs_version": "b", "pending_command": null, "command_pid": null, "metrics": null
        });
        payload[field] = value;
        json!({ "type": "heartbeat", "payload": payload })
    };
    let output = |stream: &str| json!({ "line": "x", "stream": stream, "command": "pull", "is_error": false, "new": 1 });
    let metrics = json!({ "cpu": 15.5, "ram": 42, "swap": 0, "load": 0.5 });
    let from_agent = [
        (true, heartbeat("metrics", metrics)),
        (true, heartbeat("unknown", json!(["field"]))),
        (true, json!({ "type": "output", "payload": output("stdout"), "trace": 1 })),
        (false, json!({ "type": "output", "payload": output("stdin") })),
        (false, json!({ "type": "output", "payload": { "line": "x" } })),
        (false, json!({ "type": "output" })),
        (false, json!({ "payload": output("stdout") })),
        (false, json!({ "type": "telepathy", "payload": {} })),
        (false, json!({ "type": "register", "payload": { "hostname": "h" } })),
        (false, heartbeat("generation", json!(null))),
        (false, heartbeat("command_pid", json!(-1))),
        (false, heartbeat("command_pid", json!(4_294_967_296_u64))),
        (false, heartbeat("metrics", json!({ "cpu": 15.5 }))),
        (false, heartbeat("seq", json!(null))),
        (false, heartbeat("vitals", json!({ "device_id": "h" }))),
    ];
    let from_dashboard = [
        (true, json!({ "type": "registered" })),
        (true, json!({ "type": "registered", "payload": null })),
        (true, json!({ "type": "registered", "payload": { "capabilities": null, "new": {} } })),
        (true, json!({ "type": "heartbeat_ack", "payload": { "seq": 1 } })),
        (false, json!({ "type": "registered", "payload": { "capabilities": "output_batch" } })),
        (false, json!({ "type": "registered", "payload": { "ack": 1 } })),
        (false, json!({ "type": "command" })),
        (false, json!({ "type": "command", "payload": { "command": null } })),
        (false, json!({ "type": "kill_command", "payload": { "signal": "SIGHUP" } })),
        (false, json!({ "type": "kill_command", "payload": { "pid": 1.5 } })),
        (false, json!({ "type": "heartbeat_ack", "payload": { "server_status": { "state": "on fire" } } })),
        (false, json!([])),
    ];
    for (schema, table) in [(agent(), from_agent.as_slice()), (dashboard(), from_dashboard.as_slice())] {
        let validator = validator(&schema);
        for (expected, message) in table {
            assert_eq!(validator.is_valid(message), *expected, "{message}");
        }
    }
}

/// The schema allows null in all of them, so the decoder has to.
#[test]
fn null_is_read_in_every_optional_field_of_a_dashboard() {
    let schema = dashboard();
    for variant in schema["oneOf"].as_array().unwrap() {
        let kind = &variant["properties"]["type"]["const"];
        let nulls = with_nulls(&schema, definition(&schema, &variant["properties"]["payload"]).unwrap().1);
        assert!(!nulls.is_empty(), "{kind}");
        for payload in nulls {
            let text = json!({ "type": kind, "payload": payload }).to_string();
            DashboardMessage::decode(&text).unwrap_or_else(|err| panic!("{text}: {err:?}"));
        }
    }
}

/// Objects with the required fields and one null, at each place in turn.
fn with_nulls(schema: &Value, object: &Value) -> Vec<Value> {
    let required: Vec<&str> = required(object).collect();
    let mut base = json!({});
    for name in &required {
        assert_eq!(object["properties"][name]["type"], "string", "only strings are made up here");
        base[*name] = json!("pull");
    }
    let mut all = Vec::new();
    for (name, field) in object["properties"].as_object().unwrap() {
        if required.contains(&name.as_str()) {
            continue;
        }
        let mut values = vec![Value::Null];
        if let Some((_, nested)) = definition(schema, field).filter(|(_, nested)| nested["type"] == "object")
        {
            values.extend(with_nulls(schema, nested));
        }
        all.extend(values.into_iter().map(|value| {
            let mut with = base.clone();
            with[name] = value;
            with
        }));
    }
    all
}

/// The definition that a field or a payload refers to, and its name.
fn definition<'a>(schema: &'a Value, field: &'a Value) -> Option<(&'a str, &'a Value)> {
    let reference = field.get("$ref").or_else(|| field.pointer("/anyOf/0/$ref"))?.as_str()?;
    let name = reference.strip_prefix("#/$defs/")?;
    Some((name, &schema["$defs"][name]))
}

fn required(object: &Value) -> impl Iterator<Item = &str> {
    object["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[test]
fn the_page_of_the_schema_is_up_to_date() {
    let docs = root("../../docs");
    if !docs.is_dir() {
        // The published crate comes without the repository around it.
        return;
    }
    let page = page();
    assert!(committed(&docs.join("schema.md"), &page) == page, "docs/schema.md is out of date; {HOW}");
}

fn page() -> String {
    let mut page = String::from(
        "# Schema of the messages\n\n\
         <!-- Generated: UPDATE_SCHEMA=1 cargo test -p nixfleet-protocol --test schema -->\n\n\
         This page lists every message and its fields. It is generated from the JSON Schema (draft 2020-12) of both\n\
         directions, which is generated from the types of the agent. [protocol.md](protocol.md) explains the messages \
         and\ntheir order.\n\n\
         * `crates/protocol/schema/agent.schema.json`: what the agent sends\n\
         * `crates/protocol/schema/dashboard.schema.json`: what a dashboard sends\n\n\
         Each schema accepts fields that it does not know. It rejects messages of types that it does not know, which \
         a\nreceiver ignores. A number like `1.0` is an integer in JSON Schema, but the agent rejects it in an integer \
         field.\nFields marked *additive* are newer than version 1 of the protocol and may be missing.\n",
    );
    for (title, schema, always) in
        [("From the agent", agent(), "always"), ("From a dashboard", dashboard(), "required")]
    {
        write!(page, "\n## {title}\n").unwrap();
        let variants = schema["oneOf"].as_array().unwrap();
        let mut payloads = Vec::new();
        for variant in variants {
            let (name, payload) = definition(&schema, &variant["properties"]["payload"]).unwrap();
            payloads.push(name);
            section(&mut page, variant["properties"]["type"]["const"].as_str().unwrap(), variant);
            fields(&mut page, &schema, payload, always);
        }
        let mut definitions: Vec<_> = schema["$defs"].as_object().unwrap().iter().collect();
        definitions.sort_unstable_by_key(|(name, _)| *name);
        for (name, definition) in definitions {
            if payloads.contains(&name.as_str()) {
                continue;
            }
            section(&mut page, name, definition);
            match definition["oneOf"].as_array() {
                Some(words) => word_table(&mut page, words),
                None => fields(&mut page, &schema, definition, always),
            }
        }
    }
    page
}

fn section(page: &mut String, title: &str, described: &Value) {
    write!(page, "\n### {title}\n\n{}\n", text(described)).unwrap();
}

fn fields(page: &mut String, schema: &Value, object: &Value, always: &str) {
    page.push_str("\n| field | type | presence | meaning |\n| --- | --- | --- | --- |\n");
    let required: Vec<&str> = required(object).collect();
    let properties = object["properties"].as_object().unwrap();
    // Required fields in the order of the type, then the others by name: the order of a map depends on the
    // build.
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    names.sort_unstable_by_key(|name| {
        (required.iter().position(|known| known == name).unwrap_or(usize::MAX), *name)
    });
    for name in names {
        let field = &properties[name];
        let presence = if required.contains(&name) { always } else { "optional" };
        writeln!(page, "| `{name}` | {} | {presence} | {} |", kind(schema, field), text(field)).unwrap();
    }
}

fn word_table(page: &mut String, words: &[Value]) {
    page.push_str("\n| word | meaning |\n| --- | --- |\n");
    for word in words {
        writeln!(page, "| `{}` | {} |", word["const"], text(word)).unwrap();
    }
}

fn kind(schema: &Value, field: &Value) -> String {
    if let Some((name, _)) = definition(schema, field) {
        let null = if field.get("anyOf").is_some() { " or null" } else { "" };
        return format!("[{name}](#{}){null}", name.to_lowercase());
    }
    let words = match &field["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => vec![kind.as_str().unwrap()],
    };
    let named = |word: &&str| match *word {
        "array" => format!("array of {}", kind(schema, &field["items"])),
        other => other.to_owned(),
    };
    words.iter().map(named).collect::<Vec<_>>().join(" or ")
}

fn text(described: &Value) -> String {
    described["description"].as_str().unwrap_or_default().replace('|', "\\|").replace('\n', " ")
}
