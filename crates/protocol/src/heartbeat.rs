//! The heartbeat, and how up to date the host is.

use serde::{Deserialize, Serialize};

use crate::vitals::DeviceVitals;

/// A sign of life. The first five fields are always present.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Heartbeat {
    /// As in `register`. Once known, it never becomes empty.
    pub generation: String,
    /// Version of nixpkgs, such as `26.05.20260714.7beb50e`, or `unknown`; never empty.
    pub nixpkgs_version: String,
    /// Name of the running command; null when none runs.
    pub pending_command: Option<String>,
    /// Process id of the running command itself, not of its supervisor; null while it is being started.
    pub command_pid: Option<u32>,
    /// Readings of StaSysMo; null when they are missing or older than 30 s.
    pub metrics: Option<Metrics>,
    /// Commit that the running agent was built from, 40 hex digits or `unknown`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source_commit: String,
    /// Store path of the running agent. Absent outside the Nix store.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub store_path: String,
    /// SHA-256 of the running binary, in hex. Absent until it has been computed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub binary_hash: String,
    /// SHA-256 of the checkout's flake.lock, in hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lock_hash: String,
    /// How up to date the checkout and the system are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_status: Option<Box<UpdateStatus>>,
    /// What is deployed, compared with the checkout (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Box<HostSystem>>,
    /// Present if the settings file of the host is wrong, so that the agent runs with the settings that it last
    /// started with (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good_settings: Option<Box<LastGoodSettings>>,
    /// Number of this heartbeat, counted from 1 by each agent process (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When the heartbeat was made, RFC 3339 (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    /// Measurements of the device (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vitals: Option<Box<DeviceVitals>>,
    /// Milliseconds from the newest acknowledged heartbeat to its acknowledgement (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_rtt_ms: Option<f64>,
    /// What the running command does, and since when it has said nothing (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_activity: Option<Box<CommandActivity>>,
    /// Why there was no connection. Only in the first heartbeat after a failed attempt to connect or a lost connection
    /// of this agent process (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Box<LastError>>,
}

/// Why there was no connection before this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LastError {
    /// What happened last, and what to do about it, for people; without secrets.
    pub text: String,
    /// The name under which the agent counts it, such as `unreachable` or `refused_token`. New names may come.
    pub cause: String,
    /// When it happened, by the clock of the host, RFC 3339.
    pub at: String,
    /// Attempts that failed since the last connection; 0 if that was lost and the first attempt succeeded.
    pub attempts: u64,
}

/// What the running command does, by the clock of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CommandActivity {
    /// The phase of a rebuild, such as `build`, or else the step, such as `fetch`.
    pub phase: String,
    /// Seconds since that began; null when it is unknown.
    pub phase_age_s: Option<u64>,
    /// Seconds since the command last wrote a line or made progress; null when it is unknown.
    pub silent_s: Option<u64>,
}

/// How up to date the host is, in four parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct UpdateStatus {
    /// The checkout compared with its remote. Only the dashboard can judge this: the agent sends no opinion.
    pub git: Verdict,
    /// flake.lock compared with the state after the last pull.
    pub lock: Verdict,
    /// The running system compared with the checkout.
    pub system: Verdict,
    /// Whether the host's tests passed on the running system.
    pub tests: Verdict,
}

/// How up to date one part of the host is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Verdict {
    /// The verdict in one word.
    pub status: UpdateState,
    /// Explanation for people; may be empty.
    pub message: String,
    /// When the part was examined, RFC 3339; empty when it was not.
    pub checked_at: String,
}

/// How up to date a part is, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// No opinion: the dashboard keeps its own.
    #[default]
    #[serde(rename = "")]
    None,
    /// Up to date.
    Ok,
    /// Something newer is available.
    Outdated,
    /// The last attempt failed.
    Error,
    /// The running command changes this part.
    Working,
    /// Nothing is known. A word that is not known yet is read as this one: a newer agent's heartbeat counts all the same.
    #[serde(other)]
    Unknown,
}

/// The deployed system and the checkout. Null means unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HostSystem {
    /// Store path of the running system.
    pub current: Option<String>,
    /// Store path of the booted system.
    pub booted: Option<String>,
    /// Commit that the running system names as its source.
    pub configuration_revision: Option<String>,
    /// Commit of the checkout.
    pub repo_commit: Option<String>,
    /// Whether the running system has another kernel, initrd or set of kernel modules than the booted one, or another
    /// system than these two waits for the next boot.
    pub reboot_required: Option<bool>,
    /// What the next boot runs (additive).
    pub boots: Option<NextBoot>,
}

/// The system that the next boot runs, if nobody chooses another one in the boot loader's menu.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct NextBoot {
    /// Its store path.
    pub system: String,
    /// How it is known.
    pub source: NextBootSource,
    /// When the boot loader's files were read, RFC 3339, if that was by the last command and not by the agent, which
    /// may not read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<String>,
}

/// How the next boot's system is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NextBootSource {
    /// The files of the boot loader say so.
    BootLoader,
    /// Nobody could read them. It is the system of the profile, which boot loaders get their entries from.
    #[default]
    #[serde(other)]
    Profile,
}

/// The agent runs with older settings than those of the file, because the file is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LastGoodSettings {
    /// Path of the settings file.
    pub file: String,
    /// When an agent first started with the settings that are in use, RFC 3339.
    pub accepted_at: String,
    /// What is wrong with the file, one line for each mistake, without secrets.
    pub problems: Vec<String>,
}

/// Readings of StaSysMo. All four values are known, or there are no readings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
