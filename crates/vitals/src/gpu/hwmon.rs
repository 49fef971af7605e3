//! Sensors of a GPU in hwmon: temperature, power, energy.

use std::path::{Path, PathBuf};

use super::sysfs::{Sysfs, entries, numbered};
use crate::temperature::is_fault;

/// Most sensors of one kind that are tried. Common GPUs have three: the edge of the chip, its hottest point,
/// and its memory. Newer ones have one more for each stack of memory.
const MAX_SENSORS: u32 = 16;

/// The folder with the sensors of the whole device. i915 has further folders for parts of the device.
pub(super) fn find(device: &Path, sysfs: &Sysfs) -> Option<PathBuf> {
    entries(&device.join("hwmon"), |name| numbered(name, "hwmon")).into_iter().find(|folder| {
        let name = sysfs.text(&folder.join("name"));
        name.is_none_or(|name| !name.contains("_gt"))
    })
}

/// The file of the sensor with the first of these labels that exists, or else of the first sensor without a
/// label. A sensor with another label is never used, nor one whose label cannot be read: the temperature of the
/// memory is not that of the chip.
fn sensor(folder: &Path, kind: &str, value: &str, labels: &[&str], sysfs: &Sysfs) -> Option<(PathBuf, u32)> {
    let sensors: Vec<(PathBuf, u32, Option<String>)> = (1..=MAX_SENSORS)
        .map(|number| (folder.join(format!("{kind}{number}_{value}")), number))
        .filter(|(file, _)| file.exists())
        .map(|(file, number)| (file, number, sysfs.text(&folder.join(format!("{kind}{number}_label")))))
        .collect();
    let labelled = |wanted: &&str| {
        sensors.iter().find(|(_, _, label)| label.as_deref().is_some_and(|label| label == *wanted))
    };
    let has_no_label = |number: u32| !folder.join(format!("{kind}{number}_label")).exists();
    let unlabelled = || sensors.iter().find(|(_, number, _)| has_no_label(*number));
    labels.iter().find_map(labelled).or_else(unlabelled).map(|(file, number, _)| (file.clone(), *number))
}

/// Temperature in degrees Celsius. None if the sensor says that it is broken.
pub(super) fn temperature(folder: &Path, labels: &[&str], sysfs: &Sysfs) -> Option<f64> {
    let (input, number) = sensor(folder, "temp", "input", labels, sysfs)?;
    let flag = sysfs.text(&folder.join(format!("temp{number}_fault")));
    if flag.is_some_and(|flag| is_fault(&flag)) {
        return None;
    }
    let millidegrees: i32 = sysfs.number(&input)?;
    Some(f64::from(millidegrees) / 1000.0)
}

/// Power in watts. A GPU has a short mean, or the newest value, or both; the mean is preferred.
pub(super) fn power(folder: &Path, labels: &[&str], sysfs: &Sysfs) -> Option<f64> {
    let microwatts = |value| -> Option<f64> {
        let number: u32 = sysfs.number(&sensor(folder, "power", value, labels, sysfs)?.0)?;
        Some(f64::from(number) / 1e6)
    };
    microwatts("average").or_else(|| microwatts("input"))
}

/// Energy counter in microjoules. It starts at an unknown time.
pub(super) fn energy(folder: &Path, labels: &[&str], sysfs: &Sysfs) -> Option<u64> {
    sysfs.number(&sensor(folder, "energy", "input", labels, sysfs)?.0)
}

/// Energy in joules between two readings of the counter. None if the counter was reset.
pub(super) fn joules(old: u64, new: u64) -> Option<f64> {
    Some(new.checked_sub(old)? as f64 / 1e6)
}
