//! Counters of each collector: its cost and its failures.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nixfleet_os::error;

use crate::fault::Faults;
use crate::source::Sample;

/// The counters of one collector. Each counter is exact, but two counters may be of slightly different
/// moments.
#[derive(Debug)]
pub struct Collector {
    name: &'static str,
    runs: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    last: AtomicU64,
    total: AtomicU64,
    running: AtomicBool,
    failing: AtomicBool,
}

/// A copy of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorStats {
    /// Name, such as `cpu`.
    pub name: &'static str,
    /// Count of completed runs, successful or not.
    pub runs: u64,
    /// Count of failed runs. A source that the host does not have is no failure.
    pub errors: u64,
    /// Count of runs that exceeded their time limit, completed or not.
    pub timeouts: u64,
    /// Duration of the last run.
    pub last: Duration,
    /// Duration of all runs together.
    pub total: Duration,
}

impl Collector {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            runs: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            last: AtomicU64::new(0),
            total: AtomicU64::new(0),
            running: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        }
    }

    /// A copy of the counters.
    pub fn stats(&self) -> CollectorStats {
        CollectorStats {
            name: self.name,
            runs: self.runs.load(Relaxed),
            errors: self.errors.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
            last: Duration::from_nanos(self.last.load(Relaxed)),
            total: Duration::from_nanos(self.total.load(Relaxed)),
        }
    }

    /// Runs a measurement and counts it. A failed measurement gives None.
    pub(super) fn run<T>(&self, measure: impl FnOnce() -> Sample<T>) -> Option<T> {
        let started = Instant::now();
        self.running.store(true, Relaxed);
        let sample = measure();
        self.running.store(false, Relaxed);
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(nanos, Relaxed);
        self.total.fetch_add(nanos, Relaxed);
        self.runs.fetch_add(1, Relaxed);
        let failed = sample.is_err();
        // Only the first failure in a row is logged: a broken disk fails several times a minute.
        let changed = self.failing.swap(failed, Relaxed) != failed;
        match sample {
            Ok(value) => value,
            Err(failure) => {
                if failure.is_timeout() {
                    self.timeouts.fetch_add(1, Relaxed);
                } else {
                    self.errors.fetch_add(1, Relaxed);
                }
                if changed {
                    tracing::debug!(collector = self.name, "No reading: {}.", error::chain(&failure));
                }
                None
            }
        }
    }

    /// Counts a run that panicked.
    pub(super) fn panicked(&self) {
        self.running.store(false, Relaxed);
        self.errors.fetch_add(1, Relaxed);
    }

    /// Counts a run that exceeded its time limit.
    pub(super) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Relaxed);
        tracing::warn!(
            collector = self.name,
            "A look at the host hangs; its value is unknown until it ends."
        );
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }
}

/// The collectors of the host.
#[derive(Debug)]
#[expect(missing_docs, reason = "named after what they measure")]
pub struct Collectors {
    pub cpu: Collector,
    pub memory: Collector,
    pub zfs: Collector,
    pub load: Collector,
    pub uptime: Collector,
    pub pressure: Collector,
    pub network: Collector,
    pub disk_io: Collector,
    pub boot_id: Collector,
    pub mounts: Collector,
    pub disks: Collector,
    pub temperatures: Collector,
    pub units: Collector,
    pub reboot: Collector,
    /// The files that could not be read or understood.
    pub faults: Faults,
}

impl Default for Collectors {
    fn default() -> Self {
        Self {
            cpu: Collector::new("cpu"),
            memory: Collector::new("memory"),
            zfs: Collector::new("zfs"),
            load: Collector::new("load"),
            uptime: Collector::new("uptime"),
            pressure: Collector::new("pressure"),
            network: Collector::new("network"),
            disk_io: Collector::new("disk_io"),
            boot_id: Collector::new("boot_id"),
            mounts: Collector::new("mounts"),
            disks: Collector::new("disks"),
            temperatures: Collector::new("temperatures"),
            units: Collector::new("units"),
            reboot: Collector::new("reboot"),
            faults: Faults::default(),
        }
    }
}

impl Collectors {
    /// The collectors that read nothing but /proc.
    pub(super) fn of_proc(&self) -> [&Collector; 9] {
        [
            &self.cpu,
            &self.memory,
            &self.zfs,
            &self.load,
            &self.uptime,
            &self.pressure,
            &self.network,
            &self.disk_io,
            &self.boot_id,
        ]
    }

    /// A copy of the counters of each collector.
    pub fn stats(&self) -> Vec<CollectorStats> {
        let others = [&self.mounts, &self.disks, &self.temperatures, &self.units, &self.reboot];
        self.of_proc().into_iter().chain(others).map(Collector::stats).collect()
    }
}
