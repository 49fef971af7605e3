//! The WebSocket of an agent, for one task that polls it.
//!
//! Axum's own socket has two halves with a lock and two wakers, and keeps a read buffer. Here one task does both, what
//! has arrived is read into a buffer that all sockets share, and a socket has a state of the WebSocket library only
//! from the first byte of a message until all answers are written. Most sockets are silent at any time.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::wire::Wire;
use crate::wire::cursor::Cursor;

/// The longest message accepted from an agent, in bytes. Existing dashboards close with code 1009 above it.
pub const MAX_MESSAGE: usize = 512 * 1024;

/// The longest frame that is sent to an agent, in bytes.
pub const MAX_SENT_FRAME: usize = 16 * 1024 * 1024;

/// Bytes of frames that are collected before a write, so that `send_many` is one write.
const WRITE_BUFFER: usize = 64 * 1024;

/// Most bytes that wait for a socket. It is larger than the longest frame that can be sent.
const MAX_WRITE_BUFFER: usize = MAX_SENT_FRAME + 1024 * 1024;

/// Shortest and longest buffer that a socket begins to read with, in bytes. It grows for a longer message. The library
/// fills it with zeros before each read, so it is no longer than what has arrived: heartbeats of a server have 2 KB.
const READ_BUFFER: (usize, usize) = (512, 4 * 1024);

/// Bytes that are read at once, into the buffer that all sockets of a thread share: a few pieces of a command's
/// output, as long as the kernel's buffer of a socket on loopback usually is.
const SHARED_BUFFER: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SHARED_BUFFER].into());
}

#[derive(Debug)]
/// A connection that says `WouldBlock` instead of waiting, and then wakes the task.
struct Ready {
    wire: Wire,
    task: Waker,
    /// What has been read from the connection, and not by the library yet. Empty while nothing is on its way.
    ahead: Vec<u8>,
    /// How much of it the library has read.
    taken: usize,
    /// Where the library is.
    cursor: Cursor,
}

impl Ready {
    /// Waits for bytes. There are none at the end of the connection.
    fn fill(&mut self) -> io::Result<()> {
        if !self.ahead.is_empty() {
            return Ok(());
        }
        SHARED.with_borrow_mut(|shared| {
            let mut read = ReadBuf::new(shared);
            let polled = Pin::new(&mut self.wire).poll_read(&mut Context::from_waker(&self.task), &mut read);
            blocking(polled)?;
            self.ahead = read.filled().to_vec();
            Ok(())
        })
    }
}

/// Gives the library one frame at a time, so that it holds none that it has not handled.
impl Read for Ready {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let ahead = &self.ahead[self.taken..];
        let count = self.cursor.frame(&ahead[..ahead.len().min(buffer.len())]);
        buffer[..count].copy_from_slice(&ahead[..count]);
        self.taken += count;
        if self.taken == self.ahead.len() {
            (self.ahead, self.taken) = (Vec::new(), 0);
        }
        Ok(count)
    }
}

impl Write for Ready {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut self.wire).poll_write(&mut Context::from_waker(&self.task), buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        blocking(Pin::new(&mut self.wire).poll_flush(&mut Context::from_waker(&self.task)))
    }
}

fn blocking<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn polled<T>(result: Result<T, Error>) -> Poll<Result<T, Error>> {
    match result {
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// The WebSocket of an agent.
#[derive(Debug)]
pub struct Socket {
    ready: Ready,
    /// None between messages. Then a new one does as well as the old one would.
    context: Option<Box<WebSocketContext>>,
}

impl Socket {
    /// Takes over a connection that has left HTTP, with what HTTP has read of it too much.
    pub fn new(mut wire: Wire, ahead: &[u8]) -> Self {
        wire.frames_begin();
        let (task, cursor) = (Waker::noop().clone(), Cursor::default());
        Self { ready: Ready { wire, task, ahead: ahead.to_vec(), taken: 0, cursor }, context: None }
    }

    /// The next message. Pings have been answered.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        self.wakes(cx);
        // Behind the close frame the library ends the connection by itself.
        if !self.ready.cursor.is_closed() {
            ready!(polled(self.ready.fill().map_err(Error::Io)))?;
        }
        let (context, ready) = self.parts();
        polled(context.read(ready))
    }

    /// Puts a frame behind those that wait to be written.
    pub(crate) fn write(&mut self, frame: Message) -> Result<(), Error> {
        let (context, ready) = self.parts();
        match context.write(ready, frame) {
            // It has been taken all the same.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    /// Writes all frames.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.wakes(cx);
        match &mut self.context {
            Some(context) => polled(context.flush(&mut self.ready)),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Gives back memory, if it can. Everything has been written, and no close frame is among it.
    pub(crate) fn rest(&mut self) {
        if self.ready.cursor.is_between_messages() {
            self.context = None;
        }
    }

    /// Sets whether pongs are held back.
    pub(crate) fn set_drop_pongs(&mut self, drop_pongs: bool) {
        self.ready.wire.set_drop_pongs(drop_pongs);
    }

    /// Reads and drops whatever comes, until the peer ends the connection.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut self.ready.wire;
        wire.discard_input();
        SHARED.with_borrow_mut(|shared| {
            ready!(Pin::new(wire).poll_read(cx, &mut ReadBuf::new(shared)))?;
            Poll::Ready(Ok(()))
        })
    }

    fn parts(&mut self) -> (&mut WebSocketContext, &mut Ready) {
        let arrived = self.ready.ahead.len().clamp(READ_BUFFER.0, READ_BUFFER.1);
        let context = self.context.get_or_insert_with(|| {
            let config = WebSocketConfig::default()
                .read_buffer_size(arrived)
                .write_buffer_size(WRITE_BUFFER)
                .max_write_buffer_size(MAX_WRITE_BUFFER)
                .max_message_size(Some(MAX_MESSAGE))
                .max_frame_size(Some(MAX_MESSAGE));
            Box::new(WebSocketContext::new(Role::Server, Some(config)))
        });
        (context, &mut self.ready)
    }

    fn wakes(&mut self, cx: &Context<'_>) {
        if !self.ready.task.will_wake(cx.waker()) {
            self.ready.task.clone_from(cx.waker());
        }
    }
}
