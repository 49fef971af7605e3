//! Starts and signals the supervisors of jobs.
//!
//! ```text
//! direct.rs    as detached processes, with the rights of the agent
//! systemd.rs   as systemd units that run as root; polkit lets the agent start and signal them
//! ```

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use nixfleet_jobs::{Instance, JobDir, SignalError, Urgency};
use nixfleet_os::subprocess::ProgramError;

pub use direct::Direct;
pub use systemd::Systemd;

mod direct;
mod systemd;

/// The line that a supervisor prints on standard output once its job exists.
pub const READY: &str = "ready";

/// The prefix of each line that this program writes to standard error.
pub const PREFIX: &str = "nixfleet-agent: ";

/// How long a supervisor may take to be ready. It fsyncs a few small files, which takes seconds on a busy
/// disk. `TimeoutStartSec=` of the job's unit has the same value.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a supervisor was not started or signalled.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program did not start.
    #[error("cannot start the job supervisor {}", .0.display())]
    Spawn(PathBuf, #[source] io::Error),
    /// The supervisor, or systemd, refused to start or signal the job, for this reason.
    #[error("{0}")]
    Refused(String),
    /// There is no supervisor to signal.
    #[error("the job has already ended")]
    Ended,
    /// The signal could not be sent.
    #[error(transparent)]
    Signal(SignalError),
    /// systemctl did not run or did not answer in time.
    #[error("systemctl did not answer")]
    Systemctl(#[source] ProgramError),
}

impl From<SignalError> for LaunchError {
    fn from(err: SignalError) -> Self {
        match err {
            SignalError::Ended => Self::Ended,
            other => Self::Signal(other),
        }
    }
}

/// Starts and signals supervisors. The methods block, so they are called on threads of their own.
pub trait Launcher: fmt::Debug + Send + Sync {
    /// Starts a supervisor; returns once its job exists on disk.
    ///
    /// # Errors
    /// [`LaunchError`], usually because there is no job. It may exist all the same, see
    /// [`executor`](super::executor).
    fn start(&self, job: &Instance) -> Result<(), LaunchError>;

    /// Signals the supervisor of a running job, whose folder is `dir`, to end it.
    ///
    /// # Errors
    /// [`LaunchError::Ended`] if the job has ended by itself; otherwise the job goes on.
    fn end(&self, job: &Instance, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError>;
}
