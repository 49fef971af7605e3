//! What becomes of readings: the newest value of each source, in the snapshots that others take.

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::{Moment, Timed};
use crate::collector::{Collector, Collectors};
use crate::disk::{Disk, Mount, Usage};
use crate::lane::{Sink, Unknown};
use crate::probes::{Found, Value};
use crate::proc::ProcSample;
use crate::snapshot::Vitals;
use crate::stasysmo;
use crate::workload::Workload;

/// A source that a lane reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Proc,
    StaSysMo,
    Workload,
    Mounts,
    /// The index of the disk in the settings.
    Disk(usize),
    Temperatures,
    Units,
    Reboot,
    /// Whether a source of the slow lane hangs. There is nothing to store.
    SlowLane,
    /// GPUs on a host that had none. What they read is not a part of these snapshots.
    Gpus,
}

/// The channels of the snapshots.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) vitals: watch::Sender<Vitals>,
    pub(crate) stasysmo: watch::Sender<Option<stasysmo::Reading>>,
    pub(crate) workload: watch::Sender<Option<Workload>>,
}

/// Takes what a lane finds. Each lane has one of its own.
pub(crate) struct Board {
    publish: Publish,
    collectors: Arc<Collectors>,
    mounts: Option<Timed<Vec<Option<Mount>>>>,
    usage: Vec<Option<Timed<Usage>>>,
}

impl Board {
    /// Nothing is known yet. `disks` is the count of disks in the settings.
    pub(crate) fn new(publish: Publish, collectors: &Arc<Collectors>, disks: usize) -> Self {
        Self { publish, collectors: Arc::clone(collectors), mounts: None, usage: vec![None; disks] }
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
        self.publish.vitals.send_modify(|vitals| vitals.disks = disks);
    }
}

impl Sink for Board {
    type Kind = Kind;
    type Found = Found;

    fn store(&mut self, kind: Kind, found: Found) {
        let taken_at = found.taken_at;
        let vitals = &self.publish.vitals;
        match found.value {
            Value::Proc(sample) => vitals.send_modify(|vitals| vitals.take_proc(*sample, taken_at)),
            Value::StaSysMo(reading) => publish(&self.publish.stasysmo, reading),
            Value::Workload(workload) => publish(&self.publish.workload, workload),
            Value::Nothing => {}
            Value::Temperatures(found) => {
                let found = timed(found, taken_at);
                vitals.send_modify(|vitals| vitals.temperatures = found);
            }
            Value::Units(found) => {
                let found = timed(found, taken_at);
                vitals.send_modify(|vitals| vitals.failed_units = found);
            }
            Value::Reboot(found) => {
                let found = timed(found, taken_at);
                vitals.send_modify(|vitals| vitals.reboot_required = found);
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

    fn forget(&mut self, kind: Kind, why: Unknown) {
        for collector in collectors_of(&self.collectors, kind) {
            // Of those that share a reading, the one at which it stopped.
            if kind != Kind::Proc || collector.is_running() {
                match why {
                    Unknown::Hangs => collector.timed_out(),
                    Unknown::Panicked => collector.panicked(),
                }
            }
        }
        let vitals = &self.publish.vitals;
        match kind {
            Kind::Proc => {
                vitals.send_modify(|vitals| vitals.take_proc(ProcSample::default(), Moment::now()));
            }
            Kind::StaSysMo => publish(&self.publish.stasysmo, None),
            Kind::Workload => publish(&self.publish.workload, None),
            Kind::Temperatures => vitals.send_modify(|vitals| vitals.temperatures = None),
            Kind::Units => vitals.send_modify(|vitals| vitals.failed_units = None),
            Kind::Reboot => vitals.send_modify(|vitals| vitals.reboot_required = None),
            // The disks may still answer. The list of mounts has an age limit.
            Kind::Mounts | Kind::Gpus | Kind::SlowLane => {}
            Kind::Disk(index) => {
                self.usage[index] = None;
                self.publish_disks();
            }
        }
    }

    /// A disk must be mounted; the other sources are always available.
    fn is_available(&self, kind: Kind) -> bool {
        let Kind::Disk(index) = kind else { return true };
        self.mounts.as_ref().is_some_and(|mounts| mounts[index].is_some())
    }
}

fn publish<T: PartialEq>(channel: &watch::Sender<Option<T>>, value: Option<T>) {
    channel.send_if_modified(|old| {
        let is_new = *old != value;
        *old = value;
        is_new
    });
}

fn timed<T>(value: Option<T>, taken_at: Moment) -> Option<Timed<T>> {
    value.map(|value| Timed { value, taken_at })
}

/// The counters of a source. StaSysMo's readings, the workload and the last two kinds have none.
fn collectors_of(collectors: &Collectors, kind: Kind) -> Vec<&Collector> {
    match kind {
        Kind::Proc => collectors.of_proc().to_vec(),
        Kind::StaSysMo | Kind::Workload | Kind::Gpus | Kind::SlowLane => Vec::new(),
        Kind::Mounts => vec![&collectors.mounts],
        Kind::Disk(_) => vec![&collectors.disks],
        Kind::Temperatures => vec![&collectors.temperatures],
        Kind::Units => vec![&collectors.units],
        Kind::Reboot => vec![&collectors.reboot],
    }
}
