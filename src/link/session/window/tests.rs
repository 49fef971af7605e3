//! The window, on links of all kinds, each of them a queue that is emptied at a constant rate.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A link with a round trip, which carries so many bytes a second, one after the other.
struct Link {
    window: Window,
    now: Instant,
    trip: Duration,
    rate: u64,
    /// When the last byte that was sent is through.
    free_at: Instant,
    /// Pongs to come: when, bytes that were on their way, bytes of the batch, when it was sent.
    pongs: VecDeque<(Instant, usize, usize, Instant)>,
    in_flight: usize,
    carried: u64,
    /// The longest time that a beat would have waited behind output.
    longest: Duration,
}

impl Link {
    fn new(trip: Duration, rate: u64) -> Self {
        let now = Instant::now();
        let pongs = VecDeque::new();
        Self {
            window: Window::default(),
            now,
            trip,
            rate,
            free_at: now,
            pongs,
            in_flight: 0,
            carried: 0,
            longest: Duration::ZERO,
        }
    }

    fn send(&mut self) {
        let bytes = self.window.batch(self.now).min(32 * 1024);
        self.in_flight += bytes;
        let takes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.rate);
        self.free_at = self.free_at.max(self.now) + takes;
        self.longest = self.longest.max(self.free_at - self.now);
        // Pongs come in their order.
        let before = self.pongs.back().map_or(self.now, |(at, ..)| *at);
        self.pongs.push_back((before.max(self.free_at + self.trip), self.in_flight, bytes, self.now));
    }

    /// Sends as much as the window lets through, for that long.
    fn flood(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            while self.window.has_room(self.in_flight, self.now) {
                self.send();
            }
            let (at, in_flight, bytes, sent) = self.pongs.pop_front().expect("something is on its way");
            self.now = at;
            self.in_flight -= bytes;
            self.carried += bytes as u64;
            self.window.measured(in_flight, bytes, at - sent, at);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_beat_waits_for_half_a_second_and_the_link_is_used() {
    const SECONDS: u64 = 100;
    for trip in [0, 1, 20, 100, 300, 700] {
        for rate in [5_000, 20_000, 100_000, 1_000_000, 100_000_000] {
            let mut link = Link::new(trip * MS, rate);
            link.flood(Duration::from_secs(SECONDS));
            // What one measurement has emptied is filled at once, so the queue is as long as the round trip then.
            let queue = Duration::from_millis(500).max(trip * MS + 2 * QUEUE);
            // The least that may be on its way is a queue of its own on such a link, which is taken for the way.
            let least = Duration::from_secs(LEAST as u64) / u32::try_from(rate).unwrap();
            let queue = queue + least.checked_sub(2 * QUEUE).map_or(Duration::ZERO, |_| least);
            let first = Duration::from_secs(FIRST as u64 * 5 / 4) / u32::try_from(rate).unwrap();
            assert!(link.longest <= queue.max(first), "{trip} ms, {rate} B/s: {:?}", link.longest);
            let can = rate.min(MOST as u64 * 1000 / u64::from(trip).max(1)) * SECONDS;
            let used = link.carried as f64 / can as f64;
            assert!(used > 0.8, "{trip} ms, {rate} B/s: {used}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_becomes_slow_is_noticed_and_so_is_a_fast_one() {
    let mut link = Link::new(50 * MS, 10_000_000);
    link.flood(Duration::from_secs(5));
    assert_eq!(link.window.bytes, MOST);
    link.rate = 20_000;
    // What was on its way already is through after 13 s.
    link.flood(Duration::from_secs(20));
    link.longest = Duration::ZERO;
    link.flood(Duration::from_secs(100));
    assert!(link.longest <= 500 * MS, "{:?}", link.longest);
    link.rate = 10_000_000;
    link.flood(Duration::from_secs(2));
    assert_eq!(link.window.bytes, MOST);
}

#[tokio::test(start_paused = true)]
async fn a_longer_way_is_not_taken_for_a_queue_for_ever() {
    let mut link = Link::new(10 * MS, 1_000_000);
    link.flood(Duration::from_secs(5));
    link.trip = 700 * MS;
    link.flood(2 * AGE);
    link.carried = 0;
    link.flood(Duration::from_secs(20));
    let used = link.carried as f64 / (MOST as f64 / 0.7 * 20.0);
    assert!(used > 0.8, "{used}");
}

/// As those of a radio that sleeps now and then, or of a dashboard that is busy.
#[tokio::test(start_paused = true)]
async fn round_trips_of_any_length_are_not_taken_for_a_queue() {
    let mut random = fastrand::Rng::with_seed(1);
    for (what, trips) in [("even", [20, 140, 260, 380, 500]), ("mostly long", [300, 300, 300, 300, 30])] {
        let mut link = Link::new(20 * MS, 10_000_000);
        let begin = link.now;
        while link.now - begin < Duration::from_secs(200) {
            link.trip = trips[random.usize(..trips.len())] * MS;
            link.flood(MS);
        }
        let rate = link.carried / 200;
        assert!(rate > 200_000, "{what}: {rate} B/s");
    }
}

#[tokio::test(start_paused = true)]
async fn little_output_says_nothing_about_a_fast_link_and_a_ping_nothing_about_its_rate() {
    let now = Instant::now();
    let mut window = Window::default();
    for (bytes, own, took, expected) in [
        (0, 0, 10 * MS, FIRST),
        // A line.
        (200, 200, 10 * MS, FIRST),
        (FIRST, 1000, 10 * MS, 2 * FIRST),
        (2 * FIRST, 1000, 200 * MS, 2 * FIRST * 210 / 200),
        // A ping waits for a dashboard that is busy.
        (0, 0, 5000 * MS, 2 * FIRST * 210 / 200),
        (2 * FIRST, 1000, 420 * MS, FIRST),
        (FIRST, 1000, 60_000 * MS, LEAST),
        (MOST, MOST, MS / 1000, MOST),
    ] {
        window.measured(bytes, own, took, now);
        assert_eq!(window.bytes, expected, "{bytes} bytes in {took:?}");
    }
}

proptest! {
    #[test]
    fn the_window_has_its_bounds_whatever_was_measured(
        measured in prop::collection::vec((0..4 * MOST, 0..MOST, 0..u64::MAX / 2, 0..100_000_u64), 1..50)
    ) {
        let mut now = Instant::now();
        let mut window = Window::default();
        for (bytes, own, took, later) in measured {
            now += Duration::from_millis(later);
            window.measured(bytes, own.min(bytes), Duration::from_nanos(took), now);
            prop_assert!((LEAST..=MOST).contains(&window.bytes), "{}", window.bytes);
            prop_assert!(window.has_room(0, now), "an empty link always has room");
            prop_assert!(!window.has_room(MOST, now));
            prop_assert!(window.batch(now) >= LEAST / PART);
        }
    }
}
