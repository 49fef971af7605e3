//! The thread that keeps the snapshot: it decides who looks when, and touches no file itself.
//!
//! ```text
//! scheduler --probe--> worker "vitals-proc"  /proc                 --found--> scheduler --> snapshot
//!        --probe--> worker "vitals-slow"  mounts, each disk, temperatures, units, reboot
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::clock::{Moment, Timed};
use super::collector::{Collector, Collectors};
use super::disk::{Disk, Mount, Usage};
use super::proc::{ProcMeter, ProcSample};
use super::source::SourceError;
use super::temperature::Temperature;
use super::units::FailedUnits;
use super::worker::{Done, Probe, Worker};
use super::{Vitals, disk, reboot, temperature, units};
use crate::Settings;

/// Bounds of the time between two looks at /proc, of which there are four for each interval: a beat's
/// figures are a quarter of an interval old at most. More often than four times a second the clock tick
/// of 10 ms would show in the processor's share; above 5 s a peak would be over before it is seen.
const PROC_PERIOD: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Bounds for disks, temperatures and the reboot, looked at once in each interval. They change slowly,
/// and to read a temperature wakes the chip that has it.
const SLOW_PERIOD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Bounds for the failed units. A program is started for them: some 10 ms of processor time.
const UNITS_PERIOD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// Longest look, after which its values are unknown. All of them take milliseconds on a host that is
/// well, and some hundred when it is not.
const LIMIT: Duration = Duration::from_secs(2);

/// The program has a limit of its own, and ends first.
const UNITS_LIMIT: Duration = units::LIMIT.saturating_add(LIMIT);

/// Longest sleep, so that a lost wake-up costs little.
const MAX_SLEEP: Duration = Duration::from_secs(5);

/// How a file system is asked for its figures. An argument, so that tests can have one that hangs.
pub(crate) type Statvfs = Arc<dyn Fn(&Path) -> io::Result<Option<Usage>> + Send + Sync>;

/// What wakes the scheduler.
pub(super) enum Event {
    Done(Done<Found>),
    /// Look at what a job may have changed.
    Refresh,
    /// Somebody set the sign to stop.
    Stop,
}

/// What a look found, and when it began.
pub(super) struct Found {
    taken_at: Moment,
    what: What,
}

