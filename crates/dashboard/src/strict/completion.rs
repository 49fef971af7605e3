//! The rule about the heartbeat that completes a command: existing dashboards call the command incomplete if
//! that heartbeat does not say that the part it changed is up to date.

use serde_json::Value;

use super::Rule;
use super::shape::text;
use super::violations::Breach;

/// Commands, and the part of `update_status` that is judged after them.
const JUDGED: &[(&str, &str)] =
    &[("pull", "lock"), ("pull-switch", "lock"), ("rollback", "system"), ("test", "tests")];

/// What is wrong with the heartbeat behind the successful status of `command`.
pub(super) fn check(command: &str, heartbeat: &Value) -> Option<Breach> {
    let (_, part) = JUDGED.iter().find(|(judged, _)| *judged == command)?;
    // Older agents send no such object, and a checkout need not have a flake.lock.
    let verdict = heartbeat.get("update_status")?.get(part)?;
    if *part == "lock" && text(heartbeat, "lock_hash").is_none() {
        return None;
    }
    let state = text(verdict, "status").unwrap_or("empty");
    let why = text(verdict, "message").unwrap_or("no reason");
    (state != "ok").then(|| {
        (
            Rule::Incomplete,
            format!("`{command}` succeeded, and behind its status `{part}` is {state} ({why})"),
        )
    })
}
