//! The newest messages of an agent.

use std::collections::VecDeque;

use nixfleet_protocol::AgentMessage;

/// Most messages kept for each host: twice the longest output of a test.
pub(super) const MAX_MESSAGES: usize = 50_000;

/// Most bytes of text kept for each host, so that 50,000 long lines cannot fill the memory.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;

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

/// A bounded list of [`Recorded`]. The oldest ones are dropped and counted.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Each message with the length of its text.
    entries: VecDeque<(Recorded, usize)>,
    bytes: usize,
    next: u64,
}

impl Record {
    /// Adds a message whose text had `size` bytes.
    pub(super) fn push(&mut self, connection: u64, at_ms: i64, size: usize, message: AgentMessage) {
        self.entries.push_back((Recorded { index: self.next, connection, at_ms, message }, size));
        self.next += 1;
        self.bytes += size;
        while self.entries.len() > MAX_MESSAGES || (self.bytes > MAX_BYTES && self.entries.len() > 1) {
            let Some((_, size)) = self.entries.pop_front() else { break };
            self.bytes -= size;
        }
    }

    /// The messages with an index of at least `since`, oldest first.
    pub(super) fn since(&self, since: u64) -> impl DoubleEndedIterator<Item = &Recorded> {
        let skip = usize::try_from(since.saturating_sub(self.dropped())).unwrap_or(usize::MAX);
        self.entries.range(skip.min(self.entries.len())..).map(|(recorded, _)| recorded)
    }

    /// The index of the next message.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Count of dropped messages, which is also the index of the oldest kept one.
    pub(super) fn dropped(&self) -> u64 {
        self.next - self.entries.len() as u64
    }
}
