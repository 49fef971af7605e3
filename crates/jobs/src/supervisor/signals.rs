//! The signals that a supervisor gets.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nixfleet_os::Machine;
use nixfleet_os::processes::Programs;
use nixfleet_os::signals::survive;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGTERM};

use crate::Urgency;

/// The signals that mean something to a supervisor.
pub(super) enum Signals {
    /// A pipe for each of them.
    Real([(i32, UnixStream); 4]),
    Simulated(Arc<dyn Programs>),
}

impl Signals {
    /// Handles them from now on.
    pub(super) fn listen(machine: &Machine) -> io::Result<Self> {
        if let Some(programs) = machine.processes.simulation() {
            return Ok(Self::Simulated(Arc::clone(programs)));
        }
        let pipe = |signal: i32| {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal, write)?;
            io::Result::Ok((signal, read))
        };
        // A supervisor that one of these ended would leave its command running, and tell nobody how that ends. The
        // command itself may send them.
        survive(&[Signal::HUP, Signal::QUIT, Signal::ABORT])?;
        Ok(Self::Real([
            pipe(Urgency::Stop.signal().as_raw())?,
            pipe(SIGTERM)?,
            pipe(Urgency::Kill.signal().as_raw())?,
            pipe(SIGCHLD)?,
        ]))
    }

    /// Where to wait for them.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pipes: &[(i32, UnixStream)] = match self {
            Self::Real(pipes) => pipes,
            Self::Simulated(_) => &[],
        };
        pipes.iter().map(|(_, pipe)| pipe.as_fd())
    }

    /// Whether a signal to end the command waits to be taken.
    pub(super) fn any_to_end(&self) -> bool {
        match self {
            Self::Real(pipes) => {
                let to_end = pipes.iter().filter(|(signal, _)| *signal != SIGCHLD);
                let mut fds: Vec<PollFd<'_>> =
                    to_end.map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)).collect();
                poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
            }
            Self::Simulated(programs) => programs.has_signals(),
        }
    }

    /// Whether this signal has arrived since the last call.
    pub(super) fn take(&mut self, signal: i32) -> bool {
        match self {
            Self::Real(pipes) => {
                pipes.iter_mut().filter(|(of, _)| *of == signal).any(|(_, pipe)| drained(pipe))
            }
            Self::Simulated(programs) => programs.take_signal(signal),
        }
    }
}

/// Empties the pipe of a signal; returns whether it held anything.
fn drained(pipe: &mut UnixStream) -> bool {
    let mut buffer = [0; 64];
    let mut any = false;
    while matches!(pipe.read(&mut buffer), Ok(1..)) {
        any = true;
    }
    any
}
