//! AMD's GPUs, as amdgpu shows them.

use super::card::Card;
use super::sysfs::Sysfs;
use super::{Reading, hwmon};

/// The edge's is what other tools call the GPU's temperature. Those for datacenters have the hottest
/// point's only.
const TEMPERATURES: &[&str] = &["edge", "junction"];

/// The whole package, on GPUs within a processor.
const POWERS: &[&str] = &["PPT", "slowPPT"];

/// Asks a GPU that is awake.
pub(super) fn read(card: &Card, sysfs: &Sysfs) -> Reading {
    let file = |name: &str| card.device.join(name);
    let hwmon = hwmon::find(&card.device, sysfs);
    let hwmon = hwmon.as_deref();
    Reading {
        // Only those for servers have it.
        name: sysfs.text(&file("product_name")).filter(|name| !name.is_empty()),
        usage: sysfs.number::<u8>(&file("gpu_busy_percent")).map(|percent| f64::from(percent) / 100.0),
        temperature_celsius: hwmon.and_then(|hwmon| hwmon::temperature(hwmon, TEMPERATURES, sysfs)),
        vram_used_bytes: sysfs.number(&file("mem_info_vram_used")),
        vram_total_bytes: sysfs.number(&file("mem_info_vram_total")),
        power_watts: hwmon.and_then(|hwmon| hwmon::power(hwmon, POWERS, sysfs)),
    }
    .plausible()
}
