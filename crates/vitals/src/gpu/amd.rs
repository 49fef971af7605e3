//! AMD GPUs, read from the files of amdgpu.

use super::card::Card;
use super::sysfs::Sysfs;
use super::{Reading, hwmon};

/// Labels of temperatures, in the order of preference. Other tools show `edge` as the GPU's temperature. GPUs
/// for datacenters have only `junction`, the hottest point.
const TEMPERATURES: &[&str] = &["edge", "junction"];

/// Labels of the power of the whole package, on GPUs inside a processor.
const POWERS: &[&str] = &["PPT", "slowPPT"];

/// Reads a GPU that is awake.
pub(super) fn read(card: &Card, sysfs: &Sysfs) -> Reading {
    let file = |name: &str| card.device.join(name);
    let hwmon = hwmon::find(&card.device, sysfs);
    let hwmon = hwmon.as_deref();
    Reading {
        // Only GPUs for servers have this file.
        name: sysfs.text(&file("product_name")).filter(|name| !name.is_empty()),
        usage: sysfs.number::<u8>(&file("gpu_busy_percent")).map(|percent| f64::from(percent) / 100.0),
        temperature_celsius: hwmon.and_then(|hwmon| hwmon::temperature(hwmon, TEMPERATURES, sysfs)),
        vram_used_bytes: sysfs.number(&file("mem_info_vram_used")),
        vram_total_bytes: sysfs.number(&file("mem_info_vram_total")),
        power_watts: hwmon.and_then(|hwmon| hwmon::power(hwmon, POWERS, sysfs)),
    }
    .plausible()
}
