//! A small program whose answer is awaited beside other events.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use super::{Limit, MAX_OUTPUT, ProgramError, kill_group, spawn};

/// A running program. Its owner polls the file descriptor of its output, and calls [`Self::answer`] when that
/// is readable and at [`Self::deadline`]. Dropping it kills the program.
#[derive(Debug)]
pub struct Background {
    child: Child,
    output: PipeReader,
    text: Vec<u8>,
    limit: Limit,
    /// Somebody else has waited for the process, so its id may belong to another process by now.
    reaped: bool,
}

impl Background {
    /// Starts a program with the environment of [`outcome`](super::outcome). `limit` is its timeout.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, arguments: &[&str], limit: Duration) -> io::Result<Self> {
        let (child, output) = spawn(program, arguments, &[], false)?;
        let limit = Limit { span: limit, at: Instant::now() + limit };
        let background = Self { child, output, text: Vec::new(), limit, reaped: false };
        rustix::io::ioctl_fionbio(&background.output, true)?;
        Ok(background)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When [`Self::answer`] gives up.
    pub fn deadline(&self) -> Instant {
        self.limit.at
    }

    /// The owner waits for all its child processes, and this one was among them.
    pub fn was_reaped(&mut self) {
        self.reaped = true;
    }

    /// The standard output of the program once it has closed it, without blocking; `None` until then.
    ///
    /// # Errors
    /// [`ProgramError`]; an exit code is not looked at.
    pub fn answer(&mut self) -> Option<Result<String, ProgramError>> {
        let mut piece = [0; 4096];
        loop {
            match self.output.read(&mut piece) {
                Ok(0) => return Some(Ok(String::from_utf8_lossy(&self.text).into_owned())),
                Ok(length) => self.text.extend_from_slice(&piece[..length]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) => return Some(Err(err.into())),
            }
            if self.text.len() > MAX_OUTPUT {
                return Some(Err(ProgramError::TooMuch));
            }
        }
        (Instant::now() >= self.limit.at).then_some(Err(ProgramError::TooSlow(self.limit.span)))
    }
}

impl AsFd for Background {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

impl Drop for Background {
    /// Does not wait for the end of the process, which may take long. Its owner reaps it.
    fn drop(&mut self) {
        if !self.reaped {
            kill_group(&mut self.child);
        }
    }
}
