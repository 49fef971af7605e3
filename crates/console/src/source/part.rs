//! One stream of NATS, read in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{ConsumerError, Stream};
use async_nats::jetstream::{Context, ErrorCode, Message};
use futures_util::StreamExt;
use nixfleet_fleet::names::LOG;
use tokio::time::{sleep, timeout};

/// How long NATS may be silent about a question or, while it is away, before browsers are told.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long the server of a consumer may take to answer, one try after the other. A large fleet takes its time.
const TRIES: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// How often it is looked whether all is delivered. Two of them in a row without an entry that NATS has are too long.
const CHECK: Duration = Duration::from_secs(3);

/// Why a reading ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("no gateway has made {0} in NATS yet")]
    Missing(&'static str),
    #[error("cannot read {what} in NATS")]
    Nats { what: &'static str, source: async_nats::Error },
    #[error("NATS does not answer")]
    Silent,
    #[error("the connection to NATS is a new one, so all of it is read again")]
    Again,
    #[error("NATS has ended the reading of {0}")]
    Ended(&'static str),
    #[error("NATS does not deliver the newest entries of {0}")]
    Stuck(&'static str),
    #[error("NATS delivers old entries of {0} again")]
    Old(&'static str),
}

/// Where a reading begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Begin {
    /// The newest entry of each subject.
    Newest,
    /// Behind this entry, or so many before the end if that is nearer, or the entry is not there any more.
    Behind(u64, u64),
}

/// A stream that is read.
pub(super) struct Part {
    what: &'static str,
    messages: Ordered,
    /// There are no entries yet that the reading begins with.
    is_empty: bool,
    /// The first entry that is read, unless only the newest are.
    pub(super) first: u64,
    /// Entries before the first one were never read, or are of a stream that is not there any more.
    pub(super) skips: bool,
    /// No entry below this one can come.
    floor: u64,
    /// The last entry of the stream when the reading began.
    last: u64,
    progress: Progress,
}

/// How far the reading of a stream is.
#[derive(Clone)]
pub(super) struct Progress {
    what: &'static str,
    /// When the stream was made, in Unix nanoseconds. One that is made anew counts its entries from the beginning.
    created_ns: i128,
    /// The newest entry that was delivered.
    seen: Arc<AtomicU64>,
}

impl Part {
    pub(super) async fn open(
        jetstream: &Context,
        what: &'static str,
        from: Begin,
    ) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Nats { what, source };
        let asking = timeout(ANSWER_LIMIT, jetstream.get_stream(what));
        let stream = asking.await.map_err(|_| ReadError::Silent)?.map_err(|err| match is_missing(&err) {
            true => ReadError::Missing(what),
            false => failed(err.into()),
        })?;
        let (deliver_policy, first, skips) = policy(&stream, from);
        // NATS gives the last entry of each subject only to who names the subjects.
        let filter_subject = ">".to_owned();
        let config = OrderedConfig { deliver_policy, filter_subject, ..OrderedConfig::default() };
        let consumer = consumer(&stream, &config).await?.map_err(|err| failed(err.into()))?;
        let is_empty = consumer.cached_info().num_pending == 0;
        let asking = timeout(ANSWER_LIMIT, consumer.messages());
        let messages = asking.await.map_err(|_| ReadError::Silent)?.map_err(|err| failed(err.into()))?;
        let last = stream.cached_info().state.last_sequence;
        let floor = if is_empty { last + 1 } else { first };
        let progress = Progress { what, created_ns: created_ns(&stream), seen: Arc::default() };
        Ok(Self { what, messages, is_empty, first, skips, floor, last, progress })
    }

    /// Handles all that is there already.
    pub(super) async fn catch_up(&mut self, mut handle: impl FnMut(&Message)) -> Result<(), ReadError> {
        while !self.is_empty {
            let message = timeout(ANSWER_LIMIT, self.next()).await.map_err(|_| ReadError::Silent)??;
            self.is_empty = message.info().map_or(true, |info| info.pending == 0);
            handle(&message);
        }
        self.progress.seen.fetch_max(self.last, Relaxed);
        Ok(())
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The next entry. The library may have to make a new consumer, and if nothing was delivered so far, that one begins
    /// with the oldest entry of all: those were told long ago, so this is an error.
    pub(super) async fn next(&mut self) -> Result<Message, ReadError> {
        match self.messages.next().await {
            Some(Ok(message)) => {
                let entry = message.info().map_or(0, |info| info.stream_sequence);
                if entry < self.floor {
                    return Err(ReadError::Old(self.what));
                }
                self.progress.seen.store(entry, Relaxed);
                Ok(message)
            }
            Some(Err(source)) => Err(ReadError::Nats { what: self.what, source: source.into() }),
            None => Err(ReadError::Ended(self.what)),
        }
    }
}

/// Makes a consumer. A cluster puts it on any of the stream's servers, for a while also on one that has just died,
/// which does not answer: then another one is made.
async fn consumer(
    stream: &Stream,
    config: &OrderedConfig,
) -> Result<Result<Consumer<OrderedConfig>, ConsumerError>, ReadError> {
    for limit in TRIES {
        if let Ok(made) = timeout(limit, stream.create_consumer(config.clone())).await {
            return Ok(made);
        }
    }
    Err(ReadError::Silent)
}

/// Resolves when a stream has entries that are not delivered. The library makes a new consumer after two lost
/// signs of life of the server that has it, which take a minute, and then goes on behind the entry that came last,
/// which may be of a stream that is not there any more.
pub(super) async fn stuck(jetstream: &Context, parts: &[Progress]) -> ReadError {
    let mut before: Vec<(u64, u64)> = Vec::new();
    loop {
        sleep(CHECK).await;
        let mut now = Vec::with_capacity(parts.len());
        for Progress { what, created_ns: created, seen } in parts {
            // Before the question: meanwhile more may be delivered.
            let seen = seen.load(Relaxed);
            let stream = match timeout(ANSWER_LIMIT, jetstream.get_stream(*what)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(err)) if is_missing(&err) => return ReadError::Missing(what),
                Ok(Err(source)) => return ReadError::Nats { what, source: source.into() },
                Err(_) => return ReadError::Silent,
            };
            if created_ns(&stream) != *created {
                return ReadError::Stuck(what);
            }
            now.push((seen, stream.cached_info().state.last_sequence));
        }
        for ((was_seen, was_last), ((seen, _), part)) in before.iter().zip(now.iter().zip(parts)) {
            if seen == was_seen && was_last > seen {
                return ReadError::Stuck(part.what);
            }
        }
        before = now;
    }
}

fn created_ns(stream: &Stream) -> i128 {
    stream.cached_info().created.unix_timestamp_nanos()
}

fn is_missing(err: &GetStreamError) -> bool {
    match err.kind() {
        GetStreamErrorKind::JetStream(err) => err.error_code() == ErrorCode::STREAM_NOT_FOUND,
        _ => false,
    }
}

fn policy(stream: &Stream, from: Begin) -> (DeliverPolicy, u64, bool) {
    match from {
        Begin::Newest => (DeliverPolicy::LastPerSubject, 0, false),
        Begin::Behind(after, most) => {
            let state = &stream.cached_info().state;
            let (start_sequence, skips) = begin(after, most, state.first_sequence, state.last_sequence);
            (DeliverPolicy::ByStartSequence { start_sequence }, start_sequence, skips)
        }
    }
}

/// With which entry of a stream that has those from `first` to `last` a reading begins, and whether it skips any.
fn begin(after: u64, most: u64, first: u64, last: u64) -> (u64, bool) {
    // A stream that was made anew counts from the beginning.
    let after = if after > last { 0 } else { after };
    let start = (after.max(last.saturating_sub(most)) + 1).max(first);
    (start, after == 0 || start > after + 1)
}

/// When the first entry of the log came that is read, from this one on, in Unix nanoseconds. None if there is none.
pub(super) async fn oldest_ns(jetstream: &Context, from: u64) -> Option<i128> {
    let stream = jetstream.get_stream(LOG).await.ok()?;
    let first = from.max(stream.cached_info().state.first_sequence);
    // The login of a dashboard may ask each server that has a copy, and not the leader.
    let asking = stream.direct_get(first);
    Some(timeout(ANSWER_LIMIT, asking).await.ok()?.ok()?.time.unix_timestamp_nanos())
}

#[cfg(test)]
mod tests;
