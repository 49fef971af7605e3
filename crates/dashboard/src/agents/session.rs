//! The rules of one socket of an agent: the hub decides, and faults that are on are obeyed.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::info;

use nixfleet_sessions::{Controls, Ended, Link, Pings, Rules, Socket, Times};

use crate::{Faults, Lifetime, Shared};

mod inbound;

/// What of a connection is the dashboard's own.
struct Session {
    shared: Arc<Shared>,
    peer: SocketAddr,
    /// The hostname, once registered.
    id: Option<String>,
    /// When to answer the newest `register`, if it has not been answered.
    answer_at: Option<Instant>,
    controls: Controls,
    faults: Changes,
    /// Resolves when the dashboard ends.
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Resolves at the next change of the faults.
type Changes = Pin<Box<dyn Future<Output = watch::Receiver<Faults>> + Send>>;

/// Serves the socket until it is closed.
///
/// Not an `async fn`: that would have room for its arguments besides the state that they become.
pub(super) fn run(
    shared: Arc<Shared>,
    peer: SocketAddr,
    socket: Socket,
    mut lifetime: Lifetime,
) -> impl Future<Output = ()> {
    let number = shared.apply(|hub, _| hub.next_session());
    let times = Times {
        ping_interval: shared.times.ping_interval,
        pings: Pings::All,
        silence_limit: shared.times.silence_limit,
    };
    let mut faults = shared.faults.subscribe();
    let controls = controls(&faults.borrow_and_update());
    let rules = Session {
        shared,
        peer,
        id: None,
        answer_at: None,
        controls,
        faults: Box::pin(changed(faults)),
        closed: Box::pin(async move { lifetime.ended().await }),
    };
    nixfleet_sessions::run(Link::new(number), socket, times, rules)
}

impl Rules for Session {
    fn poll(&mut self, cx: &mut Context<'_>, _: &Arc<Link>) -> Result<(), Ended> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Err(Ended::Leaving("the dashboard ends"));
        }
        while let Poll::Ready(mut receiver) = self.faults.as_mut().poll(cx) {
            self.controls = controls(&receiver.borrow_and_update());
            self.faults = Box::pin(changed(receiver));
        }
        Ok(())
    }

    fn controls(&self) -> Controls {
        self.controls
    }

    fn text(&mut self, _: &mut Context<'_>, link: &Arc<Link>, text: Utf8Bytes) -> Result<(), Ended> {
        self.said(link, &text)
    }

    fn ignored(&mut self, bytes: usize, what: &str) {
        self.ignore(bytes, what);
    }

    fn is_registered(&self) -> bool {
        self.id.is_some()
    }

    fn deadline(&self) -> Option<Instant> {
        self.answer_at
    }

    fn due(&mut self, _: &mut Context<'_>, link: &Arc<Link>) -> Result<(), Ended> {
        self.answer(link)
    }

    fn broken(&mut self, ended: &Ended) {
        if let Ended::Broken(1009, why) = ended {
            self.shared.apply(|hub, moment| hub.oversized(moment, self.id.as_deref(), why));
        }
    }

    fn ended(&mut self, link: &Arc<Link>, ended: &Ended) {
        let number = link.session;
        if let Some(id) = &self.id {
            info!(host = %id, session = number, why = %ended, "the agent's connection ends");
            self.shared.apply(|hub, _| hub.disconnect(id, number));
        } else {
            let peer = self.peer;
            info!(%peer, session = number, why = %ended, "a connection ends without a registration");
        }
    }
}

/// How a socket is used while these faults are on.
fn controls(faults: &Faults) -> Controls {
    Controls { hold_pongs: faults.never_pong, stop_reading: faults.stop_reading }
}

/// Resolves at the next change. There can be no error, because the sender is in `Shared`.
async fn changed(mut faults: watch::Receiver<Faults>) -> watch::Receiver<Faults> {
    drop(faults.changed().await);
    faults
}
