//! What waits to be written: two lanes, both bounded.
//!
//! Control messages and heartbeats are always sent before output. A heartbeat that could not be sent in
//! its interval is replaced by the newer one, never sent late.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nixfleet_os::planted;
use tokio::sync::Notify;

/// Control messages that wait while the session still reads: a dashboard that sends a thousand commands at once and
/// reads the answers afterwards gets them. Beyond that the session reads nothing until the writer has taken them.
const CONTROL: usize = 1024;

/// The same in bytes, for answers that are long, and for the heartbeats behind them.
const CONTROL_BYTES: usize = 1024 * 1024;

/// Control messages beyond which one is dropped. While nothing is read, few are made: at most 1,024 rejections that
/// waited for a process id, and what this host causes by itself within the 10 s that a write may take.
const MOST: usize = 4 * CONTROL;

/// Numbers of written heartbeats that the session has not seen yet. It sees them at its next event.
const WRITTEN: usize = 64;

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
    /// With its number.
    Heartbeat(u64),
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
    /// Bytes of text in `control`.
    bytes: usize,
    /// Frames in `control` that are no heartbeats. Of those, at most one is kept behind each status, and one at the
    /// end.
    answers: usize,
    bulk: Option<Vec<Frame>>,
    /// A close frame is in `control`, or was. Nothing is queued behind it: what the dashboard still has to know is
    /// sent on the next connection.
    closed: bool,
    /// The writer has taken a heartbeat, so the dashboard's last status from the connection before has one behind it.
    begun: bool,
    /// Heartbeats that the writer has taken, and the session was not told.
    written: VecDeque<u64>,
}

impl Lanes {
    /// Returns false if the frame was dropped because there are too many.
    fn control(&mut self, frame: Frame, kind: Kind) -> bool {
        if self.answers >= MOST && !matches!(frame, Frame::Close(_)) {
            return false;
        }
        self.push(frame, kind);
        true
    }

    fn push(&mut self, frame: Frame, kind: Kind) {
        if self.closed {
            return;
        }
        self.closed = matches!(frame, Frame::Close(_));
        self.bytes += size(&frame);
        self.answers += usize::from(!matches!(kind, Kind::Heartbeat(_)));
        self.control.push_back((frame, kind));
    }

    fn heartbeat(&mut self, seq: u64, text: String) -> u64 {
        if self.closed {
            return 0;
        }
        if planted!("make-up-beats") {
            self.push(Frame::Text(text), Kind::Heartbeat(seq));
            return 0;
        }
        if planted!("replay-beats")
            && let Some(old) = planted::keep(&text)
            && !self.begun
            && self.control.is_empty()
        {
            self.push(Frame::Text(old), Kind::Heartbeat(seq));
            self.push(Frame::Text(text), Kind::Heartbeat(seq));
            return 0;
        }
        let before = self.control.len();
        // Existing dashboards need a heartbeat between two statuses: a heartbeat directly behind a status
        // stays, unless it is the last frame, whose place the new heartbeat takes. So does the first one of the
        // connection in front of a status: the last frame of the connection before may have been a status.
        let is_status = |kind: &Kind| matches!(kind, Kind::Priority | Kind::Status);
        let last_status = self.control.iter().rev().position(|(_, kind)| is_status(kind));
        let mut is_first = !self.begun;
        let mut behind_status = false;
        let mut left = before;
        let bytes = &mut self.bytes;
        self.control.retain(|(frame, kind)| {
            left -= 1;
            let is_heartbeat = matches!(kind, Kind::Heartbeat(_));
            let opens = is_heartbeat && std::mem::take(&mut is_first);
            let before_status = opens && last_status.is_some_and(|behind| behind < left);
            let keep = !is_heartbeat || (behind_status && left > 0) || before_status;
            behind_status = is_status(kind);
            if !keep {
                *bytes -= size(frame);
            }
            keep
        });
        let skipped = before - self.control.len();
        self.push(Frame::Text(text), Kind::Heartbeat(seq));
        skipped as u64
    }

    /// Whether so many answers wait that no more requests should be read.
    fn is_full(&self) -> bool {
        self.answers >= CONTROL || self.bytes >= CONTROL_BYTES
    }

