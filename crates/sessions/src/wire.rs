//! Connections with two switches that the WebSocket library does not have: hold back pongs, and discard input.
//!
//! The library answers pings by itself. So a dashboard that never answers must remove the pongs from the
//! written bytes. This works on frames: frames of a server are not masked, and their headers say where the
//! next frame begins.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use cursor::Cursor;

pub(crate) mod cursor;

/// A connection, in the clear or encrypted.
#[derive(Debug)]
pub enum Stream {
    /// TCP, also behind somebody who has ended TLS.
    Tcp(TcpStream),
    /// TLS, which is ended here. In a box, because its buffers are many times larger than a TCP connection.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// What reads and writes.
    fn io(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp),
            Self::Tls(tls) => Pin::new(&mut **tls),
        }
    }
}

/// Both directions of a connection.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// One connection. Its switches are for the owner of a connection that has left HTTP.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    frames: bool,
    drop_pongs: bool,
    discard_input: bool,
    cursor: Cursor,
}

impl Wire {
    /// A connection that has been accepted.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, frames: false, drop_pongs: false, discard_input: false, cursor: Cursor::default() }
    }

    /// The address of this machine that the connection was made to, if the kernel still knows it.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.stream.tcp().local_addr().ok()
    }

    /// HTTP has ended: the next written byte begins a WebSocket frame.
    pub(crate) fn frames_begin(&mut self) {
        self.frames = true;
    }

    /// Sets whether pongs are held back.
    pub(crate) fn set_drop_pongs(&mut self, drop_pongs: bool) {
        self.drop_pongs = drop_pongs;
    }

    /// From now on nothing is written, and input is discarded until the peer ends the connection.
    ///
    /// A socket that is closed with unread input is reset, and the reset can overtake the close frame.
    pub(crate) fn discard_input(&mut self) {
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
            ready!(self.stream.io().poll_shutdown(cx))?;
        }
        loop {
            ready!(self.stream.io().poll_read(cx, buf))?;
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
            return self.stream.io().poll_write(cx, buf);
        }
        let drop_pongs = self.drop_pongs;
        let mut after = self.cursor;
        let (run, keep) = after.run(buf, drop_pongs);
        let written = if keep { ready!(self.stream.io().poll_write(cx, &buf[..run]))? } else { run };
        // TCP may have accepted only a part. The cursor moves over this part.
        self.cursor.skip(&buf[..written], drop_pongs);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.io().poll_shutdown(cx)
    }
}
