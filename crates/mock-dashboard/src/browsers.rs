//! Sockets of browsers: one snapshot, then every change.

use std::sync::Arc;
use std::time::Duration;

use axum::{
    extract::{
        State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::debug;

use nixfleet_protocol::encode;

use crate::web::{AppState, READ_BUFFER};
use crate::{Lifetime, Shared};

/// The longest message accepted from a browser, in bytes. Browsers send nothing useful.
const MAX_MESSAGE: usize = 4 * 1024;

/// Most messages that are written with one flush.
const FLUSH_EVERY: usize = 64;

/// Bytes that are collected before a write. A flush follows each bundle.
const WRITE_BUFFER: usize = 64 * 1024;

/// Most bytes that wait for a socket. Snapshots of many hosts are long.
const MAX_WRITE_BUFFER: usize = 64 * 1024 * 1024;

/// Time between two pings. They detect lost browsers, and prevent proxies from closing quiet sockets.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Longest duration of one write. After it the browser counts as lost; it gets a snapshot when it returns.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// `GET /browser`.
pub(super) async fn connect(
    State(state): State<AppState>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Err(rejection) => rejection.into_response(),
        Ok(upgrade) => upgrade
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_message_size(MAX_MESSAGE)
            .max_frame_size(MAX_MESSAGE)
            .on_upgrade(move |socket| run(state.shared, socket, state.lifetime)),
    }
}

async fn run(shared: Arc<Shared>, socket: WebSocket, mut lifetime: Lifetime) {
    let (mut sink, mut stream) = socket.split();
    // Messages from browsers are ignored. The stream ends when the connection ends.
    let closed = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::select! {
        () = lifetime.ended() => {}
        () = closed => {}
        () = send_updates(&shared, &mut sink) => {}
    }
    debug!("a browser's connection ends");
    // The page reconnects by itself. An error means that the connection is closed already.
    drop(timeout(Duration::from_secs(1), sink.close()).await);
}

/// Sends a snapshot and all updates. Returns when writing fails.
async fn send_updates(shared: &Shared, sink: &mut SplitSink<WebSocket, Message>) {
    let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (snapshot, mut updates) = subscribe(shared);
    let mut bundle = vec![Message::Text(snapshot)];
    loop {
        let written = async {
            for message in bundle.drain(..) {
                sink.feed(message).await?;
            }
            sink.flush().await
        };
        if !matches!(timeout(WRITE_LIMIT, written).await, Ok(Ok(()))) {
            return;
        }
        // Both branches are cancel-safe.
        let first = tokio::select! {
            message = updates.recv() => message,
            _ = pings.tick() => {
                bundle.push(Message::Ping(axum::body::Bytes::new()));
                continue;
            }
        };
        let mut behind = false;
        match first {
            Ok(message) => bundle.push(Message::Text(message)),
            Err(RecvError::Lagged(_)) => behind = true,
            // This cannot happen, because the sender is in `shared`.
            Err(RecvError::Closed) => return,
        }
        while !behind && bundle.len() < FLUSH_EVERY {
            match updates.try_recv() {
                Ok(message) => bundle.push(Message::Text(message)),
                Err(TryRecvError::Lagged(_)) => behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if behind {
            let snapshot;
            (snapshot, updates) = subscribe(shared);
            bundle = vec![Message::Text(snapshot)];
        }
    }
}

/// A snapshot, and a receiver for all updates after it.
fn subscribe(shared: &Shared) -> (Utf8Bytes, broadcast::Receiver<Utf8Bytes>) {
    // Updates are sent under the lock, so none is lost or sent twice.
    let (snapshot, updates) = shared.read(|hub| (hub.snapshot(), shared.browsers.subscribe()));
    (encode(&snapshot).into(), updates)
}
