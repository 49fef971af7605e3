//! Messages of the dashboard.

use nixfleet_os::planted;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use nixfleet_jobs::JobId;
use nixfleet_jobs::supervisor::plan::PlanError;
use nixfleet_os::text::one_line;
use nixfleet_protocol::{
    AgentMessage, CAPABILITY_OUTPUT_BATCH, CommandRejected, CommandRequest, DashboardMessage, DecodeError,
    HeartbeatAck, Registered, Status, StatusKind,
};

use super::delivery::Receipt;
use super::exit::{BeforeExit, PendingExit};
use super::schedule::Schedule;
use super::{Leave, PID_TIMEOUT, Phase, SAVE_INTERVAL, Session, noise};
use crate::jobs::admission::{self, Control, Decision, Question};
use crate::jobs::table::JobTable;
use crate::link::ended::Ended;
use crate::observe::limiter::Topic;
use crate::queries;

/// Characters of the reason of a close frame, which has 123 bytes at most.
const CLOSE_REASON: usize = 123;

/// The longest id of a request, in bytes. The id is kept on disk and repeated in answers, which must fit
/// into one message.
const MAX_REQUEST_ID: usize = 256;

impl Session<'_> {
    /// Handles a frame, an error or the end of the stream. Returns why the session ended, if it did.
    pub(super) fn inbound(&mut self, frame: Option<Result<Message, WsError>>, now: Instant) -> Option<Ended> {
        self.last_frame_at = now;
        if matches!(frame, Some(Ok(_))) {
            self.agent.contact.heard();
        }
        match frame {
            None => return Some(self.ended_by(WsError::ConnectionClosed)),
            Some(Err(err)) => return Some(self.ended_by(err)),
            Some(Ok(Message::Text(text))) => self.text(&text, now),
            Some(Ok(Message::Pong(payload))) => self.pong(&payload, now),
            Some(Ok(Message::Close(frame))) => {
                let left = frame.map(|frame| (frame.code.into(), one_line(&frame.reason, CLOSE_REASON)));
                return Some(self.ended_as(Ended::Closed(left)));
            }
            Some(Ok(Message::Binary(bytes))) => self.binary(bytes.len()),
            // tungstenite answers pings itself.
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
        }
        None
    }

    fn text(&mut self, text: &str, now: Instant) {
        let message = match DashboardMessage::decode_noting(text) {
            Ok((message, odd)) => {
                odd.iter().for_each(|odd| self.agent.note_odd(odd));
                message
            }
            Err(DecodeError::UnknownType(kind)) => return self.unknown_type(&kind),
            Err(DecodeError::Malformed(err)) => return self.malformed(text, err),
        };
        match (message, self.phase) {
            (DashboardMessage::Registered(registered), Phase::Registering { .. } | Phase::Live(_)) => {
                self.registered(&registered, now);
            }
            (DashboardMessage::Command(request), Phase::Live(_)) => self.command(request, now),
            (DashboardMessage::KillCommand(kill), Phase::Live(_)) => self.kill_command(&kill, now),
            // While the connection is being closed, it still proves what the dashboard has read.
            (DashboardMessage::HeartbeatAck(ack), Phase::Live(_) | Phase::Leaving { .. }) => {
                self.acknowledged(ack, now);
            }
            (
                request @ (DashboardMessage::Command(_) | DashboardMessage::KillCommand(_)),
                Phase::Leaving { leave: Leave::Renew, .. },
            ) => {
                if let Some(request) = self.agent.postponed.push(request, now) {
                    self.unexpected(request);
                }
            }
            (message, _) => self.unexpected(message),
        }
    }

    /// Carries out what came while the connection before this one was closed.
    fn postponed(&mut self, now: Instant) {
        for (request, is_fresh) in self.agent.postponed.take(now) {
            match request {
                DashboardMessage::Command(request) if is_fresh => self.command(request, now),
                DashboardMessage::KillCommand(kill) if is_fresh => self.kill_command(&kill, now),
                stale => self.unexpected(stale),
            }
        }
    }

    fn registered(&mut self, registered: &Registered, now: Instant) {
        let first = matches!(self.phase, Phase::Registering { .. });
        let asked = self.unanswered > 0;
        self.unanswered = self.unanswered.saturating_sub(1);
        if first {
            self.agent.peer.reset();
        }
        for refused in self.agent.peer.registered(registered) {
            self.agent.note_refused(refused);
        }
        self.acks.expect(registered.ack);
        self.batches = registered.capabilities.iter().any(|name| name == CAPABILITY_OUTPUT_BATCH);
        if first {
            self.agent.outage.over(&noise::name(&registered.host_id), now);
            self.registered = Some(now);
            let interval = self.agent.peer.interval(self.agent.interval, now);
            self.phase = Phase::Live(Schedule::after_heartbeat(now, interval));
            self.agent.connected();
            self.heartbeat(now);
            if self.agent.contact.is_open() {
                self.ping(None, now);
            }
            self.postponed(now);
            return self.send_prewarm();
        }
        // A later registration is followed by a heartbeat too.
        if asked || self.may_beat_unasked(now) {
            self.heartbeat(now);
        } else if self.may_log(Topic::Registered) {
            tracing::warn!(
                "The dashboard says `registered` again and again; what it says counts, and no heartbeat follows on each."
            );
        }
        self.apply_interval(now);
    }

    fn ignore_repeat(&mut self, request: &CommandRequest) {
        if self.may_log(Topic::Repeated) {
            let span = self.agent.jobs.span_of_request(request.id.as_deref());
            span.in_scope(|| tracing::info!("Ignored a repeat of a request whose status is to come."));
        }
    }

    fn acknowledged(&mut self, ack: HeartbeatAck, now: Instant) {
        if let Some((rtt, missing)) = self.acks.received(ack.seq, now) {
            self.agent.peer.acknowledged(rtt);
            self.agent.stats.ack_rtt.add(rtt);
            self.agent.stats.acks_missing += missing as u64;
            if missing > 0 && self.may_log(Topic::MissingAcks) {
                tracing::warn!(missing, "The dashboard did not acknowledge some heartbeats.");
            }
            let receipts = self.delivery.acknowledged(ack.seq);
            self.confirmed(receipts, now);
        }
        let own_time = self.agent.clock.now();
        let changed =
            self.agent.peer.set_status(ack.server_status, ack.server_time.as_deref(), own_time, now);
        if changed && self.may_log(Topic::State) {
            self.agent.peer.log_status();
        }
        self.apply_interval(now);
    }

    fn command(&mut self, request: CommandRequest, now: Instant) {
        // An empty id tells nothing apart.
        let request = CommandRequest { id: request.id.filter(|id| !id.is_empty()), ..request };
        if admission::starts(&self.agent.host, &request.command)
            && let Some(known) = self.agent.jobs.clash(&request)
        {
            let reason =
                format!("the id of this request belongs to another one, for `{known}`; each needs its own");
            self.log_rejected(&request.command, None, &reason);
            return self.send(AgentMessage::CommandRejected(admission::refusal(&request, reason)));
        }
        let answer = request.id.as_deref().and_then(|id| self.agent.jobs.ended(id));
        if let Some((_, ended)) = answer.filter(|(command, _)| *command == request.command) {
            if request.id.as_deref().is_some_and(|id| self.agent.jobs.is_status_to_come(id)) {
                return self.ignore_repeat(&request);
            }
            // The host may have changed since then, and a status agrees with the heartbeat behind it.
            let facts = self.agent.snapshots.facts();
            let status = Status { generation: facts.generation.clone(), ..ended.clone() };
            if self.may_log(Topic::Repeated) {
                tracing::info!(command = status.command, "Repeated the status of a request that had ended.");
            }
            return self.send_status_with(status, &facts, now);
        }
        if request.id.as_ref().is_some_and(|id| id.len() > MAX_REQUEST_ID) {
            if self.may_log(Topic::Refused) {
                tracing::warn!("Refused a request whose id is too long.");
            }
            let message = format!("the id of a request has at most {MAX_REQUEST_ID} bytes");
            return self.refuse(&request.command, message);
        }
        let before_exit = match &self.pending_exit {
            Some((exit, _)) => BeforeExit::decide(exit, &self.agent.host, &request),
            None => BeforeExit::Handle,
        };
        if !matches!(before_exit, BeforeExit::Handle) {
            if self.may_log(Topic::Rejected) {
                let command = noise::name(&request.command);
                tracing::info!(command, "Turned away a command before a restart or reboot.");
            }
            if let BeforeExit::Reject(rejected) = before_exit {
                self.send(AgentMessage::CommandRejected(rejected));
            }
            return;
        }
        let jobs = &self.agent.jobs;
        let decision =
            admission::admit(&self.agent.host, &request, jobs.current(), jobs.unreported(&request));
        let refusal = match decision {
            Decision::Start | Decision::Control(Control::Reboot) => {
                self.agent.refusal(request.id.as_deref(), now)
            }
            Decision::Control(Control::Restart) => self.agent.peer.refusal(now),
            _ => None,
        };
        if let Some(reason) = refusal {
            self.log_rejected(&request.command, None, &reason);
            return self.send(AgentMessage::CommandRejected(admission::refusal(&request, reason)));
        }
        match decision {
            Decision::Start => self.agent.start(request.command, request.id, false),
            Decision::Reject(rejected) => {
                let current = rejected.current_command.as_deref();
                self.log_rejected(&request.command, current, &rejected.reason);
                self.reject(rejected, now);
            }
            Decision::Duplicate => self.ignore_repeat(&request),
            Decision::Control(Control::Stop) => self.stop(&request.command, now),
            Decision::Control(Control::Restart) => {
                // The next agent repeats the answer, and does not restart again.
                if let Some(id) = request.id {
                    self.agent.jobs.remember(id, request.command, &JobTable::restarting());
                }
                self.announce_exit(PendingExit::Restart, now);
            }
            Decision::Control(Control::Reboot) if !self.agent.host.reboot => {
                self.refuse(&request.command, format!("Reboot: {}", PlanError::RebootOff));
            }
            Decision::Control(Control::Reboot) => self.announce_exit(PendingExit::Reboot(request.id), now),
            Decision::Control(Control::Ask(question)) => self.ask(&request.command, question),
            Decision::Replaced(by) => {
                let old = &request.command;
                if self.may_log(Topic::UnknownCommand) {
                    tracing::warn!(
                        command = old,
                        "Refused a command of the Go agent; its replacement is {by}."
                    );
                }
                self.refuse(old, format!("this agent has no `{old}`; send {by}"));
            }
            Decision::Unknown => {
                if self.may_log(Topic::UnknownCommand) {
                    tracing::warn!(command = noise::name(&request.command), "Refused an unknown command.");
                }
                let known = admission::names(&self.agent.host).join(", ");
                self.refuse(&request.command, format!("unknown command; this agent knows: {known}"));
            }
        }
    }

    /// Queues a question. The answer comes as an event of its own.
    fn ask(&mut self, asked: &str, question: Question) {
        let added = match question {
            Question::Version => {
                let system = self.agent.host.paths.current_system.clone();
                let store_path = self.agent.snapshots.facts().store_path.clone();
                self.agent.queries.add(asked, queries::version(system, store_path))
            }
            _ => {
                let (looked, facts) = ((self.agent.snapshots.look)(), self.agent.snapshots.facts.clone());
                self.agent.queries.add(asked, queries::refreshed(question, looked, facts))
            }
        };
        if !added {
            self.refuse(asked, "too many questions wait for an answer; ask again later".to_owned());
        }
    }

    /// Sends the answer to a question. The heartbeat that follows carries the facts that were found.
    pub(super) fn query_answered(&mut self, asked: &str, answer: queries::Answer, now: Instant) {
        let (kind, exit_code, text) = match answer {
            Ok(text) => (StatusKind::Ok, 0, text),
            Err(text) => (StatusKind::Error, 1, text),
        };
        let message = format!("{}: {text}", titled(asked));
        self.send_status(Status::answer(asked, kind, exit_code, &message), now);
    }

    /// Answers a request that is not carried out with a status of failure.
    pub(super) fn refuse(&mut self, asked: &str, message: String) {
        self.send_status(Status::answer(&noise::name(asked), StatusKind::Error, 1, &message), Instant::now());
    }

    /// Sends a rejection, or holds it while the process id of the command that is its reason is not known yet.
    fn reject(&mut self, rejected: CommandRejected, now: Instant) {
        if planted!("no-answer-while-busy") {
            return;
        }
        let waits = rejected.current_pid.is_none() && !self.pid_overdue;
        let starting = self.agent.jobs.current_record().map(|record| record.id.clone());
        match starting.filter(|id| waits && self.agent.jobs.starting(id)) {
            Some(id) => {
                self.held_until.get_or_insert(now + PID_TIMEOUT);
                self.held.push((id, rejected));
            }
            None => self.send(AgentMessage::CommandRejected(rejected)),
        }
    }

    /// Sends the rejections whose process id is known by now, or that nobody can know any more. All of them if
    /// they are `overdue`.
    pub(super) fn release_held(&mut self, overdue: bool) {
        let held = std::mem::take(&mut self.held);
        let (keep, ready) = held.into_iter().partition(|(id, _)| !overdue && self.agent.jobs.starting(id));
        self.held = keep;
        if self.held.is_empty() {
            self.held_until = None;
        }
        let ready: Vec<(JobId, CommandRejected)> = ready;
        for (id, rejected) in ready {
            let current_pid = self.agent.jobs.pid(&id);
            self.send(AgentMessage::CommandRejected(CommandRejected { current_pid, ..rejected }));
        }
    }

    fn pong(&mut self, payload: &[u8], now: Instant) {
        let receipts = self.delivery.pong(payload, now);
        self.confirmed(receipts, now);
    }

    /// The dashboard has read these.
    fn confirmed(&mut self, receipts: Vec<Receipt>, now: Instant) {
        for receipt in receipts {
            match receipt {
                Receipt::Lines(id, seq) => {
                    self.agent.jobs.lines_delivered(&id, seq);
                    if now >= self.saved_at + SAVE_INTERVAL {
                        self.save_positions(now);
                    }
                }
                Receipt::Status(id) => self.agent.jobs.status_delivered(&id),
                Receipt::PendingExit => self.run_pending_exit(now),
                Receipt::Awake(sleeps) => self.awake(sleeps, now),
            }
        }
    }
}

/// The name of a command as the beginning of a sentence, such as `Check version`.
fn titled(command: &str) -> String {
    let mut letters = command.chars().map(|letter| if letter == '-' { ' ' } else { letter });
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
