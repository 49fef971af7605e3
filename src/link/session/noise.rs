//! What a dashboard says that leads to nothing but a log line, or that may lead to something only now and then.

use std::fmt::Display;

use tokio::time::Instant;

use nixfleet_os::text::one_line;
use nixfleet_protocol::DashboardMessage;

use super::{Phase, Session, UNASKED_BEAT};
use crate::observe::limiter::Topic;

/// Characters of a malformed message that are logged.
const PREVIEW: usize = 120;

/// Characters of a command's name, or of another name, that are logged and repeated in an answer.
const NAME: usize = 64;

/// Characters of an error about a malformed message. It may quote the message.
const ERROR: usize = 200;

/// A name that the dashboard made up, for the log and for answers.
pub(super) fn name(text: &str) -> String {
    one_line(text, NAME)
}

impl Session<'_> {
    /// Whether a log line that the dashboard causes may be written now.
    pub(super) fn may_log(&mut self, topic: Topic) -> bool {
        self.agent.may_log(topic, Instant::now())
    }

    /// Whether a heartbeat may follow now on a `registered` that nobody asked for.
    pub(super) fn may_beat_unasked(&mut self, now: Instant) -> bool {
        let due = self.unasked_beat_at.is_none_or(|at| now >= at + UNASKED_BEAT);
        if due {
            self.unasked_beat_at = Some(now);
        }
        due
    }

    pub(super) fn binary(&mut self, bytes: usize) {
        self.agent.stats.ignored("binary");
        if self.may_log(Topic::Binary) {
            tracing::warn!(bytes, "Skipped a binary frame, the protocol has none.");
        }
    }

    pub(super) fn unknown_type(&mut self, kind: &str) {
        self.agent.stats.ignored("unknown_type");
        if self.may_log(Topic::UnknownType) {
            tracing::debug!(kind = name(kind), "Ignored a message of an unknown type.");
        }
    }

    pub(super) fn malformed(&mut self, text: &str, err: impl Display) {
        self.agent.stats.ignored("malformed");
        if self.may_log(Topic::Malformed) {
            let (preview, err) = (one_line(text, PREVIEW), one_line(&err.to_string(), ERROR));
            tracing::warn!(preview, "Skipped a malformed message: {err}");
        }
    }

    /// A message came before `registered`, or while the connection is being closed. Only a request that is not carried
    /// out is a warning: nothing depends on the other messages then.
    pub(super) fn unexpected(&mut self, message: DashboardMessage) {
        self.agent.stats.ignored("unexpected");
        let when = match self.phase {
            Phase::Registering { .. } => "before `registered`",
            Phase::Live(_) => "of some time ago",
            Phase::Leaving { .. } => "on a connection that ends",
        };
        let command = match message {
            DashboardMessage::Registered(_) => {
                return tracing::debug!("Ignored a `registered` {when}.");
            }
            DashboardMessage::HeartbeatAck(_) => {
                return tracing::debug!("Ignored the acknowledgement of a heartbeat {when}.");
            }
            DashboardMessage::Command(request) => request.command,
            DashboardMessage::KillCommand(_) => "kill_command".to_owned(),
        };
        if self.may_log(Topic::Unexpected) {
            tracing::warn!(
                command = name(&command),
                "Ignored a request {when}; send it again once the host is online."
            );
        }
    }

    /// A command is rejected.
    pub(super) fn log_rejected(&mut self, command: &str, current: Option<&str>, reason: &str) {
        if self.may_log(Topic::Rejected) {
            let command = name(command);
            tracing::info!(command, current, "Rejected a command: {reason}.");
        }
    }
}
