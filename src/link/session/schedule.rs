//! When heartbeats are due.

use std::time::Duration;

use tokio::time::Instant;

/// Beats at `start + n x interval`: a late one does not move the next, and after a suspension there
/// is one beat, not a burst.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Instant,
    interval: Duration,
    /// Beats that are over, on time or not.
    passed: u32,
}

impl Schedule {
    /// A beat has just been made: the first one of this schedule follows an interval later.
    pub fn after_a_beat(now: Instant, interval: Duration) -> Self {
        Self { start: now, interval, passed: 1 }
    }

    /// Time between beats.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// When the next beat is due.
    pub fn next(&self) -> Instant {
        self.start + self.interval * self.passed
    }

    /// If a beat is due, how late it is; moves on to the first one that lies ahead.
    pub fn take_due(&mut self, now: Instant) -> Option<Duration> {
        let late = now.checked_duration_since(self.next())?;
        let over = now.duration_since(self.start).as_nanos() / self.interval.as_nanos().max(1);
        self.passed = u32::try_from(over).unwrap_or(u32::MAX).saturating_add(1);
        Some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn beats_keep_to_the_grid_after_delay_and_suspension() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut schedule = Schedule { start, interval: Duration::from_secs(30), passed: 0 };
        let seconds = |seconds: u64| Some(Duration::from_secs(seconds));
        assert_eq!(schedule.take_due(start), seconds(0), "the first one at once");
        assert_eq!(schedule.take_due(at(29.9)), None);
        assert_eq!(schedule.take_due(at(37.0)), seconds(7), "late");
        assert_eq!(schedule.next(), at(60.0), "and the next one is not");
        assert_eq!(schedule.take_due(at(4000.0)), seconds(3940), "after a night's sleep");
        assert_eq!(schedule.take_due(at(4000.0)), None, "one beat, no burst");
        assert_eq!(schedule.next(), at(4020.0));
    }
}
