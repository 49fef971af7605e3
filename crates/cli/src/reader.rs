//! Reading streams of NATS in order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::context::{GetStreamErrorKind, RequestError, RequestErrorKind};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use nixfleet_fleet::names::host_of;
use nixfleet_os::error::chain;
use tokio::time::{sleep, timeout};

use crate::exit::{Exit, Failure};

/// How long an answer of NATS may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Pause before a stream is read again that could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked whether a stream was made anew.
const CHECK: Duration = Duration::from_secs(3);

/// Hosts up to which NATS is asked for their entries alone. Above, it is cheaper to read those of all hosts than to have
/// NATS compare each entry with a long list.
pub(crate) const MOST_NAMED: usize = 64;

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// There is none of this name.
    #[error(
        "NATS has no {0}: no gateway has made it yet; start nixfleet-gateway with these servers, or name its servers"
    )]
    Missing(&'static str),
    /// JetStream is off.
    #[error("JetStream is off in NATS, so no fleet can be there; name the servers of the gateways")]
    Off,
    /// NATS does not answer.
    #[error(
        "NATS does not answer within 5 s about {0}: it may be away, or the login may not read it; see docs/fleet.md"
    )]
    Silent(&'static str),
    /// It delivers again what is read already.
    #[error("NATS has begun {0} anew from its oldest entry; try again")]
    Anew(&'static str),
    /// Something else.
    #[error("cannot read {what} in NATS")]
    Nats { what: &'static str, source: async_nats::Error },
}

impl From<ReadError> for Failure {
    fn from(err: ReadError) -> Self {
        Self::new(Exit::Nats, chain(&err))
    }
}

/// One entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The host that it is about.
    pub(crate) host: String,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
    /// Its number in the stream.
    pub(crate) sequence: u64,
    /// When NATS stored it, in Unix milliseconds.
    pub(crate) stored_ms: i64,
}

impl Entry {
    /// None if it is about no host.
    fn new(message: &jetstream::Message) -> Option<Self> {
        let info = message.info().ok()?;
        let host = host_of(&message.subject)?.to_owned();
        let stored_ms = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        Some(Self {
            host,
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            sequence: info.stream_sequence,
            stored_ms,
        })
    }

    /// Its text. None for a marker.
    pub(crate) fn text(&self) -> Option<&str> {
        str::from_utf8(&self.payload).ok().filter(|text| !text.is_empty())
    }
}

/// Where reading begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// The newest entry of each subject, and then all new ones.
    Newest,
    /// Behind the entry of this number.
    After(u64),
    /// What was stored in the last so many seconds.
    Since(Duration),
}

/// A stream that is being read.
pub(crate) struct Reader {
    what: &'static str,
    messages: Ordered,
    /// The number of entries that were there at the beginning and are not read yet.
    left: u64,
    /// The first entry that may come.
    first: u64,
    /// When the oldest one that may come was stored, in Unix nanoseconds.
    oldest_ns: i128,
    made: Made,
}

/// Which stream it is: one that is made anew has another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    what: &'static str,
    /// In Unix nanoseconds.
    at_ns: i128,
}

impl Made {
    pub(crate) fn of(what: &'static str, stream: &Stream) -> Self {
        Self { what, at_ns: stream.cached_info().created.unix_timestamp_nanos() }
    }
}

/// Resolves when one of these streams is another one than before. A bucket in memory is lost with the last server that
/// has it, also while the connection to another server stays; the library would go on behind an entry that the new one
/// does not have yet.
pub(crate) async fn made_anew(jetstream: Context, before: Vec<Made>) {
    loop {
        sleep(CHECK).await;
        for made in &before {
            // One that is away now may come back as it was.
            if stream(&jetstream, made.what).await.is_ok_and(|stream| Made::of(made.what, &stream) != *made) {
                return;
            }
        }
    }
}

