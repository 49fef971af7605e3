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

use crate::agent::Agent;
use crate::errands::Answer;
use crate::job::desk::News;
use crate::job::record::Record;
use crate::prewarm::Notice;
use crate::protocol::{self, AgentMessage, CommandRequest, Prewarm, Status};
use crate::status::{Ask, Queue};
use crate::work::Item;
use acks::Acks;
use farewell::Farewell;
use outbox::{Frame, Outbox};
use proof::{Proof, Proofs};
use schedule::Schedule;
use writer::Writer;

pub mod acks;
mod farewell;
mod inbound;
pub mod outbox;
mod output;
pub mod proof;
pub mod schedule;
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

/// Why a session ended.
#[derive(Debug)]
pub enum Ended {
    /// The agent was asked to end.
    Shutdown,
    /// The dashboard asked for a new agent process.
    Restart,
    /// The dashboard closed the connection: code and reason, if it gave any.
    Closed(Option<(u16, String)>),
    /// The connection broke.
    Broken(WsError),
    /// The dashboard takes no more data.
    Stalled,
    /// Nothing was heard for [`SILENCE`].
    Silent,
    /// It reads, but acknowledges no heartbeat.
    Unacknowledged,
    /// No `registered` within [`REGISTER_DEADLINE`].
    NotRegistered,
}

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
    /// News of an order.
    News(News),
    /// The facts changed.
    Facts,
    /// The current command's process changed.
    Live,
    /// There is a new pre-warm signal.
    Prewarm,
    /// Somebody wants to know how the agent is.
    Ask(Ask),
    /// The dashboard's question has an answer.
    Errand(String, Answer),
    /// A frame from the dashboard, an error, or the end.
    Inbound(Option<Result<Message, WsError>>),
    /// A job has something to tell.
    Job(Item),
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
    outbox: Arc<Outbox>,
    phase: Phase,
    registered: Option<Instant>,
    /// The dashboard reads batches of output.
    batches: bool,
    proofs: Proofs,
    acks: Acks,
    /// When a frame was last received.
    heard: Instant,
    /// When the last beat was made.
    beaten: Instant,
    next_ping: Instant,
    /// Requests to be rejected as soon as the running command's process is known, and until when.
    held: Vec<CommandRequest>,
    held_until: Option<Instant>,
    /// Register again when the facts have changed, or at this time.
    register_again: Option<Instant>,
    /// What has been answered and is carried out when that is proven, or at this time.
    farewell: Option<(Farewell, Instant)>,
    saved: Instant,
    /// A proven position that is not on disk yet.
    unsaved: Option<Record>,
    /// The close frame is out, the writer gone; the other side's answer is still to come.
    written_off: bool,
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
    let outbox = Arc::new(Outbox::default());
    let mut writer = writer::spawn(sink, Arc::clone(&outbox));
    let mut session = Session::new(agent, outbox, Instant::now());
    session.register();
    loop {
        let event = session.select(&mut stream, &mut writer, shutdown).await;
        if let Some(ended) = session.apply(event, Instant::now()) {
            let registered = session.registered;
            let ended = session.keep_promise(ended);
            session.save_proven(Instant::now());
            session.agent.disconnected();
            // Flushes the answer to a close frame, if there is one to give.
            drop(stream.next().now_or_never());
            return Summary { ended, registered };
        }
    }
}

