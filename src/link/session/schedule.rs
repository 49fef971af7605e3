//! When heartbeats are due.

use std::time::Duration;

use nixfleet_os::planted;
use tokio::time::Instant;

/// Heartbeats are due at `start + n x interval`. A late one does not move the next one, and after a
/// suspension of the machine there is one heartbeat, not a burst.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Instant,
    interval: Duration,
    /// The number n of the next heartbeat.
    next: u32,
}

impl Schedule {
    /// The schedule after a heartbeat at `now`: the next one follows an interval later.
    pub fn after_heartbeat(now: Instant, interval: Duration) -> Self {
        Self { start: now, interval, next: 1 }
    }

    /// Time between heartbeats.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// When the next heartbeat is due.
    pub fn next(&self) -> Instant {
        self.start + self.interval * self.next
    }

    /// How late the due heartbeat is, if one is due. Continues with the first one in the future.
    pub fn take_due(&mut self, now: Instant) -> Option<Duration> {
        let late = now.checked_duration_since(self.next())?;
        let passed = now.duration_since(self.start).as_nanos() / self.interval.as_nanos().max(1);
        if planted!("make-up-beats") {
            self.next += 1;
            return Some(late);
        }
        self.next = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1);
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
        let mut schedule = Schedule { start, interval: Duration::from_secs(30), next: 0 };
        let seconds = |seconds: u64| Some(Duration::from_secs(seconds));
        assert_eq!(schedule.take_due(start), seconds(0), "the first one at once");
        assert_eq!(schedule.take_due(at(29.9)), None);
        assert_eq!(schedule.take_due(at(37.0)), seconds(7), "late");
        assert_eq!(schedule.next(), at(60.0), "and the next one is not");
        assert_eq!(schedule.take_due(at(4000.0)), seconds(3940), "after a night's sleep");
        assert_eq!(schedule.take_due(at(4000.0)), None, "one heartbeat, no burst");
        assert_eq!(schedule.next(), at(4020.0));
    }
}
