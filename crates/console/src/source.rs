//! What a fleet says, out of NATS and into a dashboard's feed.
//!
//! ```text
//! owners, facts, ends, the last lines, beats -- up to now --> Feed      a reading begins with this, in this order
//! all of them but the ends                   -- live -------> Feed      until NATS is away; then the next reading
//! ```
//!
//! A host is offline when the marker of its expired beat comes, or when a reading finds no beat: markers last a minute,
//! and NATS may have been away for longer. It may have lost all beats, which are in its memory: then their bucket is
//! missing until a gateway makes it, as all of them are before the first gateway. A dashboard makes nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State as Connection;
use async_nats::jetstream::{self, Context};
use nixfleet_dashboard::{Feed, Outage};
use nixfleet_fleet::names::{LOG, STATUS};
use nixfleet_os::error::chain;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use part::{ANSWER_LIMIT, Begin, Part, ReadError, oldest_ns, stuck};
use picture::Picture;

mod part;
mod picture;

const OWNERS: &str = "KV_fleet_owners";
const HOSTS: &str = "KV_fleet_hosts";
const BEATS: &str = "KV_fleet_beats";

/// Most entries of the log that a reading begins with: a dashboard keeps about so many lines of a large fleet. The rest
/// stays in NATS; of what it skips, the ends of commands are read where they are kept longer.
const LAST_LINES: u64 = 20_000;

/// Most ends of commands that are read then, for the same reason.
const LAST_ENDS: u64 = 20_000;

/// Pause before the next reading.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked whether NATS answers. A connection that is lost without a word is found in two of them.
const LOOK: Duration = Duration::from_secs(2);

/// How long there may be no connection before browsers are told: the client goes to another server at once, if there is
/// one.
const GRACE: Duration = Duration::from_secs(2);

/// How often it is looked whether NATS is there again. It costs nothing.
const CONNECTED: Duration = Duration::from_millis(100);

/// How it stands with NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The first reading is not done.
    Reading,
    /// What the dashboard shows is true now.
    Live,
    /// It is not, for this reason.
    Out(Outage),
}

/// Reads for ever.
pub(crate) async fn run(client: Client, feed: Feed, state: watch::Sender<State>) {
    let jetstream = jetstream::new(client.clone());
    let mut picture = Picture::new(feed.clone());
    loop {
        let ended = match connected(&client).await {
            Ok(()) => tokio::select! {
                ended = read(&jetstream, &mut picture, || live(&feed, &state)) => ended,
                ended = lost(&client) => ended,
            },
            Err(err) => Err(err),
        };
        let Err(err) = ended else { continue };
        // A connection or a consumer that was lost for a moment is no news for people.
        if !matches!(err, ReadError::Again | ReadError::Stuck(_) | ReadError::Old(_)) {
            note(&feed, &state, &err);
        }
        sleep(PAUSE).await;
        if let ReadError::Missing(stream) = err {
            made(&client, &jetstream, stream).await;
        }
    }
}

fn live(feed: &Feed, state: &watch::Sender<State>) {
    feed.away(None);
    if let State::Out(_) = state.send_replace(State::Live) {
        tracing::info!("The fleet is read again.");
    }
}

/// Tells browsers, balancers and the log, once for each outage and not for each attempt.
fn note(feed: &Feed, state: &watch::Sender<State>, err: &ReadError) {
    let (what, hint) = match err {
        ReadError::Missing(BEATS) => (
            "The fleet's store is without heartbeats",
            "Hosts are offline here until a gateway makes their place again, which takes seconds after a start \
             of NATS, and they send the next ones.",
        ),
        ReadError::Missing(_) => (
            "No gateway has made the fleet's store in NATS, which is awaited",
            "It comes with the first gateway.",
        ),
        _ => ("The fleet's store is away", "What is shown here was true then."),
    };
    let outage = Outage { since_ms: jiff::Timestamp::now().as_millisecond(), what, hint };
    let is_new = state.send_if_modified(|state| {
        let is_new = !matches!(state, State::Out(before) if before.what == what);
        if is_new {
            *state = State::Out(outage);
        }
        is_new
    });
    if is_new {
        feed.away(Some(outage));
        tracing::warn!("{what}. It is tried again until it is there: {}", chain(err));
    }
}

/// Waits for a connection: a question that is asked before is only answered by its time limit.
async fn connected(client: &Client) -> Result<(), ReadError> {
    let waiting = async {
        while client.connection_state() != Connection::Connected {
            sleep(CONNECTED).await;
        }
    };
    timeout(ANSWER_LIMIT, waiting).await.map_err(|_| ReadError::Silent)
}

/// Waits until a stream is there, or NATS has a new connection or none.
async fn made(client: &Client, jetstream: &Context, stream: &str) {
    let looking = async {
        while !matches!(timeout(ANSWER_LIMIT, jetstream.get_stream(stream)).await, Ok(Ok(_))) {
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = looking => {}
        // The next reading says what it is.
        _ = lost(client) => {}
    }
}

/// Resolves when NATS does not answer any more, or has been away: what expired meanwhile left no marker then, and
/// readings that go on by themselves would not notice.
async fn lost(client: &Client) -> Result<(), ReadError> {
    let connects = || client.statistics().connects.load(Ordering::Relaxed);
    let before = connects();
    loop {
        sleep(LOOK).await;
        if connects() != before {
            return Err(ReadError::Again);
        }
        let is_connected = || client.connection_state() == Connection::Connected;
        let limit = if is_connected() { ANSWER_LIMIT } else { GRACE };
        match timeout(limit, client.flush()).await {
            Ok(Ok(())) if is_connected() => {}
            _ => return Err(ReadError::Silent),
        }
    }
}

/// One reading: all that is there, then all that comes. `caught_up` is called between them.
async fn read(jetstream: &Context, picture: &mut Picture, caught_up: impl FnOnce()) -> Result<(), ReadError> {
    let mut owners = Part::open(jetstream, OWNERS, Begin::Newest).await?;
    owners.catch_up(|message| picture.owner(message)).await?;
    let mut facts = Part::open(jetstream, HOSTS, Begin::Newest).await?;
    facts.catch_up(|message| picture.facts(message)).await?;
    picture.settle();
    let mut log = Part::open(jetstream, LOG, Begin::Behind(picture.log_after, LAST_LINES)).await?;
    if log.skips {
        let skipped = (picture.told_ns, oldest_ns(jetstream, log.first).await);
        let mut ends = Part::open(jetstream, STATUS, Begin::Behind(0, LAST_ENDS)).await?;
        ends.catch_up(|message| picture.end(message, skipped)).await?;
    }
    log.catch_up(|message| picture.said(message)).await?;
    let beats = Part::open(jetstream, BEATS, Begin::Newest).await;
    picture.begin_beats();
    if let Err(ReadError::Missing(_)) = beats {
        picture.end_beats();
    }
    let mut beats = beats?;
    beats.catch_up(|message| picture.beat(message)).await?;
    picture.end_beats();
    caught_up();
    let progress = [&owners, &facts, &beats, &log].map(Part::progress);
    let mut stuck = std::pin::pin!(stuck(jetstream, &progress));
    loop {
        tokio::select! {
            // Who has which connection comes first, as what is said depends on it.
            biased;
            message = owners.next() => picture.owner(&message?),
            message = facts.next() => picture.facts(&message?),
            message = beats.next() => picture.beat(&message?),
            message = log.next() => picture.said(&message?),
            err = &mut stuck => return Err(err),
        }
    }
}
