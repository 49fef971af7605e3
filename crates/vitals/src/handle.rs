//! The threads that keep the snapshot, and how others get at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Moment;
use crate::collector::Collectors;
use crate::disk;
use crate::scheduler::{self, Scheduler, Statvfs};
use crate::settings::Settings;
use crate::snapshot::Vitals;

/// Events that wait for the scheduler. It handles one in a few microseconds.
const EVENTS: usize = 16;

/// The scheduler touches no file: it moves values and boxes.
const STACK: usize = 128 * 1024;

/// The newest vitals, kept up to date by threads that end when this is dropped. Dropping does not wait
/// for them: one may hang in a file system.
#[derive(Debug)]
pub struct VitalsHandle {
    newest: watch::Receiver<Vitals>,
    events: SyncSender<scheduler::Event>,
    stop: Arc<AtomicBool>,
    collectors: Arc<Collectors>,
}

impl VitalsHandle {
    /// What a beat reports: what is no older than it may be. Touches no file and waits for nothing.
    pub fn at(&self, now: Moment) -> Vitals {
        self.newest.borrow().at(now)
    }

    /// The snapshot, to wait for changes; [`Vitals::at`] leaves out what is too old.
    pub fn watch(&self) -> watch::Receiver<Vitals> {
        self.newest.clone()
    }

    /// Asks for a look at what a job may have changed: failed units, and whether a reboot is due. Does
    /// not wait.
    pub fn refresh(&self) {
        // When there is no room, the scheduler is about to look anyway.
        drop(self.events.try_send(scheduler::Event::Refresh));
    }

    /// What each look cost, and how often it failed.
    pub fn collectors(&self) -> Arc<Collectors> {
        Arc::clone(&self.collectors)
    }
}

impl Drop for VitalsHandle {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Without room for it, the scheduler wakes up anyway.
        drop(self.events.try_send(scheduler::Event::Stop));
    }
}

/// Starts looking: at once, and then at a pace that follows the time between heartbeats. On systems
/// other than Linux, and where the configuration says so, nothing is looked at and all is unknown.
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
