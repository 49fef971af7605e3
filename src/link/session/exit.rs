//! Requests after which there is nobody to answer: they are answered first, and carried out when the
//! answer was read (protocol.md 5.5).

use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Receipt;
use super::send_queue::Frame;
use super::{Phase, Session};
use crate::jobs::admission;
use crate::jobs::admission::{Control, Kind};
use crate::jobs::table::JobTable;
use crate::link::ended::Ended;
use nixfleet_config::Host;
use nixfleet_protocol::{AgentMessage, CommandRejected, CommandRequest, Status, StatusKind, encode};

/// How long `restart` and `reboot` wait for the proof that their status was read.
pub(super) const EXIT_PATIENCE: Duration = Duration::from_secs(2);

/// A request that ends the agent, and its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PendingExit {
    /// A new agent process.
    Restart,
    /// The machine starts anew; by the request of this id.
    Reboot(Option<String>),
}

impl PendingExit {
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
    pub(super) fn announce_exit(&mut self, pending_exit: PendingExit, now: Instant) {
        let status = match pending_exit {
            PendingExit::Restart => {
                Status::answer("restart", StatusKind::Ok, 0, "Restart: the agent is starting again")
            }
            PendingExit::Reboot(_) => JobTable::rebooting(),
        };
        tracing::info!("{}, on request.", status.message);
        self.send_queue.vital(Frame::Text(encode(&AgentMessage::Status(status))));
        self.beat(now);
        self.ping(Some(Receipt::PendingExit), 0, now);
        self.pending_exit = Some((pending_exit, now + EXIT_PATIENCE));
    }

    /// Does what was answered.
    pub(super) fn carry_out_farewell(&mut self, now: Instant) {
        match self.pending_exit.take() {
            Some((PendingExit::Restart, _)) => self.leave(now, "restart", true),
            Some((PendingExit::Reboot(id), _)) => self.agent.reboot(id),
            None => {}
        }
    }

    /// The connection is gone before the answer was proven, but it may have been read.
    pub(super) fn run_pending_exit(&mut self, ended: Ended) -> Ended {
        match self.pending_exit.take() {
            Some((PendingExit::Restart, _)) => return Ended::Restart,
            Some((PendingExit::Reboot(id), _)) => self.agent.reboot(id),
            None => {}
        }
        ended
    }

    /// Whether the agent stays, so that it can begin something by itself.
    pub(super) fn may_start(&self) -> bool {
        self.pending_exit.is_none() && !matches!(self.phase, Phase::Leaving { .. })
    }
}

/// What becomes of a request that comes when the agent has said that it goes. None: it is let in, as what
/// it asks for needs no job. Else the rejection, if there is to be one: a repeat of what was answered gets
/// none, for which a dashboard would take the command as failed.
pub(super) fn before_farewell(
    pending_exit: &PendingExit,
    host: &Host,
    request: &CommandRequest,
) -> Option<Option<CommandRejected>> {
    match admission::kind(host, &request.command)? {
        Kind::Control(Control::Stop | Control::Ask(_)) => None,
        _ if request.command == pending_exit.command() => Some(None),
        _ => {
            let reason = format!("`{}` was asked for and is about to happen", pending_exit.command());
            Some(Some(admission::refusal(request, reason)))
        }
    }
}
