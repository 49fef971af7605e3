//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// The longest back-off. Only a random delay below it is used.
pub const CAP: Duration = Duration::from_secs(60);

/// The first back-off after a refusal. A retry within a second cannot help: somebody has to change
/// the token first.
const FIRST_AFTER_REFUSAL: Duration = Duration::from_secs(4);

/// The delays between attempts: exponential back-off of 1, 2, 4, .. 60 s with full jitter, so that the
/// agents of a fleet do not all reconnect in the same second when their dashboard restarts.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    /// Failed attempts since the last successful registration.
    attempts: u32,
}

/// Why the last attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The network, or a dashboard that went away.
    Broken,
    /// The dashboard rejected this agent: a wrong token, or another agent with the same hostname.
    Refused,
}

impl Backoff {
    /// The delay before the next attempt; `draw` is a random number in `0.0..1.0`.
    pub fn next(&mut self, cause: Cause, draw: f64) -> Duration {
        let first = match cause {
            Cause::Broken => Duration::from_secs(1),
            Cause::Refused => FIRST_AFTER_REFUSAL,
        };
        let envelope = first.saturating_mul(1 << self.attempts.min(10)).min(CAP);
        self.attempts = self.attempts.saturating_add(1);
        match cause {
            Cause::Broken => envelope.mul_f64(draw),
            // At least half of the back-off: a refusal must be retried slowly.
            Cause::Refused => envelope.mul_f64(0.5 + draw / 2.0),
        }
    }

    fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Continues with the longest back-off.
    fn exhaust(&mut self) {
        self.attempts = 10;
    }
}

/// A connection that the dashboard closes this soon after the registration counts as an eviction.
const SHORT_LIVED: Duration = Duration::from_secs(5);

/// This many evictions in a row are no coincidence. Most likely two agents use the same hostname and
/// evict each other in turn.
const SHORT_LIVED_LIMIT: u32 = 3;

/// When to connect again, judged by how the previous connections ended.
#[derive(Debug, Clone, Default)]
pub struct Reconnect {
    backoff: Backoff,
    /// Evictions in a row.
    short_lived: u32,
}

impl Reconnect {
    /// The dashboard accepted the registration. Only this resets the back-off: a dashboard that accepts
    /// connections and drops them would otherwise get an attempt every second.
    pub fn registered(&mut self) {
        if self.short_lived < SHORT_LIVED_LIMIT {
            self.backoff.reset();
        }
    }

    /// The delay after a failed attempt to connect.
    pub fn after_failure(&mut self, cause: Cause, draw: f64) -> Duration {
        self.backoff.next(cause, draw)
    }

    /// The delay after a session. `closed`: the dashboard sent a close frame. `lasted`: time since the
    /// registration, if there was one. `window`: the time over which the dashboard wants its agents to
    /// spread their reconnects. `draw` is a random number in `0.0..1.0`.
    pub fn after_session(
        &mut self,
        closed: bool,
        lasted: Option<Duration>,
        window: Duration,
        draw: f64,
    ) -> Duration {
        let evicted = closed && lasted.is_some_and(|time| time < SHORT_LIVED);
        self.short_lived = if evicted { self.short_lived + 1 } else { 0 };
        if lasted.is_some_and(|time| time >= SHORT_LIVED) {
            self.backoff.reset();
        }
        if self.evicted().is_none() {
            // The window applies once for each registration; further attempts get the usual delays.
            let window = if lasted.is_some() { window } else { Duration::ZERO };
            return self.backoff.next(Cause::Broken, draw).max(window.mul_f64(draw));
        }
        self.backoff.exhaust();
        self.backoff.next(Cause::Refused, draw)
    }

    /// Evictions in a row, once there are too many for a coincidence.
    pub fn evicted(&self) -> Option<u32> {
        Some(self.short_lived).filter(|times| *times >= SHORT_LIVED_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelopes(cause: Cause, draw: f64) -> Vec<f64> {
        let mut backoff = Backoff::default();
        (0..8).map(|_| backoff.next(cause, draw).as_secs_f64()).collect()
    }

    #[test]
    fn the_envelope_doubles_up_to_a_minute() {
        assert_eq!(envelopes(Cause::Broken, 1.0), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!(envelopes(Cause::Refused, 1.0), [4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]);
        assert_eq!(envelopes(Cause::Refused, 0.0), [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]);
    }

    #[test]
    fn a_reset_starts_over_and_exhaustion_goes_to_the_end() {
        let mut backoff = Backoff::default();
        backoff.next(Cause::Broken, 1.0);
        backoff.reset();
        assert_eq!(backoff.next(Cause::Broken, 1.0), Duration::from_secs(1));
        backoff.exhaust();
        assert_eq!(backoff.next(Cause::Broken, 1.0), CAP);
    }

    const NO_WINDOW: Duration = Duration::ZERO;
    const LONG: Option<Duration> = Some(Duration::from_secs(60));
    const SHORT: Option<Duration> = Some(Duration::from_secs(1));

    #[test]
    fn only_a_registration_starts_the_delays_over() {
        let mut reconnect = Reconnect::default();
        let seconds = |delay: Duration| delay.as_secs_f64();
        assert_eq!(seconds(reconnect.after_failure(Cause::Broken, 1.0)), 1.0);
        assert_eq!(
            seconds(reconnect.after_session(true, None, NO_WINDOW, 1.0)),
            2.0,
            "connected, never registered"
        );
        assert_eq!(seconds(reconnect.after_session(false, None, NO_WINDOW, 1.0)), 4.0);
        reconnect.registered();
        assert_eq!(seconds(reconnect.after_session(false, LONG, NO_WINDOW, 1.0)), 1.0);
    }

    #[test]
    fn agents_spread_their_return_as_the_dashboard_wishes() {
        let window = Duration::from_secs(300);
        let delay = |draw| Reconnect::default().after_session(false, LONG, window, draw).as_secs_f64();
        assert_eq!((delay(1.0), delay(0.5), delay(0.0)), (300.0, 150.0, 0.0));
        let mut reconnect = Reconnect::default();
        reconnect.after_session(false, LONG, window, 1.0);
        let next = reconnect.after_failure(Cause::Broken, 1.0);
        assert_eq!(next, Duration::from_secs(2), "spread once, the usual delays from then on");
        let next = reconnect.after_session(false, None, window, 1.0);
        assert_eq!(next, Duration::from_secs(4), "connected, and not registered");
    }

    #[test]
    fn two_agents_that_evict_each_other_slow_down_until_one_stays() {
        let mut reconnect = Reconnect::default();
        for turn in 1..=5 {
            reconnect.registered();
            let delay = reconnect.after_session(true, SHORT, NO_WINDOW, 1.0);
            assert_eq!(delay, if turn < 3 { Duration::from_secs(1) } else { CAP }, "turn {turn}");
            assert_eq!(reconnect.evicted(), (turn >= 3).then_some(turn));
        }
        reconnect.registered();
        reconnect.after_session(false, LONG, NO_WINDOW, 1.0);
        assert_eq!(reconnect.evicted(), None);
        reconnect.registered();
        assert_eq!(reconnect.after_session(true, SHORT, NO_WINDOW, 1.0), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn every_delay_is_within_its_envelope(draws in prop::collection::vec(0.0..1.0f64, 1..100)) {
            let mut backoff = Backoff::default();
            for (n, draw) in draws.into_iter().enumerate() {
                let delay = backoff.next(Cause::Broken, draw);
                prop_assert!(delay <= Duration::from_secs(1 << n.min(6)).min(CAP));
            }
        }
    }
}
