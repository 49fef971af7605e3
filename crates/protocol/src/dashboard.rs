//! Messages from the dashboard.

use std::ops::Not;

use serde::{Deserialize, Deserializer, Serialize};

/// Reads null as the default value. Go programs write null for an empty slice; an agent that refused such a
/// `registered` would never be registered.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Accepts a registration. Every field is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Registered {
    /// The name of the host in the dashboard. The agent logs it.
    #[serde(deserialize_with = "null_as_default")]
    pub host_id: String,
    /// What the dashboard can read beyond version 1 of the protocol. The agent knows `output_batch`
    /// (additive).
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Seconds between heartbeats, 1 to 3600, instead of the host's own setting. Other numbers are ignored
    /// (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval: Option<u64>,
    /// True: the dashboard answers every heartbeat with `heartbeat_ack` (additive).
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Not::not")]
    pub ack: bool,
    /// Seconds over which hosts spread their return after a lost connection (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnect_window_s: Option<u64>,
    /// The dashboard's clock, RFC 3339 (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_time: Option<String>,
}

/// Acknowledges a heartbeat (additive).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HeartbeatAck {
    /// `seq` of the heartbeat that arrived. Send it always: 0 acknowledges nothing.
    #[serde(deserialize_with = "null_as_default")]
    pub seq: u64,
    /// The dashboard's clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_time: Option<String>,
    /// Count of messages that wait for this host.
    #[serde(deserialize_with = "null_as_default")]
    pub pending_messages: u64,
    /// State of the dashboard.
    #[serde(deserialize_with = "null_as_default")]
    pub server_status: ServerStatus,
}

/// State of the dashboard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServerStatus {
    /// The state in one word.
    #[serde(deserialize_with = "null_as_default")]
    pub state: ServerState,
    /// Explanation for people.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When a maintenance is expected to end, RFC 3339; empty when that is not known.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub until: String,
}

/// State of the dashboard, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// Everything works.
    #[default]
    Healthy,
    /// Slow, or partly out of service.
    Degraded,
    /// In maintenance: the agent starts no command now.
    Maintenance,
    /// A word of a later version, treated as `healthy`.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

/// Asks for a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommandRequest {
    /// Name of the command.
    pub command: String,
    /// Chosen by the dashboard, new for each request, at most 256 bytes. A repeated request with the same id
    /// is not run twice (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Signals of `kill_command`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum KillSignal {
    /// Ask the command to end, and kill it after the grace period.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// Kill the command at once.
    #[serde(rename = "SIGKILL")]
    Kill,
}

/// Ends the running command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct KillCommand {
    /// The signal to send.
    #[serde(deserialize_with = "null_as_default")]
    pub signal: KillSignal,
    /// `command_pid` of the heartbeat, or 0 for "whichever command runs". Another number is refused.
    #[serde(deserialize_with = "null_as_default")]
    pub pid: u32,
}
