//! The entrance for hosts whose sockets another program has: what they say comes in here, and what they are asked goes
//! out as [`Asked`].

use std::sync::Arc;

use nixfleet_protocol::{AgentMessage, CommandRejected, DashboardMessage};
use nixfleet_sessions::Link;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::Shared;
use crate::moment::Moment;

/// Requests that wait to be passed on: a command for the most hosts that one request may name, and others beside it.
pub(crate) const ROOM: usize = 8 * 1024;

/// A request to a host, and where its answer is awaited.
#[derive(Debug)]
pub struct Asked {
    /// The host.
    pub host: String,
    /// A `command` or a `kill_command`.
    pub message: DashboardMessage,
    /// For the answer. Dropping it says that nobody knows what became of the request.
    pub reply: oneshot::Sender<Answer>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The agent runs the command, or has run it. The name of the message that shows it.
    Accepted(String),
    /// It was sent, and the agent has not said anything about it.
    Sent,
    /// The agent runs another command. Its own words, which it says in its log as well.
    Rejected(CommandRejected),
    /// The host has no connection, so nothing was sent.
    Offline(String),
    /// Nothing was sent, for this reason. It may be asked again.
    Refused(String),
    /// It may have been sent, and nobody knows what became of it, for this reason.
    Unknown(String),
}

/// Why not all is heard of the hosts, as browsers show it: "`what` since `since_ms`. `hint`".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Since when, in Unix milliseconds.
    pub since_ms: i64,
    /// What has happened.
    pub what: &'static str,
    /// What that means for what is shown, or what to do: a sentence.
    pub hint: &'static str,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// It is none that an agent sends in this place.
    #[error("this is no message of a host: {0}")]
    Message(String),
    /// The host has not registered.
    #[error("this host has never registered")]
    UnknownHost,
}

/// Tells a dashboard about its hosts. Connections of a host have numbers that grow. Times are Unix milliseconds.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl Feed {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A host registers on this connection, by the text of its `register`.
    ///
    /// # Errors
    /// The text is no `register` of this host.
    pub fn connects(&self, host: &str, connection: u64, at_ms: i64, register: &str) -> Result<(), FeedError> {
        let facts = match AgentMessage::decode(register) {
            Ok(AgentMessage::Register(facts)) if facts.hostname == host => facts,
            Ok(_) => return Err(FeedError::Message("it is no register of this host".to_owned())),
            Err(err) => return Err(FeedError::Message(err.to_string())),
        };
        let moment = then(at_ms);
        // Nobody drains its queue: requests leave as `Asked`. It says that there is a connection, and which one.
        let link = Link::with_room(connection, 0);
        self.shared.apply(|hub, _| hub.fed_register(moment, &link, register, *facts));
        Ok(())
    }

    /// A host says something, by the text of its message.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn says(&self, host: &str, at_ms: i64, text: &str) -> Result<(), FeedError> {
        let message = match AgentMessage::decode(text) {
            Ok(AgentMessage::Register(_)) => {
                return Err(FeedError::Message("a register has another place".to_owned()));
            }
            Ok(message) => message,
            Err(err) => return Err(FeedError::Message(err.to_string())),
        };
        let taken = self.shared.apply(|hub, _| hub.take(then(at_ms), host, text, message));
        if taken { Ok(()) } else { Err(FeedError::UnknownHost) }
    }

    /// A heartbeat of an older connection than the host's newest one, by the text of its message. The host is online by
    /// it, and its readings are shown only if there are none: they may be older than what it said since.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn said_before(&self, host: &str, at_ms: i64, text: &str) -> Result<(), FeedError> {
        let beat = match AgentMessage::decode(text) {
            Ok(AgentMessage::Heartbeat(beat)) => beat,
            Ok(_) => return Err(FeedError::Message("it is no heartbeat".to_owned())),
            Err(err) => return Err(FeedError::Message(err.to_string())),
        };
        let taken = self.shared.apply(|hub, _| hub.late_beat(then(at_ms), host, text, &beat));
        if taken { Ok(()) } else { Err(FeedError::UnknownHost) }
    }

    /// This connection of a host has ended. The host stays online as long as its newest heartbeat counts.
    pub fn leaves(&self, host: &str, connection: u64) {
        self.shared.apply(|hub, _| hub.disconnect(host, connection));
    }

    /// The newest heartbeat of a host has expired: it is offline.
    pub fn expires(&self, host: &str) {
        self.shared.apply(|hub, _| hub.set_offline(host));
    }

    /// Not all is heard of the hosts, or all of it again. Browsers show it.
    pub fn away(&self, outage: Option<Outage>) {
        self.shared.set_away(outage);
    }
}

impl Shared {
    /// Passes a request on. An error is the reason why it did not leave.
    pub(crate) fn pass_on(
        &self,
        host: &str,
        message: DashboardMessage,
    ) -> Result<oneshot::Receiver<Answer>, Answer> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { host: host.to_owned(), message, reply };
        let is_sent = self.requests.as_ref().is_some_and(|requests| requests.try_send(asked).is_ok());
        let full = || Answer::Refused(format!("{ROOM} requests wait already; ask again in a moment"));
        is_sent.then_some(answer).ok_or_else(full)
    }
}

/// The way out of requests.
pub(crate) fn requests() -> (mpsc::Sender<Asked>, mpsc::Receiver<Asked>) {
    mpsc::channel(ROOM)
}

/// A time that was, on both clocks.
fn then(unix_ms: i64) -> Moment {
    let Moment { now, unix_ms: now_ms } = Moment::now();
    let ago = u64::try_from(now_ms.saturating_sub(unix_ms)).unwrap_or_default();
    // The machine may have started later.
    let now = now.checked_sub(std::time::Duration::from_millis(ago)).unwrap_or_else(Instant::now);
    Moment { now, unix_ms }
}
