//! How many agents register in each second.

use std::collections::VecDeque;

use serde::Serialize;
use tokio::time::Instant;

/// Seconds that are kept: an hour, in which every fleet has returned from an outage.
const SECONDS: usize = 3600;

/// Counts registrations.
#[derive(Debug, Default)]
pub(super) struct Rate {
    total: u64,
    /// The begin of the first second that is kept.
    begun: Option<Instant>,
    seconds: VecDeque<u64>,
}

/// Registrations since the start of the dashboard: one for each connection that registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Registrations {
    /// All of them.
    pub total: u64,
    /// The most in one of the seconds below.
    pub peak: u64,
    /// In each second from the first registration on; of more than an hour, the last one.
    pub per_second: Vec<u64>,
}

impl Rate {
    pub(super) fn count(&mut self, now: Instant) {
        self.total += 1;
        let begun = *self.begun.get_or_insert(now);
        let second = usize::try_from(now.saturating_duration_since(begun).as_secs()).unwrap_or(usize::MAX);
        if second >= 2 * SECONDS {
            (self.begun, self.seconds) = (Some(now), VecDeque::from([1]));
            return;
        }
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, 0);
        }
        self.seconds[second] += 1;
        while self.seconds.len() > SECONDS {
            self.seconds.pop_front();
            self.begun = self.begun.map(|begun| begun + std::time::Duration::from_secs(1));
        }
    }

    pub(super) fn view(&self) -> Registrations {
        let per_second: Vec<u64> = self.seconds.iter().copied().collect();
        let peak = per_second.iter().max().copied().unwrap_or_default();
        Registrations { total: self.total, peak, per_second }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn registrations_are_counted_by_the_second_for_an_hour() {
        let mut rate = Rate::default();
        assert_eq!(rate.view(), Registrations::default());
        let begun = Instant::now();
        for millis in [0, 999, 1000, 3500] {
            rate.count(begun + Duration::from_millis(millis));
        }
        assert_eq!(rate.view(), Registrations { total: 4, peak: 2, per_second: vec![2, 1, 0, 1] });
        rate.count(begun + Duration::from_secs(3600));
        let view = rate.view();
        assert_eq!(
            (view.total, view.peak, view.per_second.len()),
            (5, 1, SECONDS),
            "the first second is gone"
        );
        assert_eq!((view.per_second[0], view.per_second[2], view.per_second[SECONDS - 1]), (1, 1, 1));
        rate.count(begun + Duration::from_secs(24 * 3600));
        assert_eq!(rate.view(), Registrations { total: 6, peak: 1, per_second: vec![1] });
    }
}
