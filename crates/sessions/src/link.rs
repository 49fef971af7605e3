//! What others hold of an agent's socket: a queue to it, and a way to cut it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Most messages that wait for one agent: enough for a burst of a thousand commands.
const ROOM: usize = 1024;

/// Places that an empty queue keeps. More of them are memory of every connection, for the sake of a rare burst.
const KEPT: usize = 4;

/// What is sent on the socket of an agent.
#[derive(Debug)]
pub enum Outgoing {
    /// Frames that are written together, with one flush at the end.
    Frames(Vec<Message>),
    /// One frame, which most are.
    Frame(Message),
    /// A close frame with code and reason.
    Close {
        /// The code.
        code: u16,
        /// The reason, of which 123 bytes are sent.
        reason: String,
    },
    /// An empty close frame, which existing dashboards send.
    EmptyClose,
    /// The pong to a ping with this payload, where pongs are [held back](crate::Controls::hold_pongs).
    Pong(Bytes),
}

/// Why a connection ends because another one registers its hostname.
pub const REPLACED: &str = "replaced by a newer connection of this hostname";

impl Outgoing {
    /// Closes the connection of an agent, because another connection registers its hostname.
    #[must_use]
    pub fn replaced() -> Self {
        Self::Close { code: 1008, reason: REPLACED.to_owned() }
    }

    /// One text frame.
    #[must_use]
    pub fn text(text: String) -> Self {
        Self::Frame(text.into())
    }
}

/// The queue to an agent is full, because the agent does not read, or its last frame waits in it.
#[derive(Debug)]
pub struct Full;

/// Access to the task of an agent's socket. The task looks here when it is woken.
///
/// The queue has memory only while something waits in it: most agents have nothing to wait for.
#[derive(Debug)]
pub struct Link {
    /// Number of the socket, unique since the start.
    pub session: u64,
    room: usize,
    queue: Mutex<VecDeque<Outgoing>>,
    cut: AtomicBool,
    task: AtomicWaker,
}

impl Link {
    /// A link to the socket with this number.
    #[must_use]
    pub fn new(session: u64) -> Arc<Self> {
        Self::with_room(session, ROOM)
    }

    /// A link with another bound.
    #[must_use]
    pub fn with_room(session: u64, room: usize) -> Arc<Self> {
        let (queue, cut, task) = (Mutex::default(), AtomicBool::new(false), AtomicWaker::new());
        Arc::new(Self { session, room, queue, cut, task })
    }

    /// Adds something to the queue.
    ///
    /// # Errors
    /// [`Full`], and then it is not sent.
    pub fn send(&self, outgoing: Outgoing) -> Result<(), Full> {
        let mut queue = self.queue();
        if closes(&queue) || queue.len() >= self.room {
            return Err(Full);
        }
        queue.push_back(outgoing);
        drop(queue);
        self.task.wake();
        Ok(())
    }

    /// Adds a close frame to the queue, unless there is one. A peer that does not read is cut off instead.
    pub fn close(&self, code: u16, reason: String) {
        if self.send(Outgoing::Close { code, reason }).is_err() && !closes(&self.queue()) {
            self.cut();
        }
    }

    /// Takes the oldest out of the queue.
    pub fn next(&self) -> Option<Outgoing> {
        let mut queue = self.queue();
        let next = queue.pop_front();
        if queue.is_empty() && queue.capacity() > KEPT {
            *queue = VecDeque::new();
        }
        next
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue().len()
    }

    /// Drops the connection without a close frame.
    pub fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.task.wake();
    }

    /// Whether to drop the connection.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// The task looks around now, so that it need not be woken until it [waits](Self::wait) again.
    pub fn awake(&self) {
        drop(self.task.take());
    }

    /// The task is about to wait, and has to look once more after this call.
    pub fn wait(&self, task: &Waker) {
        self.task.register(task);
    }

    /// No panic can happen under the lock.
    fn queue(&self) -> MutexGuard<'_, VecDeque<Outgoing>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the last frame waits in a queue. Nothing is written after it.
fn closes(queue: &VecDeque<Outgoing>) -> bool {
    matches!(queue.back(), Some(Outgoing::Close { .. } | Outgoing::EmptyClose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_close_frame() {
        let link = Link::new(1);
        link.close(1008, "a".to_owned());
        assert!(link.send(Outgoing::text("late".to_owned())).is_err());
        link.close(1001, "b".to_owned());
        assert!(!link.is_cut(), "the first one is on its way");
        assert!(matches!(link.next(), Some(Outgoing::Close { code: 1008, .. })));
        assert!(link.next().is_none());
    }

    #[test]
    fn who_does_not_read_is_cut_off() {
        let link = Link::with_room(1, 1);
        link.send(Outgoing::text("a".to_owned())).expect("there is room");
        link.close(1008, "b".to_owned());
        assert!(link.is_cut());
    }
}
