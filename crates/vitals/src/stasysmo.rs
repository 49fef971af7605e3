//! StaSysMo's readings: four small files that another program writes (T02 scenario 3).
//!
//! The writer replaces each file by rename and stamps the set with `timestamp` last. It leaves its
//! files behind when it stops, so their age decides; and the set is all four values or nothing,
//! because a made-up 0 is worse than no figure (T02 scenario 4).

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use nixfleet_os::bounded_read;

#[cfg(test)]
mod tests;

/// Readings older than this are not reported (T02 scenario 3: "fresh (< 30 seconds old)").
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// How far ahead of the clock a time may lie and still count as now. Clocks are stepped; what lies
/// further ahead says nothing about its age. The same as [`MAX_AGE`], so that a wrong time is trusted
/// no longer than a right one.
pub const MAX_AHEAD: Duration = MAX_AGE;

/// Longest file read, in bytes. A value has about five.
const MAX_FILE: u64 = 64;

/// Bounds of the time between two looks. Four looks for each beat keep a beat's figures at most a
/// quarter of an interval late; below 250 ms that costs more than StaSysMo's own pace is worth, and
/// above 5 s a stop of the writer would show late.
const MIN_PERIOD: Duration = Duration::from_millis(250);
const MAX_PERIOD: Duration = Duration::from_secs(5);

/// Enough for a few small reads; the default of 2 MiB only costs address space, but says nothing.
const STACK: usize = 128 * 1024;

/// The four values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// CPU usage in percent.
    pub cpu: f64,
    /// Memory usage in percent.
    pub ram: f64,
    /// Swap usage in percent.
    pub swap: f64,
    /// Load average of the last minute.
    pub load: f64,
}

/// The four values and how old they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The values, finite and not negative. Percentages are passed on even above 100.
    pub values: Values,
    /// When the oldest of the four was measured, as far as can be known.
    pub measured_at: SystemTime,
}

impl Reading {
    /// The values, unless they are older than [`MAX_AGE`] or from further ahead than [`MAX_AHEAD`].
    pub fn fresh(&self, now: SystemTime) -> Option<Values> {
        is_fresh(self.measured_at, now).then_some(self.values)
    }
}

/// Whether a measurement of that time may be reported now.
fn is_fresh(measured_at: SystemTime, now: SystemTime) -> bool {
    match now.duration_since(measured_at) {
        Ok(age) => age <= MAX_AGE,
        Err(ahead) => ahead.duration() <= MAX_AHEAD,
    }
}

/// Reads the folder. None unless all four files hold a usable value and the set is fresh.
///
/// A file's time is the newer of `timestamp` and its own change time; the set is as old as its
/// oldest file. A `timestamp` that is missing, unusable or far in the future is left out, then the
/// change times count alone.
pub fn read(dir: &Path, now: SystemTime) -> Option<Reading> {
    // Before the values: it is written after them, so they are at least as new as it says.
    let stamp = read_stamp(dir).filter(|stamp| *stamp <= now + MAX_AHEAD);
    let mut measured_at = None;
    let mut value = |name: &str| {
        let (number, changed) = read_number(&dir.join(name))?;
        let time = stamp.map_or(changed, |stamp| stamp.max(changed));
        measured_at = Some(measured_at.map_or(time, |oldest: SystemTime| oldest.min(time)));
        Some(number)
    };
    let values =
        Values { cpu: value("cpu")?, ram: value("ram")?, swap: value("swap")?, load: value("load")? };
    let reading = Reading { values, measured_at: measured_at? };
    reading.fresh(now).is_some().then_some(reading)
}

fn read_stamp(dir: &Path) -> Option<SystemTime> {
    let (seconds, _) = read_number(&dir.join("timestamp"))?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// A finite number that is not negative, and when its file was changed.
fn read_number(path: &Path) -> Option<(f64, SystemTime)> {
    // Not through a link: the writer makes plain files, and the folder's parent is open to everybody.
    let file = bounded_read::open_no_link(path).ok()?;
    let changed = file.metadata().ok()?.modified().ok()?;
    let bytes = bounded_read::read_open(&file, MAX_FILE).ok()?;
    let number: f64 = std::str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
    // The sum makes a 0 of -0, which would be shown with its sign.
    (number.is_finite() && number >= 0.0).then_some((number + 0.0, changed))
}

/// The newest reading, kept up to date by a thread that ends when this is dropped.
#[derive(Debug)]
pub struct ValuesHandle {
    newest: watch::Receiver<Option<Reading>>,
    /// Its end is the thread's sign to stop; nothing is ever sent.
    _stop: mpsc::Sender<()>,
}

impl ValuesHandle {
    /// What a beat reports. Looks at the snapshot only: no file is touched.
    pub fn at(&self, now: SystemTime) -> Option<Values> {
        self.newest.borrow().as_ref().and_then(|reading| reading.fresh(now))
    }

    /// The snapshot, to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Option<Reading>> {
        self.newest.clone()
    }
}

/// Starts looking at `dir`: at once, then four times each `interval`, but not more often than every
/// 250 ms nor less often than every 5 s. A thread, because a file system may hang and a beat must not.
pub fn spawn(dir: PathBuf, interval: Duration) -> ValuesHandle {
    let (publish, newest) = watch::channel(None);
    let (stop, stopped) = mpsc::channel();
    let period = (interval / 4).clamp(MIN_PERIOD, MAX_PERIOD);
    let run = move || {
        loop {
            let reading = read(&dir, SystemTime::now());
            publish.send_if_modified(|old| {
                let changed = *old != reading;
                *old = reading;
                changed
            });
            match stopped.recv_timeout(period) {
                Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("stasysmo".to_owned()).stack_size(STACK).spawn(run) {
        tracing::warn!(%error, "No thread for StaSysMo: heartbeats go without metrics.");
    }
    ValuesHandle { newest, _stop: stop }
}
