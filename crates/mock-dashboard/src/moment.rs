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
