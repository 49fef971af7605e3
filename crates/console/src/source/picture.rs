//! What is known of the fleet, so that each entry is told to the dashboard once and in an order that makes sense.

use std::collections::{HashMap, HashSet, VecDeque};

use async_nats::jetstream::Message;
use nixfleet_dashboard::{Feed, FeedError};
use nixfleet_fleet::names::{host_of, said, status};
use nixfleet_fleet::{BeatAt, Owner};
use nixfleet_os::text::one_line;

/// Most bytes of messages that wait for the facts of their hosts. Each part of NATS is read on its own, so the first
/// words of a new host may overtake its registration, by moments.
const WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Most characters that the log quotes of what cannot be read.
const QUOTED: usize = 200;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A heartbeat, which makes a host online.
    Beat,
    /// Something about commands.
    Said,
}

/// A message of a host whose facts are not known yet.
struct Waiting {
    host: String,
    kind: Kind,
    at_ms: i64,
    text: String,
}

/// What is known.
pub(super) struct Picture {
    feed: Feed,
    owners: HashMap<String, Owner>,
    /// Entry and connection of the newest facts of each host.
    facts: HashMap<String, (u64, u64)>,
    /// The newest beat of each host that is online.
    beats: HashMap<String, BeatAt>,
    /// The hosts with a beat, while a reading begins.
    beating: HashSet<String>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Messages that waited for too many others.
    dropped: u64,
    /// The newest entry of the log that was told.
    pub(super) log_after: u64,
    /// When the newest entry came that was told, of the log or of an end, in Unix nanoseconds.
    pub(super) told_ns: i128,
    /// The newest end of each host that was told.
    ended: HashMap<String, BeatAt>,
}

impl Picture {
    pub(super) fn new(feed: Feed) -> Self {
        Self {
            feed,
            owners: HashMap::new(),
            facts: HashMap::new(),
            beats: HashMap::new(),
            beating: HashSet::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            dropped: 0,
            log_after: 0,
            told_ns: 0,
            ended: HashMap::new(),
        }
    }

    /// Who has the connection of a host.
    pub(super) fn owner(&mut self, message: &Message) {
        let Some(host) = host_of(&message.subject) else { return };
        let Ok(owner) = serde_json::from_slice::<Owner>(&message.payload) else { return };
        self.owners.insert(host.to_owned(), owner);
        self.settle_host(host);
    }

    /// A `register`.
    pub(super) fn facts(&mut self, message: &Message) {
        let (Some(host), Some(text)) = (host_of(&message.subject), text(message)) else { return };
        let Some(BeatAt { connection, at_ms }) = BeatAt::read(message.headers.as_ref()) else { return };
        let entry = message.info().map_or(0, |info| info.stream_sequence);
        if self.facts.get(host) == Some(&(entry, connection)) {
            return;
        }
        if let Err(err) = self.feed.connects(host, connection, at_ms, text) {
            return skipped(host, &err);
        }
        self.facts.insert(host.to_owned(), (entry, connection));
        self.settle_host(host);
        let (ready, others) = std::mem::take(&mut self.waiting).into_iter().partition(|one| one.host == host);
        self.waiting = others;
        for Waiting { host, kind, at_ms, text } in Vec::from(ready) {
            self.waiting_bytes -= text.len();
            self.tell(&host, kind, at_ms, &text);
        }
    }

    /// Hosts whose connection has ended are not connected.
    pub(super) fn settle(&mut self) {
        let hosts: Vec<String> = self.facts.keys().cloned().collect();
        hosts.iter().for_each(|host| self.settle_host(host));
    }

    fn settle_host(&self, host: &str) {
        let (Some(owner), Some(&(_, connection))) = (self.owners.get(host), self.facts.get(host)) else {
            return;
        };
        if connection < owner.connection || (connection == owner.connection && owner.left.is_some()) {
            self.feed.leaves(host, connection);
        }
    }

    /// Something that a host says about its commands.
    pub(super) fn said(&mut self, message: &Message) {
        let entry = message.info().map_or(0, |info| info.stream_sequence);
        self.tell_entry(message);
        self.log_after = entry;
    }

