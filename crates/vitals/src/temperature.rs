//! Temperature sensors of hwmon.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use nixfleet_os::short;

use crate::fault::{Faults, Odd};
use crate::lines::Parsed;
use crate::source::{self, Sample};

/// Most sensors read. A server has about forty, mostly the cores of its processors.
const MAX_SENSORS: usize = 256;

/// Plausible values in thousandths of a degree Celsius. Other values mean that no sensor is connected, or
/// that all bits of a register are set.
const PLAUSIBLE: RangeInclusive<i64> = -100_000..=200_000;

/// One temperature sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Temperature {
    /// The chip's name, such as `coretemp` or `nvme`.
    pub chip: String,
    /// The device that the chip is part of, such as `nvme0`, to distinguish two chips with the same name.
    pub device: Option<String>,
    /// Label that the chip gives, such as `Package id 0`, or else the name of the sensor, such as `temp1`.
    pub label: String,
    /// Degrees Celsius. None if the sensor gives no value now, because its device sleeps or no sensor is
    /// connected.
    pub celsius: Option<f64>,
}

/// Reads all sensors of the chips with one of these names, in the order of chip and number. None if there are
/// none. A file that cannot be read costs itself: a sensor its value, a label its sensor's name, the name of a
/// chip that chip.
///
/// # Errors
/// The folder cannot be read.
pub fn read(sys: &Path, names: &[String], faults: &Faults) -> Sample<Vec<Temperature>> {
    if names.is_empty() {
        return Ok(None);
    }
    let class = sys.join("class/hwmon");
    let chips = source::present(&class, numbered(&class, "hwmon", ""));
    let Some(chips) = chips.inspect_err(|failure| failure.note(faults))? else { return Ok(None) };
    let mut sensors = Vec::new();
    for (_, chip) in chips {
        let Some(name) = source::noted_line(&chip.join("name"), faults).filter(|name| names.contains(name))
        else {
            continue;
        };
        read_chip(&chip, &name, faults, &mut sensors);
    }
    Ok((!sensors.is_empty()).then_some(sensors))
}

fn read_chip(chip: &Path, name: &str, faults: &Faults, sensors: &mut Vec<Temperature>) {
    let device = source::link_name(&chip.join("device"));
    // A chip that disappears while it is read has no sensors.
    let found = source::present(chip, numbered(chip, "temp", "_input"));
    let found = found.inspect_err(|failure| failure.note(faults)).unwrap_or_default();
    for (number, input) in found.unwrap_or_default() {
        if sensors.len() >= MAX_SENSORS {
            break;
        }
        let label = source::noted_line(&chip.join(format!("temp{number}_label")), faults);
        let says_broken = source::noted_line(&chip.join(format!("temp{number}_fault")), faults);
        let is_broken = says_broken.is_some_and(|flag| is_fault(&flag));
        sensors.push(Temperature {
            chip: name.to_owned(),
            device: device.clone(),
            label: label.unwrap_or_else(|| format!("temp{number}")),
            celsius: if is_broken { None } else { celsius(&input, faults) },
        });
    }
}

/// Whether the content of a tempN_fault says that the sensor is broken or not connected. Its value means
/// nothing then.
pub(super) fn is_fault(flag: &str) -> bool {
    flag.parse::<i64>().is_ok_and(|flag| flag != 0)
}

fn celsius(input: &Path, faults: &Faults) -> Option<f64> {
    let parse = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        match text.parse::<i64>() {
            // A value out of bounds is what an absent sensor has; there is nothing wrong with the file.
            Ok(_) => Parsed::all(self::parse(text)),
            Err(_) => Parsed { value: None, odd: Some(Odd::whole("is no whole number")) },
        }
    };
    source::parsed(input, source::MAX_VALUE, faults, parse).ok().flatten().flatten()
}

/// Parses a tempN_input, which is in thousandths of a degree Celsius, into degrees.
pub fn parse(text: &str) -> Option<f64> {
    let millidegrees: i64 = text.parse().ok()?;
    PLAUSIBLE.contains(&millidegrees).then(|| millidegrees as f64 / 1000.0)
}

/// The entries of a folder whose names have a number between a prefix and a suffix, in the order of the
/// number.
fn numbered(folder: &Path, prefix: &str, suffix: &str) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        // What was listed before an error is there.
        let Ok(entry) = entry else { break };
        let name = entry.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok());
        if let Some(number) = number {
            found.push((number, folder.join(&name)));
        }
    }
    short::sort(&mut found);
    Ok(found)
}
