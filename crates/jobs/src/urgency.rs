//! How firmly a job is ended.

use rustix::process::Signal;

/// How firmly to end a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Ask, and kill after the grace period; not in the middle of an activation.
    Stop,
    /// Kill at once, whatever it does.
    Kill,
}

impl Urgency {
    /// The signal that means this to a supervisor.
    pub const fn signal(self) -> Signal {
        match self {
            Self::Stop => Signal::TERM,
            // Not SIGKILL: it would end the supervisor, and leave its command without one.
            Self::Kill => Signal::USR1,
        }
    }
}
