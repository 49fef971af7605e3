//! Ends of jobs that the boot of the machine explains.

use std::time::Duration;

use jiff::Timestamp;

use nixfleet_jobs::spec::{JobResult, Outcome, Spec};

/// How long the agent holds back the end of a command if nothing explains it, counted from that end. If the
/// machine is going down, this agent does not live that long: units are stopped side by side, and the agent's
/// unit ends within a second. The agent of the next boot then knows what happened.
const HOLD: Duration = Duration::from_secs(10);

/// Whether the machine was booted since the job began. `boot_id` is that of the running system. Without both
/// ids the answer is no.
fn rebooted(spec: Option<&Spec>, boot_id: Option<&str>) -> bool {
    let then = spec.and_then(|spec| spec.boot_id.as_deref());
    then.is_some() && boot_id.is_some() && then != boot_id
}

/// The outcome, with its explanation, of a job without a result whose supervisor is dead. `boot_id` is that
/// of the running system.
pub(crate) fn fate(spec: Option<&Spec>, boot_id: Option<&str>) -> (Outcome, &'static str) {
    if rebooted(spec, boot_id) {
        (Outcome::InterruptedByReboot, "the machine went down while the command ran")
    } else {
        (Outcome::Lost, "the job's supervisor died without a result; the command may have been cut short")
    }
}

/// The result as the boot explains it. `boot_id` is that of the running system.
pub(crate) fn explained(result: JobResult, spec: Option<&Spec>, boot_id: Option<&str>) -> JobResult {
    result.explained(spec.map_or("command", |spec| &spec.command), rebooted(spec, boot_id))
}

/// Whether to hold back the end of a command that ended at `ended_at`, because the machine may be going down.
/// `known` is the time since its result was first read. It decides if the clock was set meanwhile.
pub(super) fn is_held(ended_at: &str, now: Timestamp, known: Duration) -> bool {
    let age = ended_at.parse::<Timestamp>().map(|ended_at| now.duration_since(ended_at));
    let old = age.is_ok_and(|age| age.unsigned_abs() >= HOLD && age.is_positive());
    !old && known < HOLD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unexplained_end_is_held_for_a_bounded_time() {
        let now: Timestamp = "2026-07-14T12:00:00Z".parse().unwrap();
        for (ended_at, known, held) in [
            ("2026-07-14T11:59:59.000Z", 0, true),
            ("2026-07-14T11:59:50.001Z", 0, true),
            ("2026-07-14T11:59:50.000Z", 0, false),
            ("2026-07-13T12:00:00.000Z", 0, false),
            // The clock was set back, or the file is odd: the agent's own clock decides.
            ("2026-07-14T12:30:00.000Z", 9, true),
            ("2026-07-14T12:30:00.000Z", 10, false),
            ("yesterday", 9, true),
            ("yesterday", 10, false),
        ] {
            assert_eq!(is_held(ended_at, now, Duration::from_secs(known)), held, "{ended_at} {known}");
        }
    }

    #[test]
    fn the_messages_are_in_the_docs() {
        let page = include_str!("../../../docs/outcomes.md");
        let spec = |boot: &str| Spec {
            id: nixfleet_jobs::JobId::generate(),
            command: "switch".to_owned(),
            steps: Vec::new(),
            timeout_s: None,
            boot_id: Some(boot.to_owned()),
            started_at: String::new(),
        };
        for boot in ["one", "two"] {
            let (outcome, message) = fate(Some(&spec(boot)), Some("one"));
            let row = page.lines().find(|line| line.ends_with(&format!("| 1 | {message} |")));
            let name = format!("| `{}` |", outcome.as_str());
            assert!(
                row.is_some_and(|row| row.starts_with(&name)),
                "docs/outcomes.md has no row of {outcome:?}"
            );
        }
    }
}
