//! Temperatures from hwmon.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::source;
use super::source::{Sample, SourceError};

/// Most sensors read. A server has some forty, most of them the cores of its processors.
const MAX_SENSORS: usize = 256;

/// Millidegrees outside of which a chip says something else than a temperature: "not connected", or
/// a register of ones.
const PLAUSIBLE: std::ops::RangeInclusive<i64> = -100_000..=200_000;

/// One sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Temperature {
    /// The chip's name, such as `coretemp` or `nvme`.
    pub chip: String,
    /// The device it is part of, such as `nvme0`, to tell two of a kind apart.
    pub device: Option<String>,
    /// What it measures, such as `Package id 0`, if the chip says so; else the sensor, such as `temp1`.
    pub label: String,
    /// Degrees Celsius. None if the sensor gives no value now: its device sleeps, or nothing is
    /// connected.
    pub celsius: Option<f64>,
}

/// All sensors of the chips with one of these names, by chip and number. None where there are none.
///
/// # Errors
/// The folder cannot be read.
pub fn read(sys: &Path, names: &[String]) -> Sample<Vec<Temperature>> {
    if names.is_empty() {
        return Ok(None);
    }
    let class = sys.join("class/hwmon");
    let Some(chips) = source::present(&class, numbered(&class, "hwmon", ""))? else { return Ok(None) };
    let mut sensors = Vec::new();
    for (_, chip) in chips {
        let Some(name) = source::line(&chip.join("name")).filter(|name| names.contains(name)) else {
            continue;
        };
        read_chip(&chip, &name, &mut sensors)?;
    }
    Ok((!sensors.is_empty()).then_some(sensors))
}

fn read_chip(chip: &Path, name: &str, sensors: &mut Vec<Temperature>) -> Result<(), SourceError> {
    let device = source::link_name(&chip.join("device"));
    // A chip that goes away while it is looked at has no sensors.
    let found = source::present(chip, numbered(chip, "temp", "_input"))?.unwrap_or_default();
    for (number, input) in found {
        if sensors.len() >= MAX_SENSORS {
            break;
        }
        let label = source::line(&chip.join(format!("temp{number}_label")));
        sensors.push(Temperature {
            chip: name.to_owned(),
            device: device.clone(),
            label: label.unwrap_or_else(|| format!("temp{number}")),
            celsius: source::line(&input).and_then(|text| parse(&text)),
        });
    }
    Ok(())
}

/// A tempN_input: thousandths of a degree Celsius.
pub fn parse(text: &str) -> Option<f64> {
    let millidegrees: i64 = text.parse().ok()?;
    PLAUSIBLE.contains(&millidegrees).then(|| millidegrees as f64 / 1000.0)
}

/// The entries of a folder that have a number between two words, by that number.
fn numbered(folder: &Path, before: &str, behind: &str) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix(before)?.strip_suffix(behind)?.parse().ok());
        if let Some(number) = number {
            found.push((number, folder.join(&name)));
        }
    }
    found.sort_unstable();
    Ok(found)
}
