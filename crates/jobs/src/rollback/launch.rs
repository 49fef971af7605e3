//! Starts a guard that is no part of the job.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nixfleet_os::subprocess::{ProgramError, outcome};
use nixfleet_os::text::one_line;
use nixfleet_os::{error, service_manager};

use super::actions::variables;
use super::is_guarded;
use crate::{JobDir, JobId};

/// How long a start may take: the time limit of its unit, and some time for systemd on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(45);

/// How long to wait for the guard behind its start.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// Longest reason in characters.
const MAX_REASON: usize = 300;

/// Starts a guard, and waits until it is one. Under a service manager it is the unit `nixfleet-rollback@<job>.service`,
/// which no end of the job and no switch ends. Otherwise it is a process that belongs to nobody.
///
/// # Errors
/// Why there is none, as the end of a sentence.
pub fn start(dir: &JobDir, id: &JobId) -> Result<(), String> {
    if service_manager::is_supervised() {
        let unit = format!("nixfleet-rollback@{id}.service");
        run(Path::new("systemctl"), &["start", "--no-ask-password", &unit])?;
    } else {
        detached(dir)?;
    }
    let begun = Instant::now();
    while !is_guarded(dir) {
        if begun.elapsed() >= READY_LIMIT {
            return Err(format!("it was started, and is not there after {READY_LIMIT:?}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Starts it as the child of a process that ends at once. This process adopts orphans, and would end them with its
/// command, so it must not be their parent for that moment.
fn detached(dir: &JobDir) -> Result<(), String> {
    let running = PathBuf::from("/proc/self/exe");
    let program = if running.exists() { Ok(running) } else { std::env::current_exe() };
    let program = program.map_err(|err| format!("the program is not known: {err}"))?;
    let path = dir.path().to_string_lossy().into_owned();
    adopt_orphans(false)?;
    let started = run(&program, &["exec-guard", "--detach", &path]);
    adopt_orphans(true)?;
    started
}

#[cfg(target_os = "linux")]
fn adopt_orphans(adopt: bool) -> Result<(), String> {
    let who = adopt.then(rustix::process::getpid);
    rustix::process::set_child_subreaper(who).map_err(|err| format!("prctl failed: {err}"))
}

/// Only Linux has that.
#[cfg(not(target_os = "linux"))]
fn adopt_orphans(_adopt: bool) -> Result<(), String> {
    Ok(())
}

fn run(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let variables = variables();
    let environment: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    match outcome(program, arguments, &environment, START_LIMIT) {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, text)) => Err(format!("its start ended with {status}: {}", one_line(&text, MAX_REASON))),
        Err(ProgramError::TooSlow(limit)) => Err(format!("its start took longer than {limit:?}")),
        Err(err) => Err(format!("it could not be started: {}", error::chain(&err))),
    }
}
