//! One connection, from `register` to its end.
//!
//! ```text
//! Registering --registered--> Live --shutdown, restart--> Leaving
//!      '------------------------'--- broken, silent, stalled ---> Ended
//! ```
//!
//! The loop waits for one [`Event`] and hands it to [`Session::apply`], which decides and does not
//! wait: no decision can be cut in half, and each can be tested without a network.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::agent::Agent;
use super::ended::Ended;
use crate::jobs::executor::ExecutorEvent;
use crate::jobs::table::JobEvent;
use crate::observe::status::{Ask, Queue};
use crate::queries::Answer;
use crate::shutdown::stop_requested;
use acks::Acks;
use delivery::{DeliveryTracker, Receipt};
use exit::PendingExit;
use nixfleet_jobs::record::Record;
use nixfleet_protocol;
use nixfleet_protocol::{AgentMessage, CommandRequest, Prewarm, Status};
use nixfleet_vitals::prewarm::Notice;
use schedule::Schedule;
use send_queue::{Frame, SendQueue};
use writer::Writer;

pub mod acks;
pub mod delivery;
mod exit;
mod inbound;
mod output;
pub mod schedule;
pub mod send_queue;
pub mod writer;

/// How long the dashboard may take to answer a registration (protocol, order rule 1).
pub const REGISTER_DEADLINE: Duration = Duration::from_secs(10);

/// How often the agent pings: three pings fit into the time after which silence is death.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Silence after which the connection counts as dead (T01).
pub const SILENCE: Duration = Duration::from_secs(45);

/// How long the other side gets to answer a close frame. T01 allows five seconds; a service that is
/// being replaced should be gone within one.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// How long a rejection waits for the process id of a command that is just being started.
pub const PID_PATIENCE: Duration = Duration::from_secs(1);

/// Rejections that may wait for it.
const HELD: usize = 1024;

/// How long the second registration after a switch waits for fresh facts.
pub const FACTS_PATIENCE: Duration = Duration::from_secs(1);

/// How often, at most, the proven position in a log is written to disk: what is proven after it is
/// told twice if the agent is killed.
const SAVE_INTERVAL: Duration = Duration::from_millis(250);

/// A session in retrospect.
#[derive(Debug)]
pub struct Summary {
    /// Why it ended.
    pub ended: Ended,
    /// When the dashboard accepted the registration.
    pub registered: Option<Instant>,
}

/// Everything that can happen.
#[derive(Debug)]
enum Event {
    /// The agent is to end.
    Shutdown,
    /// A time of the session's own has come: a beat, a ping, a deadline.
    Timer,
    /// The writer ended.
    Writer(writer::Ended),
    /// ExecutorEvent of an order.
    ExecutorEvent(ExecutorEvent),
    /// The facts changed.
    Facts,
    /// The current command's process changed.
    Live,
    /// There is a new pre-warm signal.
    Prewarm,
    /// Somebody wants to know how the agent is.
    Ask(Ask),
    /// The dashboard's question has an answer.
    Query(String, Answer),
    /// A frame from the dashboard, an error, or the end.
    Inbound(Option<Result<Message, WsError>>),
    /// A job has something to tell.
    Job(JobEvent),
}

/// How far a session is.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Registering { until: Instant },
    Live(Schedule),
    Leaving { until: Instant, restart: bool },
}

struct Session<'a> {
    agent: &'a mut Agent,
    send_queue: Arc<SendQueue>,
    phase: Phase,
    registered: Option<Instant>,
    /// The dashboard reads batches of output.
    batches: bool,
    delivery: DeliveryTracker,
    acks: Acks,
    /// When a frame was last received.
    last_frame_at: Instant,
    /// When the last beat was made.
    last_heartbeat_at: Instant,
    next_ping: Instant,
    /// Requests to be rejected as soon as the running command's process is known, and until when.
    held: Vec<CommandRequest>,
    held_until: Option<Instant>,
    /// Register again when the facts have changed, or at this time.
    register_again: Option<Instant>,
    /// What has been answered and is carried out when that is proven, or at this time.
    pending_exit: Option<(PendingExit, Instant)>,
    saved: Instant,
    /// A proven position that is not on disk yet.
    unsaved: Option<Record>,
    /// The close frame is out, the writer gone; the other side's answer is still to come.
    awaiting_close: bool,
}