/// The stream of this name.
pub(crate) async fn stream(jetstream: &Context, what: &'static str) -> Result<Stream, ReadError> {
    match timeout(ANSWER_LIMIT, jetstream.get_stream(what)).await {
        Err(_) => Err(ReadError::Silent(what)),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(err)) => Err(match err.kind() {
            GetStreamErrorKind::JetStream(err) if err.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                ReadError::Missing(what)
            }
            GetStreamErrorKind::JetStream(err)
                if matches!(
                    err.error_code(),
                    ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
                ) =>
            {
                ReadError::Off
            }
            // Questions that nobody takes: the part of the server is not there that would.
            _ => match request_error(&err) {
                Some(RequestErrorKind::NoResponders) => ReadError::Off,
                Some(RequestErrorKind::TimedOut) => ReadError::Silent(what),
                _ => ReadError::Nats { what, source: err.into() },
            },
        }),
    }
}

/// The stream of this name, without asking whether it is there.
pub(crate) async fn unseen(jetstream: &Context, what: &'static str) -> Result<Stream<()>, ReadError> {
    let stream = jetstream.get_stream_no_info(what).await;
    stream.map_err(|source| ReadError::Nats { what, source: source.into() })
}

/// Which failed request of JetStream is among the causes.
fn request_error(err: &(dyn std::error::Error + 'static)) -> Option<RequestErrorKind> {
    let causes = std::iter::successors(Some(err), |err| err.source());
    causes.into_iter().find_map(|err| Some(err.downcast_ref::<RequestError>()?.kind()))
}

impl Reader {
    /// Begins to read the entries of these subjects.
    pub(crate) async fn open(
        jetstream: &Context,
        what: &'static str,
        begin: Begin,
        filter_subjects: Vec<String>,
    ) -> Result<Self, ReadError> {
        let stream = stream(jetstream, what).await?;
        let opening = async {
            let last = stream.cached_info().state.last_sequence;
            let (mut first, mut oldest_ns) = (0, 0);
            let deliver_policy = match begin {
                Begin::Newest => DeliverPolicy::LastPerSubject,
                Begin::After(sequence) => {
                    // A stream that was made anew counts from the beginning.
                    first = if sequence > last { 1 } else { sequence + 1 };
                    DeliverPolicy::ByStartSequence { start_sequence: first }
                }
                Begin::Since(time) => {
                    let now = jiff::Timestamp::now().as_nanosecond();
                    oldest_ns = (now - i128::try_from(time.as_nanos()).unwrap_or(now)).max(0);
                    DeliverPolicy::ByStartTime { start_time: async_nats::datetime::from_nanos(oldest_ns)? }
                }
            };
            let config = OrderedConfig { deliver_policy, filter_subjects, ..OrderedConfig::default() };
            let consumer = stream.create_consumer(config).await?;
            let left = consumer.cached_info().num_pending;
            if left == 0 {
                first = first.max(last + 1);
            }
            let messages = consumer.messages().await?;
            Ok::<_, async_nats::Error>(Self {
                what,
                messages,
                left,
                first,
                oldest_ns,
                made: Made::of(what, &stream),
            })
        };
        match timeout(ANSWER_LIMIT, opening).await {
            // What a login may not do is not answered, and the library's patience may end before ours.
            Ok(Err(err)) if request_error(err.as_ref()) == Some(RequestErrorKind::TimedOut) => {
                Err(ReadError::Silent(what))
            }
            Ok(opened) => opened.map_err(|source| ReadError::Nats { what, source }),
            Err(_) => Err(ReadError::Silent(what)),
        }
    }

    /// The stream that is read.
    pub(crate) fn made(&self) -> Made {
        self.made
    }

    /// Whether all that was there at the beginning is read.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.left == 0
    }

    /// Handles all that is there already.
    pub(crate) async fn catch_up(&mut self, mut handle: impl FnMut(Entry)) -> Result<(), ReadError> {
        while !self.is_caught_up() {
            if let Some(entry) = self.next_there().await? {
                handle(entry);
            }
        }
        Ok(())
    }

    /// The next entry of those that were there at the beginning. NATS has it, so it does not take long.
    pub(crate) async fn next_there(&mut self) -> Result<Option<Entry>, ReadError> {
        timeout(ANSWER_LIMIT, self.next()).await.map_err(|_| ReadError::Silent(self.what))?
    }

    /// The next entry. None for one that is about no host.
    pub(crate) async fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        match self.messages.next().await {
            Some(Ok(message)) => {
                if let Ok(info) = message.info() {
                    // A consumer that is lost before its first entry is made anew by the library, from the oldest one on.
                    let stored_ns = info.published.unix_timestamp_nanos();
                    if info.stream_sequence < self.first || stored_ns < self.oldest_ns {
                        return Err(ReadError::Anew(self.what));
                    }
                }
                if self.left > 0 {
                    // Entries that were there may go meanwhile, so the server's own count ends it.
                    self.left = message.info().map_or(0, |info| info.pending.min(self.left - 1));
                }
                Ok(Entry::new(&message))
            }
            Some(Err(source)) => Err(ReadError::Nats { what: self.what, source: source.into() }),
            None => Err(ReadError::Silent(self.what)),
        }
    }
}

