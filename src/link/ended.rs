//! How a connection ended.

use tokio_tungstenite::tungstenite::Error as WsError;

/// Why a session ended.
#[derive(Debug)]
pub enum Ended {
    /// The agent was asked to end.
    Shutdown,
    /// The dashboard asked for a new agent process.
    Restart,
    /// The dashboard closed the connection: code and reason, if it gave any.
    Closed(Option<(u16, String)>),
    /// The connection broke.
    Broken(WsError),
    /// The dashboard takes no more data.
    Stalled,
    /// Nothing was heard for [`SILENCE`](super::session::SILENCE).
    Silent,
    /// It reads, but acknowledges no heartbeat.
    Unacknowledged,
    /// No `registered` within [`REGISTER_DEADLINE`](super::session::REGISTER_DEADLINE).
    NotRegistered,
}

impl Ended {
    /// The name under which this end is counted; none if no other connection follows.
    pub fn counted_as(&self) -> Option<&'static str> {
        Some(match self {
            Self::Closed(_) => "closed",
            Self::Broken(_) => "broken",
            Self::Stalled => "stalled",
            Self::Silent => "silent",
            Self::Unacknowledged => "unacknowledged",
            Self::NotRegistered => "not_registered",
            Self::Shutdown | Self::Restart => return None,
        })
    }
}
