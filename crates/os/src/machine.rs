//! The machine that files, times, threads and processes belong to: this one, or a simulated one.

use crate::clock::Clock;
use crate::disk::Disk;
use crate::processes::Processes;
use crate::threads::Threads;

/// Disk, clock, threads and processes, as a process on a machine has them. A clone is the same; the default is this
/// process.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The file system.
    pub disk: Disk,
    /// The clock.
    pub clock: Clock,
    /// The threads of the process.
    pub threads: Threads,
    /// The processes that it sees.
    pub processes: Processes,
}
