//! A registration: the host's new connection becomes known to all.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use nixfleet_fleet::{Claim, Eviction, Left, facts, names};
use nixfleet_os::error::chain;
use nixfleet_sessions::Link;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::gate::{Closed, Gate, now_ms};
use crate::identity::Identity;

/// How long each step may take. An agent waits 10 s for the answer to its `register`.
const LIMIT: Duration = Duration::from_secs(4);

/// How long it is tried to say that a connection has ended. A dashboard shows its host as offline long before.
const LEAVE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The shortest pause between two attempts, and half of the longest one.
const LEAVE_PAUSE: Duration = Duration::from_secs(5);

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
    pub(super) identity: Identity,
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
    let Newcomer { host, link, identity, register, since_ms } = newcomer;
    let claim = Claim::take(&gate.bus.layout.owners, &host, &gate.bus.id, since_ms);
    let claim = within(LIMIT, claim).await?;
    let connection = claim.owner.connection;
    // From now on another gateway may say that this connection is replaced.
    gate.directory.enter(&host, connection, &link, identity);
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
    let group = names::OWNER_GROUP.to_owned();
    let commands = within(LIMIT, bus.client().queue_subscribe(names::command(host), group)).await?;
    // On the same connection to NATS: once the facts are stored, the server knows of the subscription, and who sees that
    // the host is there can command it.
    store(gate, host, claim.owner.connection, register).await?;
    Ok(commands)
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

/// Says that the connection has ended, unless a newer one is known already. While NATS is away it is tried again: a host
/// that does not come back would count as connected.
pub(super) async fn leave(gate: &Gate, host: &str, claim: Claim, why: String) {
    gate.directory.leave(host, claim.owner.connection);
    let (left, begun) = (Left { at_ms: now_ms(), why }, Instant::now());
    loop {
        // A client that is not connected would keep each attempt.
        if gate.closed().is_none_or(|closed| closed == Closed::Draining) {
            let leaving = claim.leave(&gate.bus.layout.owners, host, left.clone());
            match within(LIMIT, leaving).await {
                Ok(_) => return,
                Err(why) => debug!(%host, %why, "cannot say that the connection has ended"),
            }
        }
        if gate.is_draining() || begun.elapsed() > LEAVE_LIMIT {
            return warn!(%host, "NATS does not know that the connection has ended");
        }
        // Not all at the same moment, once NATS is back.
        sleep(LEAVE_PAUSE.mul_f64(1.0 + fastrand::f64())).await;
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
