//! Processes below this one and the signals that it gets, as a handle: those of the kernel, or those of a simulated
//! one.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::service_manager::Shutdown;

/// An output of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What a simulated process has in place of the kernel.
pub trait Programs: fmt::Debug + Send + Sync {
    /// The process id of this process.
    fn own_pid(&self) -> u32;
    /// Starts a program; returns its process id.
    ///
    /// # Errors
    /// When it cannot be started.
    fn spawn(&self, argv: &[String]) -> io::Result<u32>;
    /// Reads output of the program that was started last; 0 bytes are the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none yet.
    fn read(&self, output: Output, buffer: &mut [u8]) -> io::Result<usize>;
    /// Waits until there is output, a signal, or the end of a process, at most `limit`. Returns which outputs can be
    /// read: standard output, standard error.
    fn wait(&self, limit: Option<Duration>) -> (bool, bool);
    /// Whether this signal has arrived since the last call.
    fn take_signal(&self, signal: i32) -> bool;
    /// Whether a signal has arrived that was not taken.
    fn has_signals(&self) -> bool;
    /// A process below this one that has ended, with its exit code or the signal that ended it.
    fn reap(&self) -> Option<(u32, Result<i32, i32>)>;
    /// Sends a signal to all processes below this one.
    fn signal_all(&self, signal: i32);
    /// Whether no process is left below this one.
    fn is_gone(&self) -> bool;
    /// Whether one of the processes below this one activates a system.
    fn activates(&self) -> bool;
    /// The processes of the unit in which `nixos-rebuild` lets the service manager activate a system; none if it is not
    /// active.
    fn activation_unit(&self) -> Vec<u32> {
        Vec::new()
    }
    /// Whether the machine goes down.
    fn going_down(&self) -> Shutdown;
    /// Sends a signal to another process.
    ///
    /// # Errors
    /// When there is no such process.
    fn kill(&self, pid: u32, signal: i32) -> io::Result<()>;
}

/// The processes that a process sees. A clone belongs to the same process.
#[derive(Debug, Clone, Default)]
pub struct Processes(Option<Arc<dyn Programs>>);

impl Processes {
    /// The processes that a simulated process sees.
    pub fn simulated(programs: Arc<dyn Programs>) -> Self {
        Self(Some(programs))
    }

    /// What stands in place of the kernel; none on a real machine.
    pub fn simulation(&self) -> Option<&Arc<dyn Programs>> {
        self.0.as_ref()
    }

    /// The process id of this process.
    pub fn own_pid(&self) -> u32 {
        self.0.as_ref().map_or_else(std::process::id, |programs| programs.own_pid())
    }
}
