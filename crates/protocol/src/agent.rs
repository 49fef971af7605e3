//! What the agent says.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::vitals::DeviceVitals;

/// Who the agent is and how often it will be heard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Register {
    /// Short host name, `[A-Za-z0-9-]`, at most 63 characters.
    pub hostname: String,
    /// `nixos` or `macos`.
    pub host_type: String,
    /// Version shown to people. A setting, because dashboards compare it with their own.
    pub agent_version: String,
    /// `VERSION_ID` of os-release, or empty.
    pub os_version: String,
    /// As in [`Heartbeat::nixpkgs_version`].
    pub nixpkgs_version: String,
    /// As in [`Heartbeat::generation`].
    pub generation: String,
    /// Seconds between heartbeats; the dashboard calls the host offline after three of them (T02 scenario 5).
    pub heartbeat_interval: u64,
    /// Colour of the host in the dashboard, such as `#7aa2f7`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub theme_color: String,
    /// `home`, `work` or `cloud`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// `server`, `desktop`, `laptop` or `gaming`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub device_type: String,
    /// URL of the configuration repository; empty when only a folder is set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo_url: String,
    /// Folder of the configuration repository.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo_dir: String,
    /// Commit the running agent was built from, 40 hex digits or `unknown`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_commit: String,
    /// Store path of the running agent; empty outside the Nix store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub store_path: String,
    /// SHA-256 of the running binary in hex; empty until it has been computed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub binary_hash: String,
    /// What the agent can do beyond T01 to T03 (additive).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Cow<'static, str>>,
    /// Identity of this boot (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The command that still runs from before this connection (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_job: Option<RunningJob>,
}

/// The command that was running when the agent connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunningJob {
    /// Job id, the same as in [`Output::job_id`].
    pub id: String,
    /// Name of the command.
    pub command: String,
    /// RFC 3339.
    pub started_at: String,
}

/// A sign of life (T02). The first five fields are always present.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Commit of the *deployed* configuration, or `unknown`; never empty.
    pub generation: String,
    /// Such as `24.11.20241201.abc1234`, or `unknown`.
    pub nixpkgs_version: String,
    /// Name of the running command.
    pub pending_command: Option<String>,
    /// Process id of the running command: its own, not that of its supervisor.
    pub command_pid: Option<u32>,
    /// StaSysMo's readings, or null when they are missing or older than 30 s.
    pub metrics: Option<Metrics>,
    /// As in [`Register::source_commit`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source_commit: String,
    /// As in [`Register::store_path`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub store_path: String,
    /// As in [`Register::binary_hash`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub binary_hash: String,
    /// SHA-256 of the repository's flake.lock in hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lock_hash: String,
    /// What the agent makes of the checkout and the system; `git` is the dashboard's to judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_status: Option<Box<UpdateStatus>>,
    /// What is deployed and what is not (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Box<HostSystem>>,
    /// Counts the beats of this agent process from 1 (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When the beat was made, RFC 3339 (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    /// How the device is (additive, seed 001).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vitals: Option<Box<DeviceVitals>>,
    /// Milliseconds from the newest acknowledged beat to its acknowledgement (additive, seed 001).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_rtt_ms: Option<f64>,
}

/// How up to date the host is, as existing dashboards show it in four lights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStatus {
    /// The checkout against its remote.
    pub git: Verdict,
    /// flake.lock against what was pulled.
    pub lock: Verdict,
    /// The running system against the checkout.
    pub system: Verdict,
    /// The host's tests against the running system.
    pub tests: Verdict,
}

/// What is known about one part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// In one word.
    pub status: UpdateState,
    /// For people; may be empty.
    pub message: String,
    /// When it was judged, RFC 3339; empty when it was not.
    pub checked_at: String,
}

/// How up to date a part is, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// No opinion: the dashboard keeps its own.
    #[default]
    #[serde(rename = "")]
    None,
    /// As it should be.
    Ok,
    /// Something newer is there.
    Outdated,
    /// The last attempt failed.
    Error,
    /// Nothing is known.
    Unknown,
    /// A command is about to change it.
    Working,
}

/// The truth about what is deployed, beside what lies in the checkout. Null is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSystem {
    /// Store path of the system that runs.
    pub current: Option<String>,
    /// Store path of the system that was booted.
    pub booted: Option<String>,
    /// Commit that the running system says it was made from.
    pub configuration_revision: Option<String>,
    /// Commit of the checkout.
    pub repo_commit: Option<String>,
    /// The running system has another kernel, initrd or kernel modules than the booted one.
    pub reboot_required: Option<bool>,
}

/// StaSysMo's readings: all four or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// CPU usage in percent, 0 to 100.
    pub cpu: f64,
    /// Memory usage in percent, 0 to 100.
    pub ram: f64,
    /// Swap usage in percent, 0 to 100.
    pub swap: f64,
    /// Load average of the last minute.
    pub load: f64,
}

