//! Ends everything that the demo has started. A command outlives its agent, and the guard of a new system outlives both:
//! the kernel gives orphans to the nearest process above them that asked for them, and two processes of the demo do.

use std::fs;
use std::time::{Duration, Instant};

use nixfleet_jobs::{JobsDir, Urgency, signal_supervisor};

/// Longest wait for the end of a running job.
const JOB_LIMIT: Duration = Duration::from_secs(3);

/// How often to look whether something has ended.
const TICK: Duration = Duration::from_millis(10);

/// Makes this process the parent of orphans below it.
pub(super) fn adopt_orphans() {
    // Without that, a job may be left that does not end when its supervisor is told to.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).ok();
}

/// Kills running jobs by their supervisors.
pub(super) fn end_jobs(jobs: &JobsDir) {
    let names = fs::read_dir(jobs.path()).into_iter().flatten().flatten();
    let ids = names.filter_map(|item| item.file_name().to_str()?.parse().ok());
    for dir in ids.map(|id| jobs.job(&id)) {
        let started = Instant::now();
        // For a job that has ended, this returns an error.
        while signal_supervisor(&dir, Urgency::Kill).is_ok() && started.elapsed() < JOB_LIMIT {
            std::thread::sleep(TICK);
        }
    }
}

/// Kills all processes below this one, until there are none. False if some are left after the limit, as those that hang
/// in the kernel are.
#[cfg(target_os = "linux")]
pub(super) fn end_descendants(limit: Duration) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Signal, WaitOptions, kill_process, wait};

    let begun = Instant::now();
    loop {
        for pid in descendants() {
            // An error means that it has ended.
            kill_process(pid, Signal::KILL).ok();
        }
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                // Orphans come here, so without a child there is nothing below either.
                Err(_) => return true,
                Ok(None) => break,
            }
        }
        if begun.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(TICK);
    }
}

/// Elsewhere there are no orphans to look for: the supervisors end what is theirs.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_descendants(_limit: Duration) -> bool {
    true
}

/// All processes below this one. One that is begun meanwhile may be missing.
#[cfg(target_os = "linux")]
fn descendants() -> Vec<rustix::process::Pid> {
    use std::collections::HashMap;

    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        if let Ok(stat) = process.stat() {
            children.entry(stat.ppid).or_default().push(stat.pid);
        }
    }
    let mut found = vec![rustix::process::getpid().as_raw_pid()];
    let mut looked_at = 0;
    while let Some(parent) = found.get(looked_at).copied() {
        // Removed, so that a table that changes while it is read makes no circle.
        found.extend(children.remove(&parent).unwrap_or_default());
        looked_at += 1;
    }
    found.into_iter().skip(1).filter_map(rustix::process::Pid::from_raw).collect()
}
