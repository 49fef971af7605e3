//! Outcome, exit code and message of a command, from the end of one of its programs.

use std::time::Duration;

use super::child::End;
use super::stop::Reason;
use crate::spec::{Outcome, Step, capitalized, stopped_by_shutdown};
use nixfleet_os::planted;

/// Exit code for a command that exceeded its timeout, as in `timeout(1)`.
const TIMED_OUT: i32 = 124;

/// Result of the steps.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) exit_code: i32,
    pub(super) signal: Option<i32>,
    pub(super) message: String,
    /// The line that explains best why the program failed; may be empty.
    pub(super) why: String,
    pub(super) step: usize,
    /// As [`JobResult::unexplained`](crate::spec::JobResult::unexplained).
    pub(super) unexplained: bool,
}

impl Default for Done {
    /// Nothing has gone wrong yet.
    fn default() -> Self {
        Self {
            outcome: Outcome::Ok,
            exit_code: 0,
            signal: None,
            message: String::new(),
            why: String::new(),
            step: 0,
            unexplained: false,
        }
    }
}

impl End {
    pub(super) fn into_done(self, command: &str, step: &Step, grace: Duration) -> Done {
        let name = capitalized(command);
        let (exit_code, signal) = match self.code {
            Ok(code) => (code, None),
            Err(_) if planted!("a-signal-is-a-success") => (0, None),
            Err(signal) => (128 + signal, Some(signal)),
        };
        // A command that exits with 0 after SIGTERM counts as stopped.
        let stopped = if exit_code == 0 { 143 } else { exit_code };
        let (outcome, exit_code, message) = match self.stopped {
            Some(Reason::Request) => (Outcome::Stopped, stopped, format!("{name}: stopped")),
            Some(Reason::Shutdown) => (Outcome::InterruptedByReboot, stopped, stopped_by_shutdown(command)),
            Some(Reason::Unexplained) => (
                Outcome::Stopped,
                stopped,
                format!("{name}: stopped on the host; systemd did not say whether the machine went down"),
            ),
            Some(Reason::Timeout) => (
                Outcome::TimedOut,
                TIMED_OUT,
                format!("{name}: stopped because it ran longer than its timeout (grace {grace:?})"),
            ),
            None => {
                let how = match signal {
                    Some(signal) => format!("was killed by signal {signal}"),
                    None => format!("failed with exit code {exit_code}"),
                };
                let detail = if self.why.is_empty() { String::new() } else { format!(": {}", self.why) };
                (Outcome::Failed, exit_code, format!("{name}: {} {how}{detail}", step.name))
            }
        };
        let unexplained = self.stopped == Some(Reason::Unexplained);
        Done { outcome, exit_code, signal, message, why: self.why, step: 0, unexplained }
    }
}
