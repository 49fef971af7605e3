//! Golden files: each message in `tests/wire/` is read and written exactly as its file says.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::*;

mod bounds;
mod decode;
mod lenient;
mod messages;

use messages::{from_agents, from_dashboards, heartbeat, status};

const JOB: &str = "0197f9c0a1b27c3d8e4f5a6b7c8d9e0f";

fn wire(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(name)
}

fn golden(name: &str) -> String {
    fs::read_to_string(wire(&format!("{name}.json"))).unwrap_or_else(|err| panic!("{name}: {err}"))
}

fn value(name: &str, text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|err| panic!("{name}: {err}: {text}"))
}

const AGENT_KINDS: &[&str] = &[
    "register",
    "heartbeat",
    "output",
    "output_batch",
    "status",
    "command_rejected",
    "test_progress",
    "operation_progress",
    "prewarm",
];

fn dashboard_kind(message: &DashboardMessage) -> &'static str {
    match message {
        DashboardMessage::Registered(_) => "registered",
        DashboardMessage::Command(_) => "command",
        DashboardMessage::KillCommand(_) => "kill_command",
        DashboardMessage::HeartbeatAck(_) => "heartbeat_ack",
    }
}

const DASHBOARD_KINDS: &[&str] = &["registered", "command", "kill_command", "heartbeat_ack"];

#[test]
fn every_message_of_an_agent_is_read_and_written_as_its_file_says() {
    for (name, message) in from_agents() {
        let text = golden(name);
        assert_eq!(AgentMessage::decode(&text).unwrap(), message, "{name} read");
        // Values also differ between 30 and 30.0, and between a missing field and null.
        assert_eq!(value(name, &encode(&message)), value(name, &text), "{name} written");
    }
}

#[test]
fn every_message_of_a_dashboard_is_read_and_written_as_its_file_says() {
    for (name, message) in from_dashboards() {
        let text = golden(name);
        assert_eq!(DashboardMessage::decode(&text).unwrap(), message, "{name} read");
        assert_eq!(value(name, &encode(&message)), value(name, &text), "{name} written");
    }
}

#[test]
fn every_kind_of_message_has_a_file_and_every_file_is_checked() {
    let agents = from_agents();
    let dashboards = from_dashboards();
    let named = |name: &'static str, kind: &'static str| {
        assert_eq!(name.split('-').next(), Some(kind), "the name of the file begins with the type");
        kind
    };
    let agent_kinds: BTreeSet<_> = agents.iter().map(|(name, m)| named(name, m.kind())).collect();
    let dashboard_kinds: BTreeSet<_> =
        dashboards.iter().map(|(name, m)| named(name, dashboard_kind(m))).collect();
    assert_eq!(agent_kinds, AGENT_KINDS.iter().copied().collect());
    assert_eq!(dashboard_kinds, DASHBOARD_KINDS.iter().copied().collect());

    let checked: BTreeSet<String> = agents
        .iter()
        .map(|(name, _)| name)
        .chain(dashboards.iter().map(|(name, _)| name))
        .map(|name| format!("{name}.json"))
        .collect();
    let present: BTreeSet<String> = fs::read_dir(wire(""))
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, checked);
}

#[test]
fn integers_are_integers_and_percentages_are_floats_on_the_wire() {
    let beat = encode(&AgentMessage::Heartbeat(Box::new(Heartbeat {
        command_pid: Some(12345),
        seq: Some(1),
        ..heartbeat()
    })));
    for part in [
        r#""cpu":15.5"#,
        r#""ram":42.0"#,
        r#""swap":0.0"#,
        r#""load":0.5"#,
        r#""command_pid":12345,"#,
        r#""seq":1}"#,
    ] {
        assert!(beat.contains(part), "{part} in {beat}");
    }
    let register =
        encode(&AgentMessage::Register(Box::new(Register { heartbeat_interval: 30, ..Register::default() })));
    assert!(register.contains(r#""heartbeat_interval":30}"#), "{register}");
}

#[test]
fn the_five_fields_of_t02_are_there_even_when_nothing_is_known() {
    let beat = encode(&AgentMessage::Heartbeat(Box::default()));
    let payload = value("beat", &beat)["payload"].clone();
    let expected = serde_json::json!({
        "generation": "", "nixpkgs_version": "", "pending_command": null, "command_pid": null, "metrics": null
    });
    assert_eq!(payload, expected);
}
