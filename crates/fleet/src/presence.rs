//! The gateways that are there: entries that expire.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_TTL;
use async_nats::jetstream::Context;
use serde::{Deserialize, Serialize};

use crate::names::GATEWAYS;

/// How long an entry lasts. Two renewals may be lost.
pub const LIFE: Duration = Duration::from_secs(10);

/// How often it is renewed.
pub const RENEWAL: Duration = Duration::from_secs(3);

/// What a gateway says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its name, unique for each start.
    pub id: String,
    /// Its version.
    pub version: String,
    /// When it started, in Unix milliseconds.
    pub started_ms: i64,
    /// How many hosts are connected to it.
    pub connections: u64,
    /// It takes no more connections.
    #[serde(default)]
    pub draining: bool,
}

impl Presence {
    /// Renews the entry. An acknowledgement says more than that: everything that a gateway needs of NATS works.
    ///
    /// # Errors
    /// NATS did not answer in time, or refused.
    pub async fn renew(&self, jetstream: &Context) -> Result<(), async_nats::Error> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_TTL, format!("{}s", LIFE.as_secs()));
        let value = serde_json::to_vec(self)?;
        let subject = format!("$KV.{GATEWAYS}.{}", self.id);
        jetstream.publish_with_headers(subject, headers, value.into()).await?.await?;
        Ok(())
    }
}
