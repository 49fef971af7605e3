//! Tables of delays.

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
    let expected = [0, 0, 2, 4, 8, 16, 32, 60, 60, 60].map(|delay| Some(delay).filter(|delay| *delay > 0));
    assert_eq!(quick, expected);
    assert_eq!(restart(60), Some(60), "the connection before this one was short");
    assert_eq!(restart(60), None, "the one before this one held");
}

const NO_WINDOW: Duration = Duration::ZERO;
const LONG: Option<Duration> = Some(Duration::from_secs(600));
const SHORT: Option<Duration> = Some(Duration::from_secs(1));

/// An agent whose time goes on with its delays.
struct Host {
    reconnect: Reconnect,
    now: Instant,
    window: Duration,
    draw: f64,
}

impl Host {
    /// It was never connected, draws the longest delays and knows of no window.
    fn new() -> Self {
        Self { reconnect: Reconnect::default(), now: Instant::now(), window: NO_WINDOW, draw: 1.0 }
    }

    /// It was connected a moment ago.
    fn of_window(window: u64, draw: f64) -> Self {
        let mut host = Self { window: Duration::from_secs(window), draw, ..Self::new() };
        host.reconnect.registered = true;
        host
    }

    fn terms(&self) -> Terms {
        Terms { now: self.now, window: self.window, draw: self.draw }
    }

    fn passes(&mut self, delay: Duration) -> f64 {
        self.now += delay;
        delay.as_secs_f64()
    }

    /// The delay in seconds after an attempt that failed at once.
    fn fails(&mut self, cause: Cause, announced: bool) -> f64 {
        self.is_asked(cause, announced, None)
    }

    fn is_asked(&mut self, cause: Cause, announced: bool, asked: Option<u64>) -> f64 {
        let asked = asked.map(Duration::from_secs);
        let delay = self.reconnect.after_failure(cause, announced, asked, self.terms());
        self.passes(delay)
    }

    /// The delay in seconds after a connection that ended now.
    fn loses(&mut self, closed: bool, lasted: Option<Duration>) -> f64 {
        let delay = self.reconnect.after_session(closed, lasted, self.terms());
        self.passes(delay)
    }
}

#[test]
fn only_a_connection_that_held_starts_the_delays_over() {
    let mut host = Host::new();
    assert_eq!(host.fails(Cause::Broken, true), 1.0);
    assert_eq!(host.loses(true, None), 2.0, "connected, never registered");
    assert_eq!(host.loses(false, None), 4.0);
    for (lasted, delay) in
        [(0, 8.0), (4, 16.0), (5, 16.0), (10, 8.0), (0, 16.0), (1, 32.0), (2, 60.0), (3, 60.0)]
    {
        let after = host.loses(false, Some(Duration::from_secs(lasted)));
        assert_eq!(after, delay, "registered, and reset after {lasted} s");
    }
    assert_eq!(host.loses(false, Some(6 * STEP)), 1.0);
    for _ in 0..10 {
        assert_eq!(host.loses(false, Some(2 * STEP)), 1.0, "a poor link");
    }
}

#[test]
fn a_dashboard_that_registers_and_breaks_is_left_alone_more_and_more() {
    let mut rng = fastrand::Rng::with_seed(7);
    for (closed, window) in [(true, 0), (false, 0), (true, 30), (false, 30)] {
        let mut host = Host::of_window(window, 0.0);
        let (mut attempts, mut seconds) = (0, 0.0);
        while seconds < 3600.0 {
            attempts += 1;
            host.draw = rng.f64();
            seconds += 0.15 + host.loses(closed, Some(Duration::from_millis(150)));
        }
        assert!(attempts < 200, "{attempts} in an hour, closed: {closed}, window: {window}");
    }
}

#[test]
fn agents_spread_their_return_as_the_dashboard_wishes() {
    let first = |draw| Host::of_window(300, draw).loses(false, LONG);
    assert_eq!((first(1.0), first(0.5), first(0.0)), (300.0, 150.0, 0.0));
    let mut host = Host::of_window(300, 0.5);
    host.loses(false, LONG);
    assert_eq!(host.fails(Cause::Broken, true), 300.0, "at its moment in the next window");
    // An attempt that took long does not move it, nor does the network of the host.
    host.passes(Duration::from_secs(15));
    assert_eq!(host.fails(Cause::Broken, true), 285.0);
    assert_eq!(host.fails(Cause::Local, false), 300.0);
    host.passes(Duration::from_secs(100));
    host.draw = 0.1;
    assert_eq!(host.reconnect.start_over(host.terms()), Duration::from_secs(200));
    host.passes(Duration::from_secs(200));
    for (asked, waits) in [(0, 300.0), (30, 300.0), (299, 600.0), (600, 900.0)] {
        assert_eq!(host.is_asked(Cause::Broken, true, Some(asked)), waits, "Retry-After: {asked}");
    }
    assert_eq!(host.fails(Cause::Refused, true), 300.0);
    assert_eq!(host.loses(false, None), 300.0, "connected, and not registered");
    assert_eq!(host.loses(true, SHORT), 300.0, "registered, and evicted before the others were back");
    assert_eq!(host.loses(false, LONG), 30.0, "a new moment");
    host.window = NO_WINDOW;
    host.draw = 0.5;
    assert!(host.fails(Cause::Broken, true) < 60.0, "the dashboard no longer wants it");
}

