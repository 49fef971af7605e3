//! How long to wait before the next attempt to connect, and what makes the delays start over.

use std::time::Duration;

use tokio::time::Instant;

use crate::dial::Cause;

/// The longest back-off. Only a random delay below it is used.
pub const CAP: Duration = Duration::from_secs(60);

/// The longest back-off after a local failure on a host that does not announce changes of its network to
/// the agent. Such attempts send nothing to the dashboard, so many hosts together make no storm. A host
/// whose network comes up late is then online after 5 s on average.
const UNANNOUNCED_CAP: Duration = Duration::from_secs(10);

/// The shortest time between two fresh starts of the delays. A link that goes up and down all the time
/// causes three or four attempts in it. When a host gets its network from DHCP, the link comes some seconds
/// before the address: the second fresh start is for the address.
const FRESH_START_INTERVAL: Duration = Duration::from_secs(5);

/// The first back-off after a refusal. A retry within a second cannot help: somebody has to change
/// the token first.
const FIRST_AFTER_REFUSAL: Duration = Duration::from_secs(4);

/// The delays between attempts: exponential back-off of 1, 2, 4, .. 60 s with full jitter, so that the
/// agents of a fleet do not all reconnect in the same second when their dashboard restarts.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    /// How often the delay was doubled: once for each attempt, less what connections that lasted took back.
    doublings: u32,
}

impl Backoff {
    /// The delay before the next attempt, drawn below `cap` at most; `draw` is a random number in `0.0..1.0`.
    fn next(&mut self, cause: Cause, cap: Duration, draw: f64) -> Duration {
        let first = match cause {
            Cause::Local | Cause::Broken => Duration::from_secs(1),
            Cause::Refused => FIRST_AFTER_REFUSAL,
        };
        let envelope = first.saturating_mul(1 << self.doublings).min(cap);
        self.doublings = (self.doublings + 1).min(DOUBLINGS);
        match cause {
            Cause::Local | Cause::Broken => envelope.mul_f64(draw),
            // At least half of the back-off: a refusal must be retried slowly.
            Cause::Refused => envelope.mul_f64(0.5 + draw / 2.0),
        }
    }

    fn reset(&mut self) {
        self.doublings = 0;
    }

    /// A connection lasted this long.
    fn lasted(&mut self, time: Duration) {
        let steps = u32::try_from(time.as_secs() / STEP.as_secs()).unwrap_or(u32::MAX);
        self.doublings = self.doublings.saturating_sub(steps);
    }

    /// Continues with the longest back-off.
    fn exhaust(&mut self) {
        self.doublings = DOUBLINGS;
    }
}

/// How long a connection must last after the registration to take back one doubling of the delays. So after half a
/// minute they start over, and a poor link that breaks every few seconds keeps short delays. A dashboard that registers
/// agents and then breaks gets fewer and fewer attempts; if `registered` alone started the delays over, it would get
/// one a second from each agent, for ever.
const STEP: Duration = Duration::from_secs(5);

/// Doublings from the first delay to the longest one.
const DOUBLINGS: u32 = 6;

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
    /// The last attempt failed within this host.
    local: bool,
    /// The last attempt failed because of the time.
    about_time: bool,
    /// When a change of this host last started the delays over.
    fresh_start: Option<Instant>,
}

impl Reconnect {
    /// The delay after a failed attempt to connect. `announced`: the agent will be told of changes of this
    /// host's network.
    pub fn after_failure(&mut self, cause: Cause, announced: bool, draw: f64) -> Duration {
        self.local = cause == Cause::Local;
        self.about_time = false;
        self.backoff.next(cause, if self.local && !announced { UNANNOUNCED_CAP } else { CAP }, draw)
    }

    /// The last failure was about the time, so another time may help.
    pub fn note_about_time(&mut self) {
        self.about_time = true;
    }

    /// Whether a step of the wall clock may help.
    pub fn is_about_time(&self) -> bool {
        self.about_time
    }

