//! A stream that remembers the first bytes that came in. They tell a server that speaks something else than TLS from
//! one whose TLS is broken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are remembered: enough for the greeting of a server, such as `SSH-2.0-OpenSSH_9.6`.
const SEEN: usize = 64;

/// The stream. After the first bytes it costs one comparison for each read.
#[derive(Debug)]
pub(super) struct FirstBytes<S> {
    stream: S,
    seen: [u8; SEEN],
    length: usize,
}

impl<S> FirstBytes<S> {
    pub(super) fn of(stream: S) -> Self {
        Self { stream, seen: [0; SEEN], length: 0 }
    }

    /// The first bytes.
    pub(super) fn seen(&self) -> &[u8] {
        self.seen.get(..self.length).unwrap_or_default()
    }

    fn note(&mut self, new: &[u8]) {
        for (place, byte) in self.seen.iter_mut().skip(self.length).zip(new) {
            *place = *byte;
        }
        self.length = SEEN.min(self.length + new.len());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.length < SEEN {
            let new = buf.filled().get(before..).unwrap_or_default();
            this.note(new);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_are_remembered_however_they_come_and_all_are_passed_on() {
        let sent: Vec<u8> = (0..200).collect();
        for piece in [1, 7, 63, 64, 65, 200] {
            let mut stream = FirstBytes::of(&sent[..]);
            let (mut read, mut buffer) = (Vec::new(), vec![0; piece]);
            loop {
                let count = stream.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                read.extend_from_slice(&buffer[..count]);
                assert_eq!(stream.seen(), &sent[..SEEN.min(read.len())]);
            }
            assert_eq!(read, sent, "in pieces of {piece}");
        }
    }
}
