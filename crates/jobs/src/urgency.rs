//! The ways to end a job.

use rustix::process::Signal;

/// How to end a job; the stronger way is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// SIGTERM to the command, and SIGKILL after the grace period. Refused during an activation.
    Stop,
    /// SIGKILL to the command at once, even during an activation.
    Kill,
}

impl Urgency {
    /// The signal that means this to a supervisor.
    pub const fn signal(self) -> Signal {
        match self {
            // SIGTERM is what the service manager sends, also when the machine goes down. With a signal of
            // its own, a stop that the agent ordered needs no further explanation.
            Self::Stop => Signal::INT,
            // SIGKILL would end the supervisor and leave its command running without one.
            Self::Kill => Signal::USR1,
        }
    }
}
