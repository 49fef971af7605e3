//! One socket of an agent, read and written by one task until it ends.
//!
//! ```text
//! poll: why to end? -- frames arrived --> Rules --.
//!        ^                                        v
//!        '------ the timer <--- write <--- the link's queue
//! ```
//!
//! A socket waits for many things, and nearly always for all of them. So there is one task and one timer, and waking up
//! means to look at everything once. The timer is for the earliest of all deadlines; a deadline that moves away leaves
//! the timer as it is, so that a heartbeat costs no timer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use crate::ended::{Ended, broken, close_frame, refuse};
use crate::link::{Link, Outgoing};
use crate::pings::{NextPing, Pings};
use crate::socket::Socket;

/// Longest wait for the first `register`.
pub const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// Longest duration of one write. After it the peer counts as lost.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Most frames that are handled before other tasks have their turn, so that a flood from one agent delays the answers
/// to others by milliseconds at most.
const FRAMES_AT_ONCE: usize = 64;

/// When to ping, and when a silent peer is lost.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Time between two pings.
    pub ping_interval: Duration,
    /// Whom to ping then.
    pub pings: Pings,
    /// Silence after which a connection is dropped.
    pub silence_limit: Duration,
}

/// How a socket is used at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Controls {
    /// Pongs are not written by themselves, but only as [`Outgoing::Pong`].
    pub hold_pongs: bool,
    /// Nothing is read. That time does not count as silence.
    pub stop_reading: bool,
}

