//! Messages from the agent, but for the heartbeat and progress.

use std::borrow::Cow;
use std::ops::Not;

use serde::{Deserialize, Serialize};

/// Who the host is: the first message on every connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Register {
    /// Short host name, 1 to 63 characters of `A-Z a-z 0-9 -`. The identity of the host.
    pub hostname: String,
    /// `nixos` or `macos`.
    pub host_type: String,
    /// Version to display. A setting on the host, because some dashboards compare it with their own version.
    pub agent_version: String,
    /// `VERSION_ID` of os-release, or empty.
    pub os_version: String,
    /// Version of nixpkgs, such as `26.05.20260714.7beb50e`, or `unknown`; never empty.
    pub nixpkgs_version: String,
    /// The commit that the host is at, 7 hex digits; empty until one is known. See "generation" in
    /// docs/protocol.md.
    pub generation: String,
    /// Seconds between heartbeats. A dashboard calls the host offline after three of them.
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
    /// URL of the configuration repository, without user name and password. Absent when only a folder is
    /// configured.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo_url: String,
    /// Folder of the checkout on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo_dir: String,
    /// Commit that the running agent was built from, 40 hex digits or `unknown`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_commit: String,
    /// Store path of the running agent. Absent outside the Nix store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub store_path: String,
    /// SHA-256 of the running binary, in hex. Absent until it has been computed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub binary_hash: String,
    /// What this agent can do beyond version 1 of the protocol (additive).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Cow<'static, str>>,
    /// Identity of this boot, a UUID (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The command that was already running when this connection began, or else the oldest one that has ended and
    /// whose status is still to come (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_job: Option<RunningJob>,
    /// The commands that this host accepts (additive).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<OfferedCommand>,
}

/// A command that a host accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OfferedCommand {
    /// What to send as `command`.
    pub name: String,
    /// The operator's description of it, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// True if the operator of the host has added it.
    #[serde(skip_serializing_if = "Not::not")]
    pub own: bool,
}

/// The command that was running when the agent connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunningJob {
    /// Id of the job, the same as `job_id` in its output and status.
    pub id: String,
    /// Name of the command.
    pub command: String,
    /// When the command was accepted, RFC 3339.
    pub started_at: String,
}

/// The stream of a command that a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output, and the agent's own remarks about the command.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a command's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Output {
    /// The text without its line end, at most 32 KiB. Invalid UTF-8 is replaced by U+FFFD.
    pub line: String,
    /// The stream that the line was written to.
    pub stream: Stream,
    /// Name of the command.
    pub command: String,
    /// True for standard error. Older dashboards choose the colour by it.
    pub is_error: bool,
    /// Number of the line in its job, from 1 without a hole. A line that is repeated on a later connection has
    /// the same `job_id` and `seq` (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Job that the line belongs to (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// When the line was read from the command, RFC 3339 (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// True if the line continues in the next message (additive).
    #[serde(default, skip_serializing_if = "Not::not")]
    pub cont: bool,
}

/// Several lines of one command (additive).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OutputBatch {
    /// Name of the command.
    pub command: String,
    /// Job that the lines belong to.
    pub job_id: String,
    /// The lines, in the order of their `seq`.
    pub lines: Vec<BatchLine>,
}

/// One line of an `output_batch`. The fields mean the same as in `output`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchLine {
    /// Number of the line in its job.
    pub seq: u64,
    /// When the line was read from the command, RFC 3339.
    pub at: String,
    /// The stream that the line was written to.
    pub stream: Stream,
    /// The text without its line end.
    pub line: String,
    /// True if the line continues in the next one.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub cont: bool,
}

/// How a command ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StatusKind {
    /// It ended with exit code 0.
    Ok,
    /// It failed.
    Error,
    /// It was stopped on request.
    Stopped,
}

/// The end of a command, or the answer to a request that starts no job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// How the command ended, in one word.
    pub status: StatusKind,
    /// The name that the dashboard asked for.
    pub command: String,
    /// Exit code of the command; 128 + n when signal n ended it.
    pub exit_code: i32,
    /// One sentence for people, such as `Pull: Updated to abc1234`.
    #[serde(default)]
    pub message: String,
    /// As in the heartbeat behind it. Absent if no job ended or no commit is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generation: String,
    /// Job that ended. Absent for a request that started no job (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// Number of the signal that ended the command (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How the job ended, in more detail than `status` (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Run time in milliseconds (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// `seq` of the last line of the job, 0 if it has none. Missing lines count too (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// Count of the lines among them that are missing in the log, because of its size limit or a full disk
    /// (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_lines: Option<u64>,
}

impl Status {
    /// The answer to a request that starts no job: all fields of a job are absent.
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

/// A command was not started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommandRejected {
    /// `command already running`, or another sentence.
    pub reason: String,
    /// Name of the running command; null when none runs.
    pub current_command: Option<String>,
    /// Process id of the running command; null when there is no process.
    pub current_pid: Option<u32>,
    /// Name of the refused command (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// `id` of the refused request, if it had one (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<String>,
}
