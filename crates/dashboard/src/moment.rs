//! A point in time on two clocks.

use tokio::time::Instant;

/// A point in time on two clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Monotonic, for deadlines.
    pub(super) now: Instant,
    /// Unix time in milliseconds, for display.
    pub(super) unix_ms: i64,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { now: Instant::now(), unix_ms: jiff::Timestamp::now().as_millisecond() }
    }
}

/// RFC 3339 with milliseconds, in UTC.
pub(super) fn rfc3339(unix_ms: i64) -> String {
    // The time is out of range only if the clock is wrong by thousands of years.
    jiff::Timestamp::from_millisecond(unix_ms)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}
