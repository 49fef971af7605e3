//! The files of a job that are written whole: what was asked, what runs, how it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use nixfleet_os::timestamp;
use serde::{Deserialize, Serialize};

use crate::JobId;
use crate::format::Format;

/// One program of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// For people: `fetch`, `switch`, the name of a test script.
    pub name: String,
    /// Program and arguments. Never a shell string.
    pub argv: Vec<String>,
    /// Where it runs; the supervisor's own folder when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Variables added to the supervisor's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// More variables, which are written to no file: the group of the agent may read them all.
    #[serde(skip)]
    pub secrets: Secrets,
    /// Whom it runs as, when not as the supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Changes the running system: not stopped half-way unless forced.
    #[serde(default)]
    pub activation: bool,
    /// Script of the `test` command: a failure is noted and the next one runs.
    #[serde(default)]
    pub test: bool,
}

/// Variables whose values are nobody's business.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(pub BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Somebody of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Login name; none when the system does not know the id.
    #[serde(default)]
    pub name: Option<String>,
    /// Home folder; none when the system does not know the id.
    #[serde(default)]
    pub home: Option<PathBuf>,
}

/// What was asked for; written once, before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The job.
    pub id: JobId,
    /// Name of the command.
    pub command: String,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// Seconds after which the command is stopped.
    pub timeout_s: Option<u64>,
    /// Boot in which the job was started.
    pub boot_id: Option<String>,
    /// RFC 3339.
    pub started_at: String,
}

impl Format for Spec {
    const VERSION: u32 = 1;
}

/// What runs now; replaced at every step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The process to signal for a stop.
    pub supervisor_pid: u32,
    /// The command's own process, while there is one.
    pub child_pid: Option<u32>,
    /// Index of the step that runs.
    pub step: usize,
    /// Its name.
    pub step_name: String,
}

impl Format for State {
    const VERSION: u32 = 1;
}

/// How a job ended, as finely as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step ended with 0.
    Ok,
    /// The system is active, but not all of it came up: `switch-to-configuration` exit codes 2 and 4.
    ActivatedWithFailures,
    /// Ended on request.
    Stopped,
    /// Ran longer than its `timeout`.
    TimedOut,
    /// Nothing could be run at all.
    NotStarted,
    /// The supervisor vanished without a result.
    Lost,
    /// The machine went down meanwhile.
    InterruptedByReboot,
    /// A step ended with another code or by a signal nobody asked for. Also the fallback for an outcome that
    /// this version does not know: the exit code and the message then say what happened.
    #[serde(other)]
    Failed,
}

impl Outcome {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::ActivatedWithFailures => "activated_with_failures",
            Self::Stopped => "stopped",
            Self::TimedOut => "timed_out",
            Self::NotStarted => "not_started",
            Self::Lost => "lost",
            Self::InterruptedByReboot => "interrupted_by_reboot",
        }
    }
}

/// How a job ended; written once, as the supervisor's last act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// How it ended.
    pub outcome: Outcome,
    /// Exit code; 128 + n when signal n ended the command.
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// For people.
    pub message: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub ended_at: String,
    /// Run time in milliseconds.
    pub duration_ms: u64,
    /// Entries in the log; the follower has all of them when it has seen this one.
    pub last_seq: u64,
    /// Entries that the size limit or a full disk cut out.
    #[serde(default)]
    pub dropped: u64,
    /// Index of the last step that was begun.
    #[serde(default)]
    pub step: usize,
    /// HEAD of the repository afterwards.
    #[serde(default)]
    pub commit: Option<String>,
    /// `/run/current-system` before.
    #[serde(default)]
    pub system_before: Option<PathBuf>,
    /// `/run/current-system` afterwards.
    #[serde(default)]
    pub system_after: Option<PathBuf>,
}

impl Format for JobResult {
    const VERSION: u32 = 1;
}

impl JobResult {
    /// A result for a job that left none.
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
            step: 0,
            commit: None,
            system_before: None,
            system_after: None,
        }
    }
}
