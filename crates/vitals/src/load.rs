//! How many want to run, how many can, and for how long the host has been up.

use std::{path::Path, time::Duration};

use super::source;
use super::source::Sample;

/// Longest file read, in bytes. The longest of them, the list of processors, has a few hundred on a
/// host with many that are off.
const MAX_FILE: u64 = 4 * 1024;

/// Most processors believed, 16 times what the kernel can have.
const MAX_PROCESSORS: u64 = 1 << 17;

/// Programs that run or wait to run or for a disk, averaged over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Over a minute.
    pub one: f64,
    /// Over five.
    pub five: f64,
    /// Over fifteen.
    pub fifteen: f64,
    /// Processors that are on, to compare with.
    pub processors: Option<u64>,
}

/// /proc/loadavg.
#[cfg(target_os = "linux")]
pub fn parse(text: &str) -> Option<Load> {
    use procfs::FromRead;
    let load = procfs::LoadAverage::from_read(text.as_bytes()).ok()?;
    let number = |value: f32| {
        // As it is written, and not as the nearest f32 looks in an f64.
        let value = (f64::from(value) * 100.0).round() / 100.0;
        (value.is_finite() && value >= 0.0).then_some(value + 0.0)
    };
    Some(Load {
        one: number(load.one)?,
        five: number(load.five)?,
        fifteen: number(load.fifteen)?,
        processors: None,
    })
}

/// There is no such file elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn parse(_: &str) -> Option<Load> {
    None
}

/// /sys/devices/system/cpu/online: how many processors a list such as `0-3,8` has.
pub fn parse_processors(text: &str) -> Option<u64> {
    let mut count: u64 = 0;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    (count <= MAX_PROCESSORS).then_some(count)
}

/// /proc/uptime: time since the boot, sleep included.
#[cfg(target_os = "linux")]
pub fn parse_uptime(text: &str) -> Option<Duration> {
    use procfs::FromRead;
    Duration::try_from_secs_f64(procfs::Uptime::from_read(text.as_bytes()).ok()?.uptime).ok()
}

/// There is no such file elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn parse_uptime(_: &str) -> Option<Duration> {
    None
}

/// The load.
///
/// # Errors
/// The file cannot be read, or is not what it should be.
pub fn read(proc: &Path, sys: &Path) -> Sample<Load> {
    let load = source::parsed(&proc.join("loadavg"), MAX_FILE, parse)?;
    let online = sys.join("devices/system/cpu/online");
    // A load without the number of processors still is one.
    let processors = source::parsed(&online, MAX_FILE, parse_processors).ok().flatten();
    Ok(load.map(|load| Load { processors, ..load }))
}

/// Time since the boot.
///
/// # Errors
/// As for [`read`].
pub fn read_uptime(proc: &Path) -> Sample<Duration> {
    source::parsed(&proc.join("uptime"), MAX_FILE, parse_uptime)
}
