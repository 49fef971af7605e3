//! The rules about a single message: fields, types and words.

use serde_json::Value;

use nixfleet_protocol::{AgentMessage, DecodeError, is_hostname};

use super::violations::Breach;
use super::{Received, Rule, progress};

/// Integer fields of each message. Existing dashboards read the first field of each line. The others are
/// additive; newer dashboards read them as integers.
const INTEGERS: &[(&str, &[&str])] = &[
    ("register", &["heartbeat_interval"]),
    ("heartbeat", &["command_pid", "seq"]),
    ("output", &["seq"]),
    ("status", &["exit_code", "signal", "duration_ms", "lines", "dropped_lines"]),
    ("command_rejected", &["current_pid"]),
    ("test_progress", &["current", "total", "passed"]),
];

/// Required text fields of `register`, and whether they may be empty.
const REGISTER: &[(&str, bool)] = &[
    ("hostname", false),
    ("host_type", false),
    ("agent_version", false),
    // A system may have no VERSION_ID.
    ("os_version", true),
    ("nixpkgs_version", true),
    ("generation", true),
];

/// Digits of the shortest commit that existing dashboards compare.
const SHORTEST_COMMIT: usize = 7;

/// Known words of fields. An empty or absent field is valid.
const WORDS: &[(&str, &[&str])] = &[
    ("host_type", &["nixos", "macos"]),
    ("location", &["home", "work", "cloud"]),
    ("device_type", &["server", "desktop", "laptop", "gaming"]),
];

/// A violation if an integer field has another value, because existing dashboards drop such a message.
pub(super) fn integers(received: &Received<'_>) -> Option<Breach> {
    let (field, value) = not_an_integer(received)?;
    Some((Rule::Integer, format!("`{field}` is {value}, not an integer")))
}

/// Why the message cannot be read, if it cannot.
pub(super) fn unreadable(text: &str) -> Option<Breach> {
    match AgentMessage::decode(text) {
        Ok(_) => None,
        Err(DecodeError::UnknownType(kind)) if kind.is_empty() => {
            Some((Rule::Malformed, "it has no type".to_owned()))
        }
        // A message of a newer agent is ignored on purpose.
        Err(DecodeError::UnknownType(_)) => None,
        Err(DecodeError::Malformed(error)) => Some((Rule::Malformed, error.to_string())),
    }
}

fn not_an_integer<'a>(received: &Received<'a>) -> Option<(String, &'a Value)> {
    let named = INTEGERS.iter().filter(|(kind, _)| *kind == received.kind).flat_map(|(_, fields)| *fields);
    let mut own = named.filter_map(|field| Some(((*field).to_owned(), received.payload.get(field)?)));
    let broken = |value: &Value| !(value.is_i64() || value.is_u64() || value.is_null());
    own.find(|(_, value)| broken(value)).or_else(|| {
        let of_parts = (received.kind == "operation_progress").then(|| progress::integers(received.payload));
        of_parts.into_iter().flatten().find(|(_, value)| broken(value))
    })
}

/// All other rules about a single message.
pub(super) fn check(received: &Received<'_>) -> Vec<Breach> {
    match received.kind {
        "register" => register(received.payload),
        "heartbeat" => heartbeat(received.payload),
        "output" => output(received.payload).into_iter().collect(),
        "output_batch" => {
            vec![(Rule::Unannounced, "no batches of output were announced".to_owned())]
        }
        "status" => status(received.payload).into_iter().collect(),
        "operation_progress" => progress::check(received.payload),
        _ => Vec::new(),
    }
}

fn register(payload: &Value) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (field, may_be_empty) in REGISTER {
        match payload.get(field).and_then(Value::as_str) {
            None => breaches.push((Rule::Register, format!("`{field}` is missing"))),
            Some("") if !may_be_empty => breaches.push((Rule::Register, format!("`{field}` is empty"))),
            Some(_) => {}
        }
    }
    if payload.get("heartbeat_interval").and_then(Value::as_u64).unwrap_or_default() == 0 {
        breaches.push((Rule::Register, "`heartbeat_interval` is missing or 0".to_owned()));
    }
    for (field, words) in WORDS {
        if let Some(word) = text(payload, field).filter(|word| !words.contains(word)) {
            breaches
                .push((Rule::Register, format!("`{field}` is `{word}`, not one of {}", words.join(", "))));
        }
    }
    if let Some(name) = text(payload, "hostname").filter(|name| !is_hostname(name)) {
        breaches.push((Rule::Hostname, format!("`{name}` is not 1 to 63 of A-Z a-z 0-9 -")));
    }
    breaches.extend(versions(payload));
    breaches
}

fn heartbeat(payload: &Value) -> Vec<Breach> {
    let fields = ["generation", "nixpkgs_version", "pending_command", "command_pid", "metrics"];
    let missing = fields.iter().filter(|field| payload.get(field).is_none());
    let mut breaches: Vec<Breach> =
        missing.map(|field| (Rule::Heartbeat, format!("`{field}` is missing; unknown is null"))).collect();
    breaches.extend(versions(payload));
    breaches
}

/// The versions of the host. An absent field violates another rule.
fn versions(payload: &Value) -> Vec<Breach> {
    let empty = payload.get("nixpkgs_version").and_then(Value::as_str) == Some("");
    let empty =
        empty.then(|| (Rule::Empty, "`nixpkgs_version` is empty; send the last known one".to_owned()));
    empty.into_iter().chain(no_commit(payload)).collect()
}

/// Existing dashboards compare the generation with commits, and show an empty one as "not reported".
fn no_commit(payload: &Value) -> Option<Breach> {
    let generation = text(payload, "generation")?;
    let commit =
        generation.len() >= SHORTEST_COMMIT && generation.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!commit).then(|| (Rule::Generation, format!("`generation` is `{generation}`, not a commit")))
}

fn output(payload: &Value) -> Option<Breach> {
    let missing = if text(payload, "command").is_none() {
        "command"
    } else if payload.get("is_error").and_then(Value::as_bool).is_none() {
        "is_error"
    } else {
        return None;
    };
    Some((Rule::Output, format!("`{missing}` is not filled in")))
}

fn status(payload: &Value) -> Option<Breach> {
    let command = text(payload, "command");
    let word = text(payload, "status").unwrap_or_default();
    let Some(exit_code) = payload.get("exit_code").and_then(Value::as_i64) else {
        return Some((Rule::Status, "`exit_code` is missing".to_owned()));
    };
    if command.is_none() {
        return Some((Rule::Status, "`command` is empty".to_owned()));
    }
    ((word == "ok") != (exit_code == 0))
        .then(|| (Rule::Status, format!("`{word}` does not go with exit code {exit_code}")))
        .or_else(|| no_commit(payload))
}

/// The text of a field, unless it is empty.
pub(super) fn text<'a>(payload: &'a Value, field: &str) -> Option<&'a str> {
    payload.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}
