//! Supervisors as systemd units.
//!
//! The unit is `nixfleet-job@<command>-<job id>.service`. It runs as root in a cgroup of its own, so a
//! restart of the agent's unit does not affect it. The agent may only start and signal units with such
//! names; the configuration of the machine decides what they run.
//!
//! The agent runs `systemctl` instead of using D-Bus: `systemctl` knows all ways to reach the service
//! manager, and it waits until a unit is ready. It gets an argument list, never a line for a shell.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nixfleet_jobs::{Instance, JobDir, SignalError, Urgency, journal};
use nixfleet_os::subprocess::{self, ProgramError};

use super::{LaunchError, Launcher, START_TIMEOUT};

/// Time for systemd itself on a busy machine, in addition to the unit's own time limit.
const MARGIN: Duration = Duration::from_secs(15);

/// Time limit of both attempts to start a unit together: one that the bus times out, which takes 25 s, and one
/// whole start.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(75);

/// What systemctl writes when a call over the bus took longer than its time limit, which is 25 s. The first two
/// texts mean that systemd did not answer systemctl. The third one is that of dbus-daemon, when polkit did not
/// start in time. The exit code is 1 for all of them, as for most other failures.
const BUS_TIMED_OUT: &[&str] =
    &["Connection timed out", "Method call timed out", "timed out (service_start_timeout="];

/// Time limit of systemctl calls that do not wait for a unit.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts supervisors as instances of `nixfleet-job@.service`.
#[derive(Debug)]
pub struct Systemd {
    systemctl: PathBuf,
    /// Time limit of an attempt to start a unit.
    start_limit: Duration,
}

impl Default for Systemd {
    fn default() -> Self {
        Self { systemctl: PathBuf::from("systemctl"), start_limit: START_TIMEOUT + MARGIN }
    }
}

/// The name of a job's unit.
fn unit(job: &Instance) -> String {
    format!("nixfleet-job@{job}.service")
}

impl Systemd {
    /// Runs systemctl; returns whether it succeeded, and its output.
    fn call(&self, arguments: &[&str], limit: Duration) -> Result<(bool, String), ProgramError> {
        let (status, output) = subprocess::outcome(&self.systemctl, arguments, &[], limit)?;
        Ok((status.success(), output))
    }

    /// Why a unit did not start: the status text that its supervisor set, or else systemctl's `output`.
    fn start_error(&self, unit: &str, output: &str) -> String {
        let show = ["show", "--property=StatusText", "--value", "--", unit];
        let status = match self.call(&show, CALL_TIMEOUT) {
            Ok((true, text)) => text.trim().to_owned(),
            _ => String::new(),
        };
        // A failed unit stays in systemd's memory until it is reset. If this fails, it only costs memory.
        drop(self.call(&["reset-failed", "--no-ask-password", "--", unit], CALL_TIMEOUT));
        if status.is_empty() { explain("start", unit, output) } else { status }
    }
}

impl Launcher for Systemd {
    /// A start that the bus timed out is tried once more. systemd may have started the unit all the same, even
    /// after the time-out: a unit that runs is not started again, and a supervisor whose job exists runs
    /// nothing.
    fn start(&self, job: &Instance) -> Result<(), LaunchError> {
        let unit = unit(job);
        let start = ["start", "--no-ask-password", "--", &unit];
        let begun = Instant::now();
        let mut again = true;
        loop {
            let left = LAUNCH_TIMEOUT.saturating_sub(begun.elapsed());
            match self.call(&start, left.min(self.start_limit)) {
                // A slow unit may still start. If it does not, its follower reports that.
                Ok((true, _)) => return Ok(()),
                Err(err) if may_still_start(&err) => return Ok(()),
                Ok((false, output)) if timed_out(&output) => {
                    if !std::mem::take(&mut again) {
                        // systemd has no reason to tell, and would be as slow as before.
                        return Err(LaunchError::Refused(explain("start", &unit, &output)));
                    }
                    let seconds = begun.elapsed().as_secs();
                    tracing::warn!(
                        seconds,
                        "The bus timed out before the job was started, trying once more."
                    );
                }
                Ok((false, output)) => return Err(LaunchError::Refused(self.start_error(&unit, &output))),
                Err(err) => return Err(LaunchError::Systemctl(err)),
            }
        }
    }

    fn end(&self, job: &Instance, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError> {
        let unit = unit(job);
        let signal = format!("--signal={}", urgency.signal().as_raw());
        // Not `systemctl stop`, which kills after a time limit, even during an activation.
        let kill = ["kill", "--no-ask-password", "--kill-whom=main", &signal, "--", &unit];
        match self.call(&kill, CALL_TIMEOUT).map_err(LaunchError::Systemctl)? {
            (true, _) => Ok(()),
            // The job ended by itself meanwhile.
            (false, _) if dir.disk().kind(&dir.result()).is_ok() => Err(LaunchError::Ended),
            (false, _) if matches!(journal::supervisor_lives(dir), Ok(false)) => {
                Err(LaunchError::Signal(SignalError::Dead))
            }
            (false, output) => Err(LaunchError::Refused(explain("signal", &unit, &output))),
        }
    }
}

/// Whether systemd got the order, and was only slow to answer. A systemctl that hangs in the kernel after its time
/// limit is no more than that.
fn may_still_start(err: &ProgramError) -> bool {
    matches!(err, ProgramError::TooSlow(_) | ProgramError::Hangs(_))
}

/// Whether the bus timed out, so that another attempt may succeed.
fn timed_out(output: &str) -> bool {
    BUS_TIMED_OUT.iter().any(|text| output.contains(text))
}

/// The error message for systemctl's `output`, with the fix where it is known. People who read a status know
/// the job, so the name of its unit is left out.
fn explain(verb: &str, unit: &str, output: &str) -> String {
    let names = [format!("Failed to start {unit}: "), format!("Failed to kill unit {unit}: ")];
    let mut lines = Vec::new();
    for line in output.lines().map(str::trim) {
        // The last line names a command to run on the host, which a reader of the status cannot do.
        if !line.is_empty() && !line.starts_with("See ") {
            let text = names.iter().find_map(|name| line.strip_prefix(name.as_str())).unwrap_or(line);
            lines.push(text.trim_end_matches('.').replace(&format!("Unit {unit}"), "its unit is"));
        }
    }
    let reason =
        if lines.is_empty() { "systemctl failed without a word".to_owned() } else { lines.join("; ") };
    let has = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    let twice = if verb == "start" { ", twice" } else { "" };
    let slow = format!(
        "; systemd, D-Bus or polkit did not answer in time{twice}: is the machine overloaded, does \
         polkit.service run? send the command again when it has recovered"
    );
    let fix = if has(&["Access denied", "authentication required"]) {
        "; the polkit rule 50-nixfleet-agent.rules lets the user nixfleet-agent do that: is it installed?"
    } else if has(&["not found"]) {
        "; is nixfleet-job@.service installed?"
    } else if timed_out(&reason) {
        &slow
    } else if has(&["Failed to connect to"]) {
        "; are systemd and D-Bus running?"
    } else {
        ""
    };
    format!("cannot {verb} the job: {}{fix}", reason.replace(unit, "its unit"))
}

#[cfg(test)]
mod tests;
