//! Helper processes: the commands of the agent, and the load.

use std::io::{self, BufWriter, Write};
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lateness::unix_ms;

/// Time between two lines in the latency phase.
pub(crate) const LINE_EVERY: Duration = Duration::from_millis(20);

/// Prints lines as fast as they are read, until there are so many or the time is over.
pub(crate) fn print_lines(count: u64, seconds: u64) -> ExitCode {
    /// Lines between two looks at the clock.
    const LOOK: u64 = 1024;
    let begun = Instant::now();
    let mut out = BufWriter::with_capacity(8 * 1024, io::stdout().lock());
    for n in 1..=count {
        if writeln!(out, "{n}").is_err() || (n % LOOK == 0 && begun.elapsed().as_secs() >= seconds) {
            break;
        }
    }
    out.flush().ok();
    ExitCode::SUCCESS
}

/// Prints the current time at a fixed pace.
pub(crate) fn print_times(seconds: u64) -> ExitCode {
    let begun = Instant::now();
    while begun.elapsed().as_secs() < seconds {
        // One write for each line: standard output is flushed at its end.
        println!("{:.3}", unix_ms());
        sleep(LINE_EVERY);
    }
    ExitCode::SUCCESS
}

/// Uses one core until it or its parent is killed.
pub(crate) fn spin() -> ExitCode {
    let parent = parent_id();
    let mut value = 1_u64;
    while parent_id() == parent {
        for _ in 0..10_000_000 {
            value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
    ExitCode::SUCCESS
}
