//! Intel's GPUs, as i915 and xe show them.
//!
//! Neither tells how busy a GPU is without special rights. Both count the time in which each of its parts
//! was switched off for want of work. What is left of the time is an upper bound of being busy, so it is
//! marked as an estimate: a part that is awake need not be working.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use super::card::Card;
use super::sysfs::{Sysfs, entries, numbered};
use super::{Reading, hwmon};

/// Below this the counters' unit of a millisecond and the time of reading them make nonsense of the
/// difference.
const SHORTEST: f64 = 0.1;

/// How much longer than the time between two looks a part may have been off. The clocks are not the same,
/// and the counter moves on while it is read. Beyond it the figure is not about this time.
const TOLERANCE: f64 = 1.1;

/// xe has the chip's and the memory's temperature, the card's and the chip's energy.
const TEMPERATURES: &[&str] = &["pkg"];
const ENERGIES: &[&str] = &["card", "pkg"];

/// What was counted at the last look.
#[derive(Debug, Default)]
pub(super) struct Counters {
    at: Option<Instant>,
    /// Milliseconds for which a part was off, by file.
    off: BTreeMap<PathBuf, u64>,
    /// Microjoules.
    energy: Option<u64>,
}

/// Asks a GPU that is awake.
pub(super) fn read(card: &Card, counters: &mut Counters, sysfs: &Sysfs, now: Instant) -> Reading {
    let hwmon = hwmon::find(&card.device, sysfs);
    let hwmon = hwmon.as_deref();
    let new = Counters {
        at: Some(now),
        off: off_files(card)
            .into_iter()
            .filter_map(|file| Some((file.clone(), sysfs.number(&file)?)))
            .collect(),
        energy: hwmon.and_then(|hwmon| hwmon::energy(hwmon, ENERGIES, sysfs)),
    };
    let old = std::mem::replace(counters, new);
    let seconds = old.at.map(|then| now.saturating_duration_since(then).as_secs_f64());
    let seconds = seconds.filter(|seconds| *seconds >= SHORTEST);
    let watts = || {
        let joules = hwmon::joules(old.energy?, counters.energy?)?;
        Some(joules / seconds?)
    };
    Reading {
        name: None,
        usage: seconds.and_then(|seconds| busiest(&old.off, &counters.off, seconds)),
        temperature_celsius: hwmon.and_then(|hwmon| hwmon::temperature(hwmon, TEMPERATURES, sysfs)),
        // Both tell it to programs that draw, not in files.
        vram_used_bytes: None,
        vram_total_bytes: None,
        power_watts: watts().or_else(|| hwmon::power(hwmon?, &["card", "pkg"], sysfs)),
    }
    .plausible()
}

/// The counters of all parts: xe's, else i915's, else those of an older i915, which had one.
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

/// The share of the time in which the busiest part was on. Parts are switched off one by one, so the
/// mean of a busy one and an idle one would say that a GPU which can do no more is half idle.
fn busiest(old: &BTreeMap<PathBuf, u64>, new: &BTreeMap<PathBuf, u64>, seconds: f64) -> Option<f64> {
    let shares = new.iter().filter_map(|(file, new)| {
        // A part that was never off since the start is one which is not switched off at all.
        let old = old.get(file).filter(|_| *new > 0)?;
        // Counters begin anew when the host has slept.
        let off = new.checked_sub(*old)? as f64 / 1000.0;
        (off <= seconds * TOLERANCE).then(|| (1.0 - off / seconds).max(0.0))
    });
    shares.reduce(f64::max)
}
