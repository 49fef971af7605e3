//! Which heartbeats the dashboard has not acknowledged yet.
//!
//! A pong shows that the peer reads frames. An acknowledgement shows that the dashboard behind it has
//! processed the heartbeat. The agent expects acknowledgements only from a dashboard that announces them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long an acknowledgement may take: long enough for a busy dashboard, and far below the 45 s after
/// which a silent connection ends.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The connection ends when this many heartbeats in a row are not acknowledged.
pub const LIMIT: usize = 3;

/// Heartbeats that may wait for an acknowledgement: a minute of them at the shortest interval.
const WAITING: usize = 64;

/// The heartbeats without an acknowledgement.
#[derive(Debug, Default)]
pub struct Acks {
    /// The dashboard announced acknowledgements.
    expected: bool,
    /// Sequence number and time of sending, oldest first.
    waiting: VecDeque<(u64, Instant)>,
}

impl Acks {
    /// The dashboard said whether it sends acknowledgements. Heartbeats that were sent before do not count.
    pub fn expect(&mut self, expected: bool) {
        self.expected = expected;
        self.waiting.clear();
    }

    /// Whether the dashboard acknowledges heartbeats.
    pub fn expected(&self) -> bool {
        self.expected
    }

    /// A heartbeat is being written. One that was replaced in the queue was never sent, and does not count.
    pub fn sent(&mut self, seq: u64, now: Instant) {
        if self.expected {
            if self.waiting.len() >= WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back((seq, now));
        }
    }

    /// An acknowledgement was received. Returns the round trip of that heartbeat, and how many earlier ones
    /// are missing: frames arrive in order, so those will never be acknowledged.
    pub fn received(&mut self, seq: u64, now: Instant) -> Option<(Duration, usize)> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == seq)?;
        let (_, sent) = self.waiting.drain(..=at).next_back()?;
        Some((now.duration_since(sent), at))
    }

    /// When to end the connection: when the last of [`LIMIT`] heartbeats in a row is overdue.
    pub fn gives_up_at(&self) -> Option<Instant> {
        self.waiting.get(LIMIT - 1).map(|(_, sent)| *sent + TIMEOUT)
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
        assert_eq!(acks.gives_up_at(), Some(start + seconds(2) + TIMEOUT));
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
