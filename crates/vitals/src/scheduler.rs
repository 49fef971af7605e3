//! The thread that maintains the snapshot. It decides when each source is read, and touches no file itself.
//!
//! A probe is one measurement of one source. The scheduler sends a probe to a worker when it is due; the
//! worker sends it back with the result.
//!
//! ```text
//! scheduler --probe--> worker "vitals-proc"  /proc
//!           --probe--> worker "vitals-slow"  mounts, each disk, temperatures, units, reboot
//! worker --found--> scheduler --> snapshot
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nixfleet_os::failed_units;
use nixfleet_os::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use tokio::sync::watch;

use crate::clock::{Moment, Timed};
use crate::collector::{Collector, Collectors};
use crate::disk::{Disk, Mount, Usage};
use crate::proc::ProcSample;
use crate::settings::Settings;
use crate::snapshot::Vitals;
use crate::worker::{Done, Probe, Worker};

pub(crate) use probes::Statvfs;
use probes::{Found, Value};

mod probes;

/// Bounds of the time between two readings of /proc. There are four readings per interval, so the values of a
/// heartbeat are at most a quarter of an interval old. Below 250 ms the clock tick of 10 ms would distort the
/// processors' share; above 5 s a peak would be missed.
const PROC_PERIOD: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Bounds for disks, temperatures and the reboot, which are read once per interval. They change slowly, and
/// reading a temperature wakes its chip.
const SLOW_PERIOD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Bounds for the failed units. Reading them starts a program, which takes about 10 ms of processor time.
const UNITS_PERIOD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// Time limit of a probe, after which its values are unknown. A probe takes milliseconds on a healthy host,
/// and some hundred milliseconds on a busy one.
const LIMIT: Duration = Duration::from_secs(2);

/// Time limit of the probe that starts a program. The program has a shorter limit of its own.
const UNITS_LIMIT: Duration = failed_units::LIMIT.saturating_add(LIMIT);

/// Longest sleep of the scheduler, so that a lost wake-up does little harm.
const MAX_SLEEP: Duration = Duration::from_secs(5);

/// An event that wakes the scheduler.
pub(super) enum Event {
    /// A probe has ended.
    Done(Done<Found>),
    /// Read what a job may have changed.
    Refresh,
    /// The flag to stop has been set.
    Stop,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::Refresh => "Refresh",
            Self::Stop => "Stop",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Proc,
    Mounts,
    /// The index of the disk in the settings.
    Disk(usize),
    Temperatures,
    Units,
    Reboot,
}

/// A source and its schedule.
struct Task {
    kind: Kind,
    period: Duration,
    /// Time from the next start to the one after it. It differs from `period` only once.
    next: Duration,
    limit: Duration,
    due: Instant,
    /// None while a worker has the probe.
    probe: Option<Probe<Found>>,
}

/// Maintains the snapshot.
pub(super) struct Scheduler {
    tasks: Vec<Task>,
    workers: [Worker<Found, Event>; 2],
    publish: watch::Sender<Vitals>,
    collectors: Arc<Collectors>,
    mounts: Option<Timed<Vec<Option<Mount>>>>,
    usage: Vec<Option<Timed<Usage>>>,
}

impl Scheduler {
    pub(super) fn new(
        settings: &Settings,
        interval: Duration,
        statvfs: &Statvfs,
        collectors: &Arc<Collectors>,
        events: &SyncSender<Event>,
        publish: watch::Sender<Vitals>,
    ) -> Self {
        let within = |period: Duration, (least, most): (Duration, Duration)| period.clamp(least, most);
        let slow = within(interval, SLOW_PERIOD);
        let units = within(interval, UNITS_PERIOD);
        let now = Instant::now();
        let mut tasks = Vec::new();
        let mut add = |kind, period, limit, probe| {
            // /proc is read again after a quarter of a second, so that the first heartbeats have rates.
            let next = if kind == Kind::Proc { PROC_PERIOD.0 } else { period };
            tasks.push(Task { kind, period, next, limit, due: now, probe: Some(probe) });
        };
        let disks = &settings.disks;
        add(Kind::Proc, within(interval / 4, PROC_PERIOD), LIMIT, probes::proc(settings, collectors));
        if !disks.is_empty() {
            add(Kind::Mounts, slow, LIMIT, probes::mounts(settings, collectors));
        }
        add(Kind::Reboot, slow, LIMIT, probes::reboot(settings, collectors));
        add(Kind::Temperatures, slow, LIMIT, probes::temperatures(settings, collectors));
        add(Kind::Units, units, UNITS_LIMIT, probes::units(settings, collectors));
        for (index, point) in disks.iter().enumerate() {
            add(Kind::Disk(index), slow, LIMIT, probes::usage(point.clone(), statvfs, collectors));
        }
        let worker = |name| Worker::new(name, events.clone(), Event::Done);
        Self {
            tasks,
            workers: [worker("vitals-proc"), worker("vitals-slow")],
            publish,
            collectors: Arc::clone(collectors),
            mounts: None,
            usage: vec![None; disks.len()],
        }
    }

    /// Runs until `stop` is set. Probes that hang at that time keep their threads.
    pub(super) fn run(mut self, events: &Receiver<Event>, stop: &AtomicBool) {
        loop {
            self.dispatch(Instant::now());
            self.workers.iter_mut().for_each(|worker| worker.retry(Instant::now()));
            let sleep = self.next_wake().saturating_duration_since(Instant::now());
            let mut event = match events.recv_timeout(sleep.min(MAX_SLEEP)) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // All events come before the time limits: if this thread was late, the end of a probe may be
            // among them.
            while let Some(received) = event {
                match received {
                    Event::Done(done) => self.done(done),
                    Event::Refresh => self.refresh(),
                    Event::Stop => {}
                }
                event = events.try_recv().ok();
            }
            if stop.load(Relaxed) {
                return;
            }
            self.expire();
        }
    }

