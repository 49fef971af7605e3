//! The newest heartbeat of a host, as an entry that expires.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_TTL;

use crate::{envelope, names};

/// Intervals without a heartbeat after which a host is offline, as in docs/protocol.md.
const STALE_AFTER: u32 = 3;

/// The shortest and the longest life of an entry. NATS counts whole seconds; the limit of an interval is an hour, and a
/// day is the most that a damaged one may cost.
const LIFE: (u64, u64) = (1, 24 * 60 * 60);

/// A heartbeat to publish, without waiting for an acknowledgement: the next one makes up for it.
#[derive(Debug, Clone)]
pub struct Beat {
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
}

/// Which connection a heartbeat is from, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatAt {
    /// Number of the host's connection.
    pub connection: u64,
    /// When the gateway read it, in Unix milliseconds.
    pub at_ms: i64,
}

impl Beat {
    /// The heartbeat that was read at `at_ms` (Unix milliseconds) on this connection of `host`, which sends one in
    /// each `interval`. The payload is the agent's message, to the letter.
    #[must_use]
    pub fn new(host: &str, connection: u64, at_ms: i64, interval: Duration) -> Self {
        let mut headers = envelope::headers(connection, at_ms);
        let seconds = (interval * STALE_AFTER).as_secs_f64().ceil() as u64;
        headers.insert(NATS_MESSAGE_TTL, format!("{}s", seconds.clamp(LIFE.0, LIFE.1)));
        Self { subject: names::beat(host), headers }
    }
}

impl BeatAt {
    /// The headers of an entry. None for the marker of an expired one, which says that the host is offline.
    #[must_use]
    pub fn read(headers: Option<&HeaderMap>) -> Option<Self> {
        let (connection, at_ms) = envelope::read(headers)?;
        Some(Self { connection, at_ms })
    }
}
