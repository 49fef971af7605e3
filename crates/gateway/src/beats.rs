//! Heartbeats on their way to NATS: gathered for a moment, and then given to it together.
//!
//! One write for each of them would wake the server hundreds of times a second, and that costs both sides more than the
//! heartbeats themselves. When a heartbeat was read is said by its header, so nobody is told anything wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::unconstrained;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::figures::Figures;

/// How long they are gathered. Shorter than anybody notices: a host is offline after three intervals of a second at
/// least.
const GATHERED: Duration = Duration::from_millis(50);

/// Most that wait: as many as the library takes at once, some megabytes. Only a processor that is not given to this
/// program lets so many come together.
const MAX_WAITING: usize = 2048;

/// With so many, they are not gathered for longer.
const ENOUGH: usize = MAX_WAITING / 2;

/// A heartbeat that waits.
struct Waiting {
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
}

/// Passes heartbeats on for as long as it exists.
pub(crate) struct Beats {
    shared: Arc<Shared>,
    _passing: AbortOnDropHandle<()>,
}

struct Shared {
    /// A connection for nothing else, so that they never wait behind output.
    client: Client,
    waiting: Mutex<Vec<Waiting>>,
    /// The first one waits.
    begun: Notify,
    /// There are enough.
    enough: Notify,
    figures: Arc<Figures>,
}

impl Beats {
    pub(crate) fn new(client: Client, figures: Arc<Figures>) -> Self {
        let (waiting, begun, enough) = Default::default();
        let shared = Arc::new(Shared { client, waiting, begun, enough, figures });
        let passing = tokio::spawn(Arc::clone(&shared).pass());
        Self { shared, _passing: AbortOnDropHandle::new(passing) }
    }

    /// Whether there is a connection now.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.is_connected()
    }

    /// Takes one. It is dropped if too many wait: a later one is worth more.
    pub(crate) fn push(&self, subject: String, headers: HeaderMap, payload: Bytes) {
        let mut waiting = self.shared.lock();
        if waiting.len() == MAX_WAITING {
            return self.shared.figures.beats_dropped.add();
        }
        waiting.push(Waiting { subject, headers, payload });
        match waiting.len() {
            1 => self.shared.begun.notify_one(),
            ENOUGH => self.shared.enough.notify_one(),
            _ => {}
        }
    }

    /// Passes on what waits, and waits until it is sent.
    pub(crate) async fn flush(&self) {
        self.shared.publish();
        // An error means that the connection is lost, with what was on its way.
        drop(self.shared.client.flush().await);
    }
}

impl Shared {
    async fn pass(self: Arc<Self>) {
        loop {
            self.begun.notified().await;
            drop(timeout(GATHERED, self.enough.notified()).await);
            self.publish();
        }
    }

    /// Publishes what waits, or drops it: a client that is not connected would keep it, and send it when it is old.
    fn publish(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        let connected = self.is_connected();
        for Waiting { subject, headers, payload } in waiting {
            let passed = connected
                && unconstrained(self.client.publish_with_headers(subject, headers, payload))
                    .now_or_never()
                    .is_some_and(|published| published.is_ok());
            if passed { self.figures.beats_passed.add() } else { self.figures.beats_dropped.add() }
        }
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// No panic can happen under the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use nixfleet_fleet::Options;
    use nixfleet_testbed::Nats;
    use tokio::time::Instant;

    use super::*;

    /// Longest wait for a server. Only a hang takes this long.
    const LIMIT: Duration = Duration::from_secs(30);

    async fn connect(nats: &Nats) -> Client {
        let options = Options { servers: vec![nats.url()], ..Options::default() };
        nixfleet_fleet::connect(&options).await.unwrap()
    }

    /// A beat with this payload.
    fn push(beats: &Beats, number: usize) {
        beats.push("beats".to_owned(), HeaderMap::new(), number.to_string().into());
    }

    #[tokio::test]
    async fn they_are_passed_on_together_in_their_order_and_never_too_many() {
        let Some(nats) = Nats::start() else { return };
        let (reader, figures) = (connect(&nats).await, Arc::new(Figures::default()));
        let mut passed = reader.subscribe("beats").await.unwrap();
        reader.flush().await.unwrap();
        let beats = Beats::new(connect(&nats).await, Arc::clone(&figures));

        let begun = Instant::now();
        push(&beats, 0);
        timeout(LIMIT, passed.next()).await.unwrap().unwrap();
        assert!(begun.elapsed() >= GATHERED, "others could have gone with it");

        // Nothing else runs meanwhile.
        (1..=MAX_WAITING + 10).for_each(|number| push(&beats, number));
        for number in 1..=MAX_WAITING {
            let message = timeout(LIMIT, passed.next()).await.unwrap().unwrap();
            assert_eq!(message.payload, number.to_string());
        }
        assert_eq!((figures.beats_passed.get(), figures.beats_dropped.get()), (1 + MAX_WAITING as u64, 10));
    }

    #[tokio::test]
    async fn without_a_connection_they_are_dropped_and_not_sent_later() {
        let Some(mut nats) = Nats::start() else { return };
        let (client, figures) = (connect(&nats).await, Arc::new(Figures::default()));
        let beats = Beats::new(client, Arc::clone(&figures));
        nats.kill();
        let begun = Instant::now();
        while beats.is_connected() {
            assert!(begun.elapsed() < LIMIT, "the end of the server is not noticed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        push(&beats, 0);
        while figures.beats_dropped.get() == 0 {
            assert!(begun.elapsed() < LIMIT, "a heartbeat waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(figures.beats_passed.get(), 0);
    }
}