/// Which of a command's streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output, and the agent's own remarks about the command.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a command's output (T03).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The text without its line end; invalid UTF-8 is replaced. At most [`MAX_LINE_BYTES`](super::MAX_LINE_BYTES).
    pub line: String,
    /// Where it was written.
    pub stream: Stream,
    /// Name of the command.
    pub command: String,
    /// Same as `stream == "stderr"`; older dashboards colour by it.
    pub is_error: bool,
    /// Position in the job's log from 1, without holes. A repeat after a reconnect has the same
    /// `job_id` and `seq` (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Job the line belongs to (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// When the line was read from the command, RFC 3339 (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// True for a piece of a line that goes on in the next message (additive).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cont: bool,
}

/// Several lines of one command (additive).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputBatch {
    /// Name of the command.
    pub command: String,
    /// Job the lines belong to.
    pub job_id: String,
    /// In the order of their `seq`.
    pub lines: Vec<BatchLine>,
}

/// One line of an [`OutputBatch`]; the fields are those of [`Output`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchLine {
    /// Position in the job's log.
    pub seq: u64,
    /// When the line was read, RFC 3339.
    pub at: String,
    /// Where it was written.
    pub stream: Stream,
    /// The text.
    pub line: String,
    /// True when the line goes on in the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cont: bool,
}

/// How a command ended, for the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusKind {
    /// Exit code 0.
    Ok,
    /// Anything else.
    Error,
    /// Ended on request.
    Stopped,
}

/// The end of a command: once for each, and only after `registered`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Summary.
    pub status: StatusKind,
    /// The name the dashboard asked for.
    pub command: String,
    /// Exit code of the command; 128 + n when signal n ended it.
    pub exit_code: i32,
    /// For people, such as `Pull: Updated to abc1234`.
    #[serde(default)]
    pub message: String,
    /// As in [`Heartbeat::generation`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generation: String,
    /// Job that ended; none for a request that never became one (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// Signal that ended the command (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Finer than `status`: see `job::spec::Outcome` (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Run time in milliseconds (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Lines in the job's log (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// Lines that the log's size limit cut out (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_lines: Option<u64>,
}

impl Status {
    /// The answer to a request that is no job.
    pub fn answer(command: &str, status: StatusKind, exit_code: i32, message: &str) -> Self {
        Self {
            status,
            command: command.to_owned(),
            exit_code,
            message: message.to_owned(),
            generation: String::new(),
            job_id: None,
            signal: None,
            outcome: None,
            duration_ms: None,
            lines: None,
            dropped_lines: None,
        }
    }
}

/// Refuses a command (T02 scenario 7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRejected {
    /// [`ALREADY_RUNNING`](super::ALREADY_RUNNING), or why else nothing may be run now.
    pub reason: String,
    /// The command that runs.
    pub current_command: Option<String>,
    /// Its process id.
    pub current_pid: Option<u32>,
    /// The command that was refused (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The id of the refused request (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<String>,
}

/// How far the `test` command is (T03 scenario 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestProgress {
    /// Number of the script that runs, from 1; that of the last one at the end.
    pub current: u32,
    /// Scripts in all.
    pub total: u32,
    /// Scripts that have passed so far.
    pub passed: u32,
    /// False once the last script has ended.
    pub running: bool,
    /// At the end, such as `4/5 passed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// How far the parts of a command are. A part that is absent is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationProgress {
    /// By part.
    pub progress: Parts,
}

/// The parts of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parts {
    /// The checkout: four steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<Part>,
    /// flake.lock: one step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Part>,
    /// The system: evaluate, build, activate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Part>,
    /// The test scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestsPart>,
}

impl Parts {
    /// Takes over the parts that `newer` has.
    pub fn merge(&mut self, newer: &Self) {
        let Self { pull, lock, system, tests } = newer.clone();
        self.pull = pull.or(self.pull.take());
        self.lock = lock.or(self.lock.take());
        self.system = system.or(self.system.take());
        self.tests = tests.or(self.tests.take());
    }
}

/// How far one part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Steps that are done.
    pub current: u32,
    /// Steps in all.
    pub total: u32,
    /// In one word.
    pub status: PartState,
    /// What is being done, such as `build` (additive).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// More about it, such as `3/41 derivations` (additive).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How far a part is, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Not begun.
    #[default]
    Pending,
    /// At it.
    InProgress,
    /// Done.
    Complete,
    /// Failed, or stopped.
    Error,
}

/// How far the test scripts are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestsPart {
    /// Scripts that have ended.
    pub current: u32,
    /// Scripts in all.
    pub total: u32,
    /// Of each script, the first [`MAX_TEST_RESULTS`](super::MAX_TEST_RESULTS) of them.
    pub results: Vec<TestResult>,
    /// In one word.
    pub status: PartState,
}

/// How a test script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// With exit code 0.
    Pass,
    /// With another one, or by a signal.
    Fail,
    /// Not yet.
    Pending,
}
