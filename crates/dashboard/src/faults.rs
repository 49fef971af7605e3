//! How the dashboard can misbehave, for tests and for demonstrations.

use serde::{Deserialize, Serialize};

/// Faults that apply to every agent until they are switched off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Stop reading from the sockets of agents. The sockets stay open, and the send buffers of the agents
    /// fill.
    pub stop_reading: bool,
    /// Never answer a ping.
    pub never_pong: bool,
    /// Acknowledge no heartbeat, even if acknowledgements were announced.
    pub never_ack: bool,
    /// Never answer `register`.
    pub no_registered: bool,
    /// Announce no capabilities, like dashboards older than this agent.
    pub no_capabilities: bool,
    /// Refuse new connections; null accepts them again.
    pub refuse_auth: Option<Refusal>,
}

/// How new connections are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// HTTP status, such as 401, 403, 429 or 503; 400 to 599.
    pub status: u16,
    /// Seconds to send as `Retry-After`.
    #[serde(default)]
    pub retry_after: Option<u64>,
}

/// A single fault for one host: the body of `POST /api/hosts/{id}/faults`.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Act {
    /// Drop the connection without a close frame.
    Drop {},
    /// Close the connection.
    Close {
        code: u16,
        #[serde(default)]
        reason: String,
    },
    /// Send these text frames unchanged, with one write.
    SendText { texts: Vec<String> },
    /// Send a binary frame.
    SendBinary { bytes: Vec<u8> },
    /// Send the newest command again, with the same id.
    Resend {},
}
