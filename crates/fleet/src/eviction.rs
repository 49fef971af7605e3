//! What a gateway is told when another connection of a host has taken the place of its own.

use async_nats::{Client, PublishError};
use serde::{Deserialize, Serialize};

use crate::{Owner, names};

/// Which connection has to end: this one, and older ones of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    /// The host.
    pub host: String,
    /// Number of its connection.
    pub connection: u64,
}

impl Eviction {
    /// Tells the gateway of `replaced`. It may get lost, so gateways also look themselves from time to time.
    ///
    /// # Errors
    /// The message cannot be sent.
    pub async fn send(client: &Client, host: &str, replaced: &Owner) -> Result<(), PublishError> {
        let eviction = Self { host: host.to_owned(), connection: replaced.connection };
        let payload = serde_json::to_vec(&eviction).unwrap_or_default();
        client.publish(names::evict(&replaced.gateway), payload.into()).await
    }
}