impl<'a> Session<'a> {
    fn new(agent: &'a mut Agent, outbox: Arc<Outbox>, now: Instant) -> Self {
        Self {
            agent,
            outbox,
            phase: Phase::Registering { until: now + REGISTER_DEADLINE },
            registered: None,
            batches: false,
            proofs: Proofs::default(),
            acks: Acks::default(),
            heard: now,
            beaten: now,
            next_ping: now + PING_INTERVAL,
            held: Vec::new(),
            held_until: None,
            register_again: None,
            farewell: None,
            saved: now,
            unsaved: None,
            written_off: false,
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
        let telling = matches!(self.phase, Phase::Live(_)) && self.proofs.open(Instant::now());
        let wake = self.wake_at();
        let live = if self.held.is_empty() { None } else { self.agent.work.live() };
        let outbox = &self.outbox;
        tokio::select! {
            biased;
            // Each arm is cancel-safe: none of them takes anything before it is ready.
            () = stop_requested(shutdown), if !leaving => Event::Shutdown,
            () = sleep_until(wake) => Event::Timer,
            ended = &mut writer.0, if !self.written_off => Event::Writer(ended.unwrap_or(writer::Ended::Stalled)),
            Some(news) = self.agent.news.recv() => Event::News(news),
            Ok(()) = self.agent.snapshots.facts.changed(), if self.register_again.is_some() => Event::Facts,
            () = changed(live) => Event::Live,
            Ok(()) = self.agent.snapshots.prewarm.changed(), if self.is_live() => Event::Prewarm,
            Some(ask) = self.agent.asks.recv() => Event::Ask(ask),
            (asked, answer) = self.agent.errands.next(), if live_now => Event::Errand(asked, answer),
            frame = stream.next() => Event::Inbound(frame),
            item = async { outbox.room().await; self.agent.work.next().await }, if telling => Event::Job(item),
        }
    }

    fn wake_at(&self) -> Instant {
        let own = match &self.phase {
            Phase::Registering { until } | Phase::Leaving { until, .. } => *until,
            Phase::Live(schedule) => schedule.next(),
        };
        let waiting = if self.proofs.open(Instant::now()) { None } else { self.proofs.opens_at() };
        let saving = self.unsaved.as_ref().map(|_| self.saved + SAVE_INTERVAL);
        let feeding = self.agent.watchdog.next();
        let unacknowledged = self.acks.gives_up_at();
        let healthy = self.agent.server.changes_at(Instant::now());
        let others = [
            self.held_until,
            self.register_again,
            self.farewell.as_ref().map(|(_, until)| *until),
            self.agent.clone_due().filter(|_| self.may_start()),
            waiting,
            saving,
            feeding,
            unacknowledged,
            healthy,
        ];
        let soonest = others.into_iter().flatten().chain([own, self.next_ping, self.heard + SILENCE]).min();
        soonest.unwrap_or(own)
    }

    /// Decides what an event means. Never waits.
    fn apply(&mut self, event: Event, now: Instant) -> Option<Ended> {
        match event {
            Event::Shutdown => self.leave(now, "shutdown", false),
            Event::Timer => return self.timer(now),
            Event::Writer(ended) => return self.writer_ended(ended),
            Event::News(news) => self.news(news),
            Event::Facts => self.register_again(),
            Event::Live => self.release_held(false),
            Event::Prewarm => self.tell_prewarm(),
            Event::Ask(ask) => self.answer(ask, now),
            Event::Errand(asked, answer) => self.errand(&asked, answer, now),
            Event::Inbound(frame) => return self.inbound(frame, now),
            Event::Job(item) => self.tell(item, now),
        }
        None
    }

    fn timer(&mut self, now: Instant) -> Option<Ended> {
        self.agent.watchdog.feed(now);
        if now >= self.heard + SILENCE {
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
                    self.agent.metrics.late(late);
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
        if self.farewell.as_ref().is_some_and(|(_, until)| now >= *until) {
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
                self.written_off = true;
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

    fn news(&mut self, news: News) {
        if let Some(why) = self.agent.take_news(news)
            && matches!(self.phase, Phase::Live(_))
        {
            self.refuse("stop", format!("The command goes on: {why}"));
        }
    }

    /// Keeps the proven position: what is proven after it is told twice if the agent is killed.
    fn save_proven(&mut self, now: Instant) {
        if let Some(record) = self.unsaved.take() {
            self.saved = now;
            self.agent.desk.save(record);
        }
    }

    fn leave(&mut self, now: Instant, reason: &'static str, restart: bool) {
        // A reboot that was told is carried out all the same.
        self.farewell.take_if(|(farewell, _)| *farewell == Farewell::Restart);
        if matches!(self.phase, Phase::Leaving { .. }) {
            return;
        }
        self.outbox.control(Frame::Close(reason));
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
        self.beaten = now;
        self.acks.sent(seq, now);
        self.agent.metrics.beats_skipped += self.outbox.beat(text);
    }

    fn answer(&self, ask: Ask, now: Instant) {
        let (control, output) = self.outbox.depth();
        self.agent.answer(ask, Queue { control, output }, now);
    }

    /// Moves to another interval if the dashboard wants one by now.
    fn keep_pace(&mut self, now: Instant) {
        let wanted = self.agent.server.interval(self.agent.interval, now);
        if let Phase::Live(schedule) = &mut self.phase
            && schedule.interval() != wanted
        {
            tracing::info!(interval = wanted.as_secs(), "Heartbeats have another interval now.");
            // From the last beat on: a change must not make a pause longer than either interval.
            *schedule = Schedule::after_a_beat(self.beaten, wanted);
        }
    }

    fn send(&mut self, message: &AgentMessage) {
        if !self.outbox.control(Frame::Text(protocol::encode(message))) {
            self.dropped();
        }
    }

    fn dropped(&mut self) {
        self.agent.metrics.messages_dropped += 1;
        let dropped = self.agent.metrics.messages_dropped;
        tracing::warn!(dropped, "The dashboard does not read its answers, dropped one.");
    }

    /// Sends the answer to a request that is no job, and a heartbeat: existing dashboards finish with the
    /// one by the other, whoever it is about.
    fn tell_status(&mut self, status: Status, now: Instant) {
        if !self.outbox.status(Frame::Text(protocol::encode(&AgentMessage::Status(status)))) {
            self.dropped();
        }
        self.beat(now);
    }

    /// Sends a ping, which proves whatever was queued before it.
    fn ping(&mut self, proof: Option<Proof>, bytes: usize, now: Instant) {
        let number = self.proofs.ping(proof, bytes, now);
        self.outbox.vital(Frame::Ping(number));
        self.next_ping = now + PING_INTERVAL;
    }
}

/// Resolves once the flag is up. A sender that is gone counts as a request.
pub async fn stop_requested(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

async fn changed<T>(watched: Option<watch::Receiver<T>>) {
    match watched {
        Some(mut watched) => drop(watched.changed().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
