//! A GPU's sensors in hwmon: temperature, power, energy.

use std::path::{Path, PathBuf};

use super::sysfs::{Sysfs, entries, numbered};

/// Sensors of one kind that a GPU may have. Those seen have three, for the edge of the chip, its hottest
/// point, its memory; newer ones add one for each stack of memory.
const MOST: u32 = 16;

/// The folder of the whole device's sensors. i915 has others for each part.
pub(super) fn find(device: &Path, sysfs: &Sysfs) -> Option<PathBuf> {
    entries(&device.join("hwmon"), |name| numbered(name, "hwmon")).into_iter().find(|folder| {
        let name = sysfs.text(&folder.join("name"));
        name.is_none_or(|name| !name.contains("_gt"))
    })
}

/// The file of the sensor with the first of these labels that there is, else of the first that has no
/// label. Never of one with another label: the memory's temperature is not the chip's.
fn sensor(folder: &Path, kind: &str, value: &str, labels: &[&str], sysfs: &Sysfs) -> Option<PathBuf> {
    let sensors: Vec<(PathBuf, Option<String>)> = (1..=MOST)
        .map(|number| (folder.join(format!("{kind}{number}_{value}")), number))
        .filter(|(file, _)| file.exists())
        .map(|(file, number)| (file, sysfs.text(&folder.join(format!("{kind}{number}_label")))))
        .collect();
    let labelled = |wanted: &&str| {
        sensors.iter().find(|(_, label)| label.as_deref().is_some_and(|label| label == *wanted))
    };
    let unlabelled = || sensors.iter().find(|(_, label)| label.is_none());
    labels.iter().find_map(labelled).or_else(unlabelled).map(|(file, _)| file.clone())
}

/// In degrees Celsius.
pub(super) fn temperature(folder: &Path, labels: &[&str], sysfs: &Sysfs) -> Option<f64> {
    let millidegrees: i32 = sysfs.number(&sensor(folder, "temp", "input", labels, sysfs)?)?;
    Some(f64::from(millidegrees) / 1000.0)
}

/// In watts. A GPU has the mean over a moment or the newest value; some have both.
pub(super) fn power(folder: &Path, labels: &[&str], sysfs: &Sysfs) -> Option<f64> {
    let microwatts = |value| -> Option<f64> {
        let number: u32 = sysfs.number(&sensor(folder, "power", value, labels, sysfs)?)?;
        Some(f64::from(number) / 1e6)
    };
    microwatts("average").or_else(|| microwatts("input"))
}

/// Energy since some time in the past, in microjoules.
pub(super) fn energy(folder: &Path, labels: &[&str], sysfs: &Sysfs) -> Option<u64> {
    sysfs.number(&sensor(folder, "energy", "input", labels, sysfs)?)
}

/// What was used between two readings. None if the counter has begun anew.
pub(super) fn joules(old: u64, new: u64) -> Option<f64> {
    Some(new.checked_sub(old)? as f64 / 1e6)
}