    fn worker(&mut self, kind: Kind) -> &mut Worker<Found, Event> {
        &mut self.workers[usize::from(kind != Kind::Proc)]
    }

    /// Whether there is something to read. A disk must be mounted; the other sources are always available.
    fn is_available(&self, kind: Kind) -> bool {
        let Kind::Disk(index) = kind else { return true };
        self.mounts.as_ref().is_some_and(|mounts| mounts[index].is_some())
    }

    fn dispatch(&mut self, now: Instant) {
        for index in 0..self.tasks.len() {
            let kind = self.tasks[index].kind;
            let available = self.is_available(kind);
            let task = &mut self.tasks[index];
            if task.due > now || !available {
                continue;
            }
            if let Some(probe) = task.probe.take() {
                task.due = now + std::mem::replace(&mut task.next, task.period);
                let limit = task.limit;
                self.worker(kind).push(index, limit, probe, now);
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let due = self.tasks.iter().filter(|task| task.probe.is_some() && self.is_available(task.kind));
        let due = due.map(|task| task.due);
        let deadlines = self.workers.iter().filter_map(Worker::deadline);
        due.chain(deadlines).min().unwrap_or_else(|| Instant::now() + MAX_SLEEP)
    }

    fn expire(&mut self) {
        let now = Instant::now();
        for worker in 0..self.workers.len() {
            let Some(index) = self.workers[worker].expire(now) else { continue };
            let kind = self.tasks[index].kind;
            for collector in collectors_of(&self.collectors, kind) {
                if kind != Kind::Proc || collector.is_running() {
                    collector.timed_out();
                }
            }
            self.forget(kind);
        }
    }

    fn done(&mut self, done: Done<Found>) {
        let now = Instant::now();
        let kind = self.tasks[done.task].kind;
        let in_time = self.worker(kind).finish(&done, now);
        let task = &mut self.tasks[done.task];
        task.probe = Some(done.probe);
        match done.found {
            Some(found) if in_time => self.store(kind, found),
            // It exceeded its time limit, so its value is too old. It works again now.
            Some(_) => task.due = now,
            None => {
                for collector in collectors_of(&self.collectors, kind) {
                    if kind != Kind::Proc || collector.is_running() {
                        collector.panicked();
                    }
                }
                self.forget(kind);
            }
        }
    }

    fn refresh(&mut self) {
        let now = Instant::now();
        for task in &mut self.tasks {
            if matches!(task.kind, Kind::Units | Kind::Reboot) {
                task.due = now;
            }
        }
    }

    fn store(&mut self, kind: Kind, found: Found) {
        let taken_at = found.taken_at;
        match found.value {
            Value::Proc(sample) => {
                self.publish.send_modify(|vitals| vitals.take_proc(*sample, taken_at));
            }
            Value::Temperatures(found) => {
                let found = timed(found, taken_at);
                self.publish.send_modify(|vitals| vitals.temperatures = found);
            }
            Value::Units(found) => {
                let found = timed(found, taken_at);
                self.publish.send_modify(|vitals| vitals.failed_units = found);
            }
            Value::Reboot(found) => {
                let found = timed(found, taken_at);
                self.publish.send_modify(|vitals| vitals.reboot_required = found);
            }
            Value::Mounts(found) => {
                self.mounts = timed(found, taken_at);
                for (index, usage) in self.usage.iter_mut().enumerate() {
                    // The old value must not be shown for a disk that is not mounted any more.
                    let is_mounted = self.mounts.as_ref().is_some_and(|mounts| mounts[index].is_some());
                    *usage = usage.take().filter(|_| is_mounted);
                }
                self.publish_disks();
            }
            Value::Usage(found) => {
                if let Kind::Disk(index) = kind {
                    self.usage[index] = timed(found, taken_at);
                }
                self.publish_disks();
            }
        }
    }

    /// Makes a value unknown.
    fn forget(&mut self, kind: Kind) {
        let publish = &self.publish;
        match kind {
            Kind::Proc => {
                publish.send_modify(|vitals| vitals.take_proc(ProcSample::default(), Moment::now()));
            }
            Kind::Temperatures => publish.send_modify(|vitals| vitals.temperatures = None),
            Kind::Units => publish.send_modify(|vitals| vitals.failed_units = None),
            Kind::Reboot => publish.send_modify(|vitals| vitals.reboot_required = None),
            // The disks may still answer. The list of mounts has an age limit.
            Kind::Mounts => {}
            Kind::Disk(index) => {
                self.usage[index] = None;
                self.publish_disks();
            }
        }
    }

    fn publish_disks(&self) {
        let disks = self.mounts.as_ref().map(|mounts| Timed {
            value: mounts
                .iter()
                .zip(&self.usage)
                .filter_map(|(mount, usage)| Some(Disk { mount: mount.clone()?, usage: *usage }))
                .collect::<Vec<_>>(),
            taken_at: mounts.taken_at,
        });
        self.publish.send_modify(|vitals| vitals.disks = disks);
    }
}

fn timed<T>(value: Option<T>, taken_at: Moment) -> Option<Timed<T>> {
    value.map(|value| Timed { value, taken_at })
}

fn collectors_of(collectors: &Collectors, kind: Kind) -> Vec<&Collector> {
    match kind {
        Kind::Proc => collectors.of_proc().to_vec(),
        Kind::Mounts => vec![&collectors.mounts],
        Kind::Disk(_) => vec![&collectors.disks],
        Kind::Temperatures => vec![&collectors.temperatures],
        Kind::Units => vec![&collectors.units],
        Kind::Reboot => vec![&collectors.reboot],
    }
}
