//! Helpers for tests, also for those of other crates.

use std::time::{Duration, Instant};

use crate::JobDir;
use crate::journal::supervisor_lives;

/// Waits until the lock of a dropped writer is free. A process that another test is forking holds a copy of
/// the lock until it has called `exec`.
///
/// # Panics
/// When the lock is still held after 20 s, or when the log does not exist.
pub fn wait_until_dead(dir: &JobDir) {
    let begun = Instant::now();
    while supervisor_lives(dir).expect("the job has a log") {
        assert!(begun.elapsed() < Duration::from_secs(20), "the lock is still held");
        std::thread::yield_now();
    }
}
