//! Two clocks that differ: this host's and the dashboard's, by the `Date` of its answer.

use std::fmt;

use jiff::tz::Offset;
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
        // They differ by a minute at least.
        write!(f, "the clock here says {}, and the dashboard's {}", minute(self.here), minute(self.there))
    }
}

/// To the minute: the second helps nobody.
pub(super) fn minute(at: Timestamp) -> String {
    let at = Offset::UTC.to_datetime(at);
    format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_a_minute_are_told() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let here = at("2026-01-01T12:00:00Z");
        for (there, differ) in [
            ("2026-01-01T12:00:00Z", false),
            ("2026-01-01T12:01:00Z", false),
            ("2026-01-01T11:59:00Z", false),
            ("2026-01-01T12:01:01Z", true),
            ("2026-01-01T11:58:59Z", true),
        ] {
            assert_eq!(ClockSkew::between(here, at(there)).is_some(), differ, "{there}");
        }
        let told = ClockSkew::between(here, at("2026-01-01T14:30:59Z")).unwrap().to_string();
        assert_eq!(
            told,
            "the clock here says 2026-01-01 12:00 UTC, and the dashboard's 2026-01-01 14:30 UTC"
        );
    }
}
