//! How a supervisor is started and signalled.
//!
//! ```text
//! direct.rs    a detached process, with the rights of the agent
//! systemd.rs   a unit of its own, as root, which polkit lets the agent start and signal
//! ```

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use direct::Direct;
use nixfleet_jobs::{Instance, JobDir, SignalError, Urgency};
use nixfleet_os::subprocess::ProgramError;
pub use systemd::Systemd;

mod direct;
mod systemd;

/// What a supervisor prints once its job exists.
pub const READY: &str = "ready";

/// What this program puts before each line it says on standard error.
pub const PREFIX: &str = "nixfleet-agent: ";

/// How long a supervisor may take to be ready. It fsyncs a few small files, which on a busy disk
/// takes seconds. `TimeoutStartSec=` of the job's unit is the same.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Why a supervisor was not started or signalled.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program did not start.
    #[error("cannot start the job supervisor {}", .0.display())]
    Spawn(PathBuf, #[source] io::Error),
    /// It started and gave up.
    #[error("{0}")]
    Refused(String),
    /// There is nobody to signal.
    #[error("the job has already ended")]
    Ended,
    /// The signal was refused.
    #[error(transparent)]
    Signal(SignalError),
    /// The service manager cannot be asked.
    #[error("systemctl did not answer")]
    Systemctl(#[source] ProgramError),
}

impl From<SignalError> for LaunchError {
    fn from(err: SignalError) -> Self {
        match err {
            SignalError::Ended => Self::Ended,
            refused @ SignalError::Refused(..) => Self::Signal(refused),
        }
    }
}

/// Starts and signals supervisors. The calls block: they are made on threads of their own.
pub trait Launcher: fmt::Debug + Send + Sync {
    /// Starts a supervisor; returns once its job exists on disk.
    ///
    /// # Errors
    /// [`LaunchError`]; then there is no job.
    fn start(&self, job: &Instance) -> Result<(), LaunchError>;

    /// Ends a running job, whose folder is `dir`.
    ///
    /// # Errors
    /// [`LaunchError`]; the job then goes on, or has ended by itself.
    fn end(&self, job: &Instance, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError>;
}
