//! Which frames the dashboard has certainly read.
//!
//! A WebSocket peer handles frames in order, so the answer to a frame is a receipt for everything that was written
//! before it. Two kinds of frames have an answer: pings, and the heartbeats of a dashboard that acknowledges them.
//! Only with a receipt may the agent forget what it sent. How long a pong takes also tells how fast the link is, and so
//! how much output may queue in the network in front of the next heartbeat: that is the window.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::JobId;

use super::window::Window;

/// Pings and heartbeats that may be without an answer, for a peer that gives none. Beyond this the oldest one is
/// forgotten, unless a status depends on it: of those there are few. A later answer is a receipt for the same output.
const UNANSWERED: usize = 4096;

/// How long output waits for any pong before it is sent without a receipt, so that a peer that answers no pings still
/// gets its output.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What an answer of the dashboard confirms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// The dashboard has read the job's log entries up to this one.
    Lines(JobId, u64),
    /// The dashboard has read the job's status.
    Status(JobId),
    /// The dashboard has read the answer to `restart` or `reboot`.
    PendingExit,
    /// The dashboard has read something that was sent after the host had slept so often.
    Awake(u32),
}

/// A frame that the dashboard answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// With its number.
    Ping(u64),
    /// With its sequence number.
    Heartbeat(u64),
}

#[derive(Debug)]
struct Sent {
    probe: Probe,
    /// Bytes of output directly in front of it.
    bytes: usize,
    /// Bytes of output in front of it that had no receipt when it was queued, `bytes` among them.
    in_flight: usize,
    at: Instant,
    receipt: Option<Receipt>,
}

impl Sent {
    fn is_ping(&self) -> bool {
        matches!(self.probe, Probe::Ping(_))
    }

    /// Whether it may be forgotten without an answer.
    fn is_replaceable(&self) -> bool {
        matches!(self.receipt, None | Some(Receipt::Lines(..)))
    }
}

/// The frames without an answer, and what their answers will confirm.
#[derive(Debug, Default)]
pub struct DeliveryTracker {
    /// Number of the newest ping.
    last: u64,
    /// In the order in which they are written.
    sent: VecDeque<Sent>,
    /// Bytes of output without a receipt.
    in_flight: usize,
    /// How many of them there may be.
    window: Window,
    /// When a pong was last received. As long as pongs arrive, the link is slow but works.
    last_pong_at: Option<Instant>,
    /// Since when a ping has been without a pong. An acknowledged heartbeat changes nothing about that: heartbeats may
    /// be an hour apart, so output does not wait for them.
    unanswered_since: Option<Instant>,
}

impl DeliveryTracker {
    /// Returns the number of a new ping behind a batch of output of so many bytes.
    pub fn batch(&mut self, receipt: Receipt, bytes: usize, now: Instant) -> u64 {
        self.in_flight += bytes;
        self.ping_with(Some(receipt), bytes, false, now)
    }

    /// Returns the number of a new ping behind a message. `batch_waits`: a batch of output is queued and not yet
    /// taken by the writer. The ping is written before it, so its pong says nothing about that batch.
    pub fn ping(&mut self, receipt: Option<Receipt>, batch_waits: bool, now: Instant) -> u64 {
        self.ping_with(receipt, 0, batch_waits, now)
    }

    fn ping_with(&mut self, receipt: Option<Receipt>, bytes: usize, batch_waits: bool, now: Instant) -> u64 {
        self.last += 1;
        self.unanswered_since.get_or_insert(now);
        self.push(Probe::Ping(self.last), bytes, receipt, batch_waits, now);
        self.last
    }

    /// A heartbeat is queued that the dashboard will acknowledge; `batch_waits` as in [`Self::ping`]. One that is
    /// replaced before it is written confirms nothing, because nobody acknowledges it.
    pub fn heartbeat(&mut self, seq: u64, batch_waits: bool, now: Instant) {
        self.push(Probe::Heartbeat(seq), 0, None, batch_waits, now);
    }

    fn push(&mut self, probe: Probe, bytes: usize, receipt: Option<Receipt>, batch_waits: bool, at: Instant) {
        if self.sent.len() >= UNANSWERED
            && let Some(oldest) = self.sent.iter().position(Sent::is_replaceable)
            && let Some(oldest) = self.sent.remove(oldest)
        {
            self.in_flight -= oldest.bytes;
        }
        // The batch that waits is the last one: no other is queued before it is taken.
        let place = self.sent.len().saturating_sub(usize::from(batch_waits));
        let behind: usize = self.sent.range(place..).map(|sent| sent.bytes).sum();
        let in_flight = self.in_flight - behind;
        self.sent.insert(place, Sent { probe, bytes, in_flight, at, receipt });
    }

    /// Handles a pong; returns what it confirms. A payload that is not the number of a ping confirms nothing.
    pub fn pong(&mut self, payload: &[u8], now: Instant) -> Vec<Receipt> {
        let Ok(number) = <[u8; 8]>::try_from(payload).map(u64::from_be_bytes) else { return Vec::new() };
        let Some((ping, receipts)) = self.read(Probe::Ping(number)) else { return Vec::new() };
        self.window.measured(ping.in_flight, ping.bytes, now.saturating_duration_since(ping.at), now);
        self.last_pong_at = Some(now);
        self.unanswered_since = self.sent.iter().find(|sent| sent.is_ping()).map(|sent| sent.at);
        receipts
    }

