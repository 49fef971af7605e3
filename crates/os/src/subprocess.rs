//! Runs a small program with a timeout and a limit of its output; a companion answers lines for as long as this process
//! wants.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};

pub use attendance::attend;
pub use background::Background;
pub use companion::Companion;
use leftovers::Leftovers;

mod attendance;
mod background;
mod companion;
mod leftovers;

/// Longest output, in bytes. The expected output has a line or two.
const MAX_OUTPUT: usize = 64 * 1024;

/// Bytes kept of an output of any length: enough for the last lines, which say why a program failed.
const TAIL: usize = 4 * 1024;

/// Polling interval while waiting for the end of a program that has closed its output. Usually it has ended
/// already.
const PAUSE: Duration = Duration::from_millis(5);

/// The program failed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started, or its output could not be read.
    #[error("cannot be started or heard")]
    Io(#[from] io::Error),
    /// It was killed after its timeout.
    #[error("took longer than {0:?}")]
    TooSlow(Duration),
    /// It was killed because it wrote too much.
    #[error("wrote more than {MAX_OUTPUT} bytes")]
    TooMuch,
    /// It was killed, and does not end: it waits in the kernel. The number is its process id.
    #[error("hangs in the kernel as process {0}, for example because a disk does not answer; it was killed")]
    Hangs(u32),
    /// It was not started.
    #[error("was not started: {} programs hang in the kernel already", leftovers::MAX_LEFTOVERS)]
    TooManyHang,
    /// It ended with an exit code other than 0, or by a signal; a companion: it ended.
    #[error("ended with {0}")]
    Failed(ExitStatus),
}

impl ProgramError {
    /// Whether it was a timeout, so that another attempt may succeed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TooSlow(_) | Self::Hangs(_) | Self::TooManyHang)
    }
}

/// The programs of this process that hang in the kernel.
static LEFTOVERS: Leftovers = Leftovers::new();

/// Which output is read, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Standard output. A program that writes more than [`MAX_OUTPUT`] is killed.
    Output,
    /// Standard output and standard error as one. A program that writes more than [`MAX_OUTPUT`] is killed.
    Both,
    /// The last [`TAIL`] bytes of both. All that is before them is read and dropped.
    Tail,
}

/// Runs a program and returns its standard output. `limit` is the timeout.
///
/// # Errors
/// [`ProgramError`]; also if the program does not end with exit code 0.
pub fn output(program: &Path, arguments: &[&str], limit: Duration) -> Result<Vec<u8>, ProgramError> {
    let (status, answer) = run(program, arguments, &[], limit, Wanted::Output, &LEFTOVERS)?;
    if status.success() { Ok(answer) } else { Err(ProgramError::Failed(status)) }
}

/// Runs a program and returns its exit status, and its standard output and standard error as one text.
/// `limit` is the timeout. `environment` is added to the minimal environment of the program; a `PATH` in it
/// is also used to find the program.
///
/// # Errors
/// [`ProgramError`], but never [`ProgramError::Failed`].
pub fn outcome(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
) -> Result<(ExitStatus, String), ProgramError> {
    let (status, answer) = run(program, arguments, environment, limit, Wanted::Both, &LEFTOVERS)?;
    Ok((status, String::from_utf8_lossy(&answer).into_owned()))
}

/// As [`outcome`], for a program that may write as much as it likes: the text is the last 4 KiB.
///
/// # Errors
/// [`ProgramError`], but never [`ProgramError::Failed`] nor [`ProgramError::TooMuch`].
pub fn outcome_with_tail(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
) -> Result<(ExitStatus, String), ProgramError> {
    let (status, tail) = run(program, arguments, environment, limit, Wanted::Tail, &LEFTOVERS)?;
    Ok((status, String::from_utf8_lossy(&tail).into_owned()))
}

/// The program gets only `PATH` of this process's environment, because the token may be in the environment.
/// After the timeout it is killed with its process group. A program that does not end then is given up.
fn run(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
    wanted: Wanted,
    leftovers: &Leftovers,
) -> Result<(ExitStatus, Vec<u8>), ProgramError> {
    leftovers.admit()?;
    let limit = Limit { span: limit, at: Instant::now() + limit };
    let (mut child, reader) = spawn(program, arguments, environment, wanted != Wanted::Output)?;
    let result = read_output(&mut child, reader, limit, wanted);
    if result.is_err() {
        leftovers.end(child)?;
    }
    result
}

/// Starts a program in a process group of its own, so that its children can be killed with it.
fn spawn(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    with_errors: bool,
) -> io::Result<(Child, io::PipeReader)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    // Messages are compared and shown, so they must be in English.
    command.args(arguments).env_clear().env("LC_ALL", "C");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.envs(environment.iter().copied());
    let errors = if with_errors { Stdio::from(writer.try_clone()?) } else { Stdio::null() };
    command.process_group(0).stdin(Stdio::null()).stdout(writer).stderr(errors);
    // `command` holds write ends of the pipe. While they are open, the output does not end.
    Ok((command.spawn()?, reader))
}

/// A timeout, and the deadline that follows from it.
#[derive(Debug, Clone, Copy)]
struct Limit {
    span: Duration,
    at: Instant,
}

fn read_output(
    child: &mut Child,
    mut output: io::PipeReader,
    limit: Limit,
    wanted: Wanted,
) -> Result<(ExitStatus, Vec<u8>), ProgramError> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        wait_for_input(&output, limit)?;
        match output.read(&mut piece)? {
            0 => break,
            length => answer.extend_from_slice(&piece[..length]),
        }
        if wanted == Wanted::Tail {
            answer.drain(..answer.len().saturating_sub(TAIL));
        } else if answer.len() > MAX_OUTPUT {
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

/// Waits until a read would not block.
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

fn kill_group(child: &mut Child) {
    // Until the child has been waited for, its process id cannot be reused. If it has been waited for, the
    // group is not signalled.
    if matches!(child.try_wait(), Ok(None))
        && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        let _gone_in_between = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests;