    /// The end of a command, if it came in the part of the log that is skipped: after what was told, and before the part
    /// begins that is read. Later ones are in there, behind their lines.
    pub(super) fn end(&mut self, message: &Message, (told_ns, oldest_ns): (i128, Option<i128>)) {
        let Some(at) = came_ns(message) else { return };
        let is_skipped = at > told_ns && oldest_ns.is_none_or(|oldest| at < oldest);
        // An end is in the log first. That may be what was told last, a moment before this copy came.
        let is_told = || {
            let at = BeatAt::read(message.headers.as_ref());
            at.is_some() && host_of(&message.subject).and_then(|host| self.ended.get(host)) == at.as_ref()
        };
        if is_skipped && !is_told() {
            self.tell_entry(message);
        }
    }

    fn tell_entry(&mut self, message: &Message) {
        self.told_ns = self.told_ns.max(came_ns(message).unwrap_or_default());
        let (Some(host), Some(text)) = (host_of(&message.subject), text(message)) else { return };
        let Some(at) = BeatAt::read(message.headers.as_ref()) else { return };
        if *message.subject == *said(host, "status") || *message.subject == *status(host) {
            self.ended.insert(host.to_owned(), at);
        }
        self.tell(host, Kind::Said, at.at_ms, text);
    }

    /// The next beats are those that are there, one of each host that is online.
    pub(super) fn begin_beats(&mut self) {
        self.beating.clear();
    }

    /// A heartbeat, or the marker of one that has expired.
    pub(super) fn beat(&mut self, message: &Message) {
        let Some(host) = host_of(&message.subject) else { return };
        let (Some(at), Some(text)) = (BeatAt::read(message.headers.as_ref()), text(message)) else {
            self.beating.remove(host);
            return self.expires(host);
        };
        self.beating.insert(host.to_owned());
        // One that was told is read again when a reading begins.
        if self.beats.insert(host.to_owned(), at) == Some(at) {
            return;
        }
        if at.is_current(self.owners.get(host)) {
            return self.tell(host, Kind::Beat, at.at_ms, text);
        }
        match self.feed.said_before(host, at.at_ms, text) {
            // The facts of this host say more than an old heartbeat, and will come.
            Ok(()) | Err(FeedError::UnknownHost) => {}
            Err(err) => skipped(host, &err),
        }
    }

    /// All beats that are there were read: the other hosts are offline.
    pub(super) fn end_beats(&mut self) {
        let gone: Vec<String> =
            self.beats.keys().filter(|host| !self.beating.contains(*host)).cloned().collect();
        gone.iter().for_each(|host| self.expires(host));
        self.beating = HashSet::new();
    }

    fn expires(&mut self, host: &str) {
        self.beats.remove(host);
        // Told later, it would make the host online, and nothing would make it offline any more.
        self.waiting.retain(|one| {
            let is_over = one.kind == Kind::Beat && one.host == host;
            self.waiting_bytes -= if is_over { one.text.len() } else { 0 };
            !is_over
        });
        self.feed.expires(host);
    }

    fn tell(&mut self, host: &str, kind: Kind, at_ms: i64, text: &str) {
        match self.feed.says(host, at_ms, text) {
            Ok(()) => {}
            Err(FeedError::UnknownHost) => self.wait(host, kind, at_ms, text),
            Err(err) => skipped(host, &err),
        }
    }

    fn wait(&mut self, host: &str, kind: Kind, at_ms: i64, text: &str) {
        self.waiting_bytes += text.len();
        self.waiting.push_back(Waiting { host: host.to_owned(), kind, at_ms, text: text.to_owned() });
        while self.waiting_bytes > WAITING_BYTES
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.waiting_bytes -= oldest.text.len();
            self.dropped += 1;
            tracing::debug!(host = oldest.host, dropped = self.dropped, "dropped words of an unknown host");
        }
    }
}

fn skipped(host: &str, err: &FeedError) {
    tracing::warn!(host, "skipped an entry of NATS: {}", one_line(&err.to_string(), QUOTED));
}

/// When an entry came, in Unix nanoseconds by the clock of NATS.
fn came_ns(message: &Message) -> Option<i128> {
    Some(message.info().ok()?.published.unix_timestamp_nanos())
}

/// The text of an entry. None for a marker.
fn text(message: &Message) -> Option<&str> {
    str::from_utf8(&message.payload).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
