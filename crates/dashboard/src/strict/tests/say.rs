//! Messages of agents as text.

use serde_json::{Value, json};

use nixfleet_jobs::journal::{Causes, REMARK, gap_remark};

pub(super) fn message(kind: &str, payload: Value) -> String {
    json!({ "type": kind, "payload": payload }).to_string()
}

/// A message with changed fields. Null removes a field.
pub(super) fn changed(text: &str, changes: Value) -> String {
    let mut message: Value = serde_json::from_str(text).unwrap();
    let payload = message["payload"].as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        payload.insert(field.clone(), value.clone());
    }
    message.to_string()
}

pub(super) fn without(text: &str, field: &str) -> String {
    let mut message: Value = serde_json::from_str(text).unwrap();
    message["payload"].as_object_mut().unwrap().remove(field);
    message.to_string()
}

pub(super) fn register() -> String {
    let payload = json!({
        "hostname": "h", "host_type": "nixos", "agent_version": "1", "os_version": "26.05",
        "nixpkgs_version": "26.05.1", "generation": "abc1234", "heartbeat_interval": 30,
        "location": "home", "device_type": "server",
    });
    message("register", payload)
}

pub(super) fn beat() -> String {
    let payload = json!({
        "generation": "abc1234", "nixpkgs_version": "26.05.1", "pending_command": null, "command_pid": null,
        "metrics": null, "lock_hash": "cafe",
    });
    message("heartbeat", payload)
}

pub(super) fn beat_with(changes: Value) -> String {
    changed(&beat(), changes)
}

pub(super) fn working() -> String {
    let nothing = json!({"status": "", "message": "", "checked_at": ""});
    let system = json!({"status": "working", "message": "", "checked_at": "2026-11-22T09:00:00Z"});
    beat_with(json!({"update_status": {"git": nothing, "lock": nothing, "system": system, "tests": nothing}}))
}

pub(super) fn line(command: &str) -> String {
    message("output", json!({"line": "x", "stream": "stdout", "command": command, "is_error": false}))
}

pub(super) fn line_with(changes: Value) -> String {
    changed(&line("pull"), changes)
}

pub(super) fn job_line(command: &str, job: &str, seq: u64) -> String {
    changed(&line(command), json!({"job_id": job, "seq": seq}))
}

/// A remark about lines that are missing.
pub(super) fn gap(command: &str, job: &str, seq: u64, missing: u64) -> String {
    let line = format!("{REMARK}{}", gap_remark(missing, &Causes { size_limit: true, ..Causes::default() }));
    changed(&job_line(command, job, seq), json!({"line": line}))
}

pub(super) fn status(command: &str, exit_code: i32) -> String {
    let word = if exit_code == 0 { "ok" } else { "error" };
    message("status", json!({"status": word, "command": command, "exit_code": exit_code, "message": ""}))
}

pub(super) fn job_status(command: &str, job: &str) -> String {
    changed(&status(command, 0), json!({"job_id": job}))
}

pub(super) fn rejection(changes: Value) -> String {
    let plain = json!({"reason": "command already running", "current_command": "switch", "current_pid": 7});
    changed(&message("command_rejected", plain), changes)
}

pub(super) fn part(name: &str, part: Value) -> String {
    message("operation_progress", json!({"progress": {name: part}}))
}