enum What {
    Proc(Box<ProcSample>),
    Mounts(Option<Vec<Option<Mount>>>),
    Usage(Option<Usage>),
    Temperatures(Option<Vec<Temperature>>),
    Units(Option<FailedUnits>),
    Reboot(Option<bool>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Proc,
    Mounts,
    /// By its place in the configuration.
    Disk(usize),
    Temperatures,
    Units,
    Reboot,
}

struct Task {
    kind: Kind,
    period: Duration,
    /// Time until the look after the next one.
    next: Duration,
    limit: Duration,
    due: Instant,
    /// None while it waits for its turn or has it.
    probe: Option<Probe<Found>>,
}

/// Keeps the snapshot.
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
            // A quarter of a second after the first look at counters, so that the first beats have rates.
            let next = if kind == Kind::Proc { PROC_PERIOD.0 } else { period };
            tasks.push(Task { kind, period, next, limit, due: now, probe: Some(probe) });
        };
        let disks = &settings.disks;
        add(Kind::Proc, within(interval / 4, PROC_PERIOD), LIMIT, proc_probe(settings, collectors));
        if !disks.is_empty() {
            add(Kind::Mounts, slow, LIMIT, mounts_probe(settings, collectors));
        }
        add(Kind::Reboot, slow, LIMIT, reboot_probe(settings, collectors));
        add(Kind::Temperatures, slow, LIMIT, temperatures_probe(settings, collectors));
        add(Kind::Units, units, UNITS_LIMIT, units_probe(settings, collectors));
        for (index, point) in disks.iter().enumerate() {
            add(Kind::Disk(index), slow, LIMIT, usage_probe(point.clone(), statvfs, collectors));
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

    /// Runs until it is told to stop. What hangs then is left behind.
    pub(super) fn run(mut self, events: &Receiver<Event>, stop: &AtomicBool) {
        loop {
            self.hand_out(Instant::now());
            self.workers.iter_mut().for_each(|worker| worker.retry(Instant::now()));
            let sleep = self.next_wake().saturating_duration_since(Instant::now());
            let mut event = match events.recv_timeout(sleep.min(MAX_SLEEP)) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // All of them before anything is given up: its end may be among them, if this thread was late.
            while let Some(news) = event {
                match news {
                    Event::Done(done) => self.done(done),
                    Event::Refresh => self.refresh(),
                    Event::Stop => {}
                }
                event = events.try_recv().ok();
            }
            if stop.load(Relaxed) {
                return;
            }
            self.give_up();
        }
    }

    fn worker(&mut self, kind: Kind) -> &mut Worker<Found, Event> {
        &mut self.workers[usize::from(kind != Kind::Proc)]
    }

    /// Whether there is anything to look at: a disk must be mounted.
    fn is_wanted(&self, kind: Kind) -> bool {
        let Kind::Disk(index) = kind else { return true };
        self.mounts.as_ref().is_some_and(|mounts| mounts[index].is_some())
    }

    fn hand_out(&mut self, now: Instant) {
        for index in 0..self.tasks.len() {
            let kind = self.tasks[index].kind;
            let wanted = self.is_wanted(kind);
            let task = &mut self.tasks[index];
            if task.due > now || !wanted {
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
        let due = self.tasks.iter().filter(|task| task.probe.is_some() && self.is_wanted(task.kind));
        let due = due.map(|task| task.due);
        let until = self.workers.iter().filter_map(Worker::until);
        due.chain(until).min().unwrap_or_else(|| Instant::now() + MAX_SLEEP)
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        for worker in 0..self.workers.len() {
            let Some(index) = self.workers[worker].give_up(now) else { continue };
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
        let in_time = self.worker(kind).ended(&done, now);
        let task = &mut self.tasks[done.task];
        task.probe = Some(done.probe);
        match done.found {
            Some(found) if in_time => self.take(kind, found),
            // It hung, and does no more.
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

    fn take(&mut self, kind: Kind, found: Found) {
        let taken_at = found.taken_at;
        match found.what {
            What::Proc(sample) => {
                self.publish.send_modify(|vitals| vitals.take_proc(*sample, taken_at));
            }
            What::Temperatures(found) => {
                let found = timed(found, taken_at);
                self.publish.send_modify(|vitals| vitals.temperatures = found);
            }
            What::Units(found) => {
                let found = timed(found, taken_at);
                self.publish.send_modify(|vitals| vitals.failed_units = found);
            }
            What::Reboot(found) => {
                let found = timed(found, taken_at);
                self.publish.send_modify(|vitals| vitals.reboot_required = found);
            }
            What::Mounts(found) => {
                self.mounts = timed(found, taken_at);
                for (index, usage) in self.usage.iter_mut().enumerate() {
                    // What is unmounted, or another one by now, was never as full as that.
                    let is_mounted = self.mounts.as_ref().is_some_and(|mounts| mounts[index].is_some());
                    *usage = usage.take().filter(|_| is_mounted);
                }
                self.publish_disks();
            }
            What::Usage(found) => {
                if let Kind::Disk(index) = kind {
                    self.usage[index] = timed(found, taken_at);
                }
                self.publish_disks();
            }
        }
    }

    /// What is not known any more.
    fn forget(&mut self, kind: Kind) {
        let publish = &self.publish;
        match kind {
            Kind::Proc => {
                publish.send_modify(|vitals| vitals.take_proc(ProcSample::default(), Moment::now()));
            }
            Kind::Temperatures => publish.send_modify(|vitals| vitals.temperatures = None),
            Kind::Units => publish.send_modify(|vitals| vitals.failed_units = None),
            Kind::Reboot => publish.send_modify(|vitals| vitals.reboot_required = None),
            // The disks themselves may still answer; the list's age counts.
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

/// A look with its time, taken before it: a value is no newer than that.
fn probe(mut look: impl FnMut(Moment) -> What + Send + 'static) -> Probe<Found> {
    Box::new(move || {
        let taken_at = Moment::now();
        Found { taken_at, what: look(taken_at) }
    })
}

fn proc_probe(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (mut meter, collectors) = (ProcMeter::new(&settings.paths), Arc::clone(collectors));
    probe(move |now| What::Proc(Box::new(meter.sample(now, &collectors))))
}

fn mounts_probe(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (proc, wanted) = (settings.paths.proc.clone(), settings.disks.clone());
    let collectors = Arc::clone(collectors);
    probe(move |_| What::Mounts(collectors.mounts.run(|| disk::mounts(&proc, &wanted))))
}

fn usage_probe(point: PathBuf, statvfs: &Statvfs, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (statvfs, collectors) = (Arc::clone(statvfs), Arc::clone(collectors));
    let look = move || statvfs(&point).map_err(|error| SourceError::unreadable(&point, error));
    probe(move |_| What::Usage(collectors.disks.run(&look)))
}

fn temperatures_probe(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (sys, names) = (settings.paths.sys.clone(), settings.temperatures.clone());
    let collectors = Arc::clone(collectors);
    probe(move |_| What::Temperatures(collectors.temperatures.run(|| temperature::read(&sys, &names))))
}

fn units_probe(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (runtime, collectors) = (settings.paths.systemd.clone(), Arc::clone(collectors));
    probe(move |_| What::Units(collectors.units.run(|| units::read(&runtime, "systemctl".as_ref()))))
}

fn reboot_probe(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (booted, current) = (settings.paths.booted_system.clone(), settings.paths.current_system.clone());
    let collectors = Arc::clone(collectors);
    probe(move |_| What::Reboot(collectors.reboot.run(|| reboot::required(&booted, &current))))
}
