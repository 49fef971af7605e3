//! Starts and stops the threads that measure, and gives access to their snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use nixfleet_os::sync::mpsc::{self, SyncSender};
use tokio::sync::watch;

use crate::clock::Moment;
use crate::collector::Collectors;
use crate::disk;
use crate::scheduler::{self, Scheduler, Statvfs};
use crate::settings::Settings;
use crate::snapshot::Vitals;

/// Most events that wait for the scheduler. It handles one in a few microseconds.
const EVENTS: usize = 16;

/// Stack of the scheduler, in bytes. It touches no file.
const STACK: usize = 128 * 1024;

/// The newest vitals, kept up to date by threads that end when this is dropped. Dropping does not wait for
/// the threads, because one may hang in a file system.
#[derive(Debug)]
pub struct VitalsHandle {
    newest: watch::Receiver<Vitals>,
    events: SyncSender<scheduler::Event>,
    stop: Arc<AtomicBool>,
    collectors: Arc<Collectors>,
}

impl VitalsHandle {
    /// The values for a heartbeat at `now`, without those that are too old. Touches no file and never waits.
    pub fn at(&self, now: Moment) -> Vitals {
        self.newest.borrow().at(now)
    }

    /// The snapshot, for waiting for changes. It may have old values; [`Vitals::at`] removes them.
    pub fn watch(&self) -> watch::Receiver<Vitals> {
        self.newest.clone()
    }

    /// Requests a new reading of what a job may have changed: failed units, and whether a reboot is required.
    /// Does not wait.
    pub fn refresh(&self) {
        // If the queue is full, the scheduler is about to read anyway.
        drop(self.events.try_send(scheduler::Event::Refresh));
    }

    /// The counters of each collector.
    pub fn collectors(&self) -> Arc<Collectors> {
        Arc::clone(&self.collectors)
    }
}

impl Drop for VitalsHandle {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // If the queue is full, the scheduler wakes up anyway.
        drop(self.events.try_send(scheduler::Event::Stop));
    }
}

/// Starts measuring: at once, and then at a pace that follows `interval`, the time between heartbeats. On
/// systems other than Linux, and if the settings disable it, nothing is measured and all values are unknown.
pub fn spawn(settings: &Settings, interval: Duration) -> VitalsHandle {
    spawn_with(settings, interval, &(Arc::new(disk::usage) as Statvfs))
}

pub(crate) fn spawn_with(settings: &Settings, interval: Duration, statvfs: &Statvfs) -> VitalsHandle {
    let (publish, newest) = watch::channel(Vitals::default());
    let (events, received) = mpsc::sync_channel(EVENTS);
    let stop = Arc::new(AtomicBool::new(false));
    let collectors = Arc::new(Collectors::default());
    if settings.enabled && cfg!(target_os = "linux") {
        let scheduler = Scheduler::new(settings, interval, statvfs, &collectors, &events, publish);
        let stop = Arc::clone(&stop);
        let run = move || scheduler.run(&received, &stop);
        if let Err(error) = thread::Builder::new().name("vitals".to_owned()).stack_size(STACK).spawn(run) {
            tracing::warn!(%error, "No thread to look at the host: its vitals are unknown.");
        }
    }
    VitalsHandle { newest, events, stop, collectors }
}
