//! What a gateway does all the time beside its connections: it stays known in NATS, and ends connections whose host is
//! elsewhere.

use std::time::Duration;

use async_nats::Message;
use futures_util::{StreamExt, stream};
use nixfleet_fleet::{Eviction, Owner, names};
use nixfleet_os::error::chain;
use nixfleet_protocol::is_hostname;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::gate::Gate;

/// How often all owners are looked at although nothing is known to have happened. A message about an eviction can get
/// lost without anybody noticing.
const ROUND: Duration = Duration::from_secs(600);

/// How many owners are read at the same time, when there is a reason, and in a round.
const AT_ONCE: (usize, usize) = (64, 4);

/// Pause after NATS did not take the subscription.
const PAUSE: Duration = Duration::from_secs(1);

/// Does it for as long as it is polled.
pub(crate) async fn run(gate: &Gate) {
    let back = Notify::new();
    tokio::join!(
        gate.bus.stay_present(|| gate.presence(), &back),
        take_evictions(gate),
        look_at_owners(gate, &back)
    );
}

/// Ends connections that another gateway has replaced.
async fn take_evictions(gate: &Gate) {
    loop {
        match gate.bus.client().subscribe(names::evict(&gate.bus.id)).await {
            Ok(mut evictions) => {
                while let Some(message) = evictions.next().await {
                    evict(gate, &message);
                }
            }
            Err(error) => warn!(%error, "cannot learn from NATS which connections have been replaced"),
        }
        sleep(PAUSE).await;
    }
}

fn evict(gate: &Gate, message: &Message) {
    match serde_json::from_slice::<Eviction>(&message.payload) {
        Ok(Eviction { host, connection }) if is_hostname(&host) => end(gate, &host, connection),
        Ok(_) => warn!("a message about a replaced connection names no host"),
        Err(error) => warn!(%error, "a message about a replaced connection cannot be read"),
    }
}

/// Looks whether the connections of this gateway are still the newest ones of their hosts.
async fn look_at_owners(gate: &Gate, back: &Notify) {
    loop {
        let at_once = match timeout(ROUND, back.notified()).await {
            Ok(()) => AT_ONCE.0,
            Err(_) => AT_ONCE.1,
        };
        let connections = stream::iter(gate.directory.connections());
        connections
            .for_each_concurrent(at_once, |(host, connection)| async move {
                look_at(gate, &host, connection).await;
            })
            .await;
    }
}

async fn look_at(gate: &Gate, host: &str, connection: u64) {
    match Owner::of(&gate.bus.layout.owners, host).await {
        Ok(Some(owner)) if owner.connection <= connection => {}
        Ok(Some(owner)) => {
            info!(%host, connection, newest = owner.connection, "the host has a newer connection elsewhere");
            end(gate, host, connection);
        }
        // Somebody has removed the entry. The host makes a new one when it comes again.
        Ok(None) => end(gate, host, connection),
        // It is tried again in the next round.
        Err(err) => debug!("{}", chain(&err)),
    }
}

fn end(gate: &Gate, host: &str, connection: u64) {
    if gate.directory.evict(host, connection) {
        gate.figures.evictions.add();
    }
}
