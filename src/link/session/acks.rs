//! Which heartbeats the dashboard has acknowledged (seed 001).
//!
//! A pong proves that the peer reads; an acknowledgement proves that the dashboard behind it took the
//! beat for one. A dashboard announces that it sends them, or none are waited for.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long an acknowledgement may take: what a busy dashboard needs, far below the 45 s of silence.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// So many missing in a row mean that nobody is there who takes beats (seed 001).
pub const LIMIT: usize = 3;

/// Beats that may wait for one: a minute of beats at the shortest interval.
const WAITING: usize = 64;

/// The beats without an acknowledgement.
#[derive(Debug, Default)]
pub struct Acks {
    expected: bool,
    waiting: VecDeque<(u64, Instant)>,
}

impl Acks {
    /// The dashboard has said whether it acknowledges; what was sent before does not count.
    pub fn expect(&mut self, expected: bool) {
        self.expected = expected;
        self.waiting.clear();
    }

    /// A beat goes out.
    pub fn sent(&mut self, seq: u64, now: Instant) {
        if self.expected {
            if self.waiting.len() >= WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back((seq, now));
        }
    }

    /// An acknowledgement came. Returns the round trip of that beat and how many before it were
    /// passed over: frames come in order, so theirs will not come any more.
    pub fn received(&mut self, seq: u64, now: Instant) -> Option<(Duration, usize)> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == seq)?;
        let (_, sent) = self.waiting.drain(..=at).next_back()?;
        Some((now.duration_since(sent), at))
    }

    /// When the connection is to be given up: the last of [`LIMIT`] beats in a row is overdue.
    pub fn gives_up_at(&self) -> Option<Instant> {
        self.waiting.get(LIMIT - 1).map(|(_, sent)| *sent + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn the_round_trip_is_that_of_the_beat_and_older_ones_are_passed_over() {
        let start = Instant::now();
        let mut acks = Acks::default();
        acks.expect(true);
        for seq in 1..=3 {
            acks.sent(seq, start + seconds(seq));
        }
        assert_eq!(acks.received(9, start), None, "never sent");
        assert_eq!(acks.received(2, start + seconds(5)), Some((seconds(3), 1)));
        assert_eq!(acks.received(2, start + seconds(5)), None, "once");
        assert_eq!(acks.received(1, start + seconds(5)), None, "too late");
        assert_eq!(acks.received(3, start + seconds(5)), Some((seconds(2), 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn three_in_a_row_are_too_many_and_only_for_a_dashboard_that_promised() {
        let start = Instant::now();
        let mut acks = Acks::default();
        acks.sent(1, start);
        assert_eq!(acks.gives_up_at(), None, "nothing was announced");
        acks.expect(true);
        acks.sent(2, start);
        acks.sent(3, start + seconds(1));
        assert_eq!(acks.gives_up_at(), None);
        acks.sent(4, start + seconds(2));
        assert_eq!(acks.gives_up_at(), Some(start + seconds(2) + PATIENCE));
        acks.received(2, start + seconds(3));
        assert_eq!(acks.gives_up_at(), None, "the row is broken");
        for seq in 5..500 {
            acks.sent(seq, start);
        }
        assert_eq!(acks.waiting.len(), WAITING);
        acks.expect(false);
        assert_eq!(acks.gives_up_at(), None);
    }
}
