//! What the hub holds of an agent's socket: a queue to it, and a way to cut it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio_tungstenite::tungstenite::Message;

/// Most messages that wait for one agent: enough for a burst of a thousand commands.
const ROOM: usize = 1024;

/// Places that an empty queue keeps. More of them are memory of every connection, for the sake of a rare burst.
const KEPT: usize = 4;

/// What is sent on the socket of an agent.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Frames that are written together, with one flush at the end.
    Frames(Vec<Message>),
    /// One frame, which most are.
    Frame(Message),
    /// A close frame with code and reason.
    Close { code: u16, reason: String },
    /// An empty close frame, which existing dashboards send.
    EmptyClose,
}

impl Outgoing {
    /// Closes the connection of an agent when another connection registers its hostname.
    pub(super) fn replaced() -> Self {
        Self::Close { code: 1008, reason: "replaced by a newer connection of this hostname".to_owned() }
    }

    /// One text frame.
    pub(super) fn text(text: String) -> Self {
        Self::Frame(text.into())
    }
}

/// The queue to an agent is full, because the agent does not read.
#[derive(Debug)]
pub(super) struct Full;

/// Access to the task of an agent's socket. The task looks here when it is woken.
///
/// The queue has memory only while something waits in it: most agents have nothing to wait for.
#[derive(Debug)]
pub(super) struct Link {
    /// Number of the socket, unique since the start.
    pub(super) session: u64,
    room: usize,
    queue: Mutex<VecDeque<Outgoing>>,
    cut: AtomicBool,
    task: AtomicWaker,
}

impl Link {
    pub(super) fn new(session: u64) -> Arc<Self> {
        Self::with_room(session, ROOM)
    }

    /// A link with another bound.
    pub(super) fn with_room(session: u64, room: usize) -> Arc<Self> {
        let (queue, cut, task) = (Mutex::default(), AtomicBool::new(false), AtomicWaker::new());
        Arc::new(Self { session, room, queue, cut, task })
    }

    /// Adds something to the queue.
    pub(super) fn send(&self, outgoing: Outgoing) -> Result<(), Full> {
        let mut queue = self.queue();
        if queue.len() >= self.room {
            return Err(Full);
        }
        queue.push_back(outgoing);
        drop(queue);
        self.task.wake();
        Ok(())
    }

    /// Takes the oldest out of the queue.
    pub(super) fn next(&self) -> Option<Outgoing> {
        let mut queue = self.queue();
        let next = queue.pop_front();
        if queue.is_empty() && queue.capacity() > KEPT {
            *queue = VecDeque::new();
        }
        next
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue().len()
    }

    /// Drops the connection without a close frame.
    pub(super) fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.task.wake();
    }

    /// Whether to drop the connection.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// The task looks around now, so that it need not be woken until it [waits](Self::wait) again.
    pub(super) fn awake(&self) {
        drop(self.task.take());
    }

    /// The task is about to wait, and has to look once more after this call.
    pub(super) fn wait(&self, task: &Waker) {
        self.task.register(task);
    }

    /// No panic can happen under the lock.
    fn queue(&self) -> MutexGuard<'_, VecDeque<Outgoing>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
