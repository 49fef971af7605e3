//! The events of a session, and the order in which they are taken.

use std::future::pending;

use futures_util::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::look::Look;
use super::writer::{self, Writer};
use super::{HELD, Phase, Session};
use crate::jobs::executor::ExecutorEvent;
use crate::jobs::follower::Live;
use crate::jobs::table::JobEvent;
use crate::link::clock_changes::ClockChange;
use crate::observe::status::Ask;
use crate::queries::Answer;
use crate::shutdown::stop_requested;

/// Everything that can happen to a session.
#[derive(Debug)]
pub(super) enum Event {
    /// The agent has to stop.
    Shutdown,
    /// One of the session's own times has come: a heartbeat, a ping, a deadline.
    Timer,
    /// The host slept, or its wall clock was set.
    Clock(ClockChange),
    /// The writer began to write the heartbeat with this number.
    BeatWritten(u64),
    /// The writer ended.
    Writer(writer::Ended),
    /// The outcome of an order to the executor.
    Executor(ExecutorEvent),
    /// The look at the host after the end of a job has ended. Whether the facts are new.
    Looked(bool),
    /// The process of the current command changed.
    Live,
    /// A system is on trial, or another connection has to show that it reaches the dashboard.
    Trial,
    /// Token and client certificate were read anew.
    Credentials,
    /// There is a new pre-warm signal.
    Prewarm,
    /// A client on this machine asks for the agent's status.
    Ask(Ask),
    /// A question of the dashboard, by its command, has an answer.
    Query(String, Answer),
    /// A frame from the dashboard, an error, or the end of the stream.
    Inbound(Option<Result<Message, WsError>>),
    /// A job wrote output or ended.
    Job(JobEvent),
}

impl Session<'_> {
    /// Waits for the next event. Timers come first: no flood of frames or output may delay a heartbeat.
    ///
    /// Nothing is read while many answers wait to be written, or many rejections for a process id. A dashboard that
    /// asks faster than it reads is slowed down by TCP, and each of its requests is answered. If it reads nothing at
    /// all, the writer's deadline ends the session. So this waits for 10 s at most.
    pub(super) async fn select<S>(
        &mut self,
        stream: &mut S,
        writer: &mut Writer,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Event
    where
        S: Stream<Item = Result<Message, WsError>> + Unpin,
    {
        let leaving = matches!(self.phase, Phase::Leaving { .. });
        let is_live = self.is_live();
        let takes_output = is_live && !self.is_looking() && self.delivery.open(Instant::now());
        let wake = self.wake_at();
        let live = self.held.first().and_then(|(id, _)| self.agent.jobs.live(id));
        let may_read = self.held.len() < HELD;
        let (send_queue, rest) = (&self.send_queue, &mut self.rest);
        tokio::select! {
            biased;
            // Each branch is cancel-safe: it takes nothing before it is ready.
            () = stop_requested(shutdown), if !leaving => Event::Shutdown,
            // Before what is due, and what came from a connection that may be dead.
            change = self.agent.clock_changes.next() => Event::Clock(change),
            () = self.agent.alarm.until(wake) => Event::Timer,
            // Before frames: the acknowledgement comes after it.
            seq = send_queue.beat_written() => Event::BeatWritten(seq),
            ended = &mut writer.0, if !self.awaiting_close => Event::Writer(ended.unwrap_or(writer::Ended::Stalled)),
            Some(event) = self.agent.executor_events.recv() => Event::Executor(event),
            facts_are_new = end_of(&mut self.look), if is_live => Event::Looked(facts_are_new),
            () = known(live) => Event::Live,
            () = self.agent.contact.changed(), if !leaving => Event::Trial,
            () = self.agent.rotation.looked(), if !leaving => Event::Credentials,
            Ok(()) = self.agent.snapshots.prewarm.changed(), if is_live => Event::Prewarm,
            Some(ask) = self.agent.asks.recv() => Event::Ask(ask),
            (asked, answer) = self.agent.queries.next(), if is_live => Event::Query(asked, answer),
            frame = async { send_queue.answerable().await; stream.next().await }, if may_read => Event::Inbound(frame),
            event = async { send_queue.room().await; Self::next_job_event(rest, &mut self.agent.jobs).await },
                if takes_output => Event::Job(event),
        }
    }
}

async fn end_of(look: &mut Option<Look>) -> bool {
    match look {
        Some(look) => look.end().await,
        None => pending().await,
    }
}

/// Waits until the state of a command is known.
async fn known(live: Option<watch::Receiver<Live>>) {
    let Some(mut live) = live else { return pending().await };
    // A clone has not seen what the original has not seen, so it must not wait for a change. An error means that
    // nothing will ever be known: the wait ends at its time limit.
    if live.wait_for(|live| *live != Live::default()).await.is_err() {
        pending().await
    }
}
