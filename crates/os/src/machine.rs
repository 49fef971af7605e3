//! The machine that files, times and threads belong to: this one, or a simulated one.

use crate::clock::Clock;
use crate::disk::Disk;
use crate::threads::Threads;

/// Disk, clock and threads of a process on a machine. A clone is the same; the default is this process.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The file system.
    pub disk: Disk,
    /// The clock.
    pub clock: Clock,
    /// The threads of the process.
    pub threads: Threads,
}
