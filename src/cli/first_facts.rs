//! The first connection of an agent is made while the first facts are read.
//!
//! The registration has to have the facts, and nothing before it needs them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::dial::{Connect, ConnectError, Dialled};

/// How long the first registration waits for the first results of collectors, so that it and the first heartbeat have
/// them. They take milliseconds; a disk that hangs must not delay the connection.
pub(super) const FIRST_RESULTS: Duration = Duration::from_millis(250);

/// Makes connections. The first attempt is over when the first facts are there as well.
pub(super) struct WithFacts<'a, C> {
    connection: &'a C,
    /// Answers when they are there, and until when to wait for them.
    facts: Mutex<Option<(oneshot::Receiver<()>, Instant)>>,
}

impl<'a, C: Connect> WithFacts<'a, C> {
    pub(super) fn new(connection: &'a C, facts: oneshot::Receiver<()>) -> Self {
        Self { connection, facts: Mutex::new(Some((facts, Instant::now() + FIRST_RESULTS))) }
    }
}

impl<C: Connect> Connect for WithFacts<'_, C> {
    type Stream = C::Stream;

    async fn connect(&self) -> Result<Dialled<C::Stream>, ConnectError> {
        let dialled = self.connection.connect().await?;
        let first = self.facts.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The time runs from the start: an attempt that comes after one that took long does not wait.
        if let Some((facts, until)) = first {
            // An error: it took too long, or there is no thread. The registration goes without them.
            drop(timeout_at(until, facts).await);
        }
        Ok(dialled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::dial::{HardClose, Identity};

    /// How long an attempt to connect takes, and whether it succeeds.
    struct Dials(Duration, bool);

    impl Connect for Dials {
        type Stream = DuplexStream;

        async fn connect(&self) -> Result<Dialled<DuplexStream>, ConnectError> {
            tokio::time::sleep(self.0).await;
            if !self.1 {
                return Err(ConnectError::NoRoots);
            }
            let (stream, _) = tokio::io::duplex(1);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
            Ok(Dialled { socket, hard_close: HardClose::by(|| ()), identity: Identity::default() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_registration_waits_for_the_facts_and_the_way_to_it_does_not() {
        const FACTS: Duration = Duration::from_millis(100);
        const SHORT: Duration = Duration::from_millis(20);
        let never = FIRST_RESULTS * 2;
        for (facts_after, dial, succeeds, expected) in [
            (FACTS, SHORT, true, FACTS),
            (SHORT, FACTS, true, FACTS),
            (never, SHORT, true, FIRST_RESULTS),
            (never, FIRST_RESULTS + SHORT, true, FIRST_RESULTS + SHORT),
            (FACTS, SHORT, false, SHORT),
        ] {
            let (sender, facts) = oneshot::channel();
            tokio::spawn(async move {
                tokio::time::sleep(facts_after).await;
                let _may_have_given_up = sender.send(());
            });
            let dials = Dials(dial, succeeds);
            let connection = WithFacts::new(&dials, facts);
            let begun = Instant::now();
            assert_eq!(connection.connect().await.is_ok(), succeeds);
            assert_eq!(begun.elapsed(), expected, "{facts_after:?} {dial:?} {succeeds}");
            if succeeds {
                let begun = Instant::now();
                assert!(connection.connect().await.is_ok());
                assert_eq!(begun.elapsed(), dial, "only the first one waits");
            }
        }
    }
}
