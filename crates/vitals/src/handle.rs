//! Starts the threads that measure, and gives access to what they found.
//!
//! ```text
//! lane "vitals"       /proc, StaSysMo, workload: once for each heartbeat, shortly before it
//! lane "vitals-slow"  mounts, each disk, temperatures, units, reboot, search for GPUs: seldom
//! lane --readings--> board --> snapshots
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use nixfleet_os::failed_units;

use crate::board::{Board, Kind, Publish};
use crate::clock::Moment;
use crate::collector::Collectors;
use crate::disk;
use crate::gpu;
use crate::lane::{Lane, Pace};
use crate::probes::{self, Statvfs};
use crate::settings::Settings;
use crate::snapshot::Vitals;
use crate::stasysmo;
use crate::workload::Workload;

/// Bounds of the time between two readings of what is read for each heartbeat. Below 250 ms the clock tick of 10 ms would
/// distort the processors' share. Above 30 s the values would be old when a connection begins, or a command ends.
const PERIOD: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Longest time between two readings of StaSysMo and of the workload. Other programs write them, and what they wrote is
/// too old after 30 s.
const OTHERS: Duration = Duration::from_secs(10);

/// Time between two looks whether a slow source hangs, if nobody takes values in between. Each one that does holds up the
/// others for as long.
const WATCH: Duration = Duration::from_secs(10);

/// Bounds for disks, temperatures and the reboot, which are read once per interval. They change slowly, and
/// reading a temperature wakes its chip.
const SLOW_PERIOD: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// Bounds for the failed units. Reading them starts a program, which takes about 10 ms of processor time.
const UNITS_PERIOD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// Time limit of a reading, after which its values are unknown. A reading takes milliseconds on a healthy host,
/// and some hundred milliseconds on a busy one.
const LIMIT: Duration = Duration::from_secs(2);

/// Time limit of the reading that starts a program. The program has a shorter limit of its own.
const UNITS_LIMIT: Duration = failed_units::LIMIT.saturating_add(LIMIT);

/// The newest vitals, kept up to date by threads that end when this is dropped. Dropping does not wait for
/// the threads, because one may hang in a file system.
#[derive(Debug)]
pub struct VitalsHandle {
    newest: watch::Receiver<Vitals>,
    stasysmo: watch::Receiver<Option<stasysmo::Reading>>,
    workload: watch::Receiver<Option<Workload>>,
    /// The quick one is first.
    lanes: Vec<Arc<Lane<Board>>>,
    collectors: Arc<Collectors>,
}

impl VitalsHandle {
    /// The values for a heartbeat at `now`, without those that are too old. Touches no file and never waits.
    pub fn at(&self, now: Moment) -> Vitals {
        let moment = Instant::now();
        self.lanes.iter().for_each(|lane| lane.watch(moment));
        self.newest.borrow().at(now)
    }

    /// The snapshot, for waiting for changes. It may have old values; [`Vitals::at`] removes them.
    pub fn watch(&self) -> watch::Receiver<Vitals> {
        self.newest.clone()
    }

    /// The newest reading of StaSysMo. It may be too old; see [`stasysmo::Reading::fresh`].
    pub fn stasysmo(&self) -> watch::Receiver<Option<stasysmo::Reading>> {
        self.stasysmo.clone()
    }

    /// The newest report of the workload. It may be too old; see [`Workload::is_fresh`].
    pub fn workload(&self) -> Option<Workload> {
        self.workload.borrow().clone()
    }

    /// Requests a new reading of what a job may have changed: failed units, and whether a reboot is required; and of
    /// what every heartbeat has, for the one that says that the job ended. Does not wait.
    pub fn refresh(&self) {
        let is_wanted =
            |kind| matches!(kind, Kind::Units | Kind::Reboot | Kind::Proc | Kind::StaSysMo | Kind::Workload);
        self.lanes.iter().for_each(|lane| lane.refresh(is_wanted, Instant::now()));
    }

    /// Says when the next heartbeat is due, so that its values are read shortly before it. Does not wait.
    pub fn expect(&self, next: Instant) {
        let now = Instant::now();
        for lane in &self.lanes {
            lane.watch(now);
            lane.expect(next, now);
        }
    }

    /// The counters of each collector.
    pub fn collectors(&self) -> Arc<Collectors> {
        Arc::clone(&self.collectors)
    }
}

