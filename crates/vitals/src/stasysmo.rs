//! Readings of StaSysMo, another program that writes four small files.
//!
//! StaSysMo replaces each file by rename, and writes the file `timestamp` last. It leaves its files behind
//! when it stops, so old files must be ignored. Either all four values are known or none: an invented 0 is
//! worse than no value.

use std::path::Path;
use std::time::{Duration, SystemTime};

use nixfleet_os::bounded_read;

#[cfg(test)]
mod tests;

/// Age limit of readings.
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// How far in the future a time may be and still count as now, because clocks are set. A time further in the
/// future says nothing about the age. The same as [`MAX_AGE`], so that a wrong time is not trusted longer
/// than a right one.
pub const MAX_AHEAD: Duration = MAX_AGE;

/// Longest file accepted, in bytes. A value has about five.
const MAX_FILE: u64 = 64;

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

/// The four values and their age.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The values, finite and not negative. A percentage above 100 is kept.
    pub values: Values,
    /// When the oldest of the four values was measured, as far as that is known.
    pub measured_at: SystemTime,
}

impl Reading {
    /// The values, unless they are older than [`MAX_AGE`] or further in the future than [`MAX_AHEAD`].
    pub fn fresh(&self, now: SystemTime) -> Option<Values> {
        is_fresh(self.measured_at, now).then_some(self.values)
    }
}

/// Whether a measurement of that time may be reported at `now`.
fn is_fresh(measured_at: SystemTime, now: SystemTime) -> bool {
    match now.duration_since(measured_at) {
        Ok(age) => age <= MAX_AGE,
        Err(ahead) => ahead.duration() <= MAX_AHEAD,
    }
}

/// Reads the folder. None unless all four files have a valid value and the set is fresh.
///
/// The time of a file is the newer one of `timestamp` and the file's own change time. The set is as old as
/// its oldest file. A `timestamp` that is missing, invalid or far in the future is ignored; then only the
/// change times count.
pub fn read(dir: &Path, now: SystemTime) -> Option<Reading> {
    // Read before the values: it is written after them, so they are at least as new.
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

/// A finite number that is not negative, and the change time of its file.
fn read_number(path: &Path) -> Option<(f64, SystemTime)> {
    // Links are not followed: StaSysMo writes plain files, and everybody may write to the parent folder.
    let file = bounded_read::open_no_link(path).ok()?;
    let changed = file.metadata().ok()?.modified().ok()?;
    let bytes = bounded_read::read_open(&file, MAX_FILE).ok()?;
    let number: f64 = std::str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
    // Adding 0 turns -0 into 0, which would be displayed with its sign.
    (number.is_finite() && number >= 0.0).then_some((number + 0.0, changed))
}
