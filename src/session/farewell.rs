//! Requests after which there is nobody to answer: they are answered first, and carried out when the
//! answer was read (protocol.md 5.5).

use std::time::Duration;

use tokio::time::Instant;

use super::outbox::Frame;
use super::proof::Proof;
use super::{Ended, Phase, Session};
use crate::command::{self, Control, Kind};
use crate::config::Host;
use crate::protocol::{AgentMessage, CommandRejected, CommandRequest, Status, StatusKind, encode};
use crate::work::Work;

/// How long `restart` and `reboot` wait for the proof that their status was read.
pub(super) const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// A request that ends the agent, and its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Farewell {
    /// A new agent process.
    Restart,
    /// The machine starts anew; by the request of this id.
    Reboot(Option<String>),
}

impl Farewell {
    /// The command that asks for it.
    fn command(&self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reboot(_) => "reboot",
        }
    }
}

impl Session<'_> {
    /// Answers a request after which there is nobody to answer, and carries it out when that was read
    /// (protocol.md 5.5).
    pub(super) fn say_farewell(&mut self, farewell: Farewell, now: Instant) {
        let status = match farewell {
            Farewell::Restart => {
                Status::answer("restart", StatusKind::Ok, 0, "Restart: the agent is starting again")
            }
            Farewell::Reboot(_) => Work::rebooting(),
        };
        tracing::info!("{}, on request.", status.message);
        self.outbox.vital(Frame::Text(encode(&AgentMessage::Status(status))));
        self.beat(now);
        self.ping(Some(Proof::Farewell), 0, now);
        self.farewell = Some((farewell, now + FAREWELL_PATIENCE));
    }

    /// Does what was answered.
    pub(super) fn carry_out_farewell(&mut self, now: Instant) {
        match self.farewell.take() {
            Some((Farewell::Restart, _)) => self.leave(now, "restart", true),
            Some((Farewell::Reboot(id), _)) => self.agent.reboot(id),
            None => {}
        }
    }

    /// The connection is gone before the answer was proven, but it may have been read.
    pub(super) fn keep_promise(&mut self, ended: Ended) -> Ended {
        match self.farewell.take() {
            Some((Farewell::Restart, _)) => return Ended::Restart,
            Some((Farewell::Reboot(id), _)) => self.agent.reboot(id),
            None => {}
        }
        ended
    }

    /// Whether the agent stays, so that it can begin something by itself.
    pub(super) fn may_start(&self) -> bool {
        self.farewell.is_none() && !matches!(self.phase, Phase::Leaving { .. })
    }
}

/// What becomes of a request that comes when the agent has said that it goes. None: it is let in, as what
/// it asks for needs no job. Else the rejection, if there is to be one: a repeat of what was answered gets
/// none, for which a dashboard would take the command as failed.
pub(super) fn before_farewell(
    farewell: &Farewell,
    host: &Host,
    request: &CommandRequest,
) -> Option<Option<CommandRejected>> {
    match command::kind(host, &request.command)? {
        Kind::Control(Control::Stop | Control::Ask(_)) => None,
        _ if request.command == farewell.command() => Some(None),
        _ => {
            let reason = format!("`{}` was asked for and is about to happen", farewell.command());
            Some(Some(command::refusal(request, reason)))
        }
    }
}
