//! Why a session ended.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Error as WsError;

/// Why a session ended.
#[derive(Debug)]
pub enum Ended {
    /// The agent was asked to stop.
    Shutdown,
    /// The dashboard asked for a restart of the agent.
    Restart,
    /// The dashboard closed the connection, with this code and reason if it sent any.
    Closed(Option<(u16, String)>),
    /// The connection broke.
    Broken(WsError),
    /// A write did not finish within [`WRITE_DEADLINE`](super::session::writer::WRITE_DEADLINE).
    Stalled,
    /// No frame was received for [`SILENCE`](super::session::SILENCE).
    Silent,
    /// The dashboard promised acknowledgements and did not acknowledge several heartbeats in a row.
    Unacknowledged,
    /// There was no `registered` within [`REGISTER_DEADLINE`](super::session::REGISTER_DEADLINE).
    NotRegistered,
    /// This host slept for so long, and nothing was received for [`SILENCE`](super::session::SILENCE), of which that
    /// time is a part.
    Slept(Duration),
    /// This host slept for so long, and then a ping had no answer within
    /// [`AWAKE_TIMEOUT`](super::session::sleep::AWAKE_TIMEOUT).
    LostInSleep(Duration),
    /// The agent ended it, because only a new connection shows that the system on trial reaches the dashboard.
    Renewed,
    /// The agent ended it politely, because what proves who it is was replaced.
    Rotated,
}

impl Ended {
    /// The name under which this end is counted; none if the agent wanted it.
    pub fn counted_as(&self) -> Option<&'static str> {
        Some(match self {
            Self::Closed(_) => "closed",
            Self::Broken(_) => "broken",
            Self::Stalled => "stalled",
            Self::Silent => "silent",
            Self::Unacknowledged => "unacknowledged",
            Self::NotRegistered => "not_registered",
            Self::Slept(_) | Self::LostInSleep(_) => "slept",
            Self::Shutdown | Self::Restart | Self::Renewed | Self::Rotated => return None,
        })
    }
}
