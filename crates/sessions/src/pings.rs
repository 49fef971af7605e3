//! When to ping a peer.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// Looks at peers that may be quiet are put off to the same moments, this far apart: a process with thousands of peers
/// is woken once for many of them.
const TOGETHER: Duration = Duration::from_millis(250);

/// One of these moments.
static MOMENT: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whom to ping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pings {
    /// Every peer, once in each interval.
    #[default]
    All,
    /// Who has said nothing for an interval, and who was told nothing. Agents ping by themselves, so mostly nobody learns
    /// anything from another ping. But they give up a connection on which they hear nothing, as while pongs are held back.
    Quiet,
}

/// The next ping.
#[derive(Debug)]
pub(crate) struct NextPing {
    whom: Pings,
    interval: Duration,
    at: Instant,
}

impl NextPing {
    pub(crate) fn new(whom: Pings, interval: Duration, now: Instant) -> Self {
        let mut next = Self { whom, interval, at: now };
        next.put_off(now);
        next
    }

    /// When to ask whether it [is due](Self::is_due).
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Whether to ping a peer now that said something at `heard` last, and was told something at `told`. It is asked
    /// again an interval later at most.
    pub(crate) fn is_due(&mut self, now: Instant, heard: Instant, told: Instant) -> bool {
        if now < self.at {
            return false;
        }
        let quiet = heard.min(told);
        if self.whom == Pings::Quiet && now < quiet + self.interval {
            self.put_off(quiet);
            return false;
        }
        self.put_off(now);
        true
    }

    /// Puts it off until an interval after `since`.
    fn put_off(&mut self, since: Instant) {
        self.at = since + self.interval;
        if self.whom == Pings::Quiet {
            let behind = self.at.saturating_duration_since(*MOMENT).as_nanos() % TOGETHER.as_nanos();
            let behind = Duration::from_nanos(u64::try_from(behind).unwrap_or_default());
            if !behind.is_zero() {
                self.at += TOGETHER - behind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20);

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn everybody_is_pinged_once_in_an_interval() {
        let begun = Instant::now();
        let mut next = NextPing::new(Pings::All, INTERVAL, begun);
        assert_eq!(next.at(), begun + INTERVAL);
        let late = begun + seconds(20.5);
        assert!(!next.is_due(begun + seconds(19.9), begun, begun));
        assert!(next.is_due(late, late, late), "also who has just said something");
        assert_eq!(next.at(), late + INTERVAL);
    }

    #[test]
    fn who_says_something_and_is_answered_in_time_is_not_pinged() {
        let begun = Instant::now();
        let mut next = NextPing::new(Pings::Quiet, INTERVAL, begun);
        for second in 1..100 {
            let now = begun + seconds(f64::from(second));
            assert!(!next.is_due(now, now - seconds(15.0), now - seconds(14.0)), "after {second} s");
        }
    }

    #[test]
    fn who_is_silent_is_pinged_a_moment_after_the_interval_and_again_an_interval_later() {
        let begun = Instant::now();
        let heard = begun + seconds(7.3);
        let mut next = NextPing::new(Pings::Quiet, INTERVAL, begun);
        assert!(!next.is_due(next.at(), heard, begun + seconds(20.0)));
        for number in 1..4 {
            let at = next.at();
            let silence = at - heard;
            let most = number * (INTERVAL + TOGETHER);
            assert!(silence >= number * INTERVAL && silence <= most, "ping {number} after {silence:?}");
            assert!(next.is_due(at, heard, at - seconds(1.0)));
        }
    }

    #[test]
    fn who_is_not_answered_is_pinged_although_it_says_something() {
        let begun = Instant::now();
        let mut next = NextPing::new(Pings::Quiet, INTERVAL, begun);
        assert!(next.is_due(next.at(), next.at(), begun));
    }

    #[test]
    fn looks_at_many_peers_are_at_the_same_moments() {
        let begun = Instant::now();
        let at = |ms: u64| NextPing::new(Pings::Quiet, INTERVAL, begun + Duration::from_millis(ms)).at();
        let mut moments: Vec<_> = (0..1000).map(at).collect();
        moments.dedup();
        assert!(moments.len() <= 5, "{} moments in a second", moments.len());
    }
}
