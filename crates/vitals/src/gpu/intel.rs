//! Intel GPUs, read from the files of i915 and xe.
//!
//! Neither driver shows the usage without special permissions. Both count the time in which each part of the
//! GPU was switched off because it was idle. The remaining time is an upper bound of the usage, because a
//! part that is switched on is not necessarily busy. So the usage is marked as an estimate.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use nixfleet_os::short;

use super::card::Card;
use super::sysfs::{Sysfs, entries, numbered};
use super::{Reading, hwmon};

/// Shortest time between two readings, in seconds. Below it, the counters' resolution of a millisecond and
/// the time needed for reading make the difference meaningless.
const MIN_SECONDS: f64 = 0.1;

/// How much longer than the time between two readings a part may have been off, as a factor. The clocks
/// differ, and the counter runs while it is read. Beyond this factor the counter is not about this time.
const TOLERANCE: f64 = 1.1;

/// Labels of sensors, in the order of preference. xe has temperatures of chip and memory, and energy of card
/// and chip.
const TEMPERATURES: &[&str] = &["pkg"];
const ENERGIES: &[&str] = &["card", "pkg"];

/// The counters at the previous reading.
#[derive(Debug, Default)]
pub(super) struct Counters {
    at: Option<Instant>,
    /// Milliseconds for which each part was off, by file.
    off: BTreeMap<PathBuf, u64>,
    /// Energy counter in microjoules.
    energy: Option<u64>,
}

/// Reads a GPU that is awake.
pub(super) fn read(card: &Card, counters: &mut Counters, sysfs: &Sysfs, now: Instant) -> Reading {
    let hwmon = hwmon::find(&card.device, sysfs);
    let hwmon = hwmon.as_deref();
    let new = Counters {
        at: Some(now),
        off: short::gather(
            off_files(card).into_iter().filter_map(|file| Some((file.clone(), sysfs.number(&file)?))),
        ),
        energy: hwmon.and_then(|hwmon| hwmon::energy(hwmon, ENERGIES, sysfs)),
    };
    let old = std::mem::replace(counters, new);
    let seconds = old.at.map(|then| now.saturating_duration_since(then).as_secs_f64());
    let seconds = seconds.filter(|seconds| *seconds >= MIN_SECONDS);
    let watts = || {
        let joules = hwmon::joules(old.energy?, counters.energy?)?;
        Some(joules / seconds?)
    };
    Reading {
        name: None,
        usage: seconds.and_then(|seconds| busiest(&old.off, &counters.off, seconds)),
        temperature_celsius: hwmon.and_then(|hwmon| hwmon::temperature(hwmon, TEMPERATURES, sysfs)),
        // Both drivers show GPU memory to graphics programs only, not in files.
        vram_used_bytes: None,
        vram_total_bytes: None,
        power_watts: watts().or_else(|| hwmon::power(hwmon?, &["card", "pkg"], sysfs)),
    }
    .plausible()
}

/// The counter files of all parts: those of xe, or of i915, or the single one of an older i915.
fn off_files(card: &Card) -> Vec<PathBuf> {
    let part = |name: &str| numbered(name, "gt");
    let mut files: Vec<PathBuf> = entries(&card.device, |name| numbered(name, "tile"))
        .iter()
        .flat_map(|tile| entries(tile, part))
        .map(|gt| gt.join("gtidle/idle_residency_ms"))
        .collect();
    if let Some(drm) = card.drm.as_ref().filter(|_| files.is_empty()) {
        files = entries(&drm.join("gt"), part).iter().map(|gt| gt.join("rc6_residency_ms")).collect();
        if files.is_empty() {
            files.push(drm.join("power/rc6_residency_ms"));
        }
    }
    files
}

/// The share of time in which the busiest part was switched on. Parts are switched off independently: a mean
/// of a busy part and an idle part would show a fully busy GPU as half idle.
fn busiest(old: &BTreeMap<PathBuf, u64>, new: &BTreeMap<PathBuf, u64>, seconds: f64) -> Option<f64> {
    let shares = new.iter().filter_map(|(file, new)| {
        // A counter of 0 belongs to a part that is never switched off.
        let old = old.get(file).filter(|_| *new > 0)?;
        // Counters are reset when the host has slept.
        let off = new.checked_sub(*old)? as f64 / 1000.0;
        (off <= seconds * TOLERANCE).then(|| (1.0 - off / seconds).max(0.0))
    });
    shares.reduce(f64::max)
}