    /// The host slept for so long.
    pub fn slept(&mut self, time: Duration) {
        // The time between two fresh starts is there for the dashboard, which does not sleep.
        self.fresh_start.take_if(|_| time >= FRESH_START_INTERVAL);
    }

    /// From when on something that helps starts the delays over.
    pub fn fresh_start_at(&self, now: Instant) -> Instant {
        self.fresh_start.map_or(now, |last| now.max(last + FRESH_START_INTERVAL))
    }

    /// From when on a change of this host's network starts the delays over; none if no change may, because
    /// the last failure was not within this host.
    pub fn fresh_start_from(&self, now: Instant) -> Option<Instant> {
        self.local.then(|| self.fresh_start_at(now))
    }

    /// This host changed so that an attempt may succeed: starts the delays over at `now`, and returns the first one. It
    /// is random as well, because all hosts behind one switch see its return in the same moment.
    pub fn start_over(&mut self, now: Instant, draw: f64) -> Duration {
        self.fresh_start = Some(now);
        self.backoff.reset();
        self.backoff.next(Cause::Local, CAP, draw)
    }

    /// The delay after a session, judged by how long it held, whatever ended it. `closed`: the dashboard sent a close
    /// frame. `lasted`: time since the registration, if there was one. `window`: the time over which the dashboard
    /// wants its agents to spread their reconnects. `draw` is a random number in `0.0..1.0`.
    pub fn after_session(
        &mut self,
        closed: bool,
        lasted: Option<Duration>,
        window: Duration,
        draw: f64,
    ) -> Duration {
        (self.local, self.about_time) = (false, false);
        let evicted = closed && lasted.is_some_and(|time| time < SHORT_LIVED);
        self.short_lived = if evicted { self.short_lived + 1 } else { 0 };
        self.backoff.lasted(lasted.unwrap_or_default());
        if self.evicted().is_none() {
            // The window applies once for each registration; further attempts get the usual delays.
            let window = if lasted.is_some() { window } else { Duration::ZERO };
            return self.backoff.next(Cause::Broken, CAP, draw).max(window.mul_f64(draw));
        }
        self.backoff.exhaust();
        self.backoff.next(Cause::Refused, CAP, draw)
    }

    /// The agent is replaced because the dashboard asked for that; its connection lasted so long. Returns what the next
    /// agent has to know: a restart counts as a lost connection, so that a dashboard that asks each new agent for one
    /// gets fewer and fewer of them.
    pub fn restarting(&mut self, lasted: Option<Duration>) -> u32 {
        self.backoff.lasted(lasted.unwrap_or_default());
        // One more than there are: the next agent's first attempt takes one back.
        self.backoff.doublings + 1
    }

    /// Goes on where the agent before a restart was. Returns the delay before the first attempt; none after a single
    /// restart.
    pub fn restarted(&mut self, doublings: u32, draw: f64) -> Option<Duration> {
        self.backoff.doublings = doublings.checked_sub(1)?.min(DOUBLINGS);
        let delay = self.backoff.next(Cause::Broken, CAP, draw);
        (doublings > 1).then_some(delay)
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
        (0..8).map(|_| backoff.next(cause, CAP, draw).as_secs_f64()).collect()
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
        backoff.next(Cause::Broken, CAP, 1.0);
        backoff.reset();
        assert_eq!(backoff.next(Cause::Broken, CAP, 1.0), Duration::from_secs(1));
        backoff.exhaust();
        assert_eq!(backoff.next(Cause::Broken, CAP, 1.0), CAP);
    }

    /// Each agent tells the next one how often the delay is doubled.
    #[test]
    fn restarts_in_a_row_are_delayed_more_and_more_and_a_single_one_is_not() {
        let mut doublings = 0;
        let mut restart = |lasted: u64| {
            let mut reconnect = Reconnect::default();
            let delay = reconnect.restarted(doublings, 1.0);
            doublings = reconnect.restarting(Some(Duration::from_secs(lasted)));
            delay.map(|delay| delay.as_secs())
        };
        let quick: Vec<Option<u64>> = (0..10).map(|_| restart(0)).collect();
        let expected =
            [0, 0, 2, 4, 8, 16, 32, 60, 60, 60].map(|delay| Some(delay).filter(|delay| *delay > 0));
        assert_eq!(quick, expected);
        assert_eq!(restart(60), Some(60), "the connection before this one was short");
        assert_eq!(restart(60), None, "the one before this one held");
    }

