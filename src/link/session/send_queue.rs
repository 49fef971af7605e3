//! What waits to be written: two lanes, both bounded.
//!
//! Control messages and heartbeats go first, always; output waits. At most one heartbeat waits, the
//! newest: a beat that could not be sent in its time is skipped, never replayed (T02 scenario 6).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Control messages that may wait. A dashboard that sends a thousand commands at once gets its
/// thousand answers; one that never reads them costs 200 KB until the write deadline.
const CONTROL: usize = 1024;

/// One thing to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Text(String),
    /// A ping with this number; its pong proves that all frames before it were read.
    Ping(u64),
    /// The last frame: code 1000 with this reason.
    Close(&'static str),
}

/// How a control frame is treated while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Beat,
    /// The end of a job or of the agent, and the ping that proves it.
    Vital,
    /// The answer to a request that is no job.
    Status,
    Other,
}

/// The lanes, without any waiting.
#[derive(Debug, Default)]
struct Lanes {
    control: VecDeque<(Frame, Kind)>,
    bulk: Option<Vec<Frame>>,
}

impl Lanes {
    fn control(&mut self, frame: Frame, kind: Kind) -> bool {
        // Heartbeats are bounded by what they are behind.
        let waiting = || self.control.iter().filter(|(_, kind)| *kind != Kind::Beat).count();
        if !matches!(frame, Frame::Close(_)) && waiting() >= CONTROL {
            return false;
        }
        self.control.push_back((frame, kind));
        true
    }

    fn vital(&mut self, frame: Frame) {
        self.control.push_back((frame, Kind::Vital));
    }

    fn beat(&mut self, text: String) -> u64 {
        let before = self.control.len();
        // One right behind a status completes that operation for existing dashboards, and a second
        // status without a beat in between harms them. The last frame makes room for this one.
        let mut behind_status = false;
        let mut left = before;
        self.control.retain(|(_, kind)| {
            left -= 1;
            let keep = *kind != Kind::Beat || (behind_status && left > 0);
            behind_status = matches!(kind, Kind::Vital | Kind::Status);
            keep
        });
        let skipped = before - self.control.len();
        self.control.push_back((Frame::Text(text), Kind::Beat));
        skipped as u64
    }

    fn take(&mut self) -> Option<Vec<Frame>> {
        if self.control.is_empty() {
            return self.bulk.take();
        }
        Some(self.control.drain(..).map(|(frame, _)| frame).collect())
    }
}

/// The lanes between the session, which fills them, and the writer, which empties them.
#[derive(Debug, Default)]
pub struct SendQueue {
    lanes: Mutex<Lanes>,
    /// There is something to write. One waiter: the writer.
    work: Notify,
    /// The bulk lane is free. One waiter: the session.
    room: Notify,
}

impl SendQueue {
    /// Held for a few moves of memory, by two tasks of one thread: nobody ever waits for it.
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a control message. False if the lane is full: the message is dropped.
    pub fn control(&self, frame: Frame) -> bool {
        self.queue(frame, Kind::Other)
    }

    /// As [`Self::control`], for a status: a heartbeat right behind it stays there.
    pub fn status(&self, frame: Frame) -> bool {
        self.queue(frame, Kind::Status)
    }

    fn queue(&self, frame: Frame, kind: Kind) -> bool {
        let queued = self.lanes().control(frame, kind);
        self.work.notify_one();
        queued
    }

    /// Queues the end of a job or of the agent, however full the lane is: there are few jobs, and a ping must not
    /// prove a status that was dropped.
    pub fn vital(&self, frame: Frame) {
        self.lanes().vital(frame);
        self.work.notify_one();
    }

    /// Queues a heartbeat, in the place of one that still waits; returns how many it replaced.
    pub fn beat(&self, text: String) -> u64 {
        let skipped = self.lanes().beat(text);
        self.work.notify_one();
        skipped
    }

    /// Queues a piece of output. Only while [`SendQueue::room`] says so.
    pub fn bulk(&self, frames: Vec<Frame>) {
        let old = self.lanes().bulk.replace(frames);
        debug_assert!(old.is_none(), "the bulk lane holds one piece");
        self.work.notify_one();
    }

    /// Waits until the bulk lane is free. Cancel-safe: it changes nothing.
    pub async fn room(&self) {
        while self.lanes().bulk.is_some() {
            self.room.notified().await;
        }
    }

    /// Waits for the next frames to write, in one go.
    pub async fn next(&self) -> Vec<Frame> {
        loop {
            if let Some(frames) = self.lanes().take() {
                self.room.notify_one();
                return frames;
            }
            self.work.notified().await;
        }
    }

    /// How many control messages and how many of output wait.
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
        lanes.beat("beat".to_owned());
        lanes.control(text("register"), Kind::Other);
        assert_eq!(lanes.take(), Some(vec![text("status"), text("beat"), text("register")]));
        assert_eq!(lanes.take(), Some(vec![text("line")]));
        assert_eq!(lanes.take(), None);
    }

    #[test]
    fn only_the_newest_heartbeat_waits() {
        let mut lanes = Lanes::default();
        lanes.beat("1".to_owned());
        lanes.control(text("register"), Kind::Other);
        assert_eq!(lanes.beat("2".to_owned()) + lanes.beat("3".to_owned()), 2, "skipped");
        assert_eq!(lanes.take(), Some(vec![text("register"), text("3")]));
    }

    #[test]
    fn a_beat_between_two_statuses_stays_there() {
        let vital = |lanes: &mut Lanes, name: &str| lanes.vital(text(name));
        let status = |lanes: &mut Lanes, name: &str| assert!(lanes.control(text(name), Kind::Status));
        for tell in [vital, status] {
            let mut lanes = Lanes::default();
            tell(&mut lanes, "status 1");
            lanes.beat("1".to_owned());
            lanes.beat("2".to_owned());
            tell(&mut lanes, "status 2");
            lanes.beat("3".to_owned());
            assert_eq!(lanes.take(), Some(vec![text("status 1"), text("2"), text("status 2"), text("3")]));
        }
    }

    #[test]
    fn a_full_lane_drops_and_counts_but_a_heartbeat_and_a_status_always_fit() {
        let mut lanes = Lanes::default();
        for _ in 0..CONTROL {
            assert!(lanes.control(Frame::Ping(1), Kind::Status));
            lanes.beat("between".to_owned());
        }
        assert!(!lanes.control(Frame::Ping(2), Kind::Status));
        lanes.vital(text("status"));
        lanes.beat("beat".to_owned());
        assert_eq!(lanes.take().unwrap()[2 * CONTROL..], [text("status"), text("beat")]);
    }
}
