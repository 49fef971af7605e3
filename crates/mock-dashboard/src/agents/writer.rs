//! The writing half of an agent's socket.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, stream::SplitSink};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Ended;
use crate::host::Outgoing;

/// Longest duration of one write. After it the peer counts as lost.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// The longest reason of a close frame, in bytes (RFC 6455, section 5.5: 125 bytes including the code).
const MAX_REASON: usize = 123;

/// Writes queued messages and pings until the connection ends.
pub(super) async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    queue: &mut mpsc::Receiver<Outgoing>,
    ping_interval: Duration,
) -> Ended {
    let mut pings = interval_at(Instant::now() + ping_interval, ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Both branches are cancel-safe.
        let outgoing = tokio::select! {
            biased;
            _ = pings.tick() => Outgoing::Frames(vec![Message::Ping(axum::body::Bytes::new())]),
            // The sender is in `Session`, which lives as long as this loop.
            Some(outgoing) = queue.recv() => outgoing,
        };
        let (frames, last) = match outgoing {
            Outgoing::Frames(frames) => (frames, false),
            Outgoing::Close { code, reason } => (vec![close_frame(code, reason)], true),
            Outgoing::EmptyClose => (vec![Message::Close(None)], true),
        };
        let written = async {
            for frame in frames {
                sink.feed(frame).await?;
            }
            sink.flush().await
        };
        match timeout(WRITE_LIMIT, written).await {
            Ok(Ok(())) if last => return Ended::Closing,
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ended::Gone("cannot be written to"),
            Err(_) => return Ended::Gone("took nothing for 30 s"),
        }
    }
}

/// A close frame. A long reason is cut.
pub(super) fn close_frame(code: u16, mut reason: String) -> Message {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}
