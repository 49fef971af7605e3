//! Supervisors as detached processes.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{LaunchError, Launcher, PREFIX, READY, START_PATIENCE};
use nixfleet_jobs::{Instance, JobDir, Urgency, signal_supervisor};

/// The most of a failed supervisor's message that is kept, in bytes.
const MAX_COMPLAINT: u64 = 4096;

/// Stack of the thread that waits for a supervisor, in bytes: it only waits.
const WAIT_STACK: usize = 64 * 1024;

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

    fn end(&self, _: &Instance, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError> {
        Ok(signal_supervisor(dir, urgency)?)
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
