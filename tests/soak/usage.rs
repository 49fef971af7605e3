//! What this process uses: memory, threads, descriptors.

use std::alloc::System;
use std::fs;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What this process uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Resident memory, in KiB.
    pub(crate) rss: usize,
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Bytes on the heap. Every queue and map of the agent is in there, to the byte.
    pub(crate) heap: usize,
    /// Allocations that were not freed.
    pub(crate) blocks: usize,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let stats = ALLOCATOR.stats();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| -> usize {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            rss: field("VmRSS:"),
            threads: field("Threads:"),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            heap: stats.bytes_allocated - stats.bytes_deallocated,
            blocks: stats.allocations - stats.deallocations,
        }
    }
}
