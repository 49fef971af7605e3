//! One connection, from `register` to its end.
//!
//! ```text
//! Registering --registered--> Live --shutdown, restart--> Leaving
//!      '------------------------'--- broken, silent, stalled ---> Ended
//! ```
//!
//! The loop waits for one `Event` and passes it to `Session::apply`, which never waits. So no
//! decision is interrupted halfway, and each can be tested without a network.
//!
//! ```text
//! event.rs        all events, and the order in which they are taken
//! timers.rs       what is due at which time
//! inbound.rs      messages of the dashboard
//! noise.rs        messages that lead to nothing but a log line
//! output.rs       output and status of a job
//! look.rs         the look at the host between the end of a job and its status
//! sleep.rs        whether the connection lives after the host has slept
//! prewarm.rs      pre-warm signals
//! leaving.rs      the end of a connection that the agent closes, and what follows
//! exit.rs         `restart` and `reboot`: first the answer, then the exit
//! acks.rs         heartbeats that the dashboard has not acknowledged
//! delivery.rs     frames that the dashboard has not certainly read
//! window.rs       how much output may be among them
//! schedule.rs     when heartbeats are due
//! send_queue.rs   what waits to be written
//! writer.rs       the writing half of the socket
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use nixfleet_os::planted;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;

use nixfleet_jobs::JobId;
use nixfleet_protocol::{AgentMessage, CommandRejected, Status};

use super::agent::{Agent, NotStopped};
use super::ended::Ended;
use crate::dial;
use crate::facts::Facts;
use crate::jobs::executor::ExecutorEvent;
use crate::jobs::table::JobEvent;
use crate::observe::status::{Ask, Queue};
use acks::Acks;
use delivery::{DeliveryTracker, Receipt};
use event::Event;
use exit::PendingExit;
use look::Look;
use schedule::Schedule;
use send_queue::{Frame, SendQueue};
use sleep::Doubt;

pub mod acks;
pub mod delivery;
mod ending;
mod event;
mod exit;
mod inbound;
mod leaving;
mod look;
mod noise;
mod output;
mod prewarm;
pub mod schedule;
pub mod send_queue;
pub mod sleep;
mod timers;
pub mod window;
pub mod writer;

/// How long the dashboard may take to answer a registration.
pub const REGISTER_DEADLINE: Duration = Duration::from_secs(10);

/// How often the agent pings: three times within [`SILENCE`].
pub const PING_INTERVAL: Duration = Duration::from_secs(15);

/// A connection on which no frame was received for this long counts as dead.
pub const SILENCE: Duration = Duration::from_secs(45);

// Otherwise a broken connection would be reported as silent, and its real error would be lost.
const _: () = assert!(dial::UNCONFIRMED.as_secs() < SILENCE.as_secs());

/// How long the dashboard may take to answer a close frame. Short, because a service that is being
/// replaced should be gone within a second.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a rejection waits for the process id of a command that is just being started.
pub const PID_TIMEOUT: Duration = Duration::from_secs(1);

/// Rejections that may wait for it. With so many of them, the agent reads nothing until the process id is known or
/// the time is over.
const HELD: usize = 1024;

/// How long the second registration after a switch waits for new facts, if its status had to go without them.
pub const FACTS_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a `registered` that nobody asked for is followed by a heartbeat of its own. That is the shortest interval
/// between heartbeats: a flood of such messages makes no more of them.
const UNASKED_BEAT: Duration = Duration::from_secs(1);

/// Delivered positions in logs are written to disk at most this often. Output that is delivered
/// after the last write is sent again if the agent is killed.
const SAVE_INTERVAL: Duration = Duration::from_millis(250);

/// How a session went.
#[derive(Debug)]
pub struct Summary {
    /// Why it ended.
    pub ended: Ended,
    /// When the dashboard accepted the registration; none if it did not.
    pub registered: Option<Instant>,
}

/// The state of a session.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// `register` has been sent, `registered` has not been received.
    Registering { until: Instant },
    /// Registered: heartbeats are sent, commands are accepted.
    Live(Schedule),
    /// The close frame is queued; `leave` says what follows.
    Leaving { until: Instant, leave: Leave },
}

/// What follows after the agent has closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// Nothing.
    Shutdown,
    /// A new process.
    Restart,
    /// Another connection.
    Renew,
}

