//! The end of a connection that the agent itself closes, and what follows.

use tokio::time::Instant;

use super::exit::PendingExit;
use super::send_queue::Frame;
use super::{CLOSE_TIMEOUT, Leave, Phase, Session};
use crate::link::ended::Ended;
use crate::link::rotation::Verdict;

impl Session<'_> {
    /// Starts to close the connection with code 1000 and this reason.
    pub(super) fn leave(&mut self, now: Instant, reason: &'static str, leave: Leave) {
        // An announced reboot is carried out anyway, and before another connection also a restart.
        self.pending_exit
            .take_if(|(pending_exit, _)| *pending_exit == PendingExit::Restart && leave != Leave::Renew);
        if matches!(self.phase, Phase::Leaving { .. }) {
            return;
        }
        // Otherwise the next agent would have to send it.
        self.stop_waiting(now);
        self.release_held(true);
        self.register_again = None;
        self.send_queue.control(Frame::Close(reason));
        self.phase = Phase::Leaving { until: now + CLOSE_TIMEOUT, leave };
    }

    /// While the session is leaving, every end counts as the intended one.
    pub(super) fn ended_as(&self, ended: Ended) -> Ended {
        match self.phase {
            Phase::Leaving { leave: Leave::Restart, .. } => Ended::Restart,
            Phase::Leaving { leave: Leave::Shutdown, .. } => Ended::Shutdown,
            Phase::Leaving { leave: Leave::Renew, .. } => Ended::Rotated,
            Phase::Registering { .. } | Phase::Live(_) => ended,
        }
    }

    /// There is another look at what proves who this is.
    pub(super) fn credentials_looked_at(&mut self, now: Instant) {
        if self.agent.rotation.verdict() == Verdict::Renew {
            self.leave(now, "renewed", Leave::Renew);
        }
    }
}
