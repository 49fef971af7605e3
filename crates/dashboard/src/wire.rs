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

use cursor::Cursor;

pub(super) mod cursor;

/// Pause after a failed `accept`. Its usual cause, a lack of file descriptors, does not disappear at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

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
