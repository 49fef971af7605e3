//! Supervisors as detached processes.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use nixfleet_jobs::remains::JOB_VARIABLE;
use nixfleet_jobs::{Instance, JobDir, SignalError, Urgency, signal_supervisor};

use super::{LaunchError, Launcher, PREFIX, READY, START_TIMEOUT};

/// Bytes of a failed supervisor's error message that are kept.
const MAX_ERROR_TEXT: usize = 4096;

/// How long to read that message. A supervisor writes it as a whole and ends, but what it started may hold the pipe
/// open for ever.
const ERROR_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for a supervisor that was killed. In an uninterruptible sleep, as on a disk that hangs, it
/// does not end; a thread then waits for it.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to try to signal a supervisor that has not written its process id yet: shorter than
/// [`STOP_MARGIN`](crate::link::agent::STOP_MARGIN), after which the request is answered without a reason.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(8);

/// How often to look again, where there is nothing to wait for.
const TICK: Duration = Duration::from_millis(10);

/// Stack of the thread that waits for a supervisor, in bytes: it only waits.
const WAIT_STACK: usize = 64 * 1024;

/// Starts supervisors as detached processes: for development, tests, macOS, and hosts without the systemd
/// unit.
#[derive(Debug)]
pub struct Direct {
    /// The program to start.
    program: PathBuf,
    /// The configuration file to pass to it.
    config: Option<PathBuf>,
}

impl Direct {
    /// Starts supervisors with `program`, which is this binary, and the configuration file `config`.
    pub fn new(program: PathBuf, config: Option<PathBuf>) -> Self {
        Self { program, config }
    }
}

impl Launcher for Direct {
    fn start(&self, job: &Instance) -> Result<(), LaunchError> {
        let mut command = Command::new(&self.program);
        command.arg0("nixfleet-agent");
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.arg("exec-job").arg(job.to_string());
        for name in nixfleet_jobs::supervisor::AGENT_VARIABLES {
            command.env_remove(name);
        }
        // An agent that a command of a job started is no part of that job.
        command.env_remove(JOB_VARIABLE);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|err| LaunchError::Spawn(self.program.clone(), err))?;
        let started = wait_until_ready(&mut child, START_TIMEOUT);
        if started.is_ok() || !kill(&mut child, KILL_TIMEOUT) {
            // Reaps the process when it ends, if the agent still runs then.
            let waiter = thread::Builder::new().name("supervisor".to_owned()).stack_size(WAIT_STACK);
            drop(waiter.spawn(move || child.wait()));
        }
        started
    }

    fn end(&self, _: &Instance, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError> {
        let begun = Instant::now();
        loop {
            match signal_supervisor(dir, urgency) {
                Err(SignalError::Starting) if begun.elapsed() < SIGNAL_TIMEOUT => thread::sleep(TICK),
                signalled => return Ok(signalled?),
            }
        }
    }
}

/// Kills a supervisor that failed, and reaps it. Returns false if it is not gone after `limit`.
fn kill(child: &mut Child, limit: Duration) -> bool {
    drop(child.kill());
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            // There is nothing to reap.
            Err(_) => return true,
            Ok(None) if begun.elapsed() < limit => thread::sleep(TICK),
            Ok(None) => {
                tracing::warn!(
                    pid = child.id(),
                    "A job supervisor that failed was killed and is not gone after {limit:?}; does a disk hang?"
                );
                return false;
            }
        }
    }
}

/// Waits until the supervisor is ready, has failed, or takes longer than `limit`. A slow one counts as started: it
/// may have started the command, which killing the supervisor would orphan. If it never gets ready, its follower
/// reports that.
fn wait_until_ready(child: &mut Child, limit: Duration) -> Result<(), LaunchError> {
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    // A supervisor writes one line or nothing. No longer text can be that line.
    let (line, whole) = read_until(stdout.as_fd(), Some(b'\n'), READY.len() + 1, Instant::now() + limit);
    if line.trim_ascii_end() == READY.as_bytes() || !whole {
        return Ok(());
    }
    let text = child.stderr.take().map(|stderr| {
        read_until(stderr.as_fd(), None, MAX_ERROR_TEXT, Instant::now() + ERROR_TIMEOUT.min(limit)).0
    });
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    // The name of the program is of no use in a status.
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix(PREFIX).unwrap_or(line)).collect();
    Err(LaunchError::Refused(if lines.is_empty() {
        "the job supervisor died at once".to_owned()
    } else {
        lines.join("; ")
    }))
}

/// Reads up to the byte `last`, the end of the pipe, or `most` bytes. Returns what was read, and whether that is all:
/// false if `deadline` came first.
fn read_until(pipe: BorrowedFd<'_>, last: Option<u8>, most: usize, deadline: Instant) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    let mut buffer = [0; 512];
    while text.len() < most && !last.is_some_and(|last| text.ends_with(&[last])) {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(0) => return (text, false),
            // A signal came in between.
            Err(Errno::INTR) => continue,
            // The kernel has no memory for it. That says nothing about the supervisor.
            Err(_) if !left.is_zero() => thread::sleep(TICK.min(left)),
            Err(_) => return (text, false),
            Ok(_) => match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => break,
                Ok(count) => text.extend_from_slice(&buffer[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => break,
            },
        }
    }
    text.truncate(most);
    (text, true)
}

#[cfg(test)]
mod tests;
