//! Which gateway has the connection of a host: an entry that is changed only by who has seen what it was.

use std::time::Duration;

use async_nats::jetstream::kv::{self, CreateErrorKind, Entry, Operation, UpdateErrorKind};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// Most attempts to claim a host. Each one fails only because another claim succeeded meanwhile, and a host opens one
/// connection at a time.
const ATTEMPTS: usize = 16;

/// Pause after a lost race. The copy of the bucket that is read next may need it to learn of the winner.
const PAUSE: Duration = Duration::from_millis(20);

/// The newest connection of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The gateway that has or had it.
    pub gateway: String,
    /// Its number: one more than that of the host's connection before, on whichever gateway that was. Whatever carries
    /// a lower number is of an older connection.
    pub connection: u64,
    /// When it began, in Unix milliseconds by the clock of the gateway.
    pub since_ms: i64,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// When it ended, in Unix milliseconds by the clock of the gateway.
    pub at_ms: i64,
    /// Why, for people.
    pub why: String,
}

/// A connection whose number is known to all.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What the entry says.
    pub owner: Owner,
    /// The revision of the entry. Whoever changes the entry names it.
    pub revision: u64,
    /// The connection before, if it has not been seen to end.
    pub replaced: Option<Owner>,
}

/// Why the entry of a host could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// NATS did not answer, or refused.
    #[error("cannot {what} the owner of {host} in NATS")]
    Nats {
        /// What was tried.
        what: &'static str,
        /// The host.
        host: String,
        /// The cause.
        source: async_nats::Error,
    },
    /// Other connections of the host came first, many times in a row.
    #[error(
        "{host} opens connections faster than they can be told apart: does another machine use its name?"
    )]
    Contended {
        /// The host.
        host: String,
    },
}

impl Claim {
    /// Makes a new connection of `host` known, from `since_ms` on, and returns which one it replaces.
    ///
    /// # Errors
    /// [`OwnerError`]. The entry may have been changed all the same, if NATS answered too late.
    pub async fn take(
        owners: &kv::Store,
        host: &str,
        gateway: &str,
        since_ms: i64,
    ) -> Result<Self, OwnerError> {
        for _ in 0..ATTEMPTS {
            let before = entry(owners, host).await?;
            let revision = before.as_ref().map_or(0, |entry| entry.revision);
            let before = before.and_then(|entry| read(&entry));
            // The revision of an entry that cannot be read is at least the number in it.
            let connection = before.as_ref().map_or(revision, |owner| owner.connection) + 1;
            let owner = Owner { gateway: gateway.to_owned(), connection, since_ms, left: None };
            if let Some(revision) = write(owners, host, &owner, revision, "claim").await? {
                let replaced = before.filter(|before| before.left.is_none());
                return Ok(Self { owner, revision, replaced });
            }
            sleep(PAUSE).await;
        }
        Err(OwnerError::Contended { host: host.to_owned() })
    }

    /// Says that the connection has ended. Returns whether it was still the newest one.
    ///
    /// # Errors
    /// [`OwnerError::Nats`].
    pub async fn leave(&self, owners: &kv::Store, host: &str, left: Left) -> Result<bool, OwnerError> {
        let owner = Owner { left: Some(left), ..self.owner.clone() };
        Ok(write(owners, host, &owner, self.revision, "give up").await?.is_some())
    }
}

impl Owner {
    /// The newest connection of `host`, or none if it was never seen. What is read may be older than what was written:
    /// any copy of the bucket answers.
    ///
    /// # Errors
    /// [`OwnerError::Nats`].
    pub async fn of(owners: &kv::Store, host: &str) -> Result<Option<Self>, OwnerError> {
        Ok(entry(owners, host).await?.and_then(|entry| read(&entry)))
    }
}

/// What an entry says. None for a deleted one, and one that nobody of us wrote.
fn read(entry: &Entry) -> Option<Owner> {
    match entry.operation {
        Operation::Put => serde_json::from_slice(&entry.value).ok(),
        Operation::Delete | Operation::Purge => None,
    }
}

async fn entry(owners: &kv::Store, host: &str) -> Result<Option<Entry>, OwnerError> {
    owners.entry(host).await.map_err(|err| failed("read", host, err))
}

/// Replaces the entry of this revision, where 0 means none. Returns the new revision, or none if it is another one
/// meanwhile.
async fn write(
    owners: &kv::Store,
    host: &str,
    owner: &Owner,
    revision: u64,
    what: &'static str,
) -> Result<Option<u64>, OwnerError> {
    let value = serde_json::to_vec(owner).unwrap_or_default().into();
    if revision == 0 {
        return match owners.create(host, value).await {
            Ok(revision) => Ok(Some(revision)),
            Err(err) if err.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(err) => Err(failed(what, host, err)),
        };
    }
    match owners.update(host, value, revision).await {
        Ok(revision) => Ok(Some(revision)),
        Err(err) if err.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
        Err(err) => Err(failed(what, host, err)),
    }
}

fn failed(what: &'static str, host: &str, err: impl Into<async_nats::Error>) -> OwnerError {
    OwnerError::Nats { what, host: host.to_owned(), source: err.into() }
}
