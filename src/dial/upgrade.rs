//! The HTTP request that becomes a WebSocket, and its answer.
//!
//! The handshake is done here and not by tungstenite, which refuses answers that are right (`Connection: keep-alive,
//! Upgrade`) and those that come after an interim answer, and whose errors do not say what is wrong with the others.
//!
//! ```text
//! request.rs  the bytes of the request
//! head.rs     the head of the answer, from bytes in any pieces
//! accept.rs   whether an answer 101 belongs to the request
//! answer.rs   what another answer says about itself
//! page.rs     the title of a page
//! failure.rs  why there is neither
//! ```

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::target::Target;
use super::{Socket, Stream, limits};
pub use answer::Answer;
pub use failure::{Mismatch, UpgradeError};
use head::{Head, HeadReader};

mod accept;
mod answer;
mod failure;
mod head;
mod page;
mod request;

/// Longest head in bytes. Servers and proxies write some hundred; cookies of a login page may take some thousand.
const MAX_HEAD: usize = 16 * 1024;

/// Most headers of one head. Behind several proxies there may be forty.
const MAX_HEADERS: usize = 100;

/// Most interim answers (1xx) before the final one. A server sends one or two.
const MAX_INTERIM: usize = 8;

/// Bytes that are read at once. Most heads are shorter.
const READ: usize = 2 * 1024;

/// How long to wait for the body of an answer, whose first line or title is shown. A server sends it with the head.
const BODY_TIME: Duration = Duration::from_secs(1);

/// Why there is no WebSocket.
#[derive(Debug)]
pub(super) enum NoSocket {
    /// There is an answer that says why.
    Answered(Box<Answer>),
    /// There is none, or one that contradicts itself.
    Failed(UpgradeError),
}

impl From<UpgradeError> for NoSocket {
    fn from(err: UpgradeError) -> Self {
        Self::Failed(err)
    }
}

/// Asks for a WebSocket. `headers` gets those of the answer, also of a refusal.
pub(super) async fn upgrade(
    mut stream: Stream,
    target: &Target,
    bearer: Option<&HeaderValue>,
    headers: &mut Option<HeaderMap>,
) -> Result<Socket, NoSocket> {
    let key = generate_key();
    let request = request::request(target, &key, bearer);
    let sent = send(&mut stream, &request).await;
    // A server that refuses says so and closes at once. What it said is there to be read, also if it closed before the
    // request was written.
    let (head, rest) = match (head(&mut stream).await, sent) {
        (Err(UpgradeError::Closed), Err(err)) => return Err(UpgradeError::Broken(err).into()),
        (read, _) => read?,
    };
    *headers = Some(head.headers.clone());
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        let body = body(&mut stream, &head, rest).await;
        let answer = Answer::new(head.status, &head.headers, &body, Timestamp::now());
        return Err(NoSocket::Answered(Box::new(answer)));
    }
    accept::check(&head, &key).map_err(UpgradeError::Mismatch)?;
    // Frames may have come in one packet with the answer.
    Ok(WebSocketStream::from_partially_read(stream, rest, Role::Client, Some(limits())).await)
}

async fn send(stream: &mut Stream, request: &[u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await
}

/// Reads the head of the final answer. Returns also what came behind it.
async fn head(stream: &mut Stream) -> Result<(Head, Vec<u8>), UpgradeError> {
    let mut reader = HeadReader::default();
    let mut buffer = [0; READ];
    loop {
        let count = stream.read(&mut buffer).await.map_err(UpgradeError::Broken)?;
        if count == 0 {
            return Err(if reader.is_empty() { UpgradeError::Closed } else { UpgradeError::CutOff });
        }
        if let Some(head) = reader.feed(buffer.get(..count).unwrap_or_default())? {
            return Ok((head, reader.rest()));
        }
    }
}

/// Reads the beginning of a body, for its title. However it ends, what has come is enough.
async fn body(stream: &mut Stream, head: &Head, mut body: Vec<u8>) -> Vec<u8> {
    let mut buffer = [0; READ];
    let more = async {
        // What a redirect says, its headers say.
        while !head.status.is_redirection() && !page::is_enough(&head.headers, head.status, &body) {
            match stream.read(&mut buffer).await {
                Ok(count) if count > 0 => body.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                _ => break,
            }
        }
    };
    drop(timeout(BODY_TIME, more).await);
    body.truncate(page::MAX_BODY);
    body
}

/// What an answer in these pieces means, without a connection; none if its head is not whole.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn judge(pieces: &[&[u8]], key: &str) -> Option<Result<Vec<u8>, NoSocket>> {
    let mut reader = HeadReader::default();
    let mut pieces = pieces.iter();
    let head = loop {
        match reader.feed(pieces.next()?) {
            Ok(None) => {}
            Ok(Some(head)) => break head,
            Err(err) => return Some(Err(NoSocket::Failed(err))),
        }
    };
    let mut rest = reader.rest();
    pieces.for_each(|piece| rest.extend_from_slice(piece));
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let checked = accept::check(&head, key).map_err(UpgradeError::Mismatch);
        return Some(checked.map(|()| rest).map_err(NoSocket::Failed));
    }
    rest.truncate(page::MAX_BODY);
    let answer = Answer::new(head.status, &head.headers, &rest, Timestamp::UNIX_EPOCH);
    Some(Err(NoSocket::Answered(Box::new(answer))))
}

#[cfg(test)]
mod tests;
