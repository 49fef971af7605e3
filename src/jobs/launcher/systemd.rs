//! Supervisors as systemd units.
//!
//! The unit is `nixfleet-job@<command>-<job id>.service`: root's, in a cgroup of its own, so nothing
//! that happens to the agent's unit happens to it. The agent may start and signal units of this name
//! and nothing else; what they run is up to the machine's configuration.
//!
//! `systemctl` is asked, not the bus: it knows all the ways to reach the service manager, and waits for
//! a unit until it is ready. It gets arguments, never a line for a shell.

use std::path::PathBuf;
use std::time::Duration;

use super::{LaunchError, Launcher, START_PATIENCE};
use nixfleet_jobs::{Instance, JobDir, Urgency, journal};
use nixfleet_os::subprocess;
use nixfleet_os::subprocess::ProgramError;

/// What systemd itself needs beyond the unit's own time limit, on a machine that is busy.
const MARGIN: Duration = Duration::from_secs(15);

/// Longest wait for an answer that needs no waiting.
const ANSWER: Duration = Duration::from_secs(10);

/// Starts supervisors as instances of `nixfleet-job@.service`.
#[derive(Debug)]
pub struct Systemd {
    systemctl: PathBuf,
}

impl Default for Systemd {
    fn default() -> Self {
        Self { systemctl: PathBuf::from("systemctl") }
    }
}

/// The name of a job's unit.
fn unit(job: &Instance) -> String {
    format!("nixfleet-job@{job}.service")
}

impl Systemd {
    fn ask(&self, arguments: &[&str], limit: Duration) -> Result<(bool, String), ProgramError> {
        let (status, said) = subprocess::outcome(&self.systemctl, arguments, &[], limit)?;
        Ok((status.success(), said))
    }

    /// Why a unit did not start: what its supervisor left as its status, else what systemctl said.
    fn why(&self, unit: &str, said: &str) -> String {
        let ask = ["show", "--property=StatusText", "--value", "--", unit];
        let told = match self.ask(&ask, ANSWER) {
            Ok((true, text)) => text.trim().to_owned(),
            _ => String::new(),
        };
        // A unit that failed stays in memory until somebody says that it was seen. If it stays, it
        // costs some memory and nothing else.
        drop(self.ask(&["reset-failed", "--no-ask-password", "--", unit], ANSWER));
        if told.is_empty() { explain("start", unit, said) } else { told }
    }
}

impl Launcher for Systemd {
    fn start(&self, job: &Instance) -> Result<(), LaunchError> {
        let unit = unit(job);
        let start = ["start", "--no-ask-password", "--", &unit];
        match self.ask(&start, START_PATIENCE + MARGIN) {
            // One that is too slow to wait for may be there yet; if not, its follower says so.
            Ok((true, _)) | Err(ProgramError::TooSlow(_)) => Ok(()),
            Ok((false, said)) => Err(LaunchError::Refused(self.why(&unit, &said))),
            Err(err) => Err(LaunchError::Systemctl(err)),
        }
    }

    fn end(&self, job: &Instance, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError> {
        let unit = unit(job);
        let signal = format!("--signal={}", urgency.signal().as_raw());
        // Not `stop`: that one kills after a while, whatever the command does by then.
        let kill = ["kill", "--no-ask-password", "--kill-whom=main", &signal, "--", &unit];
        match self.ask(&kill, ANSWER).map_err(LaunchError::Systemctl)? {
            (true, _) => Ok(()),
            // It ended in the meantime.
            (false, _) if matches!(journal::supervisor_lives(dir), Ok(false)) => Err(LaunchError::Ended),
            (false, said) => Err(LaunchError::Refused(explain("signal", &unit, &said))),
        }
    }
}

/// What systemctl said, and what to do about it where that is known. Who reads a status knows the
/// job, not its unit.
fn explain(verb: &str, unit: &str, said: &str) -> String {
    let names = [format!("Failed to start {unit}: "), format!("Failed to kill unit {unit}: ")];
    let mut lines = Vec::new();
    for line in said.lines().map(str::trim) {
        // The last line of an error says where to look further, which the reader of a status cannot.
        if !line.is_empty() && !line.starts_with("See ") {
            let what = names.iter().find_map(|name| line.strip_prefix(name.as_str())).unwrap_or(line);
            lines.push(what.trim_end_matches('.').replace(&format!("Unit {unit}"), "its unit is"));
        }
    }
    let said = if lines.is_empty() { "systemctl failed without a word".to_owned() } else { lines.join("; ") };
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let fix = if has(&["Access denied", "authentication required"]) {
        "; the polkit rule 50-nixfleet-agent.rules lets the user nixfleet-agent do that: is it installed?"
    } else if has(&["not found"]) {
        "; is nixfleet-job@.service installed?"
    } else if has(&["Failed to connect to"]) {
        "; are systemd and D-Bus running?"
    } else {
        ""
    };
    format!("cannot {verb} the job: {}{fix}", said.replace(unit, "its unit"))
}

#[cfg(test)]
mod tests;
