//! The newest messages of an agent.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use nixfleet_protocol::AgentMessage;

/// Most messages kept for each host: twice the longest output of a test.
pub(super) const MAX_MESSAGES: usize = 50_000;

/// Most bytes kept for each host, so that 50,000 long lines cannot fill the memory, and for all hosts together, so that
/// the heartbeats of 10,000 hosts cannot: each of so many has the newest three or so, and its newest output.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a message needs besides its text.
const ENTRY: usize = size_of::<Stored>();

/// How many bytes a host may have of those for all hosts. The others give back what is too much with their next
/// message.
pub(super) fn room_for(bytes: usize, hosts: usize) -> usize {
    bytes / hosts.max(1)
}

/// One message of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Position among all messages of this host, from 0 and without gaps.
    pub index: u64,
    /// Number of the host's connection that it came on, from 1.
    pub connection: u64,
    /// When it arrived, in Unix milliseconds.
    pub at_ms: i64,
    /// The message.
    pub message: AgentMessage,
}

/// How a message is kept.
#[derive(Debug)]
pub(super) enum Kept {
    /// As its text, which is a third of the memory. For heartbeats and registrations: each host has them, and nobody
    /// reads most of them.
    Text(Arc<str>),
    /// The message, and the length of its text. For what commands say, which is read again and again.
    Message(Box<AgentMessage>, usize),
}

impl Kept {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Message(_, bytes) => *bytes,
        }
    }
}

/// The message of a text that was a message when it came.
pub(super) fn read(text: &str) -> AgentMessage {
    AgentMessage::decode(text).expect("it was read before")
}

#[derive(Debug)]
struct Stored {
    connection: u64,
    at_ms: i64,
    kept: Kept,
}

/// One message of a [`Record`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) index: u64,
    pub(super) connection: u64,
    pub(super) at_ms: i64,
    pub(super) kept: &'a Kept,
}

impl<'a> Entry<'a> {
    pub(super) fn message(self) -> Cow<'a, AgentMessage> {
        match self.kept {
            Kept::Text(text) => Cow::Owned(read(text)),
            Kept::Message(message, _) => Cow::Borrowed(message),
        }
    }

    pub(super) fn recorded(self) -> Recorded {
        let Self { index, connection, at_ms, .. } = self;
        Recorded { index, connection, at_ms, message: self.message().into_owned() }
    }
}

/// A bounded list of messages. The oldest ones are dropped and counted.
#[derive(Debug, Default)]
pub(super) struct Record {
    stored: VecDeque<Stored>,
    bytes: usize,
    next: u64,
}

impl Record {
    /// Adds a message. [`trim`](Self::trim) follows.
    pub(super) fn push(&mut self, connection: u64, at_ms: i64, kept: Kept) {
        self.bytes += kept.bytes() + ENTRY;
        self.stored.push_back(Stored { connection, at_ms, kept });
        self.next += 1;
    }

    /// Drops the oldest messages until the rest fits. The newest one stays, however long it is.
    pub(super) fn trim(&mut self, room: usize) {
        while self.stored.len() > MAX_MESSAGES || (self.bytes > room && self.stored.len() > 1) {
            let Some(dropped) = self.stored.pop_front() else { break };
            self.bytes -= dropped.kept.bytes() + ENTRY;
        }
    }

    /// The messages with an index of at least `since`, oldest first.
    pub(super) fn since(&self, since: u64) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        let dropped = self.dropped();
        let skip = usize::try_from(since.saturating_sub(dropped)).unwrap_or(usize::MAX);
        let skip = skip.min(self.stored.len());
        self.stored.range(skip..).enumerate().map(move |(at, stored)| Entry {
            index: dropped + (skip + at) as u64,
            connection: stored.connection,
            at_ms: stored.at_ms,
            kept: &stored.kept,
        })
    }

    /// The index of the next message.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Count of dropped messages, which is also the index of the oldest kept one.
    pub(super) fn dropped(&self) -> u64 {
        self.next - self.stored.len() as u64
    }
}
