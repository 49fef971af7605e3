//! The relation of this process to the service manager.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::subprocess::Background;

/// How long the service manager may take to say whether the machine goes down. It usually takes
/// milliseconds. A machine that goes down is busy: 2.4 s were seen on a slow one. A command has been
/// signalled before the question is asked, so only the end of its job waits for the answer, and at a shutdown
/// the unit of a job has minutes.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the machine is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// It is going down.
    Begun,
    /// It is not going down.
    NotBegun,
    /// The service manager did not say. This is not "no".
    Unknown,
}

impl Shutdown {
    /// What the output of `systemctl is-system-running` says. systemd is stopping from the moment at which a
    /// shutdown is queued, which is before it stops the first unit. `unknown`, `offline` and words of later
    /// versions are no answer.
    fn parse(output: &str) -> Self {
        match output.trim() {
            "stopping" => Self::Begun,
            "initializing" | "starting" | "running" | "degraded" | "maintenance" => Self::NotBegun,
            _ => Self::Unknown,
        }
    }
}

/// The question whether the machine is going down. The signal to a unit is the same as for any other stop, so
/// the service manager has to be asked. It may take long to answer, so its answer is awaited beside other
/// events.
#[derive(Debug)]
pub struct ShutdownQuery(Result<Background, Shutdown>);

impl ShutdownQuery {
    /// Asks. Without a service manager the answer is at once that the machine is not going down.
    pub fn ask() -> Self {
        if !is_supervised() {
            return Self(Err(Shutdown::NotBegun));
        }
        let started = Background::start(Path::new("systemctl"), &["is-system-running"], ANSWER_TIMEOUT);
        Self(started.map_err(|_| Shutdown::Unknown))
    }

    /// A question whose answer is known.
    pub fn known(answer: Shutdown) -> Self {
        Self(Err(answer))
    }

    /// The answer, if there is one by now; after [`ANSWER_TIMEOUT`] it is [`Shutdown::Unknown`].
    pub fn answer(&mut self) -> Option<Shutdown> {
        match &mut self.0 {
            Ok(program) => {
                program.answer().map(|said| said.map_or(Shutdown::Unknown, |text| Shutdown::parse(&text)))
            }
            Err(known) => Some(*known),
        }
    }

    /// The process id of the program that asks, if there is one.
    pub fn pid(&self) -> Option<u32> {
        self.0.as_ref().ok().map(Background::pid)
    }

    /// As [`Background::was_reaped`].
    pub fn was_reaped(&mut self) {
        if let Ok(program) = &mut self.0 {
            program.was_reaped();
        }
    }

    /// When to call [`Self::answer`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.as_ref().ok().map(Background::deadline)
    }

    /// Becomes readable when there is an answer.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().ok().map(AsFd::as_fd)
    }
}

/// Whether a service manager runs this process, and so restarts it when it ends.
pub fn is_supervised() -> bool {
    std::env::var_os("INVOCATION_ID").is_some() && std::env::var_os("NOTIFY_SOCKET").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_of_a_manager_that_is_not_stopping_is_a_no() {
        for (output, expected) in [
            ("stopping\n", Shutdown::Begun),
            ("running\n", Shutdown::NotBegun),
            ("degraded\n", Shutdown::NotBegun),
            ("starting\n", Shutdown::NotBegun),
            ("initializing\n", Shutdown::NotBegun),
            ("maintenance\n", Shutdown::NotBegun),
            ("unknown\n", Shutdown::Unknown),
            ("offline\n", Shutdown::Unknown),
            ("", Shutdown::Unknown),
            ("not running\n", Shutdown::Unknown),
        ] {
            assert_eq!(Shutdown::parse(output), expected, "{output:?}");
        }
    }
}
