//! `restart` and `reboot`. Nobody could answer them afterwards, so they are answered first and carried
//! out when the dashboard has read the answer.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_config::Host;
use nixfleet_protocol::{AgentMessage, CommandRejected, CommandRequest};

use super::delivery::Receipt;
use super::send_queue::Frame;
use super::{Leave, Phase, Session};
use crate::jobs::admission::{self, Control, Kind};
use crate::jobs::table::JobTable;
use crate::link::ended::Ended;

/// How long `restart` and `reboot` wait for the receipt for their status.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// An announced end of the agent or of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PendingExit {
    /// A new process takes the agent's place.
    Restart,
    /// The machine reboots; with the id of the request, if it has one.
    Reboot(Option<String>),
}

impl PendingExit {
    /// The command that requests it.
    fn command(&self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reboot(_) => "reboot",
        }
    }
}

impl Session<'_> {
    /// Sends the answer to `restart` or `reboot`. [`Self::run_pending_exit`] follows.
    pub(super) fn announce_exit(&mut self, pending_exit: PendingExit, now: Instant) {
        let status = match pending_exit {
            PendingExit::Restart => JobTable::restarting(),
            PendingExit::Reboot(_) => JobTable::rebooting(),
        };
        tracing::info!("{}, on request.", status.message);
        self.send_queue.priority(Frame::Text(AgentMessage::Status(status).encode()));
        self.heartbeat(now);
        self.ping(Some(Receipt::PendingExit), now);
        self.pending_exit = Some((pending_exit, now + EXIT_TIMEOUT));
    }

    /// Carries out the announced exit, if there is one.
    pub(super) fn run_pending_exit(&mut self, now: Instant) {
        match self.pending_exit.take() {
            Some((PendingExit::Restart, _)) => self.leave(now, "restart", Leave::Restart),
            Some((PendingExit::Reboot(id), _)) => self.agent.reboot(id),
            None => {}
        }
    }

    /// The connection ended before the receipt arrived. The dashboard may have read the answer, so the exit
    /// is carried out. Returns why the session ended, which is then a restart if one was announced.
    pub(super) fn exit_after_disconnect(&mut self, ended: Ended) -> Ended {
        match self.pending_exit.take() {
            Some((PendingExit::Restart, _)) => return Ended::Restart,
            Some((PendingExit::Reboot(id), _)) => self.agent.reboot(id),
            None => {}
        }
        ended
    }

    /// Whether the agent may start a job by itself: not when it is about to exit.
    pub(super) fn may_start(&self) -> bool {
        self.pending_exit.is_none() && !matches!(self.phase, Phase::Leaving { .. })
    }
}

/// What to do with a request that arrives after an exit was announced.
#[derive(Debug)]
pub(super) enum BeforeExit {
    /// Handle it as always: it starts no job.
    Handle,
    /// Ignore it: it repeats the announced request. A dashboard would take a rejection for the failure of
    /// that request.
    Ignore,
    /// Reject it.
    Reject(CommandRejected),
}

impl BeforeExit {
    pub(super) fn decide(pending_exit: &PendingExit, host: &Host, request: &CommandRequest) -> Self {
        match admission::kind(host, &request.command) {
            None | Some(Kind::Control(Control::Stop | Control::Ask(_))) => Self::Handle,
            _ if request.command == pending_exit.command() => Self::Ignore,
            _ => {
                let reason = format!("`{}` was asked for and is about to happen", pending_exit.command());
                Self::Reject(admission::refusal(request, reason))
            }
        }
    }
}
