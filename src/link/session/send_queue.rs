//! What waits to be written: two lanes, both bounded.
//!
//! Control messages and heartbeats are always sent before output. A heartbeat that could not be sent in
//! its interval is replaced by the newer one, never sent late.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Control messages that may wait. A dashboard that sends a thousand commands at once gets a thousand
/// answers; one that never reads them costs 200 KB of memory until the write deadline.
const CONTROL: usize = 1024;

/// One thing to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Text(String),
    /// A ping with this number. Its pong is the receipt for all frames before it.
    Ping(u64),
    /// The last frame: a close frame with code 1000 and this reason.
    Close(&'static str),
}

/// How a control frame is treated while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heartbeat,
    /// The status of a job, an announced exit, or a ping. Never dropped.
    Priority,
    /// The answer to a request that is no job.
    Status,
    Other,
}

/// The two lanes. None of the methods waits.
#[derive(Debug, Default)]
struct Lanes {
    control: VecDeque<(Frame, Kind)>,
    bulk: Option<Vec<Frame>>,
}

impl Lanes {
    fn control(&mut self, frame: Frame, kind: Kind) -> bool {
        // Heartbeats are not counted: at most one is kept behind each status, and one at the end.
        let waiting = || self.control.iter().filter(|(_, kind)| *kind != Kind::Heartbeat).count();
        if !matches!(frame, Frame::Close(_)) && waiting() >= CONTROL {
            return false;
        }
        self.control.push_back((frame, kind));
        true
    }

    fn priority(&mut self, frame: Frame) {
        self.control.push_back((frame, Kind::Priority));
    }

    fn heartbeat(&mut self, text: String) -> u64 {
        let before = self.control.len();
        // Existing dashboards need a heartbeat between two statuses: a heartbeat directly behind a status
        // stays, unless it is the last frame, whose place the new heartbeat takes.
        let mut behind_status = false;
        let mut left = before;
        self.control.retain(|(_, kind)| {
            left -= 1;
            let keep = *kind != Kind::Heartbeat || (behind_status && left > 0);
            behind_status = matches!(kind, Kind::Priority | Kind::Status);
            keep
        });
        let skipped = before - self.control.len();
        self.control.push_back((Frame::Text(text), Kind::Heartbeat));
        skipped as u64
    }

    fn take(&mut self) -> Option<Vec<Frame>> {
        if self.control.is_empty() {
            return self.bulk.take();
        }
        Some(self.control.drain(..).map(|(frame, _)| frame).collect())
    }
}

/// The queue between the session, which fills it, and the writer, which empties it.
#[derive(Debug, Default)]
pub struct SendQueue {
    lanes: Mutex<Lanes>,
    /// There is something to write. Only the writer waits for it.
    queued: Notify,
    /// The bulk lane is free. Only the session waits for it.
    room: Notify,
}

impl SendQueue {
    /// The lock is held for a few moves of memory only, and both of its users are tasks of one thread, so
    /// nobody waits for it.
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a control message. Returns false if the lane is full; the message is then dropped.
    pub fn control(&self, frame: Frame) -> bool {
        self.queue(frame, Kind::Other)
    }

    /// As [`Self::control`], for a status: a heartbeat directly behind it is not replaced.
    pub fn status(&self, frame: Frame) -> bool {
        self.queue(frame, Kind::Status)
    }

    fn queue(&self, frame: Frame, kind: Kind) -> bool {
        let queued = self.lanes().control(frame, kind);
        self.queued.notify_one();
        queued
    }

    /// Queues the status of a job, an announced exit or a ping, even if the lane is full. There are few of
    /// them, and the pong to a ping must not confirm a status that was dropped.
    pub fn priority(&self, frame: Frame) {
        self.lanes().priority(frame);
        self.queued.notify_one();
    }

    /// Queues a heartbeat in place of those that still wait; returns how many it replaced.
    pub fn heartbeat(&self, text: String) -> u64 {
        let skipped = self.lanes().heartbeat(text);
        self.queued.notify_one();
        skipped
    }

    /// Queues a batch of output. Call it only after [`SendQueue::room`].
    pub fn bulk(&self, frames: Vec<Frame>) {
        let old = self.lanes().bulk.replace(frames);
        debug_assert!(old.is_none(), "the bulk lane holds one batch");
        self.queued.notify_one();
    }

    /// Waits until the bulk lane is free. Cancel-safe: it changes nothing.
    pub async fn room(&self) {
        while self.lanes().bulk.is_some() {
            self.room.notified().await;
        }
    }

    /// Waits for the next frames. They are to be written together.
    pub async fn next(&self) -> Vec<Frame> {
        loop {
            if let Some(frames) = self.lanes().take() {
                self.room.notify_one();
                return frames;
            }
            self.queued.notified().await;
        }
    }

    /// How many control frames and how many frames of output wait.
    pub fn depth(&self) -> (usize, usize) {
        let lanes = self.lanes();
        (lanes.control.len(), lanes.bulk.as_ref().map_or(0, Vec::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Frame {
        Frame::Text(text.to_owned())
    }

    #[test]
    fn control_goes_before_output_and_keeps_its_order() {
        let mut lanes = Lanes { bulk: Some(vec![text("line")]), ..Lanes::default() };
        lanes.control(text("status"), Kind::Status);
        lanes.heartbeat("heartbeat".to_owned());
        lanes.control(text("register"), Kind::Other);
        assert_eq!(lanes.take(), Some(vec![text("status"), text("heartbeat"), text("register")]));
        assert_eq!(lanes.take(), Some(vec![text("line")]));
        assert_eq!(lanes.take(), None);
    }

    #[test]
    fn only_the_newest_heartbeat_waits() {
        let mut lanes = Lanes::default();
        lanes.heartbeat("1".to_owned());
        lanes.control(text("register"), Kind::Other);
        assert_eq!(lanes.heartbeat("2".to_owned()) + lanes.heartbeat("3".to_owned()), 2, "skipped");
        assert_eq!(lanes.take(), Some(vec![text("register"), text("3")]));
    }

    #[test]
    fn a_beat_between_two_statuses_stays_there() {
        let priority = |lanes: &mut Lanes, name: &str| lanes.priority(text(name));
        let status = |lanes: &mut Lanes, name: &str| assert!(lanes.control(text(name), Kind::Status));
        for queue in [priority, status] {
            let mut lanes = Lanes::default();
            queue(&mut lanes, "status 1");
            lanes.heartbeat("1".to_owned());
            lanes.heartbeat("2".to_owned());
            queue(&mut lanes, "status 2");
            lanes.heartbeat("3".to_owned());
            assert_eq!(lanes.take(), Some(vec![text("status 1"), text("2"), text("status 2"), text("3")]));
        }
    }

    #[test]
    fn a_full_lane_drops_and_counts_but_a_heartbeat_and_a_status_always_fit() {
        let mut lanes = Lanes::default();
        for _ in 0..CONTROL {
            assert!(lanes.control(Frame::Ping(1), Kind::Status));
            lanes.heartbeat("between".to_owned());
        }
        assert!(!lanes.control(Frame::Ping(2), Kind::Status));
        lanes.priority(text("status"));
        lanes.heartbeat("heartbeat".to_owned());
        assert_eq!(lanes.take().unwrap()[2 * CONTROL..], [text("status"), text("heartbeat")]);
    }
}