struct Session<'a> {
    agent: &'a mut Agent,
    send_queue: Arc<SendQueue>,
    phase: Phase,
    /// When the dashboard accepted the registration.
    registered: Option<Instant>,
    /// Registrations without an answer so far.
    unanswered: u32,
    /// When a `registered` that nobody asked for was last followed by a heartbeat of its own.
    unasked_beat_at: Option<Instant>,
    /// The dashboard supports batches of output.
    batches: bool,
    delivery: DeliveryTracker,
    /// Output that was taken from its job and is more than one batch may have.
    rest: Option<JobEvent>,
    acks: Acks,
    /// When a frame was last received.
    last_frame_at: Instant,
    /// The host has slept, and nothing shows yet that the connection has survived it.
    doubt: Option<Doubt>,
    /// When the last heartbeat was queued.
    last_heartbeat_at: Instant,
    next_ping: Instant,
    /// Rejections that are sent as soon as the process id of the job that is their reason is known, or at
    /// `held_until`.
    held: Vec<(JobId, CommandRejected)>,
    held_until: Option<Instant>,
    /// The command that is being started has no process after that time. Further rejections do not wait.
    pid_overdue: bool,
    /// Register again when the host was looked at, or at this time.
    register_again: Option<Instant>,
    /// The look at the host after the end of a job.
    look: Option<Look>,
    /// An exit that has been announced. It is carried out when the dashboard has read the
    /// announcement, or at this time.
    pending_exit: Option<(PendingExit, Instant)>,
    /// When delivered positions were last written to disk.
    saved_at: Instant,
    /// The close frame has been written, so the writer has ended; the dashboard's answer is missing.
    awaiting_close: bool,
}

/// Runs a session on a new connection until it ends.
pub async fn run<S>(
    socket: WebSocketStream<S>,
    agent: &mut Agent,
    shutdown: &mut watch::Receiver<bool>,
) -> Summary
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sink, mut stream) = socket.split();
    let send_queue = Arc::new(SendQueue::default());
    let mut writer = writer::spawn(sink, Arc::clone(&send_queue));
    let mut session = Session::new(agent, send_queue, Instant::now());
    if planted!("beat-before-registered") {
        session.heartbeat(Instant::now());
    }
    session.register();
    // The first heartbeat follows the answer at once, and what was measured last may be older than a usual beat's.
    (session.agent.snapshots.expect)(Instant::now().into_std());
    loop {
        let event = session.select(&mut stream, &mut writer, shutdown).await;
        // One read may bring hundreds of frames. Without this the writer, and whoever asks for the status, would wait
        // until all of them are handled.
        consume_budget().await;
        if let Some(ended) = session.apply(event, Instant::now()) {
            let registered = session.registered;
            let ended = session.exit_after_disconnect(ended);
            session.save_positions(Instant::now());
            session.agent.disconnected();
            // Flushes tungstenite's answer to a close frame, if there is one.
            drop(stream.next().now_or_never());
            return Summary { ended, registered };
        }
    }
}

impl<'a> Session<'a> {
    fn new(agent: &'a mut Agent, send_queue: Arc<SendQueue>, now: Instant) -> Self {
        Self {
            agent,
            send_queue,
            phase: Phase::Registering { until: now + REGISTER_DEADLINE },
            registered: None,
            unanswered: 0,
            unasked_beat_at: None,
            batches: false,
            delivery: DeliveryTracker::default(),
            rest: None,
            acks: Acks::default(),
            last_frame_at: now,
            doubt: None,
            last_heartbeat_at: now,
            next_ping: now + PING_INTERVAL,
            held: Vec::new(),
            held_until: None,
            pid_overdue: false,
            register_again: None,
            look: None,
            pending_exit: None,
            saved_at: now,
            awaiting_close: false,
        }
    }

