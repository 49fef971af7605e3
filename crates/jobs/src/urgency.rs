//! The ways to end a job.

use rustix::process::Signal;

/// How to end a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Send SIGTERM, and SIGKILL after the grace period. Refused during an activation.
    Stop,
    /// Send SIGKILL at once, even during an activation.
    Kill,
}

impl Urgency {
    /// The signal that means this to a supervisor.
    pub const fn signal(self) -> Signal {
        match self {
            Self::Stop => Signal::TERM,
            // SIGKILL would end the supervisor and leave its command running without one.
            Self::Kill => Signal::USR1,
        }
    }
}
