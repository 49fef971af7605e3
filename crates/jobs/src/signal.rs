//! Signals to the supervisor of a job.

use std::io;

use rustix::process::{Pid, kill_process};

use crate::spec::State;
use crate::{JobDir, Urgency, atomic_file, journal};

/// Why a supervisor was not signalled.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// There is no supervisor to signal.
    #[error("the job has already ended")]
    Ended,
    /// The operating system refused the signal.
    #[error("cannot signal the job supervisor {0}")]
    Refused(u32, #[source] io::Error),
}

/// Signals the supervisor of the job in `dir`.
///
/// # Errors
/// [`SignalError`]; the job then continues, or has ended already.
pub fn signal_supervisor(dir: &JobDir, urgency: Urgency) -> Result<(), SignalError> {
    let state: Option<State> = atomic_file::load_on(dir.disk(), &dir.state()).unwrap_or_default();
    // The process id belongs to the supervisor only while the supervisor holds its lock.
    let (Some(state), Ok(true)) = (state, journal::supervisor_lives(dir)) else {
        return Err(SignalError::Ended);
    };
    if let Some(programs) = dir.machine().processes.simulation() {
        let sent = programs.kill(state.supervisor_pid, urgency.signal().as_raw());
        return sent.map_err(|err| SignalError::Refused(state.supervisor_pid, err));
    }
    let pid = Pid::from_raw(state.supervisor_pid.cast_signed()).ok_or(SignalError::Ended)?;
    kill_process(pid, urgency.signal()).map_err(|err| SignalError::Refused(state.supervisor_pid, err.into()))
}