    fn take(&mut self) -> Option<Vec<Frame>> {
        if self.control.is_empty() {
            return self.bulk.take().filter(|_| !self.closed);
        }
        (self.bytes, self.answers) = (0, 0);
        let mut frames = Vec::with_capacity(self.control.len());
        for (frame, kind) in self.control.drain(..) {
            if let Kind::Heartbeat(seq) = kind {
                self.begun = true;
                self.written.push_back(seq);
            }
            frames.push(frame);
        }
        while self.written.len() > WRITTEN {
            self.written.pop_front();
        }
        Some(frames)
    }
}

fn size(frame: &Frame) -> usize {
    match frame {
        Frame::Text(text) => text.len(),
        Frame::Ping(_) | Frame::Close(_) => 0,
    }
}

/// The queue between the session, which fills it, and the writer, which empties it.
#[derive(Debug, Default)]
pub struct SendQueue {
    lanes: Mutex<Lanes>,
    /// There is something to write. Only the writer waits for it.
    queued: Notify,
    /// The bulk lane is free. Only the session waits for it, and for the other two.
    room: Notify,
    /// The control lane is not full.
    drained: Notify,
    /// A heartbeat has been taken by the writer.
    written: Notify,
}

impl SendQueue {
    /// The lock is held for a few moves of memory only, and both of its users are tasks of one thread, so
    /// nobody waits for it.
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a control message. Returns false if it was dropped, because too many wait; [`Self::answerable`] keeps
    /// it from coming to that.
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
        self.lanes().push(frame, Kind::Priority);
        self.queued.notify_one();
    }

    /// Queues the heartbeat with this number in place of those that still wait; returns how many it replaced.
    pub fn heartbeat(&self, seq: u64, text: String) -> u64 {
        let skipped = self.lanes().heartbeat(seq, text);
        self.queued.notify_one();
        skipped
    }

    /// Queues a batch of output. Call it only after [`SendQueue::room`].
    pub fn bulk(&self, frames: Vec<Frame>) {
        let mut lanes = self.lanes();
        if lanes.closed {
            return;
        }
        let old = lanes.bulk.replace(frames);
        drop(lanes);
        debug_assert!(old.is_none(), "the bulk lane holds one batch");
        self.queued.notify_one();
    }

    /// Waits until the bulk lane is free. Cancel-safe: it changes nothing.
    pub async fn room(&self) {
        while self.lanes().bulk.is_some() {
            self.room.notified().await;
        }
    }

    /// Waits until there is room for the answers to another frame of the dashboard. Cancel-safe: it changes nothing.
    pub async fn answerable(&self) {
        while self.lanes().is_full() {
            self.drained.notified().await;
        }
    }

    /// Waits until the writer has taken another heartbeat; returns its number. Cancel-safe: the number is taken in
    /// the step that returns it.
    pub async fn beat_written(&self) -> u64 {
        loop {
            if let Some(seq) = self.lanes().written.pop_front() {
                return seq;
            }
            self.written.notified().await;
        }
    }

    /// Waits for the next frames. They are to be written together.
    pub async fn next(&self) -> Vec<Frame> {
        loop {
            if let Some(frames) = self.lanes().take() {
                self.room.notify_one();
                self.drained.notify_one();
                self.written.notify_one();
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

    fn beat(lanes: &mut Lanes, seq: u64) -> u64 {
        lanes.heartbeat(seq, seq.to_string())
    }

    #[test]
    fn control_goes_before_output_and_keeps_its_order() {
        let mut lanes = Lanes { bulk: Some(vec![text("line")]), ..Lanes::default() };
        lanes.control(text("status"), Kind::Status);
        lanes.heartbeat(1, "heartbeat".to_owned());
        lanes.control(text("register"), Kind::Other);
        assert_eq!(lanes.take(), Some(vec![text("status"), text("heartbeat"), text("register")]));
        assert_eq!(lanes.take(), Some(vec![text("line")]));
        assert_eq!(lanes.take(), None);
    }

    #[test]
    fn only_the_newest_heartbeat_waits() {
        let mut lanes = Lanes::default();
        beat(&mut lanes, 1);
        lanes.control(text("register"), Kind::Other);
        assert_eq!(beat(&mut lanes, 2) + beat(&mut lanes, 3), 2, "skipped");
        assert_eq!(lanes.take(), Some(vec![text("register"), text("3")]));
    }

    #[test]
    fn a_beat_between_two_statuses_stays_there() {
        let priority = |lanes: &mut Lanes, name: &str| lanes.push(text(name), Kind::Priority);
        let status = |lanes: &mut Lanes, name: &str| assert!(lanes.control(text(name), Kind::Status));
        for queue in [priority, status] {
            let mut lanes = Lanes::default();
            queue(&mut lanes, "status 1");
            beat(&mut lanes, 1);
            beat(&mut lanes, 2);
            queue(&mut lanes, "status 2");
            beat(&mut lanes, 3);
            assert_eq!(lanes.take(), Some(vec![text("status 1"), text("2"), text("status 2"), text("3")]));
        }
    }

    #[test]
    fn the_first_beat_of_a_connection_stays_in_front_of_a_status() {
        let mut lanes = Lanes::default();
        beat(&mut lanes, 1);
        lanes.push(text("status"), Kind::Priority);
        lanes.push(Frame::Ping(1), Kind::Priority);
        beat(&mut lanes, 2);
        assert_eq!(beat(&mut lanes, 3), 1, "the newer one takes the place behind the status");
        assert_eq!(lanes.take(), Some(vec![text("1"), text("status"), Frame::Ping(1), text("3")]));
        beat(&mut lanes, 4);
        lanes.push(text("status"), Kind::Priority);
        assert_eq!(beat(&mut lanes, 5), 1, "a later one is never sent late");
    }

    #[test]
    fn only_beats_that_the_writer_took_count_as_written() {
        let mut lanes = Lanes::default();
        lanes.push(text("status"), Kind::Status);
        beat(&mut lanes, 1);
        beat(&mut lanes, 2);
        lanes.push(text("status"), Kind::Status);
        beat(&mut lanes, 3);
        beat(&mut lanes, 4);
        assert!(lanes.written.is_empty());
        lanes.take();
        assert_eq!(lanes.written, [2, 4]);
        for seq in 5..500 {
            beat(&mut lanes, seq);
            lanes.take();
        }
        assert_eq!(lanes.written.len(), WRITTEN);
    }

    #[test]
    fn a_lane_is_full_by_number_or_size_and_empty_again_when_it_was_taken() {
        let mut lanes = Lanes::default();
        for n in 0..CONTROL {
            assert!(!lanes.is_full(), "{n}");
            assert!(lanes.control(Frame::Ping(1), Kind::Status));
        }
        assert!(lanes.is_full());
        lanes.take();
        assert!(!lanes.is_full());
        lanes.control(Frame::Text("x".repeat(CONTROL_BYTES)), Kind::Other);
        assert!(lanes.is_full());
        lanes.take();
        assert!(!lanes.is_full());
        for seq in 0..10 {
            lanes.heartbeat(seq, "x".repeat(CONTROL_BYTES / 2));
        }
        assert!(!lanes.is_full(), "replaced heartbeats have no size");
    }

    #[test]
    fn the_lane_has_an_end_but_a_heartbeat_and_the_status_of_a_job_always_fit() {
        let mut lanes = Lanes::default();
        for _ in 0..MOST {
            assert!(lanes.control(Frame::Ping(1), Kind::Other));
        }
        assert!(!lanes.control(Frame::Ping(2), Kind::Status));
        lanes.push(text("status"), Kind::Priority);
        lanes.heartbeat(1, "heartbeat".to_owned());
        assert_eq!(lanes.take().unwrap()[MOST..], [text("status"), text("heartbeat")]);
    }

    #[test]
    fn nothing_goes_behind_a_close_frame() {
        let queue = SendQueue::default();
        queue.bulk(vec![text("output")]);
        queue.control(text("answer"));
        queue.control(Frame::Close("shutdown"));
        queue.priority(Frame::Ping(1));
        queue.control(text("rejection"));
        queue.status(text("status"));
        queue.heartbeat(1, "heartbeat".to_owned());
        queue.control(Frame::Close("restart"));
        assert_eq!(queue.lanes().take(), Some(vec![text("answer"), Frame::Close("shutdown")]));
        queue.priority(Frame::Ping(2));
        assert_eq!(queue.lanes().take(), None);
    }
}
