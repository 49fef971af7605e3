//! The kept jobs for programs.

use serde_json::{Value, json};

use super::folder::{End, Job};

/// The jobs as an array, in this order. What is not known is null.
pub(super) fn list(jobs: &[Job]) -> Value {
    jobs.iter().map(job).collect()
}

fn job(job: &Job) -> Value {
    let (state, outcome, result, pid) = match &job.end {
        End::Running(pid) => ("running", None, None, *pid),
        End::Result(result) => ("ended", Some(result.outcome), Some(result), None),
        End::Without(outcome, _) => ("ended", Some(*outcome), None, None),
    };
    let message = match &job.end {
        End::Result(result) => Some(result.message.as_str()),
        End::Without(_, why) => Some(*why),
        End::Running(_) => None,
    };
    json!({
        "id": job.id.as_str(),
        "command": job.command,
        "started_at": job.started_at.map(|at| format!("{at:.3}")),
        "state": state,
        "pid": pid,
        "outcome": outcome.map(nixfleet_jobs::spec::Outcome::as_str),
        "exit_code": result.map(|result| result.exit_code),
        "ended_at": result.map(|result| result.ended_at.as_str()),
        "duration_ms": result.map(|result| result.duration_ms),
        "message": message,
    })
}
