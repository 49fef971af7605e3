//! Which frames the dashboard has certainly read.
//!
//! A WebSocket peer handles frames in order, so the pong to a ping proves that everything sent
//! before the ping was read. Only then may the agent forget it. The bytes without proof also bound
//! what can pile up in the network in front of the next heartbeat.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::JobId;

/// Bytes of output that may be on their way: enough for 2.5 MB/s at 100 ms.
const WINDOW: usize = 256 * 1024;

/// Pings that may be without a pong, for a peer that answers none. The oldest is forgotten: a later
/// pong proves what it would have proven.
const UNANSWERED: usize = 4096;

/// How long output waits for any proof before it goes on without one: a peer that answers no pings
/// gets its output all the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a ping proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// The job's entries up to this one were read.
    Lines(JobId, u64),
    /// The job's status was read.
    Status(JobId),
    /// The answer to `restart` or `reboot` was read.
    PendingExit,
}

#[derive(Debug)]
struct Sent {
    ping: u64,
    bytes: usize,
    at: Instant,
    proof: Option<Receipt>,
}

/// The pings that have no pong yet.
#[derive(Debug, Default)]
pub struct DeliveryTracker {
    last: u64,
    sent: VecDeque<Sent>,
    in_flight: usize,
    /// When something was proven last: as long as that goes on, a slow link is merely slow.
    proven: Option<Instant>,
}

impl DeliveryTracker {
    /// Numbers a ping that follows `bytes` of frames.
    pub fn ping(&mut self, proof: Option<Receipt>, bytes: usize, now: Instant) -> u64 {
        self.last += 1;
        self.in_flight += bytes;
        if self.sent.len() >= UNANSWERED
            && let Some(oldest) = self.sent.pop_front()
        {
            self.in_flight -= oldest.bytes;
        }
        self.sent.push_back(Sent { ping: self.last, bytes, at: now, proof });
        self.last
    }

    /// Takes a pong; returns what it proves. A payload that is none of ours proves nothing.
    pub fn pong(&mut self, payload: &[u8], now: Instant) -> Vec<Receipt> {
        let Ok(number) = <[u8; 8]>::try_from(payload).map(u64::from_be_bytes) else { return Vec::new() };
        let mut proven = Vec::new();
        while self.sent.front().is_some_and(|sent| sent.ping <= number)
            && let Some(sent) = self.sent.pop_front()
        {
            self.in_flight -= sent.bytes;
            self.proven = Some(now);
            proven.extend(sent.proof);
        }
        proven
    }

    /// Whether more output may go.
    pub fn open(&self, now: Instant) -> bool {
        self.in_flight < WINDOW || self.opens_at().is_none_or(|at| at <= now)
    }

    /// When output goes on without a proof.
    pub fn opens_at(&self) -> Option<Instant> {
        self.sent.front().map(|sent| self.proven.map_or(sent.at, |at| at.max(sent.at)) + PATIENCE)
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
        assert_eq!(delivery.pong(&u64::MAX.to_be_bytes(), now), [Receipt::Status(id)]);
        assert_eq!(delivery.in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn output_waits_for_proofs_but_not_for_ever() {
        let now = Instant::now();
        let mut delivery = DeliveryTracker::default();
        let ping = delivery.ping(None, WINDOW, now);
        assert!(!delivery.open(now));
        assert!(delivery.open(now + PATIENCE));
        delivery.pong(&ping.to_be_bytes(), now);
        assert!(delivery.open(now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_link_keeps_its_window_and_a_mute_peer_costs_no_memory() {
        let start = Instant::now();
        let mut delivery = DeliveryTracker::default();
        let first = delivery.ping(None, WINDOW, start);
        delivery.ping(None, WINDOW, start);
        let later = start + PATIENCE;
        delivery.pong(&first.to_be_bytes(), later);
        assert!(!delivery.open(later + PATIENCE / 2), "pongs keep coming");
        for _ in 0..2 * UNANSWERED {
            delivery.ping(None, 1, later);
        }
        assert_eq!((delivery.sent.len(), delivery.in_flight), (UNANSWERED, UNANSWERED));
    }
}
