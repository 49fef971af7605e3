//! How the program ends.

use std::io;

/// An exit code. `--help` and docs/nixfleet.md list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Good,
    /// A command failed on a host.
    Failed,
    /// NATS cannot be reached, or has no fleet.
    Nats,
    /// A host was not asked, did not take the command, or has not ended it in time.
    NotDone,
    /// Wrong usage or settings: EX_USAGE of sysexits.h, as the agent's.
    Usage,
    /// The output cannot be written: EX_IOERR of sysexits.h.
    Output,
    /// Ctrl-C, as a shell says it.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Failed => 1,
            Self::Nats => 2,
            Self::NotDone => 3,
            Self::Usage => 64,
            Self::Output => 74,
            Self::Interrupted => 130,
        }
    }

    /// The worse one of the results of two hosts.
    #[must_use]
    pub(crate) fn worst(self, other: Self) -> Self {
        if other.code() > self.code() { other } else { self }
    }
}

/// Why the program ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What to say. None if nobody reads any more.
    pub(crate) message: Option<String>,
}

impl Failure {
    /// An end with words.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: Some(message.into()) }
    }

    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Whether the reader of the output has seen enough.
    pub(crate) fn is_closed(&self) -> bool {
        self.message.is_none()
    }
}

/// The output cannot be written. A pipe that was closed is no error: its reader has seen enough, as `head`.
impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        if err.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Good, message: None };
        }
        Self::new(Exit::Output, format!("cannot write to standard output: {err}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_cannot_be_written_is_not_a_command_that_failed() {
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(full.exit.code() == 74 && !full.is_closed());
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_closed());
    }
}
