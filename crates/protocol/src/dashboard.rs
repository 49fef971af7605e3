//! What the dashboard says.

use serde::{Deserialize, Serialize};

/// Accepts a registration. Every field is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registered {
    /// Name under which the dashboard files the host.
    pub host_id: String,
    /// What the dashboard reads beyond T01 to T03, such as
    /// [`CAPABILITY_OUTPUT_BATCH`](super::CAPABILITY_OUTPUT_BATCH) (additive).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Seconds between heartbeats that the dashboard wants, 1 to 3600, in the place of the agent's own
    /// setting (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval: Option<u64>,
    /// Every heartbeat will be answered by a [`HeartbeatAck`] (additive, seed 001).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ack: bool,
    /// Seconds over which agents should spread their return when the connection is lost (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnect_window_s: Option<u64>,
    /// The dashboard's clock, RFC 3339 (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_time: Option<String>,
}

/// The answer to a heartbeat (seed 001).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeartbeatAck {
    /// [`Heartbeat::seq`](super::Heartbeat::seq) of the beat that arrived.
    pub seq: u64,
    /// The dashboard's clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_time: Option<String>,
    /// Messages that wait for this agent.
    pub pending_messages: u64,
    /// How the dashboard is.
    pub server_status: ServerStatus,
}

/// How the dashboard is (seed 001).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStatus {
    /// In one word.
    pub state: ServerState,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it is expected to be over, RFC 3339; empty when nobody knows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub until: String,
}

/// How the dashboard is, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// As it should be.
    #[default]
    Healthy,
    /// Slow or partly down.
    Degraded,
    /// Being worked on: commands are not to be run now.
    Maintenance,
    /// A word of a later version; as good as [`ServerState::Healthy`].
    #[serde(other)]
    Unknown,
}

/// Asks for a command from the agent's table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// Name of the command.
    pub command: String,
    /// Chosen by the dashboard; a repeat with the same id is not run twice (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Signals of [`KillCommand`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillSignal {
    /// Ask first, kill after the grace period.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// Kill at once.
    #[serde(rename = "SIGKILL")]
    Kill,
}

/// Ends the running command, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KillCommand {
    /// Which signal.
    pub signal: KillSignal,
    /// Must be the running command's own process id; 0 stands for "whichever runs".
    pub pid: u32,
}