    const NO_WINDOW: Duration = Duration::ZERO;
    const LONG: Option<Duration> = Some(Duration::from_secs(60));
    const SHORT: Option<Duration> = Some(Duration::from_secs(1));

    #[test]
    fn only_a_connection_that_held_starts_the_delays_over() {
        let mut reconnect = Reconnect::default();
        let seconds = |delay: Duration| delay.as_secs_f64();
        assert_eq!(seconds(reconnect.after_failure(Cause::Broken, true, 1.0)), 1.0);
        assert_eq!(
            seconds(reconnect.after_session(true, None, NO_WINDOW, 1.0)),
            2.0,
            "connected, never registered"
        );
        assert_eq!(seconds(reconnect.after_session(false, None, NO_WINDOW, 1.0)), 4.0);
        for (lasted, delay) in
            [(0, 8.0), (4, 16.0), (5, 16.0), (10, 8.0), (0, 16.0), (1, 32.0), (2, 60.0), (3, 60.0)]
        {
            let after = reconnect.after_session(false, Some(Duration::from_secs(lasted)), NO_WINDOW, 1.0);
            assert_eq!(seconds(after), delay, "registered, and reset after {lasted} s");
        }
        assert_eq!(seconds(reconnect.after_session(false, Some(6 * STEP), NO_WINDOW, 1.0)), 1.0);
        for _ in 0..10 {
            let poor_link = reconnect.after_session(false, Some(2 * STEP), NO_WINDOW, 1.0);
            assert_eq!(seconds(poor_link), 1.0);
        }
    }

    #[test]
    fn a_dashboard_that_registers_and_breaks_is_left_alone_more_and_more() {
        fastrand::seed(7);
        for closed in [true, false] {
            let mut reconnect = Reconnect::default();
            let (mut attempts, mut seconds) = (0, 0.0);
            while seconds < 3600.0 {
                attempts += 1;
                let lasted = Some(Duration::from_millis(150));
                seconds +=
                    0.15 + reconnect.after_session(closed, lasted, NO_WINDOW, fastrand::f64()).as_secs_f64();
            }
            assert!(attempts < 200, "{attempts} in an hour, closed: {closed}");
        }
    }

    #[test]
    fn agents_spread_their_return_as_the_dashboard_wishes() {
        let window = Duration::from_secs(300);
        let delay = |draw| Reconnect::default().after_session(false, LONG, window, draw).as_secs_f64();
        assert_eq!((delay(1.0), delay(0.5), delay(0.0)), (300.0, 150.0, 0.0));
        let mut reconnect = Reconnect::default();
        reconnect.after_session(false, LONG, window, 1.0);
        let next = reconnect.after_failure(Cause::Broken, true, 1.0);
        assert_eq!(next, Duration::from_secs(2), "spread once, the usual delays from then on");
        let next = reconnect.after_session(false, None, window, 1.0);
        assert_eq!(next, Duration::from_secs(4), "connected, and not registered");
    }

