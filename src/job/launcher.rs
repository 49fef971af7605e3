//! How a supervisor is started and signalled.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::spec::{self, State};
use super::{Instance, JobDir, journal, supervisor};

/// What a supervisor prints once its job exists.
pub const READY: &str = "ready";

/// What this program puts before each line it says on standard error.
pub const PREFIX: &str = "nixfleet-agent: ";

/// How long a supervisor may take to be ready. It fsyncs a few small files, which on a busy disk
/// takes seconds.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// The most of a failed supervisor's message that is kept, in bytes.
const MAX_COMPLAINT: u64 = 4096;

/// Stack of the thread that waits for a supervisor, in bytes: it only waits.
const WAIT_STACK: usize = 64 * 1024;

/// How firmly to end a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Ask, and kill after the grace period; not in the middle of an activation.
    Stop,
    /// Kill at once, whatever it does.
    Kill,
}

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
    #[error("cannot signal the job supervisor {0}")]
    Signal(u32, #[source] io::Error),
}

/// Starts and signals supervisors. The calls block: they are made on threads of their own.
pub trait Launcher: fmt::Debug + Send + Sync {
    /// Starts a supervisor; returns once its job exists on disk.
    ///
    /// # Errors
    /// [`LaunchError`]; then there is no job.
    fn start(&self, instance: &Instance) -> Result<(), LaunchError>;

    /// Ends a running job.
    ///
    /// # Errors
    /// [`LaunchError`]; the job then goes on, or has ended by itself.
    fn end(&self, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError>;
}

/// Starts the supervisor as a detached process: for developers, tests, macOS, and hosts without
/// the systemd unit.
#[derive(Debug)]
pub struct Direct {
    /// The program to start.
    program: PathBuf,
    /// The configuration file to give it.
    config: Option<PathBuf>,
}

impl Direct {
    /// Starts supervisors with `program`, which is this very binary.
    pub fn new(program: PathBuf, config: Option<PathBuf>) -> Self {
        Self { program, config }
    }
}

/// Variables that concern the agent's own unit. The token is none of the supervisor's business.
const AGENT_VARIABLES: &[&str] =
    &["NIXFLEET_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

impl Launcher for Direct {
    fn start(&self, instance: &Instance) -> Result<(), LaunchError> {
        let mut command = Command::new(&self.program);
        command.arg0("nixfleet-agent");
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.arg("exec-job").arg(instance.to_string());
        for name in AGENT_VARIABLES {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|err| LaunchError::Spawn(self.program.clone(), err))?;
        match wait_until_ready(&mut child) {
            Ok(()) => {
                // Somebody has to collect it when it ends, if this process still is there by then.
                let waiter = thread::Builder::new().name("supervisor".to_owned()).stack_size(WAIT_STACK);
                drop(waiter.spawn(move || child.wait()));
                Ok(())
            }
            Err(err) => {
                drop(child.kill());
                drop(child.wait());
                Err(err)
            }
        }
    }

    fn end(&self, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError> {
        let state: Option<State> = spec::load(&dir.state()).unwrap_or_default();
        // Only while the supervisor holds its lock is the process id certainly its own.
        let (Some(state), Ok(true)) = (state, journal::supervisor_lives(dir)) else {
            return Err(LaunchError::Ended);
        };
        let signal = match urgency {
            Urgency::Stop => Signal::TERM,
            Urgency::Kill => supervisor::KILL_NOW,
        };
        let pid = Pid::from_raw(state.supervisor_pid.cast_signed()).ok_or(LaunchError::Ended)?;
        kill_process(pid, signal).map_err(|err| LaunchError::Signal(state.supervisor_pid, err.into()))
    }
}

/// Waits for the word of a supervisor, or until it is too slow to wait for. A slow one may have started
/// the command already, and killing it would orphan that; if it never gets so far, its follower says so.
fn wait_until_ready(child: &mut Child) -> Result<(), LaunchError> {
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    let patience = Timespec::try_from(START_PATIENCE).ok();
    let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
    if let Ok(0) = poll(&mut fds, patience.as_ref()) {
        return Ok(());
    }
    let mut line = String::new();
    // The line is written by one small write, or the pipe is closed: either way this ends at once.
    drop(BufReader::new(stdout).read_line(&mut line));
    if line.trim_end() == READY {
        return Ok(());
    }
    let mut complaint = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        drop(stderr.take(MAX_COMPLAINT).read_to_end(&mut complaint));
    }
    let complaint = String::from_utf8_lossy(&complaint);
    // It says its name before each line, which the reader of a status knows.
    let lines: Vec<&str> = complaint.lines().map(|line| line.strip_prefix(PREFIX).unwrap_or(line)).collect();
    Err(LaunchError::Refused(if lines.is_empty() {
        "the job supervisor died at once".to_owned()
    } else {
        lines.join("; ")
    }))
}