/// A moment of a short window is early in a long one, on all hosts: they would come back together.
#[test]
fn another_window_gets_another_moment() {
    let mut host = Host::of_window(60, 0.5);
    assert_eq!(host.loses(false, LONG), 30.0);
    for (window, draw, wanted) in [(600, 0.9, 540.0), (60, 0.9, 54.0)] {
        (host.window, host.draw) = (Duration::from_secs(window), draw);
        assert_eq!(host.fails(Cause::Broken, true), wanted, "window of {window} s");
    }
    host.window = NO_WINDOW;
    let delay = host.fails(Cause::Broken, true);
    assert!(delay < 30.0, "{delay}");
    (host.window, host.draw) = (Duration::from_secs(60), 0.5);
    assert_eq!(host.fails(Cause::Broken, true), 30.0, "the window is named anew");
}

#[test]
fn a_short_window_makes_no_attempts_beside_the_back_off() {
    let mut host = Host::of_window(5, 0.5);
    assert_eq!(host.loses(false, LONG), 2.5);
    let delays: Vec<f64> = (0..8).map(|_| host.fails(Cause::Broken, true)).collect();
    // The back-off, 1, 2, 4, 8, 16 and 30 s, up to the next moment.
    assert_eq!(delays, [5.0, 5.0, 5.0, 10.0, 20.0, 30.0, 30.0, 30.0]);
    host.window = Duration::from_secs(8);
    assert!(host.fails(Cause::Broken, true) < 38.0, "another window, other moments");
}

#[test]
fn a_dashboard_that_is_busy_gets_all_agents_over_as_long_a_time_as_they_waited() {
    for (asked, draw, waits) in [(0, 1.0, 1.0), (20, 0.0, 20.0), (20, 1.0, 40.0), (600, 1.0, 660.0)] {
        let mut host = Host { draw, ..Host::new() };
        assert_eq!(host.is_asked(Cause::Broken, true, Some(asked)), waits, "{asked} {draw}");
    }
}

#[test]
fn two_agents_that_evict_each_other_slow_down_until_one_stays() {
    let mut host = Host::new();
    for turn in 1..=5_u32 {
        let delay = host.loses(true, SHORT);
        assert_eq!(delay, if turn < 3 { f64::from(turn) } else { 60.0 }, "turn {turn}");
        assert_eq!(host.reconnect.evicted(), (turn >= 3).then_some(turn));
    }
    host.loses(false, Some(Duration::from_secs(60)));
    assert_eq!(host.reconnect.evicted(), None);
    assert_eq!(host.loses(true, SHORT), 2.0);
}

#[test]
fn a_change_of_the_network_starts_over_only_after_a_local_failure() {
    for (cause, is_wanted) in [(Cause::Local, true), (Cause::Broken, false), (Cause::Refused, false)] {
        let mut host = Host::new();
        let now = host.now;
        let from = |host: &Host| host.reconnect.fresh_start_from(now);
        assert_eq!(from(&host), None, "before the first failure");
        host.fails(cause, true);
        assert_eq!(from(&host), is_wanted.then_some(now), "{cause:?}");
        // The network is there again, and the next attempt gets an answer.
        host.fails(Cause::Broken, true);
        assert_eq!(from(&host), None, "{cause:?}");
        host.fails(Cause::Local, true);
        host.loses(false, LONG);
        assert_eq!(from(&host), None, "after a session");
    }
}

