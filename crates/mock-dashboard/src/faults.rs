//! How the dashboard can misbehave, for tests and for people who want to watch an agent cope.

use serde::{Deserialize, Serialize};

/// Faults that last until they are switched off. They hold for every agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Stop reading from agents' sockets; they stay open and their send buffers fill.
    pub stop_reading: bool,
    /// Never answer a ping.
    pub never_pong: bool,
    /// Acknowledge no heartbeat, whatever was announced.
    pub never_ack: bool,
    /// Never answer `register`.
    pub no_registered: bool,
    /// Announce no capabilities, as dashboards before this agent do.
    pub no_capabilities: bool,
    /// Refuse new connections; null lets them in again.
    pub refuse_auth: Option<Refusal>,
}

/// How new connections are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// HTTP status, such as 401, 403, 429 or 503; 400 to 599.
    pub status: u16,
    /// Seconds, sent as `Retry-After`.
    #[serde(default)]
    pub retry_after: Option<u64>,
}

/// One act of misbehaviour towards one host: the body of `POST /api/hosts/{id}/faults`.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Act {
    /// Cut the connection without a close frame.
    Drop {},
    /// Close the connection.
    Close {
        code: u16,
        #[serde(default)]
        reason: String,
    },
    /// Send text frames as they are, back to back.
    SendText { texts: Vec<String> },
    /// Send a binary frame.
    SendBinary { bytes: Vec<u8> },
    /// Send the newest command again, with the same id.
    Resend {},
}