/// What is said on a connection, and what follows from that.
pub trait Rules {
    /// Looks at everything that does not come from the socket; called whenever the task is woken.
    ///
    /// # Errors
    /// Why the connection has to end.
    fn poll(&mut self, cx: &mut Context<'_>, link: &Arc<Link>) -> Result<(), Ended>;

    /// How to use the socket now; asked after each of the other calls.
    fn controls(&self) -> Controls;

    /// Handles one text frame.
    ///
    /// # Errors
    /// Why the connection has to end.
    fn text(&mut self, cx: &mut Context<'_>, link: &Arc<Link>, text: Utf8Bytes) -> Result<(), Ended>;

    /// Handles a ping. It is answered already if pongs are not held back.
    ///
    /// # Errors
    /// Why the connection has to end.
    fn ping(&mut self, _cx: &mut Context<'_>, _link: &Arc<Link>, _payload: Bytes) -> Result<(), Ended> {
        Ok(())
    }

    /// Notes a frame that is no text.
    fn ignored(&mut self, bytes: usize, what: &str);

    /// Whether the agent has registered.
    fn is_registered(&self) -> bool;

    /// When to call [`due`](Self::due), while the socket is read.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has passed.
    ///
    /// # Errors
    /// Why the connection has to end.
    fn due(&mut self, _cx: &mut Context<'_>, _link: &Arc<Link>) -> Result<(), Ended> {
        Ok(())
    }

    /// Notes that a frame could not be read, which ends the connection.
    fn broken(&mut self, _ended: &Ended) {}

    /// The connection ends, and nothing more is read.
    fn ended(&mut self, link: &Arc<Link>, ended: &Ended);
}

/// State of one socket.
struct Session<R> {
    rules: R,
    link: Arc<Link>,
    socket: Socket,
    times: Times,
    controls: Controls,
    /// When the newest frame came.
    last_frame_at: Instant,
    /// When the newest one was written.
    last_told_at: Instant,
    register_by: Instant,
    next_ping: NextPing,
    /// Since when the socket takes nothing, while something waits to be written.
    stuck_since: Option<Instant>,
    /// How the connection ends, if what waits to be written is the last frame.
    last: Option<Box<Ended>>,
    /// What waits to be written is a pong of the rules.
    pong: bool,
    /// Nothing was read because of that.
    unread: bool,
}

/// Serves the socket until it is closed.
///
/// Not an `async fn`: that would have room for its arguments besides the state that they become.
pub fn run<R: Rules>(link: Arc<Link>, socket: Socket, times: Times, rules: R) -> impl Future<Output = ()> {
    let now = Instant::now();
    let mut session = Session {
        rules,
        link,
        socket,
        times,
        controls: Controls::default(),
        last_frame_at: now,
        last_told_at: now,
        register_by: now + REGISTER_LIMIT,
        next_ping: NextPing::new(times.pings, times.ping_interval, now),
        stuck_since: None,
        last: None,
        pong: false,
        unread: false,
    };
    async move {
        let ended = session.until_end().await;
        session.rules.ended(&session.link, &ended);
        let number = session.link.session;
        // In a box, so that no connection has room for it while it lasts.
        Box::pin(ended.finish(session.socket, number)).await;
    }
}

impl<R: Rules> Session<R> {
    async fn until_end(&mut self) -> Ended {
        let mut timer = pin!(sleep_until(self.deadline()));
        poll_fn(|cx| {
            self.link.awake();
            if self.link.is_cut() {
                return Poll::Ready(Ended::Gone("cut on request"));
            }
            if let Err(ended) = self.rules.poll(cx, &self.link) {
                return Poll::Ready(ended);
            }
            self.obey();
            self.poll(cx, timer.as_mut())
        })
        .await
    }

    /// Looks at everything once, and again if it is due again already.
    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Ended> {
        loop {
            if let Some(ended) = self.overdue(cx, Instant::now()).or_else(|| self.read(cx)) {
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
        let mut deadline = self.next_ping.at();
        let mut before = |other: Instant| deadline = deadline.min(other);
        if let Some(since) = self.stuck_since {
            before(since + WRITE_LIMIT);
        }
        if !self.controls.stop_reading {
            // While a pong waits nothing is read, so nobody is judged by what has not come.
            if !self.pong {
                before(self.silent_at());
                if !self.rules.is_registered() {
                    before(self.register_by);
                }
            }
            if let Some(due) = self.rules.deadline() {
                before(due);
            }
        }
        deadline
    }

    fn silent_at(&self) -> Instant {
        self.last_frame_at + self.times.silence_limit
    }

    /// Does what is due. Nobody counts as silent before what has arrived is read: see [`read`](Self::read).
    fn overdue(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<Ended> {
        if self.stuck_since.is_some_and(|since| now >= since + WRITE_LIMIT) {
            return Some(Ended::Gone("took nothing for 30 s"));
        }
        // It would not reach a peer that takes nothing.
        if self.next_ping.is_due(now, self.last_frame_at, self.last_told_at) && self.stuck_since.is_none() {
            // An error shows when it is flushed.
            self.socket.write(Message::Ping(Bytes::new())).ok();
            self.last_told_at = now;
        }
        if !self.controls.stop_reading && self.rules.deadline().is_some_and(|at| now >= at) {
            let done = self.rules.due(cx, &self.link);
            self.obey();
            return done.err();
        }
        None
    }

    /// Reads what has arrived. Not while a pong of the rules waits to be written: the library would queue its own.
    fn read(&mut self, cx: &mut Context<'_>) -> Option<Ended> {
        for _ in 0..FRAMES_AT_ONCE {
            if self.controls.stop_reading || self.pong {
                self.unread |= self.pong;
                return None;
            }
            let message = match self.socket.poll_read(cx) {
                Poll::Ready(Ok(message)) => message,
                Poll::Ready(Err(error)) => {
                    let ended = broken(&error);
                    self.rules.broken(&ended);
                    return Some(ended);
                }
                Poll::Pending => {
                    let now = Instant::now();
                    return if self.rules.is_registered() {
                        (now >= self.silent_at()).then_some(Ended::Gone("silent for too long"))
                    } else {
                        let late = now >= self.register_by.min(self.silent_at());
                        late.then(|| refuse(1008, "no register within 10 s"))
                    };
                }
            };
            self.last_frame_at = Instant::now();
            let handled = match message {
                Message::Text(text) => self.rules.text(cx, &self.link, text),
                Message::Binary(bytes) => {
                    self.rules.ignored(bytes.len(), "a binary frame");
                    Ok(())
                }
                // The library has queued the pong already.
                Message::Ping(payload) => self.rules.ping(cx, &self.link, payload),
                Message::Pong(_) | Message::Frame(_) => Ok(()),
                Message::Close(_) => return Some(Ended::Closing),
            };
            if let Err(ended) = handled {
                return Some(ended);
            }
            self.obey();
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
            if std::mem::take(&mut self.pong) {
                self.socket.set_drop_pongs(self.controls.hold_pongs);
                if std::mem::take(&mut self.unread) {
                    cx.waker().wake_by_ref();
                }
            }
            if let Some(ended) = self.last.take() {
                return Poll::Ready(*ended);
            }
            let Some(outgoing) = self.link.next() else {
                self.socket.rest();
                return Poll::Pending;
            };
            self.last_told_at = Instant::now();
            let written = match outgoing {
                Outgoing::Frame(frame) => self.socket.write(frame),
                Outgoing::Frames(frames) => frames.into_iter().try_for_each(|frame| self.socket.write(frame)),
                Outgoing::Close { code, reason } => {
                    self.last = Some(Box::new(Ended::Closed(code, reason.clone())));
                    self.socket.write(close_frame(code, reason))
                }
                Outgoing::EmptyClose => {
                    self.last = Some(Box::new(Ended::Closing));
                    self.socket.write(Message::Close(None))
                }
                Outgoing::Pong(payload) => {
                    self.pong = true;
                    self.socket.set_drop_pongs(false);
                    self.socket.write(Message::Pong(payload))
                }
            };
            if written.is_err() {
                return Poll::Ready(Ended::Gone("cannot be written to"));
            }
        }
    }

    /// Uses the socket as the rules say, from now on.
    fn obey(&mut self) {
        let controls = self.rules.controls();
        if !self.pong {
            self.socket.set_drop_pongs(controls.hold_pongs);
        }
        if self.controls.stop_reading && !controls.stop_reading {
            // The time in which the socket was not read does not count as silence.
            self.last_frame_at = Instant::now();
        }
        self.controls = controls;
    }
}
