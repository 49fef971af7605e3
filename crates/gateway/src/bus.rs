//! NATS, as all sessions use it: two connections, and whether they can be used.
//!
//! Heartbeats have a connection of their own, so they never wait behind output.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use nixfleet_fleet::{ConnectError, Layout, LayoutError, Options, Presence, Sizes, presence};
use nixfleet_os::error::chain;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::beats::Beats;
use crate::figures::Figures;

/// How long an acknowledgement may take. Then the message is sent again.
const ACK_LIMIT: Duration = Duration::from_secs(2);

/// How long any other answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The end of an attempt to store a message.
pub(crate) type Published = BoxFuture<'static, Result<(), StoreError>>;

/// Publishes a message, and waits until NATS has stored it.
pub(crate) type Publish = Arc<dyn Fn(String, HeaderMap, Bytes) -> Published + Send + Sync>;

/// Why a message is not stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// It may be stored later.
    Later(String),
    /// It is too long for the stream or for the servers.
    Never(String),
}

/// Why a gateway cannot use NATS.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There are no buckets and streams.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl BusError {
    /// Whether it stays like that until somebody changes settings or servers.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Connect(err) => !matches!(err, ConnectError::Connect { .. }),
            Self::Layout(_) => false,
        }
    }
}

/// The way to NATS.
pub(crate) struct Bus {
    /// Unique for each start.
    pub(crate) id: String,
    beats: Beats,
    pub(crate) jetstream: Context,
    pub(crate) layout: Layout,
    sizes: Sizes,
    publish: Publish,
    start: Instant,
    /// When the presence was last acknowledged, in milliseconds since the start; 0 for never.
    acknowledged: AtomicU64,
    figures: Arc<Figures>,
}

impl Bus {
    /// Connects, and finds or makes the buckets and streams.
    ///
    /// # Errors
    /// [`BusError`].
    pub(crate) async fn open(
        id: String,
        options: &Options,
        sizes: &Sizes,
        figures: Arc<Figures>,
    ) -> Result<Self, BusError> {
        let client = nixfleet_fleet::connect(options).await?;
        let beats = Beats::new(nixfleet_fleet::connect(options).await?, Arc::clone(&figures));
        let jetstream =
            jetstream::ContextBuilder::new().ack_timeout(ACK_LIMIT).timeout(ANSWER_LIMIT).build(client);
        let layout = Layout::ensure(&jetstream, sizes).await?;
        let publish = publish(jetstream.clone());
        let (sizes, start, acknowledged) = (*sizes, Instant::now(), AtomicU64::new(0));
        Ok(Self { id, beats, jetstream, layout, sizes, publish, start, acknowledged, figures })
    }

    /// Stores messages.
    pub(crate) fn publish(&self) -> Publish {
        Arc::clone(&self.publish)
    }

    /// The connection for everything but heartbeats.
    pub(crate) fn client(&self) -> Client {
        self.jetstream.client()
    }

    /// Waits until what was published is sent.
    pub(crate) async fn flush(&self) {
        // An error means that the connection is lost, with what was on its way.
        drop(self.client().flush().await);
        self.beats.flush().await;
    }

    /// Whether NATS has stored something of this gateway lately, and is connected now.
    pub(crate) fn is_usable(&self) -> bool {
        let at = self.acknowledged.load(Relaxed);
        let age = self.now_ms().saturating_sub(at);
        at > 0 && age < presence::LIFE.as_millis() as u64 && self.beats.is_connected()
    }

    /// Publishes a heartbeat, or drops it: a later one is worth more than one that waited.
    pub(crate) fn beat(&self, subject: String, headers: HeaderMap, payload: Bytes) {
        if self.is_usable() {
            self.beats.push(subject, headers, payload);
        } else {
            self.figures.beats_dropped.add();
        }
    }

    /// Renews the presence for as long as it is polled. Notifies `back` when NATS may have forgotten or not delivered
    /// something: after each new connection, and after it has not answered.
    pub(crate) async fn stay_present(&self, presence: impl Fn() -> Presence, back: &Notify) {
        let mut ticks = interval(presence::RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut connects, mut failed) = (self.connects(), false);
        loop {
            ticks.tick().await;
            let renewed = timeout(ANSWER_LIMIT, presence().renew(&self.jetstream)).await;
            let why = match renewed {
                Ok(Ok(())) => None,
                Ok(Err(err)) => Some(chain(&*err)),
                Err(_) => Some("no answer within 5 s".to_owned()),
            };
            let Some(why) = why else {
                self.acknowledged.store(self.now_ms().max(1), Relaxed);
                let before = std::mem::replace(&mut connects, self.connects());
                if std::mem::take(&mut failed) {
                    info!("NATS stores again what this gateway says");
                } else if before == connects {
                    continue;
                }
                back.notify_one();
                continue;
            };
            if !std::mem::replace(&mut failed, true) {
                warn!(%why, "NATS does not store what this gateway says; heartbeats are dropped until it does");
            }
            // A server that keeps buckets in memory may have been started anew, without them.
            if let Err(err) = Layout::ensure(&self.jetstream, &self.sizes).await {
                debug!("{}", chain(&err));
            }
        }
    }

    /// How often there was a new connection to NATS.
    fn connects(&self) -> u64 {
        self.client().statistics().connects.load(Relaxed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("id", &self.id).finish_non_exhaustive()
    }
}

fn publish(jetstream: Context) -> Publish {
    Arc::new(move |subject, headers, payload| {
        let jetstream = jetstream.clone();
        Box::pin(async move {
            // A client that is not connected would keep the message, and each further attempt as well.
            if jetstream.client().connection_state() != State::Connected {
                return Err(StoreError::Later("not connected".to_owned()));
            }
            let published = async { jetstream.publish_with_headers(subject, headers, payload).await?.await };
            match timeout(2 * ACK_LIMIT, published).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(err)) => Err(store_error(&err)),
                Err(_) => Err(StoreError::Later("not acknowledged in time".to_owned())),
            }
        })
    })
}

fn store_error(err: &PublishError) -> StoreError {
    let too_long = [ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM];
    let code = err.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let never = err.kind() == PublishErrorKind::MaxPayloadExceeded
        || code.is_some_and(|err| too_long.contains(&err.error_code()));
    if never { StoreError::Never(chain(err)) } else { StoreError::Later(chain(err)) }
}
