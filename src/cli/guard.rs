//! The guard of a system on trial.

use std::path::Path;
use std::process::{Command, Stdio};

use nixfleet_config::{Host, Source};
use nixfleet_jobs::{JobDir, JobId, JobsDir, rollback};
use nixfleet_os::error;

use super::run::own_program;
use super::{Failure, usage};
use crate::observe::systemd;

/// Guards the trial of that job until it is decided.
pub(super) fn run(source: &Source, job: &str, detach: bool) -> Result<(), Failure> {
    if detach {
        return detached(job);
    }
    rollback::run(&folder(source, job)?, systemd::ready).map_err(|err| Failure::Start(error::chain(&err)))
}

/// The folder of the job. The settings may be those of the system on trial, and wrong: a path needs none, and otherwise
/// the last good ones do.
fn folder(source: &Source, job: &str) -> Result<JobDir, Failure> {
    let path = Path::new(job);
    let (jobs, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if path.is_absolute() => (JobsDir::new(parent), name.to_string_lossy()),
        _ => (JobsDir::new(Host::for_job(source).map_err(|err| usage(&err))?.0.jobs.dir), job.into()),
    };
    let id: JobId = name.parse().map_err(|err| usage(&err))?;
    Ok(jobs.job(&id))
}

/// Starts the guard as a child of this process, which ends: nobody waits for the child, and nobody ends it with a job.
fn detached(job: &str) -> Result<(), Failure> {
    let mut command = Command::new(own_program());
    command.args(["exec-guard", job]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop).map_err(|err| Failure::Start(format!("cannot start the guard: {err}")))
}
