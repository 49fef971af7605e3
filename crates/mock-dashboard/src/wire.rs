//! The listener, and TCP connections with two switches that the WebSocket library does not have: hold back
//! pongs, and discard input.
//!
//! The library answers pings by itself. So a dashboard that never answers must remove the pongs from the
//! written bytes. This works on frames: frames of a server are not masked, and their headers say where the
//! next frame begins.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::{debug, warn};

/// Pause after a failed `accept`. Its usual cause, a lack of file descriptors, does not disappear at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const OPCODE_PONG: u8 = 0xA;

/// Passes accepted connections to axum.
pub(super) struct Listener {
    listener: TcpListener,
}

impl Listener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((tcp, peer)) => {
                    if let Err(error) = tcp.set_nodelay(true) {
                        debug!(%peer, %error, "cannot send small frames at once on this connection");
                    }
                    return (Wire::new(tcp), peer);
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The peer of a connection, for handlers.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The address of this machine that the connection was made to, if the kernel still knows it.
    pub(super) local: Option<SocketAddr>,
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self { address: *stream.remote_addr(), local: stream.io().tcp.local_addr().ok() }
    }
}

/// One TCP connection. Its switches are for the owner of a connection that has left HTTP.
#[derive(Debug)]
pub(super) struct Wire {
    tcp: TcpStream,
    frames: bool,
    drop_pongs: bool,
    discard_input: bool,
    cursor: Cursor,
}

impl Wire {
    fn new(tcp: TcpStream) -> Self {
        Self { tcp, frames: false, drop_pongs: false, discard_input: false, cursor: Cursor::default() }
    }

    /// HTTP has ended: the next written byte begins a WebSocket frame.
    pub(super) fn frames_begin(&mut self) {
        self.frames = true;
    }

    /// Sets whether pongs are held back.
    pub(super) fn set_drop_pongs(&mut self, drop_pongs: bool) {
        self.drop_pongs = drop_pongs;
    }

    /// From now on nothing is written, and input is discarded until the peer ends the connection.
    ///
    /// A socket that is closed with unread input is reset, and the reset can overtake the close frame.
    pub(super) fn discard_input(&mut self) {
        self.discard_input = true;
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.discard_input {
            // The end of output follows the close frame directly, so that the peer can end at once.
            ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
        }
        loop {
            ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
            let ended = buf.filled().len() == before;
            if ended || !self.discard_input {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.frames {
            return Pin::new(&mut self.tcp).poll_write(cx, buf);
        }
        let drop_pongs = self.drop_pongs;
        let mut after = self.cursor;
        let (run, keep) = after.run(buf, drop_pongs);
        let written = if keep { ready!(Pin::new(&mut self.tcp).poll_write(cx, &buf[..run]))? } else { run };
        // TCP may have accepted only a part. The cursor moves over this part.
        self.cursor.skip(&buf[..written], drop_pongs);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The position of the next byte in the stream of written frames.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    /// Bytes of the header seen so far: 0 to 9, then the frame's payload begins.
    header: u8,
    /// Payload length, as far as the header has been read.
    length: u64,
    /// Bytes of the extended length still to come.
    length_bytes: u8,
    /// Bytes of payload still to come.
    payload: u64,
    /// Whether this frame is held back. It is decided at the first byte, so that no frame is written partly.
    dropped: bool,
}

impl Cursor {
    /// Moves over the longest start of `buf` that is either written or held back as a whole. Returns its
    /// length and whether it is written.
    fn run(&mut self, buf: &[u8], drop_pongs: bool) -> (usize, bool) {
        let mut at = 0;
        let mut keep = None;
        while at < buf.len() {
            let mut ahead = *self;
            let step = ahead.advance(&buf[at..], drop_pongs);
            if *keep.get_or_insert(!ahead.dropped) == ahead.dropped {
                break;
            }
            *self = ahead;
            at += step;
        }
        (at, keep.unwrap_or(true))
    }

    /// Moves over all of `buf`.
    fn skip(&mut self, buf: &[u8], drop_pongs: bool) {
        let mut at = 0;
        while at < buf.len() {
            at += self.advance(&buf[at..], drop_pongs);
        }
    }

    /// Moves over one byte of a header, or over as much payload as there is. `buf` is not empty.
    fn advance(&mut self, buf: &[u8], drop_pongs: bool) -> usize {
        if self.payload > 0 {
            let step = usize::try_from(self.payload).unwrap_or(usize::MAX).min(buf.len());
            self.payload -= step as u64;
            return step;
        }
        let byte = buf[0];
        match self.header {
            0 => {
                self.dropped = drop_pongs && byte & 0x0F == OPCODE_PONG;
                self.header = 1;
                return 1;
            }
            1 => {
                // A server does not mask, so the top bit is clear.
                (self.length, self.length_bytes) = match byte & 0x7F {
                    126 => (0, 2),
                    127 => (0, 8),
                    short => (u64::from(short), 0),
                };
                self.header = 2;
            }
            _ => {
                self.length = self.length << 8 | u64::from(byte);
                self.length_bytes -= 1;
            }
        }
        if self.length_bytes == 0 {
            self.payload = self.length;
            self.header = 0;
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(length as u8),
            126..65536 => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(opcode, length));
        frame
    }

    /// The bytes that are sent when `bytes` is written in pieces of `piece` bytes.
    fn sent(bytes: &[u8], piece: usize, drop_pongs: bool) -> Vec<u8> {
        let mut cursor = Cursor::default();
        let mut out = Vec::new();
        for mut rest in bytes.chunks(piece) {
            while !rest.is_empty() {
                let (run, keep) = cursor.run(rest, drop_pongs);
                assert!(run > 0, "a run always moves on");
                if keep {
                    out.extend(&rest[..run]);
                }
                rest = &rest[run..];
            }
        }
        out
    }

    #[test]
    fn only_pongs_are_taken_off_the_wire_however_the_writes_are_cut() {
        let kept = [frame(1, 5), frame(2, 70_000), frame(9, 0), frame(1, 126), frame(8, 2)];
        let mut all = Vec::new();
        for frame_kept in &kept {
            all.extend(frame(OPCODE_PONG, 0));
            all.extend(frame_kept);
            all.extend(frame(OPCODE_PONG, 125));
            all.extend(frame(OPCODE_PONG, 3));
        }
        for piece in [1, 2, 3, 7, 127, 4096, all.len()] {
            assert_eq!(sent(&all, piece, true), kept.concat(), "pieces of {piece}");
            assert_eq!(sent(&all, piece, false), all, "pieces of {piece}, nothing dropped");
        }
    }
}
