//! A registration: the host's new connection becomes known to all.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use nixfleet_fleet::{Claim, Eviction, Left, facts, names};
use nixfleet_os::error::chain;
use nixfleet_sessions::Link;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::gate::{Gate, now_ms};

/// How long each step may take. An agent waits 10 s for the answer to its `register`.
const LIMIT: Duration = Duration::from_secs(4);

/// What a registration has made.
pub(super) struct Registered {
    pub(super) claim: Claim,
    /// Commands for the host.
    pub(super) commands: Subscriber,
}

/// A connection that registers.
pub(super) struct Newcomer {
    pub(super) host: String,
    pub(super) link: Arc<Link>,
    /// What it has shown.
    pub(super) digest: Option<[u8; 32]>,
    /// Its `register`, which is the host's facts.
    pub(super) register: Bytes,
    /// When it was read, in Unix milliseconds.
    pub(super) since_ms: i64,
}

/// Claims the host for a connection, stores its facts, and takes commands for it.
///
/// # Errors
/// Why it failed, in words.
pub(super) async fn register(gate: Arc<Gate>, newcomer: Newcomer) -> Result<Registered, String> {
    let Newcomer { host, link, digest, register, since_ms } = newcomer;
    let claim = Claim::take(&gate.bus.layout.owners, &host, &gate.bus.id, since_ms);
    let claim = within(LIMIT, claim).await?;
    let connection = claim.owner.connection;
    // From now on another gateway may say that this connection is replaced.
    gate.directory.enter(&host, connection, &link, digest);
    match introduce(&gate, &host, &claim, register).await {
        Ok(commands) => {
            gate.figures.registrations.add();
            Ok(Registered { claim, commands })
        }
        Err(why) => {
            let reason = why.clone();
            gate.leaving.spawn({
                let gate = Arc::clone(&gate);
                async move { leave(&gate, &host, claim, reason).await }
            });
            Err(why)
        }
    }
}

/// Makes a claimed connection known, and returns the commands for it.
async fn introduce(gate: &Gate, host: &str, claim: &Claim, register: Bytes) -> Result<Subscriber, String> {
    let bus = &gate.bus;
    if let Some(old) = claim.replaced.as_ref().filter(|old| old.gateway != bus.id) {
        gate.figures.moves.add();
        // If it is lost, the other gateway finds out when it next looks.
        within(LIMIT, Eviction::send(&bus.client(), host, old)).await?;
    }
    store(gate, host, claim.owner.connection, register).await?;
    let group = names::OWNER_GROUP.to_owned();
    within(LIMIT, bus.client().queue_subscribe(names::command(host), group)).await
}

/// Stores the facts of a host.
///
/// # Errors
/// Why it failed, in words.
pub(super) async fn store(gate: &Gate, host: &str, connection: u64, register: Bytes) -> Result<(), String> {
    let bus = &gate.bus;
    let stored = facts::store(&bus.jetstream, &bus.layout.hosts, host, connection, now_ms(), register);
    if !within(LIMIT, stored).await? {
        debug!(%host, connection, "a newer connection has stored its facts before");
    }
    Ok(())
}

/// Says that the connection has ended, unless a newer one is known already.
pub(super) async fn leave(gate: &Gate, host: &str, claim: Claim, why: String) {
    gate.directory.leave(host, claim.owner.connection);
    let left = Left { at_ms: now_ms(), why };
    if let Err(why) = within(LIMIT, claim.leave(&gate.bus.layout.owners, host, left)).await {
        warn!(%host, %why, "NATS does not know that the connection has ended");
    }
}

/// Waits for an answer of NATS, and says in words why there is none.
async fn within<T, E: Error>(
    limit: Duration,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(limit, asked).await {
        Ok(answer) => answer.map_err(|err| chain(&err)),
        Err(_) => Err("NATS did not answer in time".to_owned()),
    }
}
