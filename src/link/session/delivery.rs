//! Which frames the dashboard has certainly read.
//!
//! A WebSocket peer handles frames in order, so the pong to a ping is a receipt for everything that was
//! sent before the ping. Only then may the agent forget it. The limit on bytes without a receipt also
//! bounds how much output can queue in the network in front of the next heartbeat.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::JobId;

/// Bytes of output that may be without a receipt: enough for 2.5 MB/s at a round trip of 100 ms.
const WINDOW: usize = 256 * 1024;

/// Pings that may be without a pong, for a peer that answers none. Beyond this the oldest is forgotten: a
/// later pong is a receipt for the same frames.
const UNANSWERED: usize = 4096;

/// How long output waits for any receipt before it is sent without one, so that a peer that answers no
/// pings still gets its output.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the pong to a ping confirms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// The dashboard has read the job's log entries up to this one.
    Lines(JobId, u64),
    /// The dashboard has read the job's status.
    Status(JobId),
    /// The dashboard has read the answer to `restart` or `reboot`.
    PendingExit,
}

#[derive(Debug)]
struct Sent {
    ping: u64,
    /// Bytes of output since the ping before.
    bytes: usize,
    at: Instant,
    receipt: Option<Receipt>,
}

/// The pings without a pong, and what their pongs will confirm.
#[derive(Debug, Default)]
pub struct DeliveryTracker {
    /// Number of the newest ping.
    last: u64,
    sent: VecDeque<Sent>,
    /// Bytes of output without a receipt.
    in_flight: usize,
    /// When a pong was last received. As long as pongs arrive, the link is slow but works.
    last_receipt_at: Option<Instant>,
}

impl DeliveryTracker {
    /// Returns the number of a new ping, which follows `bytes` of output.
    pub fn ping(&mut self, receipt: Option<Receipt>, bytes: usize, now: Instant) -> u64 {
        self.last += 1;
        self.in_flight += bytes;
        if self.sent.len() >= UNANSWERED
            && let Some(oldest) = self.sent.pop_front()
        {
            self.in_flight -= oldest.bytes;
        }
        self.sent.push_back(Sent { ping: self.last, bytes, at: now, receipt });
        self.last
    }

    /// Handles a pong; returns what it confirms. A payload that is not the number of a ping of this connection
    /// confirms nothing: a peer may send pongs that nobody asked for (RFC 6455, 5.5.3), with eight bytes of its own.
    pub fn pong(&mut self, payload: &[u8], now: Instant) -> Vec<Receipt> {
        let Ok(number) = <[u8; 8]>::try_from(payload).map(u64::from_be_bytes) else { return Vec::new() };
        if number > self.last {
            return Vec::new();
        }
        let mut receipts = Vec::new();
        while self.sent.front().is_some_and(|sent| sent.ping <= number)
            && let Some(sent) = self.sent.pop_front()
        {
            self.in_flight -= sent.bytes;
            self.last_receipt_at = Some(now);
            receipts.extend(sent.receipt);
        }
        receipts
    }

    /// Whether more output may be sent.
    pub fn open(&self, now: Instant) -> bool {
        self.in_flight < WINDOW || self.opens_at().is_none_or(|at| at <= now)
    }

    /// When output is sent without a receipt.
    pub fn opens_at(&self) -> Option<Instant> {
        let oldest = self.sent.front()?;
        Some(self.last_receipt_at.map_or(oldest.at, |at| at.max(oldest.at)) + TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pong_proves_all_that_was_sent_before_its_ping() {
        let now = Instant::now();
        let id = JobId::generate();
        let mut delivery = DeliveryTracker::default();
        delivery.ping(Some(Receipt::Lines(id.clone(), 7)), 100, now);
        let second = delivery.ping(None, 0, now);
        delivery.ping(Some(Receipt::Status(id.clone())), 50, now);
        assert_eq!(delivery.pong(b"someone else's", now), []);
        assert_eq!(delivery.pong(&second.to_be_bytes(), now), [Receipt::Lines(id.clone(), 7)]);
        assert_eq!(delivery.pong(&second.to_be_bytes(), now), [], "once");
        let third = second + 1;
        for foreign in [third + 1, u64::MAX] {
            assert_eq!(delivery.pong(&foreign.to_be_bytes(), now), [], "no ping had the number {foreign}");
        }
        assert_eq!(delivery.pong(&third.to_be_bytes(), now), [Receipt::Status(id)]);
        assert_eq!(delivery.in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn output_waits_for_proofs_but_not_for_ever() {
        let now = Instant::now();
        let mut delivery = DeliveryTracker::default();
        let ping = delivery.ping(None, WINDOW, now);
        assert!(!delivery.open(now));
        assert!(delivery.open(now + TIMEOUT));
        delivery.pong(&ping.to_be_bytes(), now);
        assert!(delivery.open(now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_link_keeps_its_window_and_a_mute_peer_costs_no_memory() {
        let start = Instant::now();
        let mut delivery = DeliveryTracker::default();
        let first = delivery.ping(None, WINDOW, start);
        delivery.ping(None, WINDOW, start);
        let later = start + TIMEOUT;
        delivery.pong(&first.to_be_bytes(), later);
        assert!(!delivery.open(later + TIMEOUT / 2), "pongs keep coming");
        for _ in 0..2 * UNANSWERED {
            delivery.ping(None, 1, later);
        }
        assert_eq!((delivery.sent.len(), delivery.in_flight), (UNANSWERED, UNANSWERED));
    }
}
