//! The thread that keeps the snapshot: it decides who looks when, and touches no file itself.
//!
//! ```text
//! keeper --work--> lane "vitals-proc"  /proc                 --found--> keeper --> snapshot
//!        --work--> lane "vitals-slow"  mounts, each disk, temperatures, units, reboot
//! ```

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Probe, Vitals,
    clock::{Moment, Timed},
    collector::{Collector, Collectors},
    disk::{self, Disk, Mount, Usage},
    lane::{Done, Lane, Work},
    proc::{ProcMeter, ProcSample},
    reboot,
    source::SourceError,
    temperature::{self, Temperature},
    units::{self, FailedUnits},
};
use crate::config::Host;

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

/// What wakes the keeper.
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
    work: Option<Work<Found>>,
}

/// Keeps the snapshot.
pub(super) struct Keeper {
    tasks: Vec<Task>,
    lanes: [Lane<Found, Event>; 2],
    publish: watch::Sender<Vitals>,
    collectors: Arc<Collectors>,
    mounts: Option<Timed<Vec<Option<Mount>>>>,
    usage: Vec<Option<Timed<Usage>>>,
}

impl Keeper {
    pub(super) fn new(
        host: &Host,
        interval: Duration,
        probe: &Probe,
        collectors: &Arc<Collectors>,
        events: &SyncSender<Event>,
        publish: watch::Sender<Vitals>,
    ) -> Self {
        let within = |period: Duration, (least, most): (Duration, Duration)| period.clamp(least, most);
        let slow = within(interval, SLOW_PERIOD);
        let units = within(interval, UNITS_PERIOD);
        let now = Instant::now();
        let mut tasks = Vec::new();
        let mut add = |kind, period, limit, work| {
            // A quarter of a second after the first look at counters, so that the first beats have rates.
            let next = if kind == Kind::Proc { PROC_PERIOD.0 } else { period };
            tasks.push(Task { kind, period, next, limit, due: now, work: Some(work) });
        };
        let disks = &host.vitals.disks;
        add(Kind::Proc, within(interval / 4, PROC_PERIOD), LIMIT, proc_work(host, collectors));
        if !disks.is_empty() {
            add(Kind::Mounts, slow, LIMIT, mounts_work(host, collectors));
        }
        add(Kind::Reboot, slow, LIMIT, reboot_work(host, collectors));
        add(Kind::Temperatures, slow, LIMIT, temperatures_work(host, collectors));
        add(Kind::Units, units, UNITS_LIMIT, units_work(host, collectors));
        for (index, point) in disks.iter().enumerate() {
            add(Kind::Disk(index), slow, LIMIT, usage_work(point.clone(), probe, collectors));
        }
        let lane = |name| Lane::new(name, events.clone(), Event::Done);
        Self {
            tasks,
            lanes: [lane("vitals-proc"), lane("vitals-slow")],
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
            self.lanes.iter_mut().for_each(|lane| lane.retry(Instant::now()));
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

    fn lane(&mut self, kind: Kind) -> &mut Lane<Found, Event> {
        &mut self.lanes[usize::from(kind != Kind::Proc)]
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
            if let Some(work) = task.work.take() {
                task.due = now + std::mem::replace(&mut task.next, task.period);
                let limit = task.limit;
                self.lane(kind).push(index, limit, work, now);
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let due = self.tasks.iter().filter(|task| task.work.is_some() && self.is_wanted(task.kind));
        let due = due.map(|task| task.due);
        let until = self.lanes.iter().filter_map(Lane::until);
        due.chain(until).min().unwrap_or_else(|| Instant::now() + MAX_SLEEP)
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        for lane in 0..self.lanes.len() {
            let Some(index) = self.lanes[lane].give_up(now) else { continue };
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
        let in_time = self.lane(kind).ended(&done, now);
        let task = &mut self.tasks[done.task];
        task.work = Some(done.work);
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
fn work(mut look: impl FnMut(Moment) -> What + Send + 'static) -> Work<Found> {
    Box::new(move || {
        let taken_at = Moment::now();
        Found { taken_at, what: look(taken_at) }
    })
}

fn proc_work(host: &Host, collectors: &Arc<Collectors>) -> Work<Found> {
    let (mut meter, collectors) = (ProcMeter::new(&host.paths), Arc::clone(collectors));
    work(move |now| What::Proc(Box::new(meter.sample(now, &collectors))))
}

fn mounts_work(host: &Host, collectors: &Arc<Collectors>) -> Work<Found> {
    let (proc, wanted) = (host.paths.proc.clone(), host.vitals.disks.clone());
    let collectors = Arc::clone(collectors);
    work(move |_| What::Mounts(collectors.mounts.run(|| disk::mounts(&proc, &wanted))))
}

fn usage_work(point: PathBuf, probe: &Probe, collectors: &Arc<Collectors>) -> Work<Found> {
    let (probe, collectors) = (Arc::clone(probe), Arc::clone(collectors));
    let look = move || probe(&point).map_err(|error| SourceError::unreadable(&point, error));
    work(move |_| What::Usage(collectors.disks.run(&look)))
}

fn temperatures_work(host: &Host, collectors: &Arc<Collectors>) -> Work<Found> {
    let (sys, names) = (host.paths.sys.clone(), host.vitals.temperatures.clone());
    let collectors = Arc::clone(collectors);
    work(move |_| What::Temperatures(collectors.temperatures.run(|| temperature::read(&sys, &names))))
}

fn units_work(host: &Host, collectors: &Arc<Collectors>) -> Work<Found> {
    let (runtime, collectors) = (host.paths.systemd.clone(), Arc::clone(collectors));
    work(move |_| What::Units(collectors.units.run(|| units::read(&runtime, "systemctl".as_ref()))))
}

fn reboot_work(host: &Host, collectors: &Arc<Collectors>) -> Work<Found> {
    let (booted, current) = (host.paths.booted_system.clone(), host.paths.current_system.clone());
    let collectors = Arc::clone(collectors);
    work(move |_| What::Reboot(collectors.reboot.run(|| reboot::required(&booted, &current))))
}
