//! A connection in memory: two directions, each with delays, a bounded buffer and the faults of a network.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes that may be on their way in one direction: buffers of both kernels.
const CAPACITY: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Direction {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    delay: Duration,
    /// Nothing is read before this time.
    held_until: Option<Instant>,
    /// What is written is lost, and nobody is told.
    lost: bool,
    one_byte: bool,
    /// Pongs are taken out until then.
    no_pongs_until: Option<Instant>,
    /// The writer has ended.
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// When something can be read.
    fn due(&self) -> Option<Instant> {
        let (at, _) = self.chunks.front()?;
        Some(self.held_until.map_or(*at, |held| held.max(*at)))
    }
}

#[derive(Debug, Default)]
struct Link {
    /// From the agent, to the agent.
    directions: [Direction; 2],
    reset: bool,
}

/// A handle of a connection for its faults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Link>>);

impl Wire {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Link)) {
        let mut link = self.link();
        change(&mut link);
        link.directions.iter_mut().for_each(Direction::wake);
    }

    /// A new connection: the agent's end, the dashboard's end, and the handle.
    pub(crate) fn connect(delay: Duration) -> (End, End, Self) {
        let wire = Self::default();
        wire.change(|link| link.directions.iter_mut().for_each(|direction| direction.delay = delay));
        let end = |writes| End { wire: wire.clone(), writes, timer: None };
        (end(0), end(1), wire)
    }

    /// Both ends get an error; what is on its way is lost.
    pub(crate) fn reset(&self) {
        self.change(|link| link.reset = true);
    }

    /// Nothing arrives any more, and nobody is told.
    pub(crate) fn half_open(&self) {
        self.change(|link| {
            for direction in &mut link.directions {
                direction.lost = true;
                direction.chunks.clear();
                direction.bytes = 0;
            }
        });
    }

    /// Nothing arrives at the agent (`to_agent`) or at the dashboard before this time.
    pub(crate) fn hold(&self, to_agent: bool, until: Instant) {
        self.change(|link| link.directions[usize::from(to_agent)].held_until = Some(until));
    }

    /// Takes the dashboard's pongs out until this time.
    pub(crate) fn no_pongs(&self, until: Instant) {
        self.change(|link| link.directions[1].no_pongs_until = Some(until));
    }

    /// Each read has one byte from now on.
    pub(crate) fn one_byte(&self) {
        self.change(|link| link.directions.iter_mut().for_each(|direction| direction.one_byte = true));
    }

    /// Discards what the agent has written and what has not left its kernel.
    pub(crate) fn discard(&self) {
        self.reset();
    }
}

/// The frames of a server without its pongs. A write of the dashboard holds whole frames.
fn without_pongs(bytes: &[u8]) -> Vec<u8> {
    const PONG: u8 = 0x8a;
    let (mut left, mut kept) = (bytes, Vec::new());
    while let [first, short, rest @ ..] = left {
        let length = match (short, rest) {
            (126, [high, low, ..]) => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            (short @ 0..126, _) => 2 + usize::from(*short),
            _ => left.len(),
        };
        let (frame, behind) = left.split_at(length.min(left.len()));
        if *first != PONG {
            kept.extend_from_slice(frame);
        }
        left = behind;
    }
    kept.extend_from_slice(left);
    kept
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    wire: Wire,
    /// The direction in which it writes.
    writes: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut link = this.wire.link();
        if link.reset {
            return Poll::Ready(Err(reset()));
        }
        let direction = &mut link.directions[1 - this.writes];
        direction.reader = Some(context.waker().clone());
        let Some(due) = direction.due() else {
            return if direction.ended && !direction.lost { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        if due > Instant::now() {
            let mut timer = Box::pin(sleep_until(due));
            if timer.as_mut().poll(context).is_pending() {
                this.timer = Some(timer);
                return Poll::Pending;
            }
        }
        let Some((_, chunk)) = direction.chunks.front_mut() else { return Poll::Pending };
        let most = if direction.one_byte { 1 } else { buffer.remaining() };
        let count = chunk.len().min(most);
        buffer.put_slice(&chunk[..count]);
        chunk.drain(..count);
        if chunk.is_empty() {
            direction.chunks.pop_front();
        }
        direction.bytes -= count;
        if let Some(writer) = direction.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut link = self.wire.link();
        if link.reset {
            return Poll::Ready(Err(reset()));
        }
        let direction = &mut link.directions[self.writes];
        if direction.lost {
            // The kernel takes it until its buffer is full.
            if direction.bytes > CAPACITY {
                // Only a reset ends this wait.
                direction.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            direction.bytes += bytes.len();
            return Poll::Ready(Ok(bytes.len()));
        }
        let room = CAPACITY.saturating_sub(direction.bytes).min(bytes.len());
        if room == 0 {
            direction.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let at = Instant::now() + direction.delay;
        let no_pongs = direction.no_pongs_until.is_some_and(|until| Instant::now() < until);
        let chunk = if no_pongs { without_pongs(&bytes[..room]) } else { bytes[..room].to_vec() };
        if chunk.is_empty() {
            return Poll::Ready(Ok(room));
        }
        direction.bytes += chunk.len();
        direction.chunks.push_back((at, chunk));
        if let Some(reader) = direction.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.link().reset { Poll::Ready(Err(reset())) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writes = self.writes;
        self.wire.change(|link| link.directions[writes].ended = true);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // The kernel closes the socket: what was written still arrives, and then the end.
        let writes = self.writes;
        self.wire.change(|link| link.directions[writes].ended = true);
    }
}
