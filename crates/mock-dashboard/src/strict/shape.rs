//! One message by itself: fields, types and words.

use serde_json::Value;

use crate::hub::is_hostname;
use nixfleet_protocol::{AgentMessage, DecodeError};

use super::{Breach, Heard, Rule, progress};

/// Integer fields of each message, as paths. Existing dashboards read the first of each line; the
/// others are additive, and whoever reads them will read integers.
const INTEGERS: &[(&str, &[&str])] = &[
    ("register", &["heartbeat_interval"]),
    ("heartbeat", &["command_pid", "seq"]),
    ("output", &["seq"]),
    ("status", &["exit_code", "signal", "duration_ms", "lines", "dropped_lines"]),
    ("command_rejected", &["current_pid"]),
    ("test_progress", &["current", "total", "passed"]),
];

/// Fields of T01 that are texts, with whether they may be empty.
const REGISTER: &[(&str, bool)] = &[
    ("hostname", false),
    ("host_type", false),
    ("agent_version", false),
    // A system without VERSION_ID has none.
    ("os_version", true),
    ("nixpkgs_version", true),
    ("generation", true),
];

/// Words that are known; empty or absent stands for none.
const WORDS: &[(&str, &[&str])] = &[
    ("host_type", &["nixos", "macos"]),
    ("location", &["home", "work", "cloud"]),
    ("device_type", &["server", "desktop", "laptop", "gaming"]),
];

/// An integer field that holds something else, for which an existing dashboard drops the message.
pub(super) fn integers(heard: &Heard<'_>) -> Option<Breach> {
    let (field, value) = not_an_integer(heard)?;
    Some((Rule::Integer, format!("`{field}` is {value}, not an integer")))
}

/// Why the message cannot be read, if it cannot.
pub(super) fn unreadable(text: &str) -> Option<Breach> {
    match AgentMessage::decode(text) {
        Ok(_) => None,
        Err(DecodeError::UnknownType(kind)) if kind.is_empty() => {
            Some((Rule::Malformed, "it has no type".to_owned()))
        }
        // A newer agent's: dropped as well, and meant to be.
        Err(DecodeError::UnknownType(_)) => None,
        Err(DecodeError::Malformed(error)) => Some((Rule::Malformed, error.to_string())),
    }
}

fn not_an_integer<'a>(heard: &Heard<'a>) -> Option<(String, &'a Value)> {
    let named = INTEGERS.iter().filter(|(kind, _)| *kind == heard.kind).flat_map(|(_, fields)| *fields);
    let mut own = named.filter_map(|field| Some(((*field).to_owned(), heard.payload.get(field)?)));
    let broken = |value: &Value| !(value.is_i64() || value.is_u64() || value.is_null());
    own.find(|(_, value)| broken(value)).or_else(|| {
        let of_parts = (heard.kind == "operation_progress").then(|| progress::integers(heard.payload));
        of_parts.into_iter().flatten().find(|(_, value)| broken(value))
    })
}

/// Everything else that can be said of one message alone.
pub(super) fn check(heard: &Heard<'_>) -> Vec<Breach> {
    match heard.kind {
        "register" => register(heard.payload),
        "heartbeat" => heartbeat(heard.payload),
        "output" => output(heard.payload).into_iter().collect(),
        "output_batch" => {
            vec![(Rule::Unannounced, "no batches of output were announced".to_owned())]
        }
        "status" => status(heard.payload).into_iter().collect(),
        "operation_progress" => progress::check(heard.payload),
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
    breaches.extend(never_empty(payload));
    breaches
}

fn heartbeat(payload: &Value) -> Vec<Breach> {
    let fields = ["generation", "nixpkgs_version", "pending_command", "command_pid", "metrics"];
    let missing = fields.iter().filter(|field| payload.get(field).is_none());
    let mut breaches: Vec<Breach> =
        missing.map(|field| (Rule::Heartbeat, format!("`{field}` is missing; unknown is null"))).collect();
    breaches.extend(never_empty(payload));
    breaches
}

/// Absent is as bad as empty, but said by another rule where the field must be there.
fn never_empty(payload: &Value) -> Vec<Breach> {
    let fields = ["generation", "nixpkgs_version"].into_iter();
    let empty = fields.filter(|field| payload.get(field).and_then(Value::as_str) == Some(""));
    empty.map(|field| (Rule::Empty, format!("`{field}` is empty; send the last known one"))).collect()
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
}

/// A field that is a text and not empty.
pub(super) fn text<'a>(payload: &'a Value, field: &str) -> Option<&'a str> {
    payload.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}
