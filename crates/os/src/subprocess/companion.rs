//! A program that lives beside this process, and answers each line with a line.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::leftovers::PATIENCE;
use super::{Limit, MAX_OUTPUT, PAUSE, ProgramError, kill_group, wait_for_input};

/// A running companion. Its standard input is a socket, on which it gets lines and answers them. When this process
/// ends, or drops the companion, it finds the end of its input.
#[derive(Debug)]
pub struct Companion {
    child: Child,
    socket: UnixStream,
    /// What it wrote and nobody has taken.
    text: Vec<u8>,
}

impl Companion {
    /// Starts a program. Of this process's environment it gets the variables `kept` and no others, because the token
    /// may be in one. What it writes to standard output and standard error is dropped.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, arguments: &[OsString], kept: &[&str]) -> io::Result<Self> {
        let (socket, its) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command.envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // A process group of its own: its children can be killed with it, and Ctrl-C on a terminal is not for it.
        command.process_group(0).stdin(OwnedFd::from(its)).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn()?, socket, text: Vec::new() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line, without waiting for room.
    ///
    /// # Errors
    /// It has ended, or does not take lines any more.
    pub fn ask(&mut self, line: &str) -> Result<(), ProgramError> {
        // A companion that takes each line leaves room for one.
        match self.socket.write_all(format!("{line}\n").as_bytes()) {
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Err(self.ended()),
            written => Ok(written?),
        }
    }

    /// The next line of the program, waited for no longer than `limit`; `None` if there is none by then.
    ///
    /// # Errors
    /// It has ended, or wrote more than 64 KiB in one line.
    pub fn answer(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, ProgramError> {
        let limit = Limit { span: limit, at: Instant::now() + limit };
        let mut piece = [0; 4096];
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let rest = self.text.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.text, rest);
                line.pop();
                return Ok(Some(line));
            }
            if self.text.len() > MAX_OUTPUT {
                return Err(ProgramError::TooMuch);
            }
            match self.socket.read(&mut piece) {
                Ok(0) => return Err(self.ended()),
                Ok(length) => self.text.extend_from_slice(&piece[..length]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::ConnectionReset => return Err(self.ended()),
                Err(err) if err.kind() != io::ErrorKind::WouldBlock => return Err(err.into()),
                Err(_nothing_yet) => match wait_for_input(&self.socket, limit) {
                    Err(ProgramError::TooSlow(_)) => return Ok(None),
                    waited => waited?,
                },
            }
        }
    }

    /// Lets it find the end of its input, so that it ends by itself.
    pub fn dismiss(&self) {
        // An error means that it has ended already.
        drop(self.socket.shutdown(Shutdown::Both));
    }

    /// Kills it with its process group. It may take long to end, if it waits in the kernel.
    pub fn kill(&mut self) {
        kill_group(&mut self.child);
    }

    /// Whether its process has ended. It is a zombie until somebody asks.
    pub fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it and waits for its end, but not for long.
    ///
    /// # Errors
    /// [`ProgramError::Hangs`] if it does not end.
    pub fn end(self) -> Result<(), ProgramError> {
        super::LEFTOVERS.end(self.child)
    }

    /// How it ended, after it has closed its socket. One that goes on without is killed.
    fn ended(&mut self) -> ProgramError {
        match self.status() {
            Some(status) => ProgramError::Failed(status),
            None => {
                self.kill();
                io::Error::from(io::ErrorKind::UnexpectedEof).into()
            }
        }
    }

    fn status(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < until => thread::sleep(PAUSE),
                ended => return ended.ok().flatten(),
            }
        }
    }
}
