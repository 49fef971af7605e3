//! Programs that SIGKILL does not end, because they wait in the kernel for a disk or a file server that does not
//! answer. Nobody waits for them without a bound, and they do not become many.

use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{PAUSE, ProgramError, kill_group};

/// Longest wait for the end of a program after SIGKILL. It takes milliseconds, unless the program hangs in the
/// kernel. Short enough to be a small part of each caller's own time limit.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Most programs that hang in the kernel at once. Each is a process and what it holds. Whatever they wait for,
/// the next program would most likely wait for it as well.
pub(super) const MAX_LEFTOVERS: usize = 8;

/// The programs that were given up.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<Vec<Child>>);

impl Leftovers {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Whether another program may be started.
    ///
    /// # Errors
    /// [`ProgramError::TooManyHang`].
    pub(super) fn admit(&self) -> Result<(), ProgramError> {
        if self.count() < MAX_LEFTOVERS { Ok(()) } else { Err(ProgramError::TooManyHang) }
    }

    /// How many still hang. Those that have ended meanwhile are reaped.
    pub(super) fn count(&self) -> usize {
        let mut children = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An error means that somebody else has waited for it.
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        children.len()
    }

    /// Kills a program with its process group, and waits for its end, but not for long.
    ///
    /// # Errors
    /// [`ProgramError::Hangs`] if it does not end.
    pub(super) fn end(&self, mut child: Child) -> Result<(), ProgramError> {
        kill_group(&mut child);
        let until = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                let pid = child.id();
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(child);
                return Err(ProgramError::Hangs(pid));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}
