//! Why a session ends, and how its socket is closed then.

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tracing::debug;

use crate::socket::Socket;

/// Longest wait for the answer to a close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The same when the server ends, so that a stuck agent does not delay that.
const LEAVE_LIMIT: Duration = Duration::from_millis(250);

/// The longest reason of a close frame, in bytes (RFC 6455, section 5.5: 125 bytes including the code).
const MAX_REASON: usize = 123;

/// Why a session ends.
#[derive(Debug)]
pub enum Ended {
    /// The connection is lost, or is dropped without a close frame.
    Gone(&'static str),
    /// A close frame was received, or one without a code was sent. The rest of the close handshake follows.
    Closing,
    /// A close frame with this code and reason was sent. The rest of the close handshake follows.
    Closed(u16, String),
    /// Close with this code and reason.
    Refused(u16, String),
    /// The same after a frame that cannot be read. Frames after it cannot be read either.
    Broken(u16, String),
    /// The server ends, for this reason.
    Leaving(&'static str),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(why) | Self::Leaving(why) => f.write_str(why),
            Self::Closing => f.write_str("closed"),
            Self::Closed(code, reason) | Self::Refused(code, reason) | Self::Broken(code, reason) => {
                write!(f, "closed by us with {code}, {reason}")
            }
        }
    }
}

impl Ended {
    /// Ends the connection. Nothing of it takes longer than its limit, after which it is dropped.
    pub(crate) async fn finish(self, mut socket: Socket, session: u64) {
        let (close, broken, limit) = match self {
            Self::Gone(_) => return,
            Self::Closing | Self::Closed(..) => (None, false, CLOSE_LIMIT),
            Self::Refused(code, reason) => (Some((code, reason)), false, CLOSE_LIMIT),
            Self::Broken(code, reason) => (Some((code, reason)), true, CLOSE_LIMIT),
            Self::Leaving(_) => (Some((1001, self.to_string())), false, LEAVE_LIMIT),
        };
        let finish = async {
            if let Some((code, reason)) = close
                && socket.write(close_frame(code, reason)).is_err()
            {
                return;
            }
            if poll_fn(|cx| socket.poll_flush(cx)).await.is_err() {
                return;
            }
            if broken {
                // An error means that the peer is gone.
                drop(poll_fn(|cx| socket.poll_discard(cx)).await);
                return;
            }
            while poll_fn(|cx| socket.poll_read(cx)).await.is_ok() {}
        };
        if timeout(limit, finish).await.is_err() {
            debug!(session, "the peer did not finish the close in time");
        }
    }
}

/// Closes the connection with this code and reason.
#[must_use]
pub fn refuse(code: u16, reason: &str) -> Ended {
    Ended::Refused(code, reason.to_owned())
}

/// The close for a read error (RFC 6455, section 7.4.1).
pub(crate) fn broken(error: &tungstenite::Error) -> Ended {
    let code = match error {
        tungstenite::Error::Capacity(_) => 1009,
        tungstenite::Error::Utf8(_) => 1007,
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
        | tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed => {
            return Ended::Gone("closed without a close frame");
        }
        tungstenite::Error::Protocol(_) => 1002,
        _ => return Ended::Gone("the connection broke"),
    };
    Ended::Broken(code, error.to_string())
}

/// A close frame. A long reason is cut.
pub(crate) fn close_frame(code: u16, mut reason: String) -> Message {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
}
