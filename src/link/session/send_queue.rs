//! What waits to be written: two lanes, both bounded.
//!
//! Control messages and heartbeats are always sent before output. A heartbeat that could not be sent in
//! its interval is replaced by the newer one, never sent late.

use std::collections::VecDeque;

use nixfleet_os::planted;
use nixfleet_os::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Control messages that wait while the session still reads: a dashboard that sends a thousand commands at once and
/// reads the answers afterwards gets them. Beyond that the session reads nothing until the writer has taken them.
const CONTROL: usize = 1024;

/// The same in bytes, for answers that are long, and for the heartbeats behind them.
const CONTROL_BYTES: usize = 1024 * 1024;

/// Control messages beyond which one is dropped. While nothing is read, few are made: at most 1,024 rejections that
/// waited for a process id, and what this host causes by itself within the 10 s that a write may take.
const MOST: usize = 4 * CONTROL;

/// Bytes of control messages that are written at once, and the rest of the last one. A slow link takes that much within
/// the 10 s that one write may last, and a heartbeat waits for no more than this.
const PIECE: usize = 64 * 1024;

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
    /// With its sequence number.
    Heartbeat(u64),
    /// The status of a job, or an announced exit. Never dropped.
    Priority,
    /// A ping. Never dropped.
    Ping,
    /// The answer to a request that is no job.
    Status,
    Other,
}

impl Kind {
    /// Existing dashboards need a heartbeat between two of these.
    fn is_status(self) -> bool {
        matches!(self, Self::Priority | Self::Status)
    }
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
        // Existing dashboards need a heartbeat between two statuses: a heartbeat directly behind a status, or behind
        // the ping of one, stays, unless it is the last frame, whose place the new heartbeat takes. So does the first
        // one of the connection in front of a status: the last frame of the connection before may have been a status.
        let last_status = self.control.iter().rev().position(|(_, kind)| kind.is_status());
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
            behind_status = kind.is_status() || (behind_status && *kind == Kind::Ping);
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

    /// Takes what is written next: a piece of the control lane, or else the batch of output.
    fn take(&mut self) -> Option<Vec<Frame>> {
        if self.control.is_empty() {
            return self.bulk.take().filter(|_| !self.closed);
        }
        let (mut frames, mut taken) = (Vec::new(), 0);
        while let Some((_, kind)) = self.control.front()
            // The heartbeat behind a status goes with it: in front of the next piece, a newer one would take its place.
            && (taken < PIECE || matches!(kind, Kind::Heartbeat(_) | Kind::Ping))
            && let Some((frame, kind)) = self.control.pop_front()
        {
            taken += size(&frame);
            if let Kind::Heartbeat(seq) = kind {
                self.begun = true;
                self.written.push_back(seq);
            } else {
                self.answers -= 1;
            }
            frames.push(frame);
        }
        self.bytes -= taken;
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
        let kind = if matches!(frame, Frame::Ping(_)) { Kind::Ping } else { Kind::Priority };
        self.lanes().push(frame, kind);
        self.queued.notify_one();
    }

    /// Queues the heartbeat with this number in place of those that still wait; returns how many it replaced.
    pub fn heartbeat(&self, seq: u64, text: String) -> u64 {
        let skipped = self.lanes().heartbeat(seq, text);
        if !planted!("beat-without-a-word") {
            self.queued.notify_one();
        }
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

    /// Whether a batch of output is queued and not yet taken by the writer: control messages that are queued now are
    /// written before it.
    pub fn batch_waits(&self) -> bool {
        self.lanes().bulk.is_some()
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
                if !planted!("output-without-a-word") {
                    self.room.notify_one();
                }
                if !planted!("drained-without-a-word") {
                    self.drained.notify_one();
                }
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

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod tests;
