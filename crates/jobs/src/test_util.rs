//! Helpers for tests, also for those of other crates.

use std::time::{Duration, Instant};

use crate::JobDir;
use crate::journal::supervisor_lives;

/// Waits until the lock of a writer that was dropped is free. A program that another test is just starting
/// holds a copy of it until it has begun.
///
/// # Panics
/// When the lock is still held after 20 s, or there is no such log.
pub fn wait_until_dead(dir: &JobDir) {
    let begun = Instant::now();
    while supervisor_lives(dir).expect("the job has a log") {
        assert!(begun.elapsed() < Duration::from_secs(20), "the lock is still held");
        std::thread::yield_now();
    }
}
