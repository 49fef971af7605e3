//! Browsers' sockets: everything once, then every change.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{
    sync::broadcast::{self, error::RecvError, error::TryRecvError},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tracing::debug;

use nixfleet_protocol::encode;

use super::agents::READ_BUFFER;
use super::api::{AppState, failure, is_foreign_origin};
use super::{Lifetime, Shared};

/// Browsers have nothing to say; a few bytes do.
const MAX_MESSAGE: usize = 4 * 1024;

/// Messages written with one flush.
const FLUSH_EVERY: usize = 64;

/// Collected before a write; a flush follows each bundle anyway.
const WRITE_BUFFER: usize = 64 * 1024;

/// Snapshots of many hosts are long.
const MAX_WRITE_BUFFER: usize = 64 * 1024 * 1024;

/// Finds out about browsers that have vanished, and keeps proxies from closing quiet sockets.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Time for one write; a laptop that was closed is let go after it and gets a snapshot when it returns.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// `GET /browser`.
pub(super) async fn connect(
    State(state): State<AppState>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if is_foreign_origin(&headers) {
        return failure(StatusCode::FORBIDDEN, "foreign origin").into_response();
    }
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
    // A browser that says something is not listened to; its close or loss ends the stream.
    let gone = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::select! {
        () = lifetime.ended() => {}
        () = gone => {}
        () = tell(&shared, &mut sink) => {}
    }
    debug!("a browser's connection ends");
    // The page reconnects by itself; an error says that it has gone already.
    drop(timeout(Duration::from_secs(1), sink.close()).await);
}

/// Returns when the browser cannot be written to.
async fn tell(shared: &Shared, sink: &mut SplitSink<WebSocket, Message>) {
    let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (snapshot, mut news) = subscribe(shared);
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
        // Both arms keep what they have when dropped.
        let first = tokio::select! {
            message = news.recv() => message,
            _ = pings.tick() => {
                bundle.push(Message::Ping(axum::body::Bytes::new()));
                continue;
            }
        };
        let mut behind = false;
        match first {
            Ok(message) => bundle.push(Message::Text(message)),
            Err(RecvError::Lagged(_)) => behind = true,
            // Cannot happen: the sender is in `shared`.
            Err(RecvError::Closed) => return,
        }
        while !behind && bundle.len() < FLUSH_EVERY {
            match news.try_recv() {
                Ok(message) => bundle.push(Message::Text(message)),
                Err(TryRecvError::Lagged(_)) => behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if behind {
            let snapshot;
            (snapshot, news) = subscribe(shared);
            bundle = vec![Message::Text(snapshot)];
        }
    }
}

/// A snapshot, and everything that happens after it.
fn subscribe(shared: &Shared) -> (Utf8Bytes, broadcast::Receiver<Utf8Bytes>) {
    // News are sent under the lock, so none is lost or told twice in between.
    let (snapshot, news) = shared.read(|hub| (hub.snapshot(), shared.browsers.subscribe()));
    (encode(&snapshot).into(), news)
}