    #[test]
    fn two_agents_that_evict_each_other_slow_down_until_one_stays() {
        let mut reconnect = Reconnect::default();
        for turn in 1..=5 {
            let delay = reconnect.after_session(true, SHORT, NO_WINDOW, 1.0);
            assert_eq!(delay, if turn < 3 { Duration::from_secs(turn.into()) } else { CAP }, "turn {turn}");
            assert_eq!(reconnect.evicted(), (turn >= 3).then_some(turn));
        }
        reconnect.after_session(false, LONG, NO_WINDOW, 1.0);
        assert_eq!(reconnect.evicted(), None);
        assert_eq!(reconnect.after_session(true, SHORT, NO_WINDOW, 1.0), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_network_starts_over_only_after_a_local_failure() {
        let now = Instant::now();
        for (cause, wanted) in [(Cause::Local, Some(now)), (Cause::Broken, None), (Cause::Refused, None)] {
            let mut reconnect = Reconnect::default();
            assert_eq!(reconnect.fresh_start_from(now), None, "before the first failure");
            reconnect.after_failure(cause, true, 1.0);
            assert_eq!(reconnect.fresh_start_from(now), wanted, "{cause:?}");
            // The network is there again, and the next attempt gets an answer.
            reconnect.after_failure(Cause::Broken, true, 1.0);
            assert_eq!(reconnect.fresh_start_from(now), None, "{cause:?}");
            reconnect.after_failure(Cause::Local, true, 1.0);
            reconnect.after_session(false, LONG, NO_WINDOW, 1.0);
            assert_eq!(reconnect.fresh_start_from(now), None, "after a session");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fresh_starts_are_quick_and_have_a_distance() {
        let now = Instant::now();
        let mut reconnect = Reconnect::default();
        let fail = |reconnect: &mut Reconnect| reconnect.after_failure(Cause::Local, true, 1.0).as_secs();
        let delays: Vec<u64> = (0..8).map(|_| fail(&mut reconnect)).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(reconnect.start_over(now, 0.5), Duration::from_millis(500));
        assert_eq!((fail(&mut reconnect), fail(&mut reconnect)), (2, 4), "the usual delays from then on");
        let next = now + FRESH_START_INTERVAL;
        assert_eq!(reconnect.fresh_start_from(now), Some(next), "too soon");
        assert_eq!(reconnect.fresh_start_from(now + Duration::from_secs(3)), Some(next));
        let later = now + Duration::from_secs(60);
        assert_eq!(reconnect.fresh_start_from(later), Some(later));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_sleep_is_a_distance_between_fresh_starts_and_a_short_one_is_none() {
        let now = Instant::now();
        let mut reconnect = Reconnect::default();
        assert_eq!(reconnect.fresh_start_at(now), now);
        reconnect.start_over(now, 0.5);
        reconnect.slept(FRESH_START_INTERVAL - Duration::from_secs(1));
        assert_eq!(reconnect.fresh_start_at(now), now + FRESH_START_INTERVAL);
        reconnect.slept(FRESH_START_INTERVAL);
        assert_eq!(reconnect.fresh_start_at(now), now);
    }

    #[test]
    fn only_the_last_failure_is_about_the_time() {
        let mut reconnect = Reconnect::default();
        let note = |reconnect: &mut Reconnect| {
            reconnect.after_failure(Cause::Broken, true, 1.0);
            reconnect.note_about_time();
            assert!(reconnect.is_about_time());
        };
        note(&mut reconnect);
        reconnect.after_failure(Cause::Broken, true, 1.0);
        assert!(!reconnect.is_about_time());
        note(&mut reconnect);
        reconnect.after_session(false, None, NO_WINDOW, 1.0);
        assert!(!reconnect.is_about_time());
    }

    #[test]
    fn unannounced_changes_are_looked_for_more_often_within_this_host_alone() {
        let mut reconnect = Reconnect::default();
        let mut delays = |cause, announced| -> Vec<u64> {
            (0..3).map(|_| reconnect.after_failure(cause, announced, 1.0).as_secs()).collect()
        };
        assert_eq!(delays(Cause::Local, false), [1, 2, 4]);
        assert_eq!(delays(Cause::Local, false), [8, 10, 10]);
        assert_eq!(delays(Cause::Broken, false), [60, 60, 60]);
        assert_eq!(delays(Cause::Local, true), [60, 60, 60]);
    }

    proptest! {
        #[test]
        fn every_delay_is_within_its_envelope(draws in prop::collection::vec(0.0..1.0f64, 1..100)) {
            let mut backoff = Backoff::default();
            for (n, draw) in draws.into_iter().enumerate() {
                let delay = backoff.next(Cause::Broken, CAP, draw);
                prop_assert!(delay <= Duration::from_secs(1 << n.min(6)).min(CAP));
            }
        }
    }
}
