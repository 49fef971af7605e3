//! The JSON files of a job: what was requested, what is running, how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nixfleet_os::timestamp;
use serde::{Deserialize, Serialize};

use crate::JobId;
use crate::format::Format;
use crate::git::commit_or_none;
pub use crate::outcome::Outcome;
pub use crate::secrets::Secrets;
use crate::system_state::SystemChange;

/// One program of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Name for people: `fetch`, `switch`, the file name of a test script.
    pub name: String,
    /// Program and arguments. Never a shell string.
    pub argv: Vec<String>,
    /// Working directory. Default: that of the supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Environment variables that are added to those of the supervisor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// More environment variables. They are never written to a file, because the agent's group can read the
    /// files.
    #[serde(skip)]
    pub secrets: Secrets,
    /// User that it runs as. Default: that of the supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// The step changes the running system. It is not stopped half-way unless that is forced.
    #[serde(default)]
    pub activation: bool,
    /// The step is a script of the `test` command: after a failure the next script runs nevertheless.
    #[serde(default)]
    pub test: bool,
}

/// A user account of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Login name; `None` if the system does not know the id.
    #[serde(default)]
    pub name: Option<String>,
    /// Home directory; `None` if the system does not know the id.
    #[serde(default)]
    pub home: Option<PathBuf>,
}

/// `spec.json`: what was requested. Written once, before the first program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The job.
    pub id: JobId,
    /// Name of the command.
    pub command: String,
    /// Programs to run, in order.
    pub steps: Vec<Step>,
    /// Seconds after which the command is stopped.
    pub timeout_s: Option<u64>,
    /// Boot in which the job was started.
    pub boot_id: Option<String>,
    /// Start of the job, RFC 3339.
    pub started_at: String,
}

impl Format for Spec {
    const VERSION: u32 = 1;
    /// It has the programs of a command with their arguments and variables.
    const MAX_BYTES: u64 = 4 * 1024 * 1024;
}

/// `state.json`: what is running. Replaced at each step, and at each phase of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The process to signal for a stop.
    pub supervisor_pid: u32,
    /// The command's own process, while there is one.
    pub child_pid: Option<u32>,
    /// Index of the running step, from 0.
    pub step: usize,
    /// Name of the running step.
    pub step_name: String,
    /// The phase of a rebuild. Another step has none: its name says what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// When the step or its phase began, RFC 3339. None before the first step, and of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_since: Option<String>,
}

impl State {
    /// What runs: the phase, or else the step. None before the first step, and of earlier versions.
    pub fn activity(&self) -> Option<(&str, &str)> {
        let name = self.phase.as_deref().unwrap_or(&self.step_name);
        self.phase_since.as_deref().map(|since| (name, since))
    }
}

impl Format for State {
    /// Version 2 added `phase` and `phase_since`.
    const VERSION: u32 = 2;
}

/// What of a log could not be written, and why. It is in the next entry that was written, or in the result of the
/// job if there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwritten {
    /// Count of entries.
    pub entries: u64,
    /// Count of lines among them.
    pub lines: u64,
    /// The newest error.
    pub why: String,
}

/// `result.json`: how a job ended. Written once; it is the last thing a supervisor writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// How it ended.
    pub outcome: Outcome,
    /// Exit code; 128 + n if signal n ended the command.
    pub exit_code: i32,
    /// Number of the signal that ended the command.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Summary for people.
    pub message: String,
    /// Start of the job, RFC 3339.
    pub started_at: String,
    /// End of the job, RFC 3339.
    pub ended_at: String,
    /// Run time in milliseconds.
    pub duration_ms: u64,
    /// `seq` of the last log entry. A follower that has read it has read the whole log.
    pub last_seq: u64,
    /// Log entries that were lost to the size limit or a full disk.
    #[serde(default)]
    pub dropped: u64,
    /// Number of the last line. A supervisor that did not number lines leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// Lines among `dropped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_lines: Option<u64>,
    /// Those of them that could not be written; the others were removed by the size limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwritten_lines: Option<u64>,
    /// What could not be written behind the last entry of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwritten: Option<Unwritten>,
    /// Index of the last step that was started, from 0.
    #[serde(default)]
    pub step: usize,
    /// HEAD of the repository afterwards, in full.
    #[serde(default, deserialize_with = "commit_or_none")]
    pub commit: Option<String>,
    /// Target of `/run/current-system` before the command.
    #[serde(default)]
    pub system_before: Option<PathBuf>,
    /// Target of `/run/current-system` afterwards.
    #[serde(default)]
    pub system_after: Option<PathBuf>,
    /// What a command that replaces the system found before and left behind; None of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Box<SystemChange>>,
    /// The command was stopped by a SIGTERM that the agent had not ordered, and the service manager did not
    /// say whether the machine was going down. The outcome is [`Outcome::Stopped`], up to [`Self::explained`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexplained: bool,
}

impl Format for JobResult {
    /// Version 2 added `lines`, `dropped_lines` and `unexplained`, version 3 `unwritten_lines` and `unwritten`,
    /// version 4 `system` and the outcomes of an activation.
    const VERSION: u32 = 4;
    /// Supervisors of earlier versions did not shorten the message.
    const MAX_BYTES: u64 = 4 * 1024 * 1024;
}

impl JobResult {
    /// Whether a command that replaces the system left the new one running. A boot loader that cannot be installed behind
    /// the confirmation of a system on trial leaves it running, too.
    pub fn left_active(&self) -> bool {
        let runs_another = |change: &SystemChange| change.before.running != change.after.running;
        let unbootable = self.outcome == Outcome::BootloaderFailed;
        self.outcome.is_active() || (unbootable && self.system.as_deref().is_some_and(runs_another))
    }

    /// All lines that were written, or all entries of a log without line numbers.
    pub fn line_count(&self) -> u64 {
        self.lines.unwrap_or(self.last_seq)
    }

    /// How many of them are missing in the log.
    pub fn missing_lines(&self) -> u64 {
        self.dropped_lines.unwrap_or(self.dropped)
    }

    /// The result for dashboards and people, once it is known whether the machine went down (`rebooted`).
    #[must_use]
    pub fn explained(self, command: &str, rebooted: bool) -> Self {
        if !self.unexplained {
            return self;
        }
        let (outcome, message) = if rebooted {
            (Outcome::InterruptedByReboot, stopped_by_shutdown(command))
        } else {
            let name = capitalized(command);
            (Outcome::Stopped, format!("{name}: stopped by somebody on the host, not by the dashboard"))
        };
        Self { outcome, message, unexplained: false, ..self }
    }

    /// Makes a result for a job whose supervisor wrote none.
    pub fn without_supervisor(outcome: Outcome, message: String, last_seq: u64) -> Self {
        let now = timestamp();
        Self {
            outcome,
            exit_code: 1,
            signal: None,
            message,
            started_at: now.clone(),
            ended_at: now,
            duration_ms: 0,
            last_seq,
            dropped: 0,
            lines: None,
            dropped_lines: None,
            unwritten_lines: None,
            unwritten: None,
            step: 0,
            commit: None,
            system_before: None,
            system_after: None,
            system: None,
            unexplained: false,
        }
    }
}

/// The message of a command that was stopped because the machine went down.
pub(crate) fn stopped_by_shutdown(command: &str) -> String {
    format!("{}: stopped because the machine went down", capitalized(command))
}

/// The name of a command as the beginning of a sentence.
pub(crate) fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