#[test]
fn fresh_starts_are_quick_and_have_a_distance() {
    let mut host = Host::of_window(0, 1.0);
    let delays: Vec<f64> = (0..8).map(|_| host.fails(Cause::Local, true)).collect();
    assert_eq!(delays, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    let now = host.now;
    let terms = Terms { draw: 0.5, ..host.terms() };
    assert_eq!(host.reconnect.start_over(terms), Duration::from_millis(500));
    let next = (host.fails(Cause::Local, true), host.fails(Cause::Local, true));
    assert_eq!(next, (2.0, 4.0), "the usual delays from then on");
    let next = now + FRESH_START_INTERVAL;
    assert_eq!(host.reconnect.fresh_start_from(now), Some(next), "too soon");
    assert_eq!(host.reconnect.fresh_start_from(now + Duration::from_secs(3)), Some(next));
    let later = now + Duration::from_secs(60);
    assert_eq!(host.reconnect.fresh_start_from(later), Some(later));
}

#[test]
fn unannounced_changes_are_looked_for_more_often_within_this_host_alone() {
    let mut host = Host::of_window(0, 1.0);
    let mut delays =
        |cause, announced| -> Vec<f64> { (0..3).map(|_| host.fails(cause, announced)).collect() };
    assert_eq!(delays(Cause::Local, false), [1.0, 2.0, 4.0]);
    assert_eq!(delays(Cause::Local, false), [8.0, 10.0, 10.0]);
    assert_eq!(delays(Cause::Broken, false), [60.0, 60.0, 60.0]);
    assert_eq!(delays(Cause::Local, true), [60.0, 60.0, 60.0]);
}

#[test]
fn only_an_agent_that_was_never_registered_tries_fast_in_its_first_minute() {
    for announced in [true, false] {
        let mut host = Host::new();
        let begun = host.now;
        assert_eq!(host.fails(Cause::Local, announced), 1.0);
        for _ in 0..29 {
            assert_eq!(host.fails(Cause::Local, announced), 2.0);
        }
        assert_eq!(host.fails(Cause::Local, announced), 2.0, "after {:?}", host.now - begun);
        let then = if announced { 60.0 } else { 10.0 };
        assert_eq!(host.fails(Cause::Local, announced), then, "after {:?}", host.now - begun);
        assert!(!host.reconnect.is_starting());
    }
    // What was sent to the dashboard has the usual delays, in the first minute as well.
    let mut host = Host::new();
    let delays: Vec<f64> = (0..5).map(|_| host.fails(Cause::Broken, true)).collect();
    assert_eq!(delays, [1.0, 2.0, 4.0, 8.0, 16.0]);
    assert_eq!(host.fails(Cause::Local, true), 2.0);
    assert!(host.reconnect.is_starting());
    host.loses(false, SHORT);
    assert!(!host.reconnect.is_starting());
    assert!(host.fails(Cause::Local, true) > 2.0, "it was registered");
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

    /// Whatever happens, a host tries at one moment in each window: so N hosts with random moments are N / window.
    #[test]
    fn a_host_has_one_moment_in_each_window(
        window in 1..=600_u64,
        events in prop::collection::vec((0..5_u8, 0.0..1.0f64, 0..100_000_u64), 1..50),
    ) {
        let mut host = Host::of_window(window, 0.3);
        host.loses(false, LONG);
        let begun = host.now;
        for (kind, draw, took) in events {
            // Attempts and sessions take their time, and sessions end before the window does.
            let took = Duration::from_millis(took).min(Duration::from_millis(window * 1000 - 1));
            host.draw = draw;
            host.now += took;
            match kind {
                0 => host.fails(Cause::Broken, true),
                1 => host.fails(Cause::Local, false),
                2 => host.is_asked(Cause::Broken, true, Some(took.as_secs() * 7)),
                3 => host.loses(true, Some(took)),
                _ => host.loses(false, None),
            };
            let passed = (host.now - begun).as_nanos();
            prop_assert_eq!(passed % Duration::from_secs(window).as_nanos(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_sleep_is_a_distance_between_fresh_starts_and_a_short_one_is_none() {
    let mut host = Host::new();
    let now = host.now;
    assert_eq!(host.reconnect.fresh_start_at(now), now);
    host.reconnect.start_over(host.terms());
    host.reconnect.slept(FRESH_START_INTERVAL - Duration::from_secs(1));
    assert_eq!(host.reconnect.fresh_start_at(now), now + FRESH_START_INTERVAL);
    host.reconnect.slept(FRESH_START_INTERVAL);
    assert_eq!(host.reconnect.fresh_start_at(now), now);
}

#[tokio::test(start_paused = true)]
async fn only_the_last_failure_is_about_the_time() {
    let mut host = Host::new();
    let terms = host.terms();
    let note = |reconnect: &mut Reconnect| {
        reconnect.after_failure(Cause::Broken, true, None, terms);
        reconnect.note_about_time();
        assert!(reconnect.is_about_time());
    };
    note(&mut host.reconnect);
    host.reconnect.after_failure(Cause::Broken, true, None, terms);
    assert!(!host.reconnect.is_about_time());
    note(&mut host.reconnect);
    host.reconnect.after_session(false, None, terms);
    assert!(!host.reconnect.is_about_time());
}