    /// Handles an event. Never waits. Returns why the session ended, if it did.
    fn apply(&mut self, event: Event, now: Instant) -> Option<Ended> {
        match event {
            Event::Shutdown => self.leave(now, "shutdown", Leave::Shutdown),
            Event::Timer => return self.timer(now),
            Event::Clock(change) => return self.clock_changed(change, now),
            Event::BeatWritten(seq) => {
                self.agent.absence.told(seq);
                self.acks.sent(seq, now);
            }
            Event::Writer(ended) => return self.writer_ended(ended),
            Event::Executor(event) => self.executor_event(event),
            Event::Looked(facts_are_new) => self.looked(facts_are_new, now),
            Event::Live => self.release_held(false),
            Event::Credentials => self.credentials_looked_at(now),
            Event::Trial => return self.trial(now),
            Event::Prewarm => self.send_prewarm(),
            Event::Ask(ask) => self.answer(ask, now),
            Event::Query(asked, answer) => self.query_answered(&asked, answer, now),
            Event::Inbound(frame) => return self.inbound(frame, now),
            Event::Job(event) => self.job_event(event, now),
        }
        None
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    fn writer_ended(&mut self, ended: writer::Ended) -> Option<Ended> {
        match ended {
            writer::Ended::Closed => {
                self.awaiting_close = true;
                None
            }
            writer::Ended::Stalled => Some(self.ended_as(Ended::Stalled)),
            writer::Ended::Failed(err) => Some(self.ended_by(err)),
        }
    }

    fn ended_by(&self, err: WsError) -> Ended {
        self.ended_as(match err {
            WsError::ConnectionClosed | WsError::AlreadyClosed => Ended::Closed(None),
            err => Ended::Broken(err),
        })
    }

    fn executor_event(&mut self, event: ExecutorEvent) {
        if let Some(NotStopped { id, asked, why }) = self.agent.executor_event(event)
            && self.is_live()
        {
            self.agent.jobs.stop_answered(&id, &asked);
            self.refuse(&asked, why);
        }
    }

    /// Writes the delivered positions to disk, if there are new ones.
    fn save_positions(&mut self, now: Instant) {
        if self.agent.jobs.has_unsaved_positions() {
            self.saved_at = now;
            self.agent.jobs.save_positions();
        }
    }

    fn answer(&self, ask: Ask, now: Instant) {
        let (control, output) = self.send_queue.depth();
        self.agent.answer(ask, Queue { control, output }, now);
    }

    fn register(&mut self) {
        let register = self.agent.registration();
        self.unanswered += 1;
        self.send(AgentMessage::Register(Box::new(register)));
    }

    fn register_again(&mut self) {
        if self.register_again.take().is_some() {
            self.register();
        }
    }

    fn heartbeat(&mut self, now: Instant) {
        let facts = self.agent.snapshots.facts();
        self.heartbeat_behind(None, &facts, now);
    }

    /// Sends a heartbeat with these facts, behind the status of the command that `succeeded` or any other one.
    /// A status and the heartbeat behind it have to agree, and a thread may change the facts at any time.
    fn heartbeat_behind(&mut self, succeeded: Option<&str>, facts: &Facts, now: Instant) {
        let (seq, text) = {
            let now = self.agent.clock.system_time();
            self.agent.heartbeat(facts, succeeded, now)
        };
        self.last_heartbeat_at = now;
        if self.acks.expected() {
            self.delivery.heartbeat(seq, self.send_queue.batch_waits(), now);
        }
        self.agent.stats.beats_skipped += self.send_queue.heartbeat(seq, text);
        if let Phase::Live(schedule) = &self.phase {
            (self.agent.snapshots.expect)(schedule.next().into_std());
        }
    }

    /// Sends the answer to a request that is no job, and a heartbeat: existing dashboards complete the
    /// operation only when a heartbeat follows its status.
    fn send_status(&mut self, status: Status, now: Instant) {
        let facts = self.agent.snapshots.facts();
        self.send_status_with(status, &facts, now);
    }

    fn send_status_with(&mut self, status: Status, facts: &Facts, now: Instant) {
        let succeeded = (status.exit_code == 0).then(|| status.command.clone());
        if !self.send_queue.status(Frame::Text(AgentMessage::Status(status).encode())) {
            self.dropped();
        }
        self.heartbeat_behind(succeeded.as_deref(), facts, now);
    }

    fn send(&mut self, message: AgentMessage) {
        if !self.send_queue.control(Frame::Text(message.encode())) {
            self.dropped();
        }
    }

    fn dropped(&mut self) {
        self.agent.stats.messages_dropped += 1;
        let dropped = self.agent.stats.messages_dropped;
        tracing::error!(
            dropped,
            "Too many answers wait, dropped one. This is a fault of the agent; please report it."
        );
    }

    /// Sends a ping. Its pong is the receipt for everything that was queued before it, except a batch of output that
    /// the writer has not taken yet.
    fn ping(&mut self, receipt: Option<Receipt>, now: Instant) {
        let number = self.delivery.ping(receipt, self.send_queue.batch_waits(), now);
        self.send_queue.priority(Frame::Ping(number));
        self.next_ping = now + self.agent.contact.ping_interval(PING_INTERVAL);
    }
}

#[cfg(test)]
pub(super) mod tests;
