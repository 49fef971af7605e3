//! The probes of the sources: what a lane runs, and what it finds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
    Nothing,
}

/// Time after which something that was not there is looked for again. Most hosts have neither StaSysMo nor a program that
/// reports its workload.
const SEARCH: Duration = Duration::from_secs(5);

/// Readings without a result after which something is not there. One alone may have been read while it was written.
const MISSES: u32 = 2;

/// Looks for something that may not be there.
#[derive(Debug, Default)]
struct Search {
    /// Readings without a result, one after the other, and when the newest one was.
    misses: u32,
    missed: Option<Moment>,
}

impl Search {
    fn find<T>(&mut self, now: Moment, read: impl FnOnce() -> Option<T>) -> Option<T> {
        // Readings for heartbeats are a little early or late.
        let rests = |missed: Moment| now.since(missed) < SEARCH - SEARCH / 20;
        if self.misses >= MISSES && self.missed.is_some_and(rests) {
            return None;
        }
        let found = read();
        (self.misses, self.missed) = if found.is_some() { (0, None) } else { (self.misses + 1, Some(now)) };
        found
    }
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
    let mut search = Search::default();
    probe(move |now| Value::StaSysMo(search.find(now, || stasysmo::read(&folder, SystemTime::now()))))
}

pub(crate) fn workload(path: PathBuf) -> Probe<Found> {
    let (mut search, mut logged) = (Search::default(), false);
    let mut read = move || {
        let read = workload::read(&path, SystemTime::now());
        if let Err(err) = &read
            && !std::mem::replace(&mut logged, true)
        {
            let err = nixfleet_os::error::chain(err);
            tracing::warn!("The workload at {} {err}; it is not reported.", path.display());
        }
        logged &= read.is_err();
        read.ok().flatten()
    };
    probe(move |now| Value::Workload(search.find(now, &mut read)))
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

/// Something that is to be done again and again, and finds nothing for the board.
pub(crate) fn act(mut act: impl FnMut() + Send + 'static) -> Probe<Found> {
    probe(move |_| {
        act();
        Value::Nothing
    })
}

pub(crate) fn reboot(settings: &Settings, collectors: &Arc<Collectors>) -> Probe<Found> {
    let (booted, current) = (settings.paths.booted_system.clone(), settings.paths.current_system.clone());
    let collectors = Arc::clone(collectors);
    let measure = move |faults: &Faults| {
        reboot::required(&booted, &current).inspect_err(|failure| failure.note(faults))
    };
    probe(move |_| Value::Reboot(collectors.reboot.run(|| measure(&collectors.faults))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_looked_for_every_five_seconds_and_what_is_there_each_time() {
        let (mut search, begin) = (Search::default(), Moment::now());
        let mut at = |seconds: u64, is_there: bool| {
            let mut reads = 0;
            let read = || {
                reads += 1;
                is_there.then_some(())
            };
            let found = search.find(begin.after(Duration::from_secs(seconds), Duration::ZERO), read);
            (reads, found.is_some())
        };
        assert_eq!(
            [at(0, false), at(1, false), at(4, true), at(6, true)],
            [(1, false), (1, false), (0, false), (1, true)]
        );
        // One that was being written.
        assert_eq!([at(7, false), at(8, true), at(9, false)], [(1, false), (1, true), (1, false)]);
        assert_eq!([at(10, false), at(11, true), at(15, false)], [(1, false), (0, false), (1, false)]);
        assert_eq!([at(19, true), at(20, true)], [(0, false), (1, true)]);
    }
}
