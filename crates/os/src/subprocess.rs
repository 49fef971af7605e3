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

/// Longest answer, in bytes. The answers that are wanted have a line or two.
const MAX_OUTPUT: usize = 64 * 1024;

/// Pause between looks whether a program that has closed its output has ended too. It usually has.
const PAUSE: Duration = Duration::from_millis(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It did not start, or its output could not be read.
    #[error("cannot be started or heard")]
    Io(#[from] io::Error),
    /// It was killed after the time it had.
    #[error("took longer than {0:?}")]
    TooSlow(Duration),
    /// It was killed after the most that it may write.
    #[error("wrote more than {MAX_OUTPUT} bytes")]
    TooMuch,
    /// It ended badly.
    #[error("ended with {0}")]
    Failed(ExitStatus),
}

impl ProgramError {
    /// Whether the same program might answer another time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TooSlow(_))
    }
}

/// What a program that ended well wrote to its standard output.
///
/// # Errors
/// [`ProgramError`].
pub fn output(program: &Path, arguments: &[&str], limit: Duration) -> Result<Vec<u8>, ProgramError> {
    let (status, answer) = run(program, arguments, &[], limit, false)?;
    if status.success() { Ok(answer) } else { Err(ProgramError::Failed(status)) }
}

/// How a program ended, and all it wrote, errors included. It sees `environment` besides the little
/// that every program gets; a `PATH` in there is also where it is looked for.
///
/// # Errors
/// [`ProgramError`], never [`ProgramError::Failed`].
pub fn outcome(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
) -> Result<(ExitStatus, String), ProgramError> {
    let (status, answer) = run(program, arguments, environment, limit, true)?;
    Ok((status, String::from_utf8_lossy(&answer).into_owned()))
}

/// The program sees nothing of this process's environment but `PATH`: the token may be in there. One
/// that is too slow is killed with all its children.
fn run(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
    with_errors: bool,
) -> Result<(ExitStatus, Vec<u8>), ProgramError> {
    let limit = Limit { span: limit, at: Instant::now() + limit };
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    // Messages are compared and shown: they come in one language.
    command.args(arguments).env_clear().env("LC_ALL", "C");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.envs(environment.iter().copied());
    let errors = if with_errors { Stdio::from(writer.try_clone()?) } else { Stdio::null() };
    // A group of its own, to be killed as one.
    command.process_group(0).stdin(Stdio::null()).stdout(writer).stderr(errors);
    let mut child = command.spawn()?;
    // It holds the pipe's writing ends.
    drop(command);
    let ended = listen(&mut child, reader, limit);
    if ended.is_err() {
        kill(&mut child);
    }
    ended
}

/// How long, and so until when.
#[derive(Clone, Copy)]
struct Limit {
    span: Duration,
    at: Instant,
}

fn listen(
    child: &mut Child,
    mut output: io::PipeReader,
    limit: Limit,
) -> Result<(ExitStatus, Vec<u8>), ProgramError> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        wait_for_input(&output, limit)?;
        match output.read(&mut piece)? {
            0 => break,
            length => answer.extend_from_slice(&piece[..length]),
        }
        if answer.len() > MAX_OUTPUT {
            return Err(ProgramError::TooMuch);
        }
    }
    loop {
        match child.try_wait()? {
            Some(status) => return Ok((status, answer)),
            None if Instant::now() >= limit.at => return Err(ProgramError::TooSlow(limit.span)),
            None => thread::sleep(PAUSE),
        }
    }
}

/// Returns when a read would not wait.
fn wait_for_input(input: &impl AsFd, limit: Limit) -> Result<(), ProgramError> {
    loop {
        let left = limit.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ProgramError::TooSlow(limit.span));
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
