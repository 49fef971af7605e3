//! Signals to the supervisor of a job.

use std::io;
use std::path::PathBuf;

use rustix::process::{Pid, kill_process};

use crate::spec::State;
use crate::{JobDir, Urgency, atomic_file, journal};

/// Why a supervisor was not signalled.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// The job has a result.
    #[error("the job has already ended")]
    Ended,
    /// The supervisor is dead, and the job has no result.
    #[error("its supervisor is dead; what is left of the command is being ended, and its status follows")]
    Dead,
    /// The supervisor has not written its process id yet.
    #[error("its supervisor is only starting, and cannot be signalled yet; send it again")]
    Starting,
    /// It is not known which process is the supervisor.
    #[error("cannot read {}, which says which process is its supervisor", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// The operating system refused the signal.
    #[error("cannot signal the job supervisor {0}")]
    Refused(u32, #[source] io::Error),
}

/// Signals the supervisor of the job in `dir`.
///
/// # Errors
/// [`SignalError`]; the job then continues, or has ended already.
pub fn signal_supervisor(dir: &JobDir, urgency: Urgency) -> Result<(), SignalError> {
    let disk = dir.disk();
    if disk.kind(&dir.result()).is_ok() {
        return Err(SignalError::Ended);
    }
    // The process id belongs to the supervisor only while the supervisor holds its lock.
    match journal::supervisor_lives(dir) {
        Ok(true) => {}
        Ok(false) => return Err(SignalError::Dead),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(SignalError::Starting),
        Err(err) => return Err(SignalError::Unreadable(dir.log(0), err)),
    }
    let state: Option<State> =
        atomic_file::load_on(disk, &dir.state()).map_err(|err| SignalError::Unreadable(dir.state(), err))?;
    let state = state.ok_or(SignalError::Starting)?;
    let no_process = || {
        let text = format!("{} is no process id", state.supervisor_pid);
        SignalError::Unreadable(dir.state(), io::Error::new(io::ErrorKind::InvalidData, text))
    };
    if let Some(programs) = dir.machine().processes.simulation() {
        let sent = programs.kill(state.supervisor_pid, urgency.signal().as_raw());
        return sent.map_err(|err| SignalError::Refused(state.supervisor_pid, err));
    }
    let pid = Pid::from_raw(state.supervisor_pid.cast_signed()).filter(|pid| !pid.is_init());
    let pid = pid.ok_or_else(no_process)?;
    kill_process(pid, urgency.signal()).map_err(|err| SignalError::Refused(state.supervisor_pid, err.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::atomic_file::store;
    use crate::journal::Writer;
    use crate::spec::{JobResult, Outcome};
    use crate::test_util::wait_until_dead;
    use crate::{JobId, JobsDir};

    #[test]
    fn a_job_that_cannot_be_signalled_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let dir = JobsDir::new(folder.path()).job(&JobId::generate());
        let signal = || signal_supervisor(&dir, Urgency::Stop).unwrap_err();
        assert!(matches!(signal(), SignalError::Starting), "no folder yet");
        fs::create_dir(dir.path()).unwrap();
        let writer = Writer::create(dir.clone(), 1 << 20).unwrap();
        assert!(matches!(signal(), SignalError::Starting), "it has not said which process it is");
        for text in ["{", r#"{"version":1,"supervisor_pid":0,"step":0,"step_name":""}"#] {
            fs::write(dir.state(), text).unwrap();
            assert!(matches!(signal(), SignalError::Unreadable(..)), "{text}: {:?}", signal());
        }
        drop(writer);
        wait_until_dead(&dir);
        assert!(matches!(signal(), SignalError::Dead));
        store(&dir.result(), &JobResult::without_supervisor(Outcome::Ok, String::new(), 0)).unwrap();
        assert!(matches!(signal(), SignalError::Ended));
        fs::remove_file(dir.result()).unwrap();
        fs::remove_file(dir.log(0)).unwrap();
        fs::create_dir(dir.log(0)).unwrap();
        assert!(matches!(signal(), SignalError::Unreadable(..)), "{:?}", signal());
    }
}
