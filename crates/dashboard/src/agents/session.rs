//! One socket of an agent, read and written by one task until it ends.
//!
//! ```text
//! poll: why to end? -- frames arrived --> inbound --> hub --.
//!        ^                                                   v
//!        '------ the timer, new faults <--- write <--- the link's queue
//! ```
//!
//! A socket waits for many things, and nearly always for all of them. So there is one task and one timer, and waking up
//! means to look at everything once. The timer is for the earliest of all deadlines; a deadline that moves away leaves
//! the timer as it is, so that a heartbeat costs no timer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tracing::info;

use super::socket::Socket;
use crate::link::{Link, Outgoing};
use crate::{Faults, Lifetime, Shared};

use ended::{Ended, close_frame, refuse};

mod ended;
mod inbound;

/// Longest wait for the first `register`.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// Longest duration of one write. After it the peer counts as lost.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Most frames that are handled before other tasks have their turn, so that a flood from one agent delays the answers
/// to others by milliseconds at most.
const FRAMES_AT_ONCE: usize = 64;

/// State of one socket.
pub(super) struct Session {
    shared: Arc<Shared>,
    link: Arc<Link>,
    socket: Socket,
    /// The hostname, once registered.
    id: Option<String>,
    /// When to answer the newest `register`, if it has not been answered.
    answer_at: Option<Instant>,
    /// When the newest frame came.
    last_frame_at: Instant,
    register_by: Instant,
    next_ping: Instant,
    /// Since when the socket takes nothing, while something waits to be written.
    stuck_since: Option<Instant>,
    /// What waits to be written is the last frame.
    last: bool,
    stop_reading: bool,
}

impl Session {
    /// Serves the socket until it is closed.
    ///
    /// Not an `async fn`: that would have room for its arguments besides the state that they become.
    pub(super) fn run(
        shared: Arc<Shared>,
        peer: SocketAddr,
        socket: Socket,
        mut lifetime: Lifetime,
    ) -> impl Future<Output = ()> {
        let number = shared.apply(|hub, _| hub.next_session());
        let now = Instant::now();
        let mut faults = shared.faults.subscribe();
        let mut session = Self {
            link: Link::new(number),
            socket,
            id: None,
            answer_at: None,
            last_frame_at: now,
            register_by: now + REGISTER_LIMIT,
            next_ping: now + shared.times.ping_interval,
            stuck_since: None,
            last: false,
            stop_reading: false,
            shared: Arc::clone(&shared),
        };
        session.obey(&faults.borrow_and_update().clone());
        async move {
            let ended = session.until_end(faults, &mut lifetime).await;
            if let Some(id) = &session.id {
                info!(host = %id, session = number, why = %ended, "the agent's connection ends");
                shared.apply(|hub, _| hub.disconnect(id, number));
            } else {
                info!(%peer, session = number, why = %ended, "a connection ends without a registration");
            }
            // In a box, so that no connection has room for it while it lasts.
            Box::pin(ended.finish(session.socket, number)).await;
        }
    }

