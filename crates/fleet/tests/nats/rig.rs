//! A server, and what a gateway has of it.

use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use nixfleet_fleet::{Layout, Options, Sizes, connect};
use nixfleet_testbed::{Nats, Setup};

/// How long anything may take. Servers answer within milliseconds; the machine may be busy with other tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) nats: Nats,
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
}

impl Rig {
    pub(crate) async fn start() -> Option<Self> {
        Self::with(&Setup::default()).await
    }

    pub(crate) async fn with(setup: &Setup) -> Option<Self> {
        let nats = Nats::with(setup)?;
        let options = Options { servers: vec![nats.url()], name: "tests".to_owned(), ..Options::default() };
        let client = connect(&options).await.unwrap();
        let jetstream = jetstream::new(client.clone());
        Some(Self { nats, client, jetstream })
    }

    pub(crate) async fn layout(&self) -> Layout {
        Layout::ensure(&self.jetstream, &Sizes::default()).await.unwrap()
    }
}

/// What is ready within the limit.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(ready) => ready,
        Err(_) => panic!("not within {LIMIT:?}: {what}"),
    }
}

/// Waits until the answer is there.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
