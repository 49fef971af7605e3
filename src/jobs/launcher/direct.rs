//! Supervisors as detached processes.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use nixfleet_jobs::{Instance, JobDir, Urgency, signal_supervisor};

use super::{LaunchError, Launcher, PREFIX, READY, START_TIMEOUT};

/// Bytes of a failed supervisor's error message that are kept.
const MAX_ERROR_TEXT: u64 = 4096;

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

/// Variables that concern the agent's own unit, and the token, which the supervisor must not know.
const AGENT_VARIABLES: &[&str] =
    &["NIXFLEET_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

impl Launcher for Direct {
    fn start(&self, job: &Instance) -> Result<(), LaunchError> {
        let mut command = Command::new(&self.program);
        command.arg0("nixfleet-agent");
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.arg("exec-job").arg(job.to_string());
        for name in AGENT_VARIABLES {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|err| LaunchError::Spawn(self.program.clone(), err))?;
        match wait_until_ready(&mut child) {
            Ok(()) => {
                // Reaps the process when it ends, if the agent still runs then.
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

    fn end(&self, _: &Instance, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError> {
        Ok(signal_supervisor(dir, urgency)?)
    }
}

/// Waits until the supervisor is ready, has failed, or takes longer than [`START_TIMEOUT`]. A slow one
/// counts as started: it may have started the command, which killing the supervisor would orphan. If it
/// never gets ready, its follower reports that.
fn wait_until_ready(child: &mut Child) -> Result<(), LaunchError> {
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    let limit = Timespec::try_from(START_TIMEOUT).ok();
    let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
    if let Ok(0) = poll(&mut fds, limit.as_ref()) {
        return Ok(());
    }
    let mut line = String::new();
    // This does not block: the line is written at once, or the pipe is closed.
    drop(BufReader::new(stdout).read_line(&mut line));
    if line.trim_end() == READY {
        return Ok(());
    }
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        drop(stderr.take(MAX_ERROR_TEXT).read_to_end(&mut text));
    }
    let text = String::from_utf8_lossy(&text);
    // The name of the program is of no use in a status.
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix(PREFIX).unwrap_or(line)).collect();
    Err(LaunchError::Refused(if lines.is_empty() {
        "the job supervisor died at once".to_owned()
    } else {
        lines.join("; ")
    }))
}