/// A stream that is read for ever, also when NATS has been away.
pub(crate) struct Tail {
    jetstream: Context,
    subjects: Vec<String>,
    after: u64,
    /// The stream that `after` is a number of.
    made: Made,
    /// Numbers of streams that are no more: those of entries go on behind them.
    gone: u64,
    reader: Option<Reader>,
}

impl Tail {
    /// Begins behind the entry of this number.
    pub(crate) fn new(jetstream: &Context, made: Made, after: u64, subjects: Vec<String>) -> Self {
        Self { jetstream: jetstream.clone(), subjects, after, made, gone: 0, reader: None }
    }

    /// The next entry. Waits while NATS is away.
    pub(crate) async fn next(&mut self) -> Entry {
        loop {
            let Some(reader) = &mut self.reader else {
                match self.open().await {
                    Ok(reader) => self.reader = Some(reader),
                    Err(_) => sleep(PAUSE).await,
                }
                continue;
            };
            match reader.next().await {
                Ok(Some(mut entry)) => {
                    self.after = entry.sequence;
                    entry.sequence += self.gone;
                    return entry;
                }
                Ok(None) => {}
                Err(_) => {
                    self.reader = None;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Goes on where it was, or at the beginning of a stream that was made anew.
    async fn open(&mut self) -> Result<Reader, ReadError> {
        loop {
            let (begin, subjects) = (Begin::After(self.after), self.subjects.clone());
            let reader = Reader::open(&self.jetstream, self.made.what, begin, subjects).await?;
            // As it is now: it may have been made anew while the reading began, in the middle of the new one.
            let made = Made::of(self.made.what, &stream(&self.jetstream, self.made.what).await?);
            if std::mem::replace(&mut self.made, made) == made {
                return Ok(reader);
            }
            self.gone += std::mem::take(&mut self.after);
        }
    }

    /// The entries for who waits for other things as well: opening is not begun anew each time that one of those happens.
    pub(crate) fn entries(self) -> BoxStream<'static, Entry> {
        let next = async |mut tail: Self| Some((tail.next().await, tail));
        futures_util::stream::unfold(self, next).boxed()
    }
}

/// Whether NATS has been away: what expired meanwhile left no marker then.
pub(crate) struct Connects {
    client: Client,
    seen: u64,
}

impl Connects {
    /// From now on.
    pub(crate) fn new(client: &Client) -> Self {
        Self { seen: client.statistics().connects.load(Ordering::Relaxed), client: client.clone() }
    }

    /// Resolves when there is another connection than before.
    pub(crate) async fn changed(&mut self) {
        loop {
            let connects = self.client.statistics().connects.load(Ordering::Relaxed);
            if connects != self.seen {
                self.seen = connects;
                return;
            }
            sleep(PAUSE).await;
        }
    }
}
