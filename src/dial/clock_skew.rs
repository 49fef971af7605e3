//! Two clocks that differ: this host's and the dashboard's, by the `Date` of its answer.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Difference above which something breaks: StaSysMo's readings are valid for 30 s, dashboards show a host as offline
/// after three intervals, which may be 3 s, and tokens with a date may not be valid yet.
pub const WRONG: SignedDuration = SignedDuration::from_secs(60);

/// Two clocks with a difference that breaks something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    here: Timestamp,
    there: Timestamp,
}

impl ClockSkew {
    /// Of the clock of this host and that of the dashboard; none if they differ by a minute at most.
    pub fn between(here: Timestamp, there: Timestamp) -> Option<Self> {
        (here.duration_since(there).abs() > WRONG).then_some(Self { here, there })
    }
}

impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // To the minute, which they differ by at least.
        let minute = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M UTC");
        write!(f, "the clock here says {}, and the dashboard's {}", minute(self.here), minute(self.there))
    }
}
