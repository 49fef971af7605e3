//! The probes of the sources: what a lane runs, and what it finds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::clock::Moment;
use crate::collector::Collectors;
use crate::disk::{self, Mount, Usage};
use crate::fault::{self, Faults};
use crate::lane::Probe;
use crate::proc::{ProcMeter, ProcSample};
use crate::reboot;
use crate::settings::Settings;
use crate::source::SourceError;
use crate::stasysmo;
use crate::temperature::{self, Temperature};
use crate::units::{self, FailedUnits};
use crate::workload::{self, Workload};

/// The query of a file system. It is an argument so that tests can use one that hangs.
pub(crate) type Statvfs = Arc<dyn Fn(&Path) -> io::Result<Option<Usage>> + Send + Sync>;

/// The value that a probe found, and when the probe began.
pub(crate) struct Found {
    pub(crate) taken_at: Moment,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Proc(Box<ProcSample>),
    StaSysMo(Option<stasysmo::Reading>),
    Workload(Option<Workload>),
    Mounts(Option<Vec<Option<Mount>>>),
    Usage(Option<Usage>),
    Temperatures(Option<Vec<Temperature>>),
    Units(Option<FailedUnits>),
    Reboot(Option<bool>),
}

/// A probe with its time, which is taken before the measurement: the value is at least as new.
fn probe(mut measure: impl FnMut(Moment) -> Value + Send + 'static) -> Probe<Found> {
    Box::new(move || {
        let taken_at = Moment::now();
        Found { taken_at, value: measure(taken_at) }
    })
}

pub(crate) fn proc(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (mut meter, collectors) = (ProcMeter::new(&settings.paths), Arc::clone(collectors));
    probe(move |now| Value::Proc(Box::new(meter.sample(now, &collectors))))
}

pub(crate) fn stasysmo(folder: PathBuf) -> Probe<Found> {
    probe(move |_| Value::StaSysMo(stasysmo::read(&folder, SystemTime::now())))
}

pub(crate) fn workload(path: PathBuf) -> Probe<Found> {
    let mut logged = false;
    probe(move |_| {
        let read = workload::read(&path, SystemTime::now());
        if let Err(err) = &read
            && !std::mem::replace(&mut logged, true)
        {
            let err = nixfleet_os::error::chain(err);
            tracing::warn!("The workload at {} {err}; it is not reported.", path.display());
        }
        logged &= read.is_err();
        Value::Workload(read.ok().flatten())
    })
}

pub(crate) fn mounts(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (proc, wanted) = (settings.paths.proc.clone(), settings.disks.clone());
    let collectors = Arc::clone(collectors);
    probe(move |_| Value::Mounts(collectors.mounts.run(|| disk::mounts(&proc, &wanted, &collectors.faults))))
}

pub(crate) fn usage(point: PathBuf, statvfs: &Statvfs, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (statvfs, collectors) = (Arc::clone(statvfs), Arc::clone(collectors));
    probe(move |_| {
        let measure = || {
            let usage = statvfs(&point);
            collectors.faults.note(&point, usage.as_ref().err().map(fault::unreadable));
            usage.map_err(|error| SourceError::unreadable(&point, error))
        };
        Value::Usage(collectors.disks.run(measure))
    })
}

pub(crate) fn temperatures(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (sys, names) = (settings.paths.sys.clone(), settings.temperatures.clone());
    let collectors = Arc::clone(collectors);
    probe(move |_| {
        Value::Temperatures(
            collectors.temperatures.run(|| temperature::read(&sys, &names, &collectors.faults)),
        )
    })
}

pub(crate) fn units(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (runtime, collectors) = (settings.paths.systemd.clone(), Arc::clone(collectors));
    probe(move |_| Value::Units(collectors.units.run(|| units::read(&runtime, "systemctl".as_ref()))))
}

pub(crate) fn reboot(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (booted, current) = (settings.paths.booted_system.clone(), settings.paths.current_system.clone());
    let collectors = Arc::clone(collectors);
    let measure = move |faults: &Faults| {
        reboot::required(&booted, &current).inspect_err(|failure| failure.note(faults))
    };
    probe(move |_| Value::Reboot(collectors.reboot.run(|| measure(&collectors.faults))))
}
