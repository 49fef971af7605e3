//! The writing half of a connection.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Sink, SinkExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::send_queue::{Frame, SendQueue};

/// How long one write may take: a batch of output, a piece of the control lane, or the longest message. So a link has
/// to carry 26 KB/s at worst. A dashboard that reads nothing for this long is better served by a new connection.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Why the writer ended.
#[derive(Debug)]
pub enum Ended {
    /// The close frame has been written.
    Closed,
    /// A write took longer than [`WRITE_DEADLINE`].
    Stalled,
    /// The connection broke.
    Failed(Error),
}

/// The writer task. It is aborted when this is dropped.
#[derive(Debug)]
pub struct Writer(pub JoinHandle<Ended>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task that writes what is in the queue.
pub fn spawn<S>(sink: S, send_queue: Arc<SendQueue>) -> Writer
where
    S: Sink<Message, Error = Error> + Send + Unpin + 'static,
{
    Writer(tokio::spawn(run(sink, send_queue)))
}

async fn run<S>(mut sink: S, send_queue: Arc<SendQueue>) -> Ended
where
    S: Sink<Message, Error = Error> + Unpin,
{
    loop {
        let frames = send_queue.next().await;
        let last = matches!(frames.last(), Some(Frame::Close(_)));
        let write = async {
            for frame in frames {
                sink.feed(message(frame)).await?;
            }
            // One flush for all of them: fewer system calls, and a ping is sent with the frames before it.
            sink.flush().await
        };
        match timeout(WRITE_DEADLINE, write).await {
            Ok(Ok(())) if last => return Ended::Closed,
            Ok(Ok(())) => {}
            Ok(Err(err)) => return Ended::Failed(err),
            Err(_) => return Ended::Stalled,
        }
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::text(text),
        Frame::Ping(number) => Message::Ping(number.to_be_bytes().to_vec().into()),
        Frame::Close(reason) => {
            Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: reason.into() }))
        }
    }
}