/// Starts measuring: at once, and then at a pace that follows `interval`, the time between heartbeats. On systems other
/// than Linux, and if the settings disable it, the host is not measured and all its values are unknown.
pub fn spawn(settings: &Settings, interval: Duration) -> VitalsHandle {
    spawn_with(settings, interval, &(Arc::new(disk::usage) as Statvfs), None)
}

/// As [`spawn`], and `search` begins again and again.
pub(crate) fn spawn_searching(settings: &Settings, interval: Duration, search: gpu::Search) -> VitalsHandle {
    spawn_with(settings, interval, &(Arc::new(disk::usage) as Statvfs), Some(search))
}

pub(crate) fn spawn_with(
    settings: &Settings,
    interval: Duration,
    statvfs: &Statvfs,
    search: Option<gpu::Search>,
) -> VitalsHandle {
    let (vitals, newest) = watch::channel(Vitals::default());
    let (stasysmo, stasysmo_newest) = watch::channel(None);
    let (workload, workload_newest) = watch::channel(None);
    let publish = Publish { vitals, stasysmo, workload };
    let collectors = Arc::new(Collectors::default());
    let is_measured = settings.enabled && cfg!(target_os = "linux");
    let mut lanes = Vec::new();
    if settings.enabled || settings.stasysmo.is_some() {
        lanes.push(Arc::new(quick(settings, interval, is_measured, &publish, &collectors)));
    }
    if is_measured {
        let lane = Arc::new(slow(settings, interval, statvfs, publish, &collectors));
        let watched = Arc::downgrade(&lane);
        let watch = probes::act(move || {
            if let Some(lane) = watched.upgrade() {
                lane.watch(Instant::now());
            }
        });
        lanes[0].add(Kind::SlowLane, Pace::every(WATCH), LIMIT, watch, Instant::now());
        lanes.push(lane);
    }
    if let (Some(lane), Some(search)) = (lanes.last(), search) {
        let search = probes::act(move || search.begin());
        lane.add(Kind::Gpus, Pace::every(gpu::SEARCH), LIMIT, search, Instant::now());
    }
    lanes.iter().for_each(|lane| lane.watch(Instant::now()));
    VitalsHandle { newest, stasysmo: stasysmo_newest, workload: workload_newest, lanes, collectors }
}

fn quick(
    settings: &Settings,
    interval: Duration,
    is_measured: bool,
    publish: &Publish,
    collectors: &Arc<Collectors>,
) -> Lane<Board> {
    let now = Instant::now();
    let lane = Lane::new("vitals", Board::new(publish.clone(), collectors, 0));
    let pace = Pace::before_each_taking(within(interval, PERIOD));
    if is_measured {
        lane.add(Kind::Proc, pace, LIMIT, probes::proc(settings, collectors), now);
    }
    let others = Pace::before_each_taking(within(interval, (PERIOD.0, OTHERS)));
    if let Some(folder) = &settings.stasysmo {
        lane.add(Kind::StaSysMo, others, LIMIT, probes::stasysmo(folder.clone()), now);
    }
    if settings.enabled {
        // The last one: a program that does not answer holds nothing else up.
        lane.add(Kind::Workload, others, LIMIT, probes::workload(settings.paths.workload.clone()), now);
    }
    lane
}

fn slow(
    settings: &Settings,
    interval: Duration,
    statvfs: &Statvfs,
    publish: Publish,
    collectors: &Arc<Collectors>,
) -> Lane<Board> {
    let now = Instant::now();
    let disks: &[PathBuf] = &settings.disks;
    let lane = Lane::new("vitals-slow", Board::new(publish, collectors, disks.len()));
    let pace = Pace::every(within(interval, SLOW_PERIOD));
    if !disks.is_empty() {
        lane.add(Kind::Mounts, pace, LIMIT, probes::mounts(settings, collectors), now);
    }
    lane.add(Kind::Reboot, pace, LIMIT, probes::reboot(settings, collectors), now);
    lane.add(Kind::Temperatures, pace, LIMIT, probes::temperatures(settings, collectors), now);
    let units = Pace::every(within(interval, UNITS_PERIOD));
    lane.add(Kind::Units, units, UNITS_LIMIT, probes::units(settings, collectors), now);
    for (index, point) in disks.iter().enumerate() {
        lane.add(Kind::Disk(index), pace, LIMIT, probes::usage(point.clone(), statvfs, collectors), now);
    }
    lane
}

fn within(period: Duration, (least, most): (Duration, Duration)) -> Duration {
    period.clamp(least, most)
}
