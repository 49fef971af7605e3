//! Running a small program whose answer is wanted soon or not at all.

use std::{
    io::{self, Read},
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, Signal},
};

/// Longest run. The program answers within 50 ms; on a host that is busy rebuilding itself, seconds.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Longest answer, in bytes. It is one line of JSON.
const MAX_OUTPUT: usize = 64 * 1024;

/// Pause between looks whether a program that has closed its output has ended too. It usually has.
const PAUSE: Duration = Duration::from_millis(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("cannot be started or heard")]
    Io(#[from] io::Error),
    #[error("took longer than {TIME_LIMIT:?}")]
    TooSlow,
    #[error("wrote more than {MAX_OUTPUT} bytes")]
    TooMuch,
    #[error("ended with {0}")]
    Failed(ExitStatus),
}

impl ProgramError {
    /// Whether the same program might answer another time.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::TooSlow)
    }
}

/// What a program writes to its standard output. It sees nothing of this process's environment but
/// `PATH`: the token may be in there. One that is too slow is killed with all its children.
pub(super) fn output(program: &Path, arguments: &[&str]) -> Result<Vec<u8>, ProgramError> {
    output_within(program, arguments, TIME_LIMIT)
}

fn output_within(program: &Path, arguments: &[&str], limit: Duration) -> Result<Vec<u8>, ProgramError> {
    let deadline = Instant::now() + limit;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    // A group of its own, to be killed as one.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let answer = listen(&mut child, deadline);
    if answer.is_err() {
        kill(&mut child);
    }
    answer
}

fn listen(child: &mut Child, deadline: Instant) -> Result<Vec<u8>, ProgramError> {
    let mut answer = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        let mut piece = [0; 4096];
        loop {
            wait_for_input(stdout, deadline)?;
            match stdout.read(&mut piece)? {
                0 => break,
                length => answer.extend_from_slice(&piece[..length]),
            }
            if answer.len() > MAX_OUTPUT {
                return Err(ProgramError::TooMuch);
            }
        }
    }
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(answer),
            Some(status) => return Err(ProgramError::Failed(status)),
            None if Instant::now() >= deadline => return Err(ProgramError::TooSlow),
            None => thread::sleep(PAUSE),
        }
    }
}

/// Returns when a read would not wait.
fn wait_for_input(input: &impl AsFd, deadline: Instant) -> Result<(), ProgramError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ProgramError::TooSlow);
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

fn kill(child: &mut Child) {
    // Not yet waited for, so the number still is this program's; after a failure it was, and its
    // group is gone or holds children that nobody waits for.
    if matches!(child.try_wait(), Ok(None))
        && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        let _gone_in_between = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let _status_of_no_interest = child.wait();
}

#[cfg(test)]
mod tests;