    /// Handles the acknowledgement of a heartbeat that was written on this connection; returns what it confirms.
    pub fn acknowledged(&mut self, seq: u64) -> Vec<Receipt> {
        self.read(Probe::Heartbeat(seq)).map(|(_, receipts)| receipts).unwrap_or_default()
    }

    /// The dashboard has read this frame, and so all frames before it. Returns it, without its receipt, and what is
    /// confirmed. None if it does not wait for an answer.
    fn read(&mut self, probe: Probe) -> Option<(Sent, Vec<Receipt>)> {
        let at = self.sent.iter().position(|sent| sent.probe == probe)?;
        let mut receipts = Vec::new();
        let mut last = None;
        for mut sent in self.sent.drain(..=at) {
            self.in_flight -= sent.bytes;
            receipts.extend(sent.receipt.take());
            last = Some(sent);
        }
        last.map(|sent| (sent, receipts))
    }

    /// Whether more output may be sent.
    pub fn open(&self, now: Instant) -> bool {
        self.window.has_room(self.in_flight, now) || self.opens_at().is_none_or(|at| at <= now)
    }

    /// How many bytes of messages the next batch may have, if more output may be sent.
    pub fn batch_size(&self, now: Instant) -> usize {
        // Nothing was measured of a peer that answers no pings.
        if self.window.has_room(self.in_flight, now) { self.window.batch(now) } else { usize::MAX }
    }

    /// When output is sent without a receipt.
    pub fn opens_at(&self) -> Option<Instant> {
        let since = self.unanswered_since?;
        Some(self.last_pong_at.map_or(since, |at| at.max(since)) + TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::session::window::MOST;

    fn pong(delivery: &mut DeliveryTracker, number: u64) -> Vec<Receipt> {
        delivery.pong(&number.to_be_bytes(), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_proves_all_that_was_written_before_its_frame() {
        let now = Instant::now();
        let id = JobId::generate();
        let lines = |seq| Receipt::Lines(id.clone(), seq);
        let mut delivery = DeliveryTracker::default();
        delivery.batch(lines(7), 100, now);
        let second = delivery.ping(None, false, now);
        delivery.ping(Some(Receipt::Status(id.clone())), false, now);
        delivery.heartbeat(5, false, now);
        delivery.batch(lines(9), 50, now);
        assert_eq!(delivery.pong(b"someone else's", now), []);
        assert_eq!(pong(&mut delivery, u64::MAX), [], "never sent");
        assert_eq!(delivery.acknowledged(4), [], "of another connection");
        assert_eq!(pong(&mut delivery, second), [lines(7)]);
        assert_eq!(pong(&mut delivery, second), [], "once");
        assert_eq!(delivery.acknowledged(5), [Receipt::Status(id.clone())]);
        assert_eq!(delivery.acknowledged(5), [], "once");
        assert_eq!(delivery.in_flight, 50);
        assert_eq!(pong(&mut delivery, 4), [lines(9)]);
        assert_eq!(delivery.in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_overtakes_a_batch_proves_nothing_of_it() {
        let now = Instant::now();
        let id = JobId::generate();
        let lines = |seq| Receipt::Lines(id.clone(), seq);
        let mut delivery = DeliveryTracker::default();
        delivery.batch(lines(7), 100, now);
        let waits = delivery.batch(lines(9), 50, now);
        delivery.heartbeat(5, true, now);
        let overtakes = delivery.ping(Some(Receipt::PendingExit), true, now);
        assert!(overtakes > waits);
        assert_eq!(delivery.acknowledged(5), [lines(7)]);
        assert_eq!(pong(&mut delivery, overtakes), [Receipt::PendingExit]);
        assert_eq!(pong(&mut delivery, waits), [lines(9)]);
    }

    #[tokio::test(start_paused = true)]
    async fn output_waits_for_proofs_but_not_for_ever() {
        let now = Instant::now();
        let lines = Receipt::Lines(JobId::generate(), 1);
        let mut delivery = DeliveryTracker::default();
        let ping = delivery.batch(lines.clone(), MOST, now);
        assert!(!delivery.open(now));
        assert!(delivery.open(now + TIMEOUT));
        pong(&mut delivery, ping);
        assert!(delivery.open(now));
        // A peer that answers no pings gets its output after the same time, whatever it acknowledges.
        delivery.batch(lines.clone(), MOST, now);
        delivery.heartbeat(1, false, now);
        assert_eq!(delivery.acknowledged(1), std::slice::from_ref(&lines));
        let later = now + TIMEOUT;
        delivery.batch(lines, MOST, later);
        assert!(delivery.open(later));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_link_keeps_its_window_and_a_mute_peer_costs_no_memory_and_no_receipt_of_a_status() {
        let start = Instant::now();
        let id = JobId::generate();
        let lines = || Receipt::Lines(id.clone(), 1);
        let mut delivery = DeliveryTracker::default();
        let first = delivery.batch(lines(), MOST, start);
        delivery.batch(lines(), MOST, start);
        let later = start + TIMEOUT;
        delivery.pong(&first.to_be_bytes(), later);
        assert!(!delivery.open(later + TIMEOUT / 2), "pongs keep coming");
        delivery.ping(Some(Receipt::Status(id.clone())), false, later);
        for _ in 0..2 * UNANSWERED {
            delivery.batch(lines(), 1, later);
        }
        assert_eq!((delivery.sent.len(), delivery.in_flight), (UNANSWERED, UNANSWERED - 1));
        let last = delivery.last;
        assert_eq!(pong(&mut delivery, last)[0], Receipt::Status(id.clone()));
    }
}