/// Runs a session on a fresh connection until it ends.
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
    session.register();
    loop {
        let event = session.select(&mut stream, &mut writer, shutdown).await;
        if let Some(ended) = session.apply(event, Instant::now()) {
            let registered = session.registered;
            let ended = session.run_pending_exit(ended);
            session.save_proven(Instant::now());
            session.agent.disconnected();
            // Flushes the answer to a close frame, if there is one to give.
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
            batches: false,
            delivery: DeliveryTracker::default(),
            acks: Acks::default(),
            last_frame_at: now,
            last_heartbeat_at: now,
            next_ping: now + PING_INTERVAL,
            held: Vec::new(),
            held_until: None,
            register_again: None,
            pending_exit: None,
            saved: now,
            unsaved: None,
            awaiting_close: false,
        }
    }

    /// Waits for the next event. The order is the promise: nothing that floods, inbound or output,
    /// comes before a heartbeat.
    async fn select<S>(
        &mut self,
        stream: &mut S,
        writer: &mut Writer,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Event
    where
        S: Stream<Item = Result<Message, WsError>> + Unpin,
    {
        let leaving = matches!(self.phase, Phase::Leaving { .. });
        let live_now = self.is_live();
        let telling = matches!(self.phase, Phase::Live(_)) && self.delivery.open(Instant::now());
        let wake = self.wake_at();
        let live = if self.held.is_empty() { None } else { self.agent.jobs.live() };
        let send_queue = &self.send_queue;
        tokio::select! {
            biased;
            // Each arm is cancel-safe: none of them takes anything before it is ready.
            () = stop_requested(shutdown), if !leaving => Event::Shutdown,
            () = sleep_until(wake) => Event::Timer,
            ended = &mut writer.0, if !self.awaiting_close => Event::Writer(ended.unwrap_or(writer::Ended::Stalled)),
            Some(news) = self.agent.executor_events.recv() => Event::ExecutorEvent(news),
            Ok(()) = self.agent.snapshots.facts.changed(), if self.register_again.is_some() => Event::Facts,
            () = changed(live) => Event::Live,
            Ok(()) = self.agent.snapshots.prewarm.changed(), if self.is_live() => Event::Prewarm,
            Some(ask) = self.agent.asks.recv() => Event::Ask(ask),
            (asked, answer) = self.agent.queries.next(), if live_now => Event::Query(asked, answer),
            frame = stream.next() => Event::Inbound(frame),
            item = async { send_queue.room().await; self.agent.jobs.next().await }, if telling => Event::Job(item),
        }
    }

    fn wake_at(&self) -> Instant {
        let own = match &self.phase {
            Phase::Registering { until } | Phase::Leaving { until, .. } => *until,
            Phase::Live(schedule) => schedule.next(),
        };
        let waiting = if self.delivery.open(Instant::now()) { None } else { self.delivery.opens_at() };
        let saving = self.unsaved.as_ref().map(|_| self.saved + SAVE_INTERVAL);
        let feeding = self.agent.watchdog.next();
        let unacknowledged = self.acks.gives_up_at();
        let healthy = self.agent.peer.changes_at(Instant::now());
        let others = [
            self.held_until,
            self.register_again,
            self.pending_exit.as_ref().map(|(_, until)| *until),
            self.agent.clone_due().filter(|_| self.may_start()),
            waiting,
            saving,
            feeding,
            unacknowledged,
            healthy,
        ];
        let soonest =
            others.into_iter().flatten().chain([own, self.next_ping, self.last_frame_at + SILENCE]).min();
        soonest.unwrap_or(own)
    }

    /// Decides what an event means. Never waits.
    fn apply(&mut self, event: Event, now: Instant) -> Option<Ended> {
        match event {
            Event::Shutdown => self.leave(now, "shutdown", false),
            Event::Timer => return self.timer(now),
            Event::Writer(ended) => return self.writer_ended(ended),
            Event::ExecutorEvent(news) => self.news(news),
            Event::Facts => self.register_again(),
            Event::Live => self.release_held(false),
            Event::Prewarm => self.tell_prewarm(),
            Event::Ask(ask) => self.answer(ask, now),
            Event::Query(asked, answer) => self.errand(&asked, answer, now),
            Event::Inbound(frame) => return self.inbound(frame, now),
            Event::Job(item) => self.tell(item, now),
        }
        None
    }

    fn timer(&mut self, now: Instant) -> Option<Ended> {
        self.agent.watchdog.feed(now);
        if now >= self.last_frame_at + SILENCE {
            return Some(self.ended_as(Ended::Silent));
        }
        if self.acks.gives_up_at().is_some_and(|at| now >= at) {
            return Some(self.ended_as(Ended::Unacknowledged));
        }
        match &mut self.phase {
            Phase::Registering { until } if now >= *until => return Some(Ended::NotRegistered),
            Phase::Leaving { until, .. } if now >= *until => return Some(self.ended_as(Ended::Shutdown)),
            Phase::Live(schedule) => {
                if let Some(late) = schedule.take_due(now) {
                    self.agent.stats.late(late);
                    self.beat(now);
                }
            }
            Phase::Registering { .. } | Phase::Leaving { .. } => {}
        }
        self.keep_pace(now);
        if now >= self.next_ping {
            self.ping(None, 0, now);
        }
        if now >= self.saved + SAVE_INTERVAL {
            self.save_proven(now);
        }
        if self.held_until.is_some_and(|at| now >= at) {
            self.release_held(true);
        }
        if self.register_again.is_some_and(|at| now >= at) {
            self.register_again();
        }
        if self.pending_exit.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.carry_out_farewell(now);
        }
        if self.may_start() {
            self.agent.clone_if_missing(now);
        }
        None
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

    /// While leaving, every end is the one that was wanted.
    fn ended_as(&self, ended: Ended) -> Ended {
        match self.phase {
            Phase::Leaving { restart: true, .. } => Ended::Restart,
            Phase::Leaving { restart: false, .. } => Ended::Shutdown,
            Phase::Registering { .. } | Phase::Live(_) => ended,
        }
    }

    fn news(&mut self, news: ExecutorEvent) {
        if let Some(why) = self.agent.executor_event(news)
            && matches!(self.phase, Phase::Live(_))
        {
            self.refuse("stop", format!("The command goes on: {why}"));
        }
    }

    /// Keeps the proven position: what is proven after it is told twice if the agent is killed.
    fn save_proven(&mut self, now: Instant) {
        if let Some(record) = self.unsaved.take() {
            self.saved = now;
            self.agent.jobs.save(record);
        }
    }

    fn leave(&mut self, now: Instant, reason: &'static str, restart: bool) {
        // A reboot that was told is carried out all the same.
        self.pending_exit.take_if(|(pending_exit, _)| *pending_exit == PendingExit::Restart);
        if matches!(self.phase, Phase::Leaving { .. }) {
            return;
        }
        self.send_queue.control(Frame::Close(reason));
        self.phase = Phase::Leaving { until: now + CLOSE_PATIENCE, restart };
    }

    fn register(&mut self) {
        let register = self.agent.registration();
        self.send(&AgentMessage::Register(Box::new(register)));
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    /// Sends the newest pre-warm signal, if there ever was one. After each registration as well: nobody
    /// knows whether it was read before the connection broke. A repeat has the same timestamp.
    fn tell_prewarm(&mut self) {
        let notice = self.agent.snapshots.prewarm.borrow_and_update().clone();
        if let Some(Notice { signal, at }) = notice {
            self.send(&AgentMessage::Prewarm(Prewarm {
                device_id: self.agent.host.hostname.clone(),
                timestamp: at,
                gpu_usage: signal.load.usage,
                gpu_temp: signal.load.temperature,
                reason: signal.reason,
                phase: signal.phase.as_str().to_owned(),
            }));
        }
    }

    fn register_again(&mut self) {
        if self.register_again.take().is_some() {
            self.register();
        }
    }

    fn beat(&mut self, now: Instant) {
        let (seq, text) = self.agent.beat(SystemTime::now());
        self.last_heartbeat_at = now;
        self.acks.sent(seq, now);
        self.agent.stats.beats_skipped += self.send_queue.beat(text);
    }

    fn answer(&self, ask: Ask, now: Instant) {
        let (control, output) = self.send_queue.depth();
        self.agent.answer(ask, Queue { control, output }, now);
    }

    /// Moves to another interval if the dashboard wants one by now.
    fn keep_pace(&mut self, now: Instant) {
        let wanted = self.agent.peer.interval(self.agent.interval, now);
        if let Phase::Live(schedule) = &mut self.phase
            && schedule.interval() != wanted
        {
            tracing::info!(interval = wanted.as_secs(), "Heartbeats have another interval now.");
            // From the last beat on: a change must not make a pause longer than either interval.
            *schedule = Schedule::after_a_beat(self.last_heartbeat_at, wanted);
        }
    }

    fn send(&mut self, message: &AgentMessage) {
        if !self.send_queue.control(Frame::Text(nixfleet_protocol::encode(message))) {
            self.dropped();
        }
    }

    fn dropped(&mut self) {
        self.agent.stats.messages_dropped += 1;
        let dropped = self.agent.stats.messages_dropped;
        tracing::warn!(dropped, "The dashboard does not read its answers, dropped one.");
    }

    /// Sends the answer to a request that is no job, and a heartbeat: existing dashboards finish with the
    /// one by the other, whoever it is about.
    fn tell_status(&mut self, status: Status, now: Instant) {
        if !self.send_queue.status(Frame::Text(nixfleet_protocol::encode(&AgentMessage::Status(status)))) {
            self.dropped();
        }
        self.beat(now);
    }

    /// Sends a ping, which proves whatever was queued before it.
    fn ping(&mut self, proof: Option<Receipt>, bytes: usize, now: Instant) {
        let number = self.delivery.ping(proof, bytes, now);
        self.send_queue.vital(Frame::Ping(number));
        self.next_ping = now + PING_INTERVAL;
    }
}

async fn changed<T>(watched: Option<watch::Receiver<T>>) {
    match watched {
        Some(mut watched) => drop(watched.changed().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
