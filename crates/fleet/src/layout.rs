//! The buckets and streams of a fleet, and how they are made.

use std::time::Duration;

use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{Context, kv};

use crate::names::{BEATS, GATEWAYS, HOSTS, LOG, LOG_SUBJECTS, OWNERS, STATUS, STATUS_SUBJECTS};

/// How long the marker of an expired entry stays, for readers that were away.
const MARKERS: Duration = Duration::from_secs(60);

/// How long NATS remembers the ids of messages. An agent sends again what was not proven when it connects again.
const DUPLICATES: Duration = Duration::from_secs(120);

/// Ends of commands that are kept for each host, as the page shows them.
const ENDS: i64 = 50;

/// Longest life of the end of a command.
const ENDS_AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The largest entry of a stream or bucket, in bytes: the longest message of an agent, with its headers.
const MAX_ENTRY: i32 = 512 * 1024 + 4096;

/// What depends on the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Copies of each entry in the cluster: 1, 3 or 5.
    pub replicas: usize,
    /// Longest life of a line.
    pub log_age: Duration,
    /// Most bytes of lines. Then the oldest ones go: a full log refuses nothing.
    pub log_bytes: i64,
    /// Longest life of the end of a command.
    pub ends_age: Duration,
    /// Ends of commands that are kept for each host.
    pub ends: i64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            replicas: 1,
            log_age: Duration::from_secs(7 * 24 * 60 * 60),
            log_bytes: 10 * 1024 * 1024 * 1024,
            ends_age: ENDS_AGE,
            ends: ENDS,
        }
    }
}

/// The buckets and streams.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The newest heartbeats.
    pub beats: kv::Store,
    /// The newest facts.
    pub hosts: kv::Store,
    /// Who has which connection.
    pub owners: kv::Store,
    /// Which gateways are there.
    pub gateways: kv::Store,
}

/// Why there are no buckets and streams.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// One of them can be neither found nor made.
    #[error(
        "cannot find or make {name} in NATS; JetStream must be on and have room for it, and this login may need more rights: see docs/fleet.md"
    )]
    Make {
        /// The bucket or stream.
        name: &'static str,
        /// The cause.
        source: async_nats::Error,
    },
}

impl Layout {
    /// Finds what is there, and makes what is missing. What an operator has made or changed stays as it is.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub async fn ensure(jetstream: &Context, sizes: &Sizes) -> Result<Self, LayoutError> {
        for config in streams(sizes) {
            let (name, wanted) = config;
            if let Err(err) = jetstream.create_stream(wanted).await {
                // It is there, and is not like this one.
                let other = matches!(
                    err.kind(),
                    CreateStreamErrorKind::JetStream(ref err)
                        if err.error_code() == async_nats::jetstream::ErrorCode::STREAM_NAME_EXIST
                );
                if !other {
                    return Err(LayoutError::Make { name, source: err.into() });
                }
            }
        }
        let [beats, hosts, owners, gateways] = [
            bucket(jetstream, sizes, BEATS, StorageType::Memory).await?,
            bucket(jetstream, sizes, HOSTS, StorageType::File).await?,
            bucket(jetstream, sizes, OWNERS, StorageType::File).await?,
            bucket(jetstream, sizes, GATEWAYS, StorageType::Memory).await?,
        ];
        Ok(Self { beats, hosts, owners, gateways })
    }
}

/// A bucket with the newest value of each key. Those in memory hold what expires.
async fn bucket(
    jetstream: &Context,
    sizes: &Sizes,
    name: &'static str,
    storage: StorageType,
) -> Result<kv::Store, LayoutError> {
    if let Ok(found) = jetstream.get_key_value(name).await {
        return Ok(found);
    }
    let config = kv::Config {
        bucket: name.to_owned(),
        history: 1,
        storage,
        num_replicas: sizes.replicas,
        max_value_size: MAX_ENTRY,
        limit_markers: (storage == StorageType::Memory).then_some(MARKERS),
        ..kv::Config::default()
    };
    let made = jetstream.create_key_value(config).await;
    made.map_err(|err| LayoutError::Make { name, source: err.into() })
}

fn streams(sizes: &Sizes) -> [(&'static str, Config); 2] {
    let common = Config {
        storage: StorageType::File,
        num_replicas: sizes.replicas,
        discard: DiscardPolicy::Old,
        duplicate_window: DUPLICATES,
        max_message_size: MAX_ENTRY,
        allow_direct: true,
        ..Config::default()
    };
    let log = Config {
        name: LOG.to_owned(),
        subjects: vec![LOG_SUBJECTS.to_owned()],
        max_age: sizes.log_age,
        max_bytes: sizes.log_bytes,
        ..common.clone()
    };
    let status = Config {
        name: STATUS.to_owned(),
        subjects: vec![STATUS_SUBJECTS.to_owned()],
        max_age: sizes.ends_age,
        max_messages_per_subject: sizes.ends,
        ..common
    };
    [(LOG, log), (STATUS, status)]
}
