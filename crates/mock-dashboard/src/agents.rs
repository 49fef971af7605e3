//! Sockets of agents: authentication, and one task for each socket that reads and writes until it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::{
    extract::{
        ConnectInfo, State,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{SinkExt, StreamExt, stream::SplitStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite;
use tracing::{debug, info, warn};

use nixfleet_protocol::{AgentMessage, DashboardMessage, DecodeError, Register, encode};

use crate::host::{Link, Outgoing};
use crate::hub::Registration;
use crate::moment::Moment;
use crate::policy::Policy;
use crate::strict::Ruling;
use crate::web::{AppState, READ_BUFFER, failure};
use crate::wire::{Peer, Switches};
use crate::{Lifetime, Shared, sleep_until_some};

use writer::{close_frame, write};

mod writer;

/// Bytes of frames that are collected before a write, so that `send_many` is one write.
pub(super) const WRITE_BUFFER: usize = 64 * 1024;

/// Most bytes that wait for a socket. It is larger than the longest frame that can be sent.
pub(super) const MAX_WRITE_BUFFER: usize = super::handle::MAX_SENT_FRAME + 1024 * 1024;

/// The longest message accepted from an agent, in bytes. Existing dashboards close with code 1009 above it.
const MAX_MESSAGE: usize = 512 * 1024;

/// Most messages that wait for one agent: enough for a burst of a thousand commands.
const QUEUE: usize = 1024;

/// Longest wait for the first `register`.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for the answer to a close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The same when the dashboard ends, so that a stuck agent does not delay the end of `serve`.
const LEAVE_LIMIT: Duration = Duration::from_millis(250);

/// `GET /ws`.
pub(super) async fn connect(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let shared = Arc::clone(&state.shared);
    if let Some(refusal) = shared.faults.borrow().refuse_auth.clone() {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut response = failure(status, "refused on request").into_response();
        if let Some(seconds) = refusal.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        return response;
    }
    let presented = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    if !presented.strip_prefix(b"Bearer ").is_some_and(|token| shared.token_matches(token)) {
        info!(peer = %peer.address, "an agent came with a missing or wrong token");
        let mut response = failure(StatusCode::UNAUTHORIZED, "missing or wrong token").into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| Session::run(shared, peer, socket, state.lifetime))
}

/// Why a session ends.
enum Ended {
    /// The connection is lost, or is dropped without a close frame.
    Gone(&'static str),
    /// A close frame was received or sent. The rest of the close handshake follows.
    Closing,
    /// Close with this code and reason.
    Refused(u16, String),
    /// The same after a frame that cannot be read. Frames after it cannot be read either.
    Broken(u16, String),
    /// The dashboard ends.
    Leaving,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(why) => f.write_str(why),
            Self::Closing => f.write_str("closed"),
            Self::Leaving => f.write_str("the dashboard ends"),
            Self::Refused(code, reason) | Self::Broken(code, reason) => {
                write!(f, "closed by us with {code}, {reason}")
            }
        }
    }
}

/// State of the reading half of a socket.
struct Session {
    shared: Arc<Shared>,
    switches: Arc<Switches>,
    link: Link,
    /// The hostname, once registered.
    id: Option<String>,
    /// When to answer the newest `register`, if it has not been answered.
    answer_at: Option<Instant>,
}

impl Session {
    async fn run(shared: Arc<Shared>, peer: Peer, socket: WebSocket, mut lifetime: Lifetime) {
        peer.switches.frames_begin();
        let (outgoing, mut queue) = mpsc::channel(QUEUE);
        let session = shared.apply(|hub, _| hub.next_session());
        let link = Link { session, outgoing, cut: Arc::new(Notify::new()) };
        let cut = Arc::clone(&link.cut);
        let (mut sink, mut stream) = socket.split();
        let mut reader = Self {
            shared: Arc::clone(&shared),
            switches: Arc::clone(&peer.switches),
            link,
            id: None,
            answer_at: None,
        };
        let ended = tokio::select! {
            biased; // The order is the priority of the reasons to end.
            () = cut.notified() => Ended::Gone("cut on request"),
            () = lifetime.ended() => Ended::Leaving,
            ended = reader.read(&mut stream) => ended,
            ended = write(&mut sink, &mut queue, shared.times.ping_interval) => ended,
        };
        if let Some(id) = &reader.id {
            info!(host = %id, session, why = %ended, "the agent's connection ends");
            shared.apply(|hub, _| hub.disconnect(id, session));
        } else {
            info!(peer = %peer.address, session, why = %ended, "a connection ends without a registration");
        }
        let (close, broken, limit) = match ended {
            Ended::Gone(_) => return,
            Ended::Closing => (None, false, CLOSE_LIMIT),
            Ended::Refused(code, reason) => (Some((code, reason)), false, CLOSE_LIMIT),
            Ended::Broken(code, reason) => (Some((code, reason)), true, CLOSE_LIMIT),
            Ended::Leaving => (Some((1001, ended.to_string())), false, LEAVE_LIMIT),
        };
        // The whole handshake has a time limit, after which the connection is dropped.
        let finish = async {
            if let Some((code, reason)) = close
                && sink.send(close_frame(code, reason)).await.is_err()
            {
                return;
            }
            if broken {
                peer.switches.discard_input();
            }
            while let Some(Ok(_)) = stream.next().await {}
        };
        if timeout(limit, finish).await.is_err() {
            debug!(session, "the peer did not finish the close in time");
        }
    }

    async fn read(&mut self, stream: &mut SplitStream<WebSocket>) -> Ended {
        let mut faults = self.shared.faults.subscribe();
        let mut last_frame_at = Instant::now();
        let register_by = last_frame_at + REGISTER_LIMIT;
        loop {
            let stop_reading = {
                let faults = faults.borrow_and_update();
                self.switches.set_drop_pongs(faults.never_pong);
                faults.stop_reading
            };
            if stop_reading {
                // There can be no error, because the sender is in `shared`.
                drop(faults.changed().await);
                // The time in which the socket was not read does not count as silence.
                last_frame_at = Instant::now();
                continue;
            }
            let silent_at = last_frame_at + self.shared.times.silence_limit;
            let deadline = if self.id.is_some() { silent_at } else { silent_at.min(register_by) };
            // All branches are cancel-safe: a change stays marked, and a frame stays in the socket.
            let frame = tokio::select! {
                biased;
                _ = faults.changed() => continue,
                () = sleep_until_some(self.answer_at) => match self.answer() {
                    Ok(()) => continue,
                    Err(ended) => return ended,
                },
                frame = timeout_at(deadline, stream.next()) => frame,
            };
            let message = match frame {
                Err(_) if self.id.is_none() => return refuse(1008, "no register within 10 s"),
                Err(_) => return Ended::Gone("silent for too long"),
                Ok(None) => return Ended::Gone("closed without a close frame"),
                Ok(Some(Err(error))) => return self.broken(error),
                Ok(Some(Ok(message))) => message,
            };
            last_frame_at = Instant::now();
            match message {
                Message::Text(text) => {
                    if let Err(ended) = self.text(&text) {
                        return ended;
                    }
                }
                Message::Binary(bytes) => self.ignore(bytes.len(), "a binary frame"),
                // The library has queued the pong already.
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => return Ended::Closing,
            }
        }
    }

    /// Handles one text frame.
    fn text(&mut self, text: &str) -> Result<(), Ended> {
        let (id, session) = (self.id.as_deref(), self.link.session);
        if self.shared.is_strict()
            && self.shared.apply(|hub, moment| hub.judge(moment, session, id, text)) == Ruling::Drop
        {
            self.ignore(text.len(), "a message that existing dashboards cannot read");
            return Ok(());
        }
        let message = match AgentMessage::decode(text) {
            Ok(message) => message,
            Err(_) if self.id.is_none() => return Err(refuse(1008, "the first message must be register")),
            Err(DecodeError::UnknownType(kind)) => {
                self.ignore(text.len(), &format!("a message of unknown type `{kind}`"));
                return Ok(());
            }
            Err(DecodeError::Malformed(error)) => {
                self.ignore(text.len(), &format!("a malformed message ({error})"));
                return Ok(());
            }
        };
        match (message, &self.id) {
            (AgentMessage::Register(facts), _) => self.register(*facts, text.len()),
            (_, None) => Err(refuse(1008, "the first message must be register")),
            (message, Some(id)) => {
                match &message {
                    AgentMessage::Heartbeat(beat) => {
                        let pending = beat.pending_command.as_deref().unwrap_or("-");
                        debug!(host = %id, pending, "heartbeat from {id}");
                    }
                    AgentMessage::Status(status) => {
                        info!(host = %id, command = %status.command, exit_code = status.exit_code, "a command ended");
                    }
                    AgentMessage::CommandRejected(_) => info!(host = %id, "the agent rejected a command"),
                    _ => {}
                }
                let session = self.link.session;
                let ack = self.to_acknowledge(&message);
                self.shared.apply(|hub, moment| {
                    hub.receive(moment, id, session, text.len(), message);
                    if let Some((seq, policy)) = ack {
                        hub.acknowledge(id, seq, &policy);
                    }
                });
                Ok(())
            }
        }
    }

    /// The `seq` of a heartbeat that has to be acknowledged, and the policy for the acknowledgement.
    fn to_acknowledge(&self, message: &AgentMessage) -> Option<(u64, Policy)> {
        let AgentMessage::Heartbeat(beat) = message else { return None };
        let silent = self.shared.is_legacy() || self.shared.faults.borrow().never_ack;
        let policy = self.shared.policy.borrow();
        (policy.ack && !silent).then(|| Some((beat.seq?, policy.clone())))?
    }

    fn register(&mut self, facts: Register, size: usize) -> Result<(), Ended> {
        if self.id.as_ref().is_some_and(|id| *id != facts.hostname) {
            return Err(refuse(1008, "a connection belongs to one hostname"));
        }
        let id = facts.hostname.clone();
        let link = &self.link;
        let wished = self.shared.policy.borrow().heartbeat_interval.filter(|_| !self.shared.is_legacy());
        let registration =
            self.shared.apply(|hub, moment: Moment| hub.register(moment, link, size, facts, wished));
        match registration {
            Registration::Refused(reason) => return Err(refuse(1008, reason)),
            Registration::Accepted { replaced: None } => {}
            Registration::Accepted { replaced: Some(old) } => {
                warn!(host = %id, "a second agent took over this hostname");
                let strict = self.shared.is_strict();
                let finish = if strict { Outgoing::EmptyClose } else { Outgoing::replaced() };
                if old.outgoing.try_send(finish).is_err() {
                    old.cut.notify_one();
                }
            }
        }
        info!(host = %id, session = self.link.session, "agent registered");
        self.id = Some(id);
        if self.shared.faults.borrow().no_registered {
            return Ok(());
        }
        if self.shared.is_strict() {
            self.answer_at = Some(Instant::now() + self.shared.times.registered_after);
            return Ok(());
        }
        self.answer()
    }

    /// Sends `registered`.
    fn answer(&mut self) -> Result<(), Ended> {
        self.answer_at = None;
        let Some(id) = &self.id else { return Ok(()) };
        let registered = self.shared.policy.borrow().registered(id, self.shared.is_legacy());
        let answer = encode(&DashboardMessage::Registered(registered));
        if self.link.outgoing.try_send(Outgoing::Frames(vec![answer.into()])).is_err() {
            return Err(Ended::Gone("its queue is full"));
        }
        if self.shared.is_strict() {
            self.shared.apply(|hub, _| hub.answered(id, self.link.session));
        }
        Ok(())
    }

    /// The close for a read error, which the strict mode records.
    fn broken(&self, error: axum::Error) -> Ended {
        let ended = broken(error);
        if let Ended::Broken(1009, why) = &ended {
            self.shared.apply(|hub, moment| hub.oversized(moment, self.id.as_deref(), why));
        }
        ended
    }

    fn ignore(&self, bytes: usize, what: &str) {
        let host = self.id.as_deref().unwrap_or("?");
        if self.shared.is_strict() {
            // Existing dashboards ignore it silently. A violation has been recorded already.
            debug!(host, bytes, "ignored {what}");
        } else {
            warn!(host, bytes, "ignored {what}");
        }
        self.shared.apply(|hub, _| hub.ignored_frame(host));
    }
}

fn refuse(code: u16, reason: &str) -> Ended {
    Ended::Refused(code, reason.to_owned())
}

/// The close for a read error (RFC 6455, section 7.4.1).
fn broken(error: axum::Error) -> Ended {
    let error = error.into_inner();
    let code = match error.downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => 1009,
        Some(tungstenite::Error::Utf8(_)) => 1007,
        Some(tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ))
        | None => {
            return Ended::Gone("closed without a close frame");
        }
        Some(tungstenite::Error::Protocol(_)) => 1002,
        Some(_) => return Ended::Gone("the connection broke"),
    };
    Ended::Broken(code, error.to_string())
}
