//! Resources of the agent's own process.

use std::fs;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use nixfleet_os::bounded_read;

/// Longest file read, in bytes. /proc/self/status has 1.5 KB.
const LIMIT: u64 = 64 * 1024;

/// Memory, processor time, open files and threads of this process. Unknown values are none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessUsage {
    /// Resident memory, in bytes.
    pub rss: Option<u64>,
    /// Processor time of all threads together, in seconds.
    pub cpu_s: Option<f64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl ProcessUsage {
    /// Reads the values of this process from procfs. Takes about 50 us; procfs needs neither disk nor network.
    pub fn read() -> Self {
        let process = Path::new("/proc/self");
        let status = bounded_read::read(&process.join("status"), LIMIT).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            rss: field(&status, "VmRSS:").map(|kilobytes| kilobytes.saturating_mul(1024)),
            cpu_s: Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9),
            // Reading the folder opens one file itself.
            open_files: fs::read_dir(process.join("fd"))
                .ok()
                .map(|files| (files.count() as u64).saturating_sub(1)),
            threads: field(&status, "Threads:"),
        }
    }
}

/// The number after `name` at the beginning of a line.
fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names_or_not_at_all() {
        let status = "Name:\tnixfleet VmRSS: 7\nVmRSS:\t   12345 kB\nThreads:\t5\nVmSwap:\tmany\n";
        for (name, wanted) in
            [("VmRSS:", Some(12345)), ("Threads:", Some(5)), ("VmSwap:", None), ("VmPeak:", None)]
        {
            assert_eq!(field(status, name), wanted, "{name}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_takes_what_the_kernel_says_it_takes() {
        let before = ProcessUsage::read();
        let files: Vec<_> = (0..3).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = ProcessUsage::read();
        assert!(after.rss.unwrap() > 1024 * 1024);
        assert!(after.cpu_s.unwrap() > 0.0 && after.threads.unwrap() >= 1);
        // Other tests in this process open and close files as well.
        assert!(after.open_files.unwrap() >= 3 + files.len() as u64, "{before:?} {after:?}");
    }
}