    async fn until_end(&mut self, faults: watch::Receiver<Faults>, lifetime: &mut Lifetime) -> Ended {
        let mut timer = pin!(sleep_until(self.deadline()));
        let mut faults = pin!(changed(faults));
        let mut closed = pin!(lifetime.ended());
        poll_fn(|cx| {
            self.link.awake();
            // The order is the priority of the reasons to end.
            if self.link.is_cut() {
                return Poll::Ready(Ended::Gone("cut on request"));
            }
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ended::Leaving);
            }
            while let Poll::Ready(mut receiver) = faults.as_mut().poll(cx) {
                self.obey(&receiver.borrow_and_update().clone());
                faults.set(changed(receiver));
            }
            self.poll(cx, timer.as_mut())
        })
        .await
    }

    /// Looks at everything once, and again if it is due again already.
    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Ended> {
        loop {
            if let Some(ended) = self.overdue(Instant::now()).or_else(|| self.read(cx)) {
                return Poll::Ready(ended);
            }
            if let Poll::Ready(ended) = self.write(cx) {
                return Poll::Ready(ended);
            }
            let deadline = self.deadline();
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        self.link.wait(cx.waker());
        let can_write = self.stuck_since.is_none() && self.link.waiting() > 0;
        if can_write || self.link.is_cut() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The earliest time at which something is due.
    fn deadline(&self) -> Instant {
        let mut deadline = self.next_ping;
        let mut before = |other: Instant| deadline = deadline.min(other);
        if let Some(since) = self.stuck_since {
            before(since + WRITE_LIMIT);
        }
        if !self.stop_reading {
            before(self.silent_at());
            if self.id.is_none() {
                before(self.register_by);
            }
            if let Some(answer_at) = self.answer_at {
                before(answer_at);
            }
        }
        deadline
    }

    fn silent_at(&self) -> Instant {
        self.last_frame_at + self.shared.times.silence_limit
    }

    /// Does what is due. Nobody counts as silent before what has arrived is read: see [`read`](Self::read).
    fn overdue(&mut self, now: Instant) -> Option<Ended> {
        if self.stuck_since.is_some_and(|since| now >= since + WRITE_LIMIT) {
            return Some(Ended::Gone("took nothing for 30 s"));
        }
        if now >= self.next_ping && self.stuck_since.is_none() {
            self.next_ping = now + self.shared.times.ping_interval;
            // An error shows when it is flushed.
            self.socket.write(Message::Ping(Vec::new().into())).ok();
        } else if now >= self.next_ping {
            // A ping would not reach a peer that takes nothing.
            self.next_ping = now + self.shared.times.ping_interval;
        }
        if !self.stop_reading && self.answer_at.is_some_and(|at| now >= at) {
            return self.answer().err();
        }
        None
    }

    /// Reads what has arrived.
    fn read(&mut self, cx: &mut Context<'_>) -> Option<Ended> {
        if self.stop_reading {
            return None;
        }
        for _ in 0..FRAMES_AT_ONCE {
            let message = match self.socket.poll_read(cx) {
                Poll::Ready(Ok(message)) => message,
                Poll::Ready(Err(error)) => return Some(self.broken(&error)),
                Poll::Pending => {
                    let now = Instant::now();
                    return match self.id {
                        None if now >= self.register_by.min(self.silent_at()) => {
                            Some(refuse(1008, "no register within 10 s"))
                        }
                        Some(_) if now >= self.silent_at() => Some(Ended::Gone("silent for too long")),
                        _ => None,
                    };
                }
            };
            self.last_frame_at = Instant::now();
            match message {
                Message::Text(text) => {
                    if let Err(ended) = self.text(&text) {
                        return Some(ended);
                    }
                }
                Message::Binary(bytes) => self.ignore(bytes.len(), "a binary frame"),
                // The library has queued the pong already.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(_) => return Some(Ended::Closing),
            }
        }
        cx.waker().wake_by_ref();
        None
    }

    /// Writes what waits in the queue, one entry after the other.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            match self.socket.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.stuck_since = None,
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::Gone("cannot be written to")),
                Poll::Pending => {
                    self.stuck_since.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
            if self.last {
                return Poll::Ready(Ended::Closing);
            }
            let Some(outgoing) = self.link.next() else {
                self.socket.rest();
                return Poll::Pending;
            };
            let written = match outgoing {
                Outgoing::Frame(frame) => self.socket.write(frame),
                Outgoing::Frames(frames) => frames.into_iter().try_for_each(|frame| self.socket.write(frame)),
                Outgoing::Close { code, reason } => {
                    self.last = true;
                    self.socket.write(close_frame(code, reason))
                }
                Outgoing::EmptyClose => {
                    self.last = true;
                    self.socket.write(Message::Close(None))
                }
            };
            if written.is_err() {
                return Poll::Ready(Ended::Gone("cannot be written to"));
            }
        }
    }

    /// Applies the faults that are on.
    fn obey(&mut self, faults: &Faults) {
        self.socket.set_drop_pongs(faults.never_pong);
        if self.stop_reading && !faults.stop_reading {
            // The time in which the socket was not read does not count as silence.
            self.last_frame_at = Instant::now();
        }
        self.stop_reading = faults.stop_reading;
    }
}

/// Resolves at the next change. There can be no error, because the sender is in `Shared`.
async fn changed(mut faults: watch::Receiver<Faults>) -> watch::Receiver<Faults> {
    drop(faults.changed().await);
    faults
}
