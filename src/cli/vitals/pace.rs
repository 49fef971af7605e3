//! When the next line of `vitals --follow` is due.

use std::time::Duration;

use tokio::time::Instant;

/// Due times at start + n x interval: a late line does not delay the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    interval: Duration,
    /// When the last line was due. None before the first line, which is due at the start.
    last: Option<Instant>,
    start: Instant,
}

impl Pace {
    pub(super) fn new(start: Instant, interval: Duration) -> Self {
        Self { interval, last: None, start }
    }

    pub(super) fn next(&self) -> Instant {
        self.last.map_or(self.start, |last| last + self.interval)
    }

    /// A line was printed. Lines that were missed, for example while the host was suspended, are skipped.
    pub(super) fn printed(&mut self, now: Instant) {
        let due = self.next();
        let missed = now.saturating_duration_since(due).as_nanos() / self.interval.as_nanos().max(1);
        self.last = Some(due + self.interval.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX)));
    }

    /// Changes the interval, counted from the last line. If the next line is then overdue, it follows at once.
    pub(super) fn change(&mut self, interval: Duration) {
        self.interval = interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lines_are_due_at_whole_intervals_however_late_each_was_made() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 10 * SECOND);
        assert_eq!(pace.next(), start);
        for (late_ms, next) in [(0, 10), (9_999, 20), (3, 30), (25_000, 60), (10_000, 80)] {
            pace.printed(pace.next() + Duration::from_millis(late_ms));
            assert_eq!(pace.next() - start, next * SECOND, "{late_ms} ms late");
        }
    }

    #[test]
    fn a_new_interval_counts_from_the_last_line() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 30 * SECOND);
        pace.change(20 * SECOND);
        assert_eq!(pace.next(), start, "the first line is due all the same");
        pace.printed(start);
        for interval in [10, 60, 5] {
            pace.change(interval * SECOND);
            assert_eq!(pace.next(), start + interval * SECOND);
        }
    }
}
